/** The payload of a log entry of kind `schema`: changes, and the created tables that do not replicate. JSON, strictly checked. */
import { fromUtf8, utf8 } from "../../base/bytes.ts";
import { errorMessage } from "../../base/errors.ts";
import type { SchemaChange } from "./change.ts";

/** Rows of one table that an earlier schema change of another node rejected in their origin's file, for the conflict journal. */
export interface RejectsOfTable {
  /** Id of the origin's record in `__marmot__lost`; the origin deletes the record when the entry is accepted. */
  readonly id: number;
  /** The table's name at the origin. */
  readonly table: string;
  readonly columns: readonly string[];
  /** In a sentence. */
  readonly reason: string;
  /** Encoded images of the columns, in base64. */
  readonly rows: readonly string[];
}

export interface SchemaEntry {
  /** In their order; see `change.ts`. */
  readonly changes: readonly SchemaChange[];
  /** Tables that the changes create and that do not replicate: every node keeps its own (a full-text index). */
  readonly local: readonly string[];
  readonly lost: RejectsOfTable | null;
}

/** The payload of a schema entry is malformed. */
export class SchemaEntryError extends Error {
  override name = "SchemaEntryError";
}

export const encodeSchemaEntry = ({ changes, local, lost }: SchemaEntry): Uint8Array =>
  utf8(JSON.stringify({ changes, local, lost }));

const isTexts = (x: unknown): x is string[] => Array.isArray(x) && x.every((v) => typeof v === "string");

function isRejects(x: unknown): x is RejectsOfTable {
  if (typeof x !== "object" || x === null) return false;
  const { id, table, columns, reason, rows } = x as Record<string, unknown>;
  if (!Number.isSafeInteger(id) || typeof table !== "string" || typeof reason !== "string") return false;
  return isTexts(columns) && isTexts(rows);
}

export function decodeSchemaEntry(bytes: Uint8Array): SchemaEntry {
  let value: { changes?: unknown; local?: unknown; lost?: unknown } | null;
  try {
    value = JSON.parse(fromUtf8(bytes)) as typeof value;
  } catch (error) {
    throw new SchemaEntryError(`a schema entry is not JSON: ${errorMessage(error)}`, { cause: error });
  }
  const { changes, local, lost } = value ?? {};
  const hasOp = (change: unknown): boolean =>
    typeof change === "object" && change !== null && typeof (change as { op?: unknown }).op === "string";
  if (!Array.isArray(changes) || !changes.every(hasOp))
    throw new SchemaEntryError("the changes of a schema entry are no list of operations");
  if (!isTexts(local)) throw new SchemaEntryError("the local tables of a schema entry are no list of names");
  if (lost !== null && !isRejects(lost))
    throw new SchemaEntryError("the rejected rows of a schema entry are malformed");
  return { changes: changes as SchemaChange[], local, lost };
}

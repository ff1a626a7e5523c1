/** What an entry of kind `schema` carries: the changes, and what they make that is not replicated. JSON, strictly read. */
import { fromUtf8, utf8 } from "../../base/bytes.ts";
import { errorMessage } from "../../base/errors.ts";
import type { SchemaChange } from "./change.ts";

/** Rows that an earlier change of others left no room for in their origin's file; they go into the journal. */
export interface LostRows {
  /** Of what the origin keeps: it is done with it when the entry is taken. */
  readonly id: number;
  /** The table's name there. */
  readonly table: string;
  readonly columns: readonly string[];
  /** Why, in a sentence. */
  readonly reason: string;
  /** Encoded images of the columns, in base64. */
  readonly rows: readonly string[];
}

export interface SchemaEntry {
  /** In their order; see `changes/change.ts`. */
  readonly changes: readonly SchemaChange[];
  /** Tables that the changes create and that every node keeps for itself (a full-text index). */
  readonly local: readonly string[];
  readonly lost: LostRows | null;
}

/** Bytes that are no change of a schema. */
export class SchemaEntryError extends Error {
  override name = "SchemaEntryError";
}

export const encodeSchemaEntry = ({ changes, local, lost }: SchemaEntry): Uint8Array =>
  utf8(JSON.stringify({ changes, local, lost }));

const isTexts = (x: unknown): x is string[] => Array.isArray(x) && x.every((v) => typeof v === "string");

function isLost(x: unknown): x is LostRows {
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
    throw new SchemaEntryError(`not a change of a schema: ${errorMessage(error)}`, { cause: error });
  }
  const { changes, local, lost } = value ?? {};
  const hasOp = (change: unknown): boolean =>
    typeof change === "object" && change !== null && typeof (change as { op?: unknown }).op === "string";
  if (!Array.isArray(changes) || !changes.every(hasOp))
    throw new SchemaEntryError("the changes of a schema are a list of operations");
  if (!isTexts(local)) throw new SchemaEntryError("the tables that are not replicated are a list of names");
  if (lost !== null && !isLost(lost)) throw new SchemaEntryError("rows that were lost are malformed");
  return { changes: changes as SchemaChange[], local, lost };
}

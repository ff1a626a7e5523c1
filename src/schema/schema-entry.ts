/** What an entry of kind `schema` carries: the changes, and what they make that is not replicated. JSON, strictly read. */
import { fromUtf8, utf8 } from "../base/bytes.ts";
import { errorMessage } from "../base/errors.ts";
import type { SchemaChange } from "./changes/change.ts";

export interface SchemaEntry {
  /** In their order; see `changes/change.ts`. */
  readonly changes: readonly SchemaChange[];
  /** Tables that the changes create and that every node keeps for itself (a full-text index). */
  readonly local: readonly string[];
}

/** Bytes that are no change of a schema. */
export class SchemaEntryError extends Error {
  override name = "SchemaEntryError";
}

export const encodeSchemaEntry = ({ changes, local }: SchemaEntry): Uint8Array =>
  utf8(JSON.stringify({ changes, local }));

export function decodeSchemaEntry(bytes: Uint8Array): SchemaEntry {
  let value: { changes?: unknown; local?: unknown } | null;
  try {
    value = JSON.parse(fromUtf8(bytes)) as typeof value;
  } catch (error) {
    throw new SchemaEntryError(`not a change of a schema: ${errorMessage(error)}`, { cause: error });
  }
  const { changes, local } = value ?? {};
  const hasOp = (change: unknown): boolean =>
    typeof change === "object" && change !== null && typeof (change as { op?: unknown }).op === "string";
  if (!Array.isArray(changes) || !changes.every(hasOp))
    throw new SchemaEntryError("the changes of a schema are a list of operations");
  if (!Array.isArray(local) || !local.every((name) => typeof name === "string"))
    throw new SchemaEntryError("the tables that are not replicated are a list of names");
  return { changes: changes as SchemaChange[], local };
}

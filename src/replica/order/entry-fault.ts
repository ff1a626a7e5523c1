/** Whether the content of an entry is the cause of an error: then each node meets it, at each try. */
import { UserError } from "../../base/errors.ts";
import { HaltError } from "../../base/halt.ts";
import { CodecError } from "../../change/codec.ts";
import { SchemaEntryError } from "../../schema/diff/schema-entry.ts";

/** SQLite's ERROR, TOOBIG, CONSTRAINT, MISMATCH and RANGE: neither the disk, nor memory, nor a lock. */
const OF_CONTENT: ReadonlySet<number> = new Set([1, 18, 19, 20, 25]);

export function isOfEntry(error: unknown): boolean {
  if (error instanceof CodecError || error instanceof SchemaEntryError) return true;
  // A schema change that does not fit the schema.
  if (error instanceof UserError) return !(error instanceof HaltError);
  if (error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError) return true;
  const { code, errcode } = (error ?? {}) as { code?: unknown; errcode?: unknown };
  return code === "ERR_SQLITE_ERROR" && typeof errcode === "number" && OF_CONTENT.has(errcode & 0xff);
}

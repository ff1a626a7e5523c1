/** Writes change-log rows as the capture triggers do, for rows that no trigger saw. */
import type { DatabaseSync } from "node:sqlite";
import type { TableShape } from "../change/shape.ts";
import { TextBytes, type Value } from "../change/value.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";

export interface LoggedTable {
  readonly shape: TableShape;
  /** The change log's name. */
  readonly log: string;
}

/** Inside a write transaction. `keys`: key columns in key order. */
export function writeLogKeys(
  db: DatabaseSync,
  { shape, log }: LoggedTable,
  keys: readonly (readonly Value[])[],
): void {
  const columns = shape.key.map((_, i) => `k${i + 1}`).join(", ");
  for (const key of keys) {
    const marks = key.map((v) => (v instanceof TextBytes ? "CAST(? AS TEXT)" : "?")).join(", ");
    const bound = key.map((v) => (v instanceof TextBytes ? v.bytes : v));
    db.prepare(`INSERT INTO main.${quoteIdentifier(log)}(${columns}) VALUES(${marks})`).run(...bound);
  }
}

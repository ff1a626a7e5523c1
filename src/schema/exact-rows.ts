/** All rows of a table with exact storage classes, in the order of the key, streamed. */
import type { DatabaseSync } from "node:sqlite";
import type { TableShape } from "../change/shape.ts";
import type { Value } from "../change/value.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { exactText, prepareExact } from "./row-access.ts";

const REPLACEMENT = "\ufffd";

/** `encoding`: the file's. The statement is open while the rows are taken: keep to one table's at a time. */
export function* exactRows(db: DatabaseSync, shape: TableShape, encoding: string): Generator<Value[], void> {
  const columns = shape.columns.map((c) => quoteIdentifier(c.name));
  const table = `main.${quoteIdentifier(shape.name)}`;
  const keys = shape.key.map((k) => columns[k]!);
  const rows = prepareExact(
    db,
    `SELECT ${columns.join(", ")} FROM ${table} ORDER BY ${keys.join(", ")}`,
  ).iterate();
  const where = keys.map((k) => `${k} = ?`).join(" AND ");
  for (const row of rows as unknown as Iterable<Value[]>) {
    for (let i = 0; i < row.length; i++) {
      const value = row[i]!;
      if (typeof value !== "string" || !value.includes(REPLACEMENT)) continue;
      row[i] = exactText(value, encoding, () => {
        const bytes = prepareExact(db, `SELECT CAST(${columns[i]!} AS BLOB) FROM ${table} WHERE ${where}`);
        const key = shape.key.map((k) => row[k] as null | bigint | number | string | Uint8Array);
        return (bytes.get(...key) as unknown as [Uint8Array])[0];
      });
    }
    yield row;
  }
}

/** Rows of a table after a key, in the order of the key, a few at a time: a reader that stops and goes on elsewhere. */
import type { DatabaseSync } from "node:sqlite";
import type { TableShape } from "../change/shape.ts";
import { TextBytes, type Value } from "../change/value.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { exactKey, exactKeyColumns, mayBeOdd, prepareExact, rereadText } from "./exact-values.ts";

/** `after`: key columns in key order; null: from the beginning. Rows with NULL in the key are left out. */
export function* rowsAfter(
  db: DatabaseSync,
  { shape, encoding }: { readonly shape: TableShape; readonly encoding: string },
  after: readonly Value[] | null,
  limit: number,
): Generator<Value[], void> {
  const columns = shape.columns.map((c) => quoteIdentifier(c.name));
  const keys = shape.key.map((k) => columns[k]!);
  const compared = keys.map((k, i) => (shape.integerKey ? k : `${k} COLLATE ${shape.keyCollations[i]!}`));
  const marks = (after ?? []).map((v) => (v instanceof TextBytes ? "CAST(? AS TEXT)" : "?"));
  const where = [
    ...(after === null ? [] : [`(${compared.join(", ")}) > (${marks.join(", ")})`]),
    ...(shape.integerKey ? [] : keys.map((k) => `${k} IS NOT NULL`)),
  ];
  const sql = `SELECT ${columns.join(", ")}, ${exactKeyColumns(shape, keys)} FROM main.${quoteIdentifier(shape.name)}
    ${where.length === 0 ? "" : `WHERE ${where.join(" AND ")}`} ORDER BY ${compared.join(", ")} LIMIT ${limit}`;
  const bound = (after ?? []).map((v) => (v instanceof TextBytes ? v.bytes : v));
  const width = columns.length;
  for (const row of prepareExact(db, sql).all(...bound) as unknown as Value[][]) {
    const image = row.slice(0, width);
    const key = exactKey(shape, row, encoding, width);
    for (let i = 0; i < width; i++) {
      const value = image[i]!;
      if (!mayBeOdd(value, encoding)) continue;
      const place = shape.key.indexOf(i);
      image[i] =
        place === -1 ? rereadText(db, shape, encoding, { key, column: i, text: value }) : key[place]!;
    }
    yield image;
  }
}

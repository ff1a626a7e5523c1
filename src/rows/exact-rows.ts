/** Streams all rows of a table with exact storage classes, in the order of the key. */
import type { DatabaseSync } from "node:sqlite";
import type { TableShape } from "../change/shape.ts";
import type { Value } from "../change/value.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import {
  exactKey,
  exactKeyColumns,
  type ExactStatement,
  mayBeOdd,
  prepareExact,
  rereadText,
} from "./exact-values.ts";

/** Selects every column and the key's bytes, for `exactRows`. */
export function exactRowsStatement(db: DatabaseSync, shape: TableShape): ExactStatement {
  const columns = shape.columns.map((c) => quoteIdentifier(c.name));
  const table = `main.${quoteIdentifier(shape.name)}`;
  const keys = shape.key.map((k) => columns[k]!);
  return prepareExact(
    db,
    `SELECT ${columns.join(", ")}, ${exactKeyColumns(shape, keys)} FROM ${table} ORDER BY ${keys.join(", ")}`,
  );
}

/** `encoding`: the file's. The statement remains open while rows are read: read one table at a time. */
export function* exactRows(
  db: DatabaseSync,
  shape: TableShape,
  encoding: string,
  statement = exactRowsStatement(db, shape),
): Generator<Value[], void> {
  const width = shape.columns.length;
  for (const row of statement.iterate()) {
    const image = row.slice(0, width);
    let key: Value[] | null = null;
    for (let i = 0; i < width; i++) {
      const value = image[i]!;
      if (!mayBeOdd(value, encoding)) continue;
      key ??= exactKey(shape, row, encoding, width);
      const place = shape.key.indexOf(i);
      image[i] =
        place === -1 ? rereadText(db, shape, encoding, { key, column: i, text: value }) : key[place]!;
    }
    yield image;
  }
}

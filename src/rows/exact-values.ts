/**
 * Values of rows exactly as they are stored: integers as bigint, and texts with bytes that are not valid in the file's
 * encoding. For statements by key on the replica and on the app database.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { TableShape } from "../change/shape.ts";
import { TextBytes, type Value } from "../change/value.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";

export type Bound = null | bigint | number | string | Uint8Array;

/** A column of an application may hold any storage class, so the rows have no closer type. */
interface ExactRows {
  get(...values: Bound[]): Value[] | undefined;
  all(...values: Bound[]): Value[][];
  iterate(...values: Bound[]): Iterable<Value[]>;
}

export type ExactStatement = ExactRows & StatementSync;

/** The statement returns rows as arrays, and integers as bigint. */
export function prepareExact(db: DatabaseSync, sql: string): ExactStatement {
  const statement = db.prepare(sql);
  statement.setReturnArrays(true);
  statement.setReadBigInts(true);
  return statement as ExactStatement;
}

const REPLACEMENT = "\ufffd";
const SURROGATE = /[\ud800-\udfff]/;

/**
 * Whether the stored bytes may differ from this text. Bun decodes invalid UTF-8 to U+FFFD. In a UTF-16 file SQLite reads a lone
 * surrogate and the next unit as a pair. `exactText` compares such a text with its bytes.
 */
export const mayBeOdd = (value: Value, encoding: string): value is string =>
  typeof value === "string" &&
  (value.includes(REPLACEMENT) || (encoding !== "UTF-8" && SURROGATE.test(value)));

/** `readBytes` reads the cell as `CAST(… AS BLOB)`; `encoding` is the file's. */
export function exactText(text: string, encoding: string, readBytes: () => Uint8Array): string | TextBytes {
  const bytes = readBytes();
  const same =
    encoding === "UTF-8"
      ? Buffer.from(text, "utf8").equals(bytes)
      : Buffer.from(text, "utf16le").equals(encoding === "UTF-16be" ? Buffer.from(bytes).swap16() : bytes);
  return same ? text : new TextBytes(new Uint8Array(bytes));
}

/** A list of key columns to select; `exactKey` reads it. Each column that may be a text is followed by its bytes. */
export function exactKeyColumns(shape: TableShape, columns: readonly string[]): string {
  if (shape.integerKey) return columns.join(", ");
  return columns.map((c) => `${c}, CASE typeof(${c}) WHEN 'text' THEN CAST(${c} AS BLOB) END`).join(", ");
}

/** The key of a row in which `exactKeyColumns` begin at index `from`. */
export function exactKey(shape: TableShape, row: readonly Value[], encoding: string, from = 0): Value[] {
  if (shape.integerKey) return [row[from]!];
  return shape.key.map((_, i) => {
    const value = row[from + 2 * i]!;
    if (!mayBeOdd(value, encoding)) return value;
    return exactText(value, encoding, () => row[from + 2 * i + 1] as Uint8Array);
  });
}

/** `"a" COLLATE NOCASE = …` for each key column: keys are compared with the collations of their index, not of the columns. */
export function keyEquals(shape: TableShape, columns: readonly string[], values: readonly string[]): string {
  if (shape.integerKey) return `${columns[0]!} = ${values[0]!}`;
  return columns.map((c, i) => `${c} COLLATE ${shape.keyCollations[i]!} = ${values[i]!}`).join(" AND ");
}

export const bind = (value: Value): Bound => (value instanceof TextBytes ? value.bytes : value);

export function hasOddText(values: readonly Value[]): boolean {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (typeof value === "object" && value instanceof TextBytes) return true;
  }
  return false;
}

/** One placeholder per value. Invalid text is bound as bytes, and SQLite casts it to TEXT. */
export const placeholders = (values: readonly Value[]): string[] =>
  values.map((v) => (v instanceof TextBytes ? "CAST(? AS TEXT)" : "?"));

/** Reads a cell again of which `mayBeOdd` is true. `key`: the key of its row. */
export function rereadText(
  db: DatabaseSync,
  shape: TableShape,
  encoding: string,
  cell: { readonly key: readonly Value[]; readonly column: number; readonly text: string },
): string | TextBytes {
  const { key, column, text } = cell;
  const quoted = shape.columns.map((c) => quoteIdentifier(c.name));
  const where = keyEquals(
    shape,
    shape.key.map((k) => quoted[k]!),
    placeholders(key),
  );
  return exactText(text, encoding, () => {
    const sql = `SELECT CAST(${quoted[column]!} AS BLOB) FROM main.${quoteIdentifier(shape.name)} WHERE ${where}`;
    return prepareExact(db, sql).get(...key.map(bind))![0] as Uint8Array;
  });
}

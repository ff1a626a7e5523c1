/**
 * Reads and writes rows of one table by key, on the replica and on the app database. Storage classes are exact: in `node:sqlite`
 * a number is a REAL and a bigint an INTEGER. Statements are prepared on first use and kept.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { assert } from "../base/assert.ts";
import { keyIdOf, keyIdOfImage, keyOfImage } from "../change/key.ts";
import type { TableShape, UniqueShape } from "../change/shape.ts";
import { type Image, TextBytes, type Value, valueEqual } from "../change/value.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { failureOf } from "../sqlite/ddl-text/can-fail.ts";
import { parseTable } from "../sqlite/ddl-text/table-text.ts";
import { isFailedExpression } from "../sqlite/functions/failed-expression.ts";
import { afterTableName, generationOf } from "../sqlite/ddl-text/index-text.ts";
import { createAsWritten } from "../sqlite/functions/stand-ins.ts";

type Bound = null | bigint | number | string | Uint8Array;

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

const bind = (value: Value): Bound => (value instanceof TextBytes ? value.bytes : value);

function hasOddText(values: readonly Value[]): boolean {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (typeof value === "object" && value instanceof TextBytes) return true;
  }
  return false;
}

/** Values bound in one statement that writes many rows. */
const BOUND_AT_ONCE = 200;

/** One placeholder per value. Invalid text is bound as bytes, and SQLite casts it to TEXT. */
const placeholders = (values: readonly Value[]): string[] =>
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

/** Of stored columns only: the values of an image can be compared directly. */
const isPlain = (unique: UniqueShape): boolean =>
  unique.where === null && unique.terms.every((t) => t.column !== null);

/** An expression that SQLite evaluates when it writes a row of the table may fail. */
function canFail({ uniques }: TableShape, text: string): boolean {
  const generated = parseTable(text).columns.flatMap((c) =>
    c.generated ? [generationOf(c.definition)] : [],
  );
  const indexed = uniques.flatMap((u) => [
    ...u.terms.flatMap((t) => (t.column === null ? [t.sql] : [])),
    u.where,
  ]);
  return [...generated, ...indexed].some((sql) => sql !== null && failureOf(sql).fails !== "never");
}

export class RowAccess {
  readonly shape: TableShape;
  readonly #db: DatabaseSync;
  readonly encoding: string;
  readonly #table: string;
  readonly #columns: readonly string[];
  readonly #whereKey: string;
  readonly #statements = new Map<string, ExactStatement>();
  #knownText: string | null = null;
  #canFail: boolean | null = null;
  #manySql: string | null = null;
  readonly #uniqueColumns: ReadonlySet<number>;
  readonly #hasExpressions: boolean;
  readonly #selectSql: string;
  readonly #upsertSql: string;
  readonly #deleteSql: string;

  /** `encoding`: the file's `PRAGMA encoding`. */
  constructor(db: DatabaseSync, shape: TableShape, encoding: string) {
    this.#db = db;
    this.shape = shape;
    this.encoding = encoding;
    this.#table = `main.${quoteIdentifier(shape.name)}`;
    this.#columns = shape.columns.map((c) => quoteIdentifier(c.name));
    this.#whereKey = this.#whereKeyIs(shape.key.map(() => "?"));
    const terms = shape.uniques.flatMap((u) => u.terms);
    this.#uniqueColumns = new Set(terms.flatMap((t) => (t.column === null ? [] : [t.column])));
    this.#hasExpressions = !shape.uniques.every(isPlain);
    this.#selectSql = this.#selectWhere(this.#whereKey);
    this.#upsertSql = this.#upsertValues(this.#columns.map(() => "?"));
    this.#deleteSql = `DELETE FROM ${this.#table} WHERE ${this.#whereKey}`;
  }

  #selectWhere(where: string): string {
    return `SELECT ${this.#columns.join(", ")} FROM ${this.#table} WHERE ${where}`;
  }

  #upsertValues(marks: readonly string[]): string {
    return this.#upsertInto(`(${marks.join(", ")})`);
  }

  #upsertInto(rows: string): string {
    // With its collations: another UNIQUE index of the same columns may have other ones.
    const { key, keyCollations, integerKey } = this.shape;
    const target = key
      .map((k, i) => `${this.#columns[k]!}${integerKey ? "" : ` COLLATE ${keyCollations[i]!}`}`)
      .join(", ");
    const sets = this.#columns.map((c) => `${c} = excluded.${c}`).join(", ");
    return (
      // The alias is needed for a table named "excluded", in which that word would mean the stored row.
      `INSERT INTO ${this.#table} AS "__marmot__row"(${this.#columns.join(", ")}) VALUES ${rows} ` +
      `ON CONFLICT(${target}) DO UPDATE SET ${sets}`
    );
  }

  #prepare(sql: string): ExactStatement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = prepareExact(this.#db, sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #where(key: readonly Value[]): string {
    if (!hasOddText(key)) return this.#whereKey;
    return this.#whereKeyIs(placeholders(key));
  }

  #whereKeyIs(marks: readonly string[]): string {
    const columns = this.shape.key.map((k) => this.#columns[k]!);
    return keyEquals(this.shape, columns, marks);
  }

  /** The image of the row; null: there is none. `key`: the values of the key columns in key order. */
  get(key: readonly Value[]): Value[] | null {
    const sql = hasOddText(key) ? this.#selectWhere(this.#where(key)) : this.#selectSql;
    const row = this.#prepare(sql).get(...key.map(bind));
    if (row === undefined) return null;
    for (let i = 0; i < row.length; i++) {
      const value = row[i]!;
      if (mayBeOdd(value, this.encoding))
        row[i] = rereadText(this.#db, this.shape, this.encoding, { key, column: i, text: value });
    }
    return row;
  }

  /** Inserts the row, or updates every column in place (the row keeps its rowid). */
  upsert(image: Image): void {
    if (hasOddText(image)) this.#prepare(this.#upsertValues(placeholders(image))).run(...image.map(bind));
    else this.#prepare(this.#upsertSql).run(...(image as readonly Bound[]));
  }

  /** The same for many rows. A row of equal key that comes later wins. */
  upsertMany(images: readonly Image[]): void {
    const size = Math.floor(BOUND_AT_ONCE / this.#columns.length);
    const single = size < 2 || images.some(hasOddText) ? images.length : images.length % size;
    const whole = images.length - single;
    for (let from = 0; from < whole; from += size) {
      const bound: Bound[] = [];
      for (let i = from; i < from + size; i++) for (const value of images[i]!) bound.push(value as Bound);
      this.#prepare(this.#upsertRows(size)).run(...bound);
    }
    for (let i = whole; i < images.length; i++) this.upsert(images[i]!);
  }

  #upsertRows(size: number): string {
    if (this.#manySql === null) {
      const row = `(${this.#columns.map(() => "?").join(", ")})`;
      this.#manySql = this.#upsertInto(Array<string>(size).fill(row).join(", "));
    }
    return this.#manySql;
  }

  /** The highest key of a table with an integer key. */
  highest(): number {
    const key = this.#columns[this.shape.key[0]!]!;
    const highest = this.#prepare(`SELECT max(${key}) FROM ${this.#table}`).get()![0]!;
    return highest === null ? Number.NEGATIVE_INFINITY : Number(highest);
  }

  /** For tables of which triggers have effects: sets only columns that differ, and does not touch an equal row. */
  write(image: Image): void {
    const key = keyOfImage(this.shape, image);
    const old = this.get(key);
    if (old === null) {
      this.#insert(image);
      return;
    }
    const changed = image.flatMap((value, i) => (valueEqual(value, old[i]!) ? [] : [i]));
    if (changed.length === 0) return;
    const values = changed.map((i) => image[i]!);
    const marks = placeholders(values);
    const sets = changed.map((column, i) => `${this.#columns[column]!} = ${marks[i]!}`).join(", ");
    const sql = `UPDATE ${this.#table} SET ${sets} WHERE ${this.#where(key)}`;
    this.#prepare(sql).run(...values.map(bind), ...key.map(bind));
  }

  #insert(image: Image): void {
    const sql = `INSERT INTO ${this.#table}(${this.#columns.join(", ")}) VALUES(${placeholders(image).join(", ")})`;
    this.#prepare(sql).run(...image.map(bind));
  }

  delete(key: readonly Value[]): void {
    const sql = hasOddText(key) ? `DELETE FROM ${this.#table} WHERE ${this.#where(key)}` : this.#deleteSql;
    this.#prepare(sql).run(...key.map(bind));
  }

  get hasUniques(): boolean {
    return this.shape.uniques.length > 0;
  }

  /** Whether the change from `old` to `next` can change a UNIQUE value. */
  uniqueChanges(old: Image, next: Image): boolean {
    if (this.#hasExpressions) return true;
    for (const column of this.#uniqueColumns) if (!Object.is(old[column], next[column])) return true;
    return false;
  }

  /** For some row SQLite may be unable to evaluate an expression of a UNIQUE index or of a generated column. */
  get canFail(): boolean {
    this.#canFail ??= canFail(this.shape, this.#text);
    return this.#canFail;
  }

  /**
   * Whether SQLite can evaluate the expressions of the UNIQUE indexes and of generated columns for the row. A row that mixes
   * columns of two writers may be one that no application wrote.
   */
  evaluates(image: Image): boolean {
    if (!this.canFail) return true;
    try {
      this.#fillTwin(image);
      const twin = `temp.${quoteIdentifier(this.#twinName)} AS ${quoteIdentifier(this.shape.name)}`;
      for (const { where, terms } of this.shape.uniques) {
        const values = terms.map((t) => `(${t.sql})`).join(", ");
        this.#prepare(`SELECT ${values} FROM ${twin}${where === null ? "" : ` WHERE (${where})`}`).all();
      }
      return true;
    } catch (error) {
      if (!isFailedExpression(error)) throw error;
      return false;
    }
  }

  /** Keys of other rows that hold one of the image's UNIQUE values. Key columns in key order. */
  clashes(image: Image): Value[][] {
    const found: Value[][] = [];
    assert(image.length === this.#columns.length, `an image of ${this.shape.name} is whole`);
    if (this.#hasExpressions) this.#fillTwin(image);
    for (const unique of this.shape.uniques) found.push(...this.#clashesOf(unique, image));
    return found;
  }

  #clashesOf(unique: UniqueShape, image: Image): Value[][] {
    const simple = isPlain(unique);
    const [where, bound] = simple ? this.#plainLookup(unique, image) : [this.#verbatimLookup(unique), []];
    if (simple && bound.includes(null)) return []; // NULLs are distinct
    const keys = this.shape.key.map((k) => this.#columns[k]!);
    const sql = `SELECT ${exactKeyColumns(this.shape, keys)} FROM ${this.#table} WHERE ${where}`;
    const rows = this.#prepare(sql).all(...bound);
    const own = keyIdOfImage(this.shape, image);
    return rows
      .map((row) => exactKey(this.shape, row, this.encoding))
      .filter((key) => keyIdOf(this.shape, key) !== own);
  }

  #plainLookup(unique: UniqueShape, image: Image): [string, Bound[]] {
    const values = unique.terms.map((t) => image[t.column!]!);
    const marks = placeholders(values);
    const where = unique.terms.map((t, i) => `${t.sql} COLLATE ${t.collation} = ${marks[i]!}`).join(" AND ");
    return [where, values.map(bind)];
  }

  /**
   * The value of an expression, a generated column or a condition depends on the affinity and collation of the table's columns.
   * So the incoming row is put into an empty copy of the table, and the expressions are evaluated there: terms only where the
   * condition holds, as in the index.
   */
  #verbatimLookup(unique: UniqueShape): string {
    const twin = `temp.${quoteIdentifier(this.#twinName)} AS ${quoteIdentifier(this.shape.name)}`;
    const { where } = unique;
    const conditions = where === null ? [] : [`(${where})`, `(SELECT (${where}) FROM ${twin})`];
    const incoming = (sql: string): string =>
      where === null ? sql : `CASE WHEN (${where}) THEN (${sql}) END`;
    const tests = unique.terms.map(
      (t) => `(${t.sql}) COLLATE ${t.collation} = (SELECT ${incoming(t.sql)} FROM ${twin})`,
    );
    return [...conditions, ...tests].join(" AND ");
  }

  /** The table's text at the first use. A schema change makes a new `RowAccess`. */
  get #text(): string {
    const select = "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?";
    this.#knownText ??= (this.#db.prepare(select).get(this.shape.name) as { sql: string }).sql;
    return this.#knownText;
  }

  get #twinName(): string {
    return `__marmot__twin_${this.shape.id}_${Bun.hash.xxHash64(this.#text).toString(16)}`;
  }

  #fillTwin(image: Image): void {
    const twin = `temp.${quoteIdentifier(this.#twinName)}`;
    // Checked each time: a rollback may have removed the copy.
    const there = this.#prepare("SELECT 1 FROM temp.sqlite_schema WHERE name = ?");
    if (there.get(this.#twinName) === undefined)
      createAsWritten(
        this.#db,
        `CREATE TEMP TABLE ${quoteIdentifier(this.#twinName)}${afterTableName(this.#text)}`,
      );
    this.#prepare(`DELETE FROM ${twin}`).run();
    const marks = placeholders(image).join(", ");
    this.#prepare(`INSERT INTO ${twin}(${this.#columns.join(", ")}) VALUES(${marks})`).run(
      ...image.map(bind),
    );
  }
}

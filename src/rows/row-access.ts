/**
 * Reads and writes rows of one table by key, on the replica and on the app database. Storage classes are exact: in `node:sqlite`
 * a number is a REAL and a bigint an INTEGER. Statements are prepared on first use and kept.
 */
import type { DatabaseSync } from "node:sqlite";
import { assert } from "../base/assert.ts";
import {
  bind,
  type Bound,
  exactKey,
  exactKeyColumns,
  type ExactStatement,
  hasOddText,
  keyEquals,
  mayBeOdd,
  placeholders,
  prepareExact,
  rereadText,
} from "./exact-values.ts";
import { areNearRows } from "./near-rows.ts";
import { keyIdOf, keyIdOfImage, keyOfImage } from "../change/key.ts";
import type { TableShape, UniqueShape } from "../change/shape.ts";
import { type Image, largeBytes, type Value, valueEqual } from "../change/value.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { failureOf } from "../sqlite/ddl-text/can-fail.ts";
import { parseTable } from "../sqlite/ddl-text/table-text.ts";
import { isUniqueViolation } from "../sqlite/unique-violation.ts";
import { isFailedExpression } from "../sqlite/functions/failed-expression.ts";
import { afterTableName, generationOf } from "../sqlite/ddl-text/index-text.ts";
import { createAsWritten } from "../sqlite/functions/stand-ins.ts";

/** Values bound in one statement that writes many rows, and its rows at most. */
const BOUND_AT_ONCE = 600;
const ROWS_AT_ONCE = 40;
/** Values bound in one statement that reads many rows. */
const LOOKED_UP_AT_ONCE = 200;

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

/** A statement for many rows first copies each page that it may have to restore: a temporary file where the rows are large. */
const isWrittenAlone = (image: Image): boolean => largeBytes(image) > 0 || hasOddText(image);

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
  #manyAbortSql: string | null = null;
  #abortSql: string | null = null;
  #manySelectSql: string | null = null;
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
    return row === undefined ? null : this.#exact(key, row);
  }

  #exact(key: readonly Value[], row: Value[]): Value[] {
    for (let i = 0; i < row.length; i++) {
      const value = row[i]!;
      if (mayBeOdd(value, this.encoding))
        row[i] = rereadText(this.#db, this.shape, this.encoding, { key, column: i, text: value });
    }
    return row;
  }

  /** The images of many rows. No key comes twice. */
  getMany(keys: readonly (readonly Value[])[]): (Value[] | null)[] {
    const size = Math.floor(LOOKED_UP_AT_ONCE / this.shape.key.length);
    const images: (Value[] | null)[] = Array<null>(keys.length).fill(null);
    const whole = keys.some(hasOddText) ? 0 : keys.length - (keys.length % size);
    for (let from = 0; from < whole; from += size) {
      const bound: Bound[] = [];
      for (let i = from; i < from + size; i++) for (const value of keys[i]!) bound.push(value as Bound);
      for (const row of this.#prepare(this.#selectRows(size)).all(...bound)) {
        const at = from + Number(row.pop());
        images[at] = this.#exact(keys[at]!, row);
      }
    }
    for (let i = whole; i < keys.length; i++) images[i] = this.get(keys[i]!);
    return images;
  }

  #selectRows(size: number): string {
    if (this.#manySelectSql === null) {
      const names = this.shape.key.map((_, i) => `"__marmot__k${i}"`);
      const rows = Array.from({ length: size }, (_, n) => `(${n}, ${names.map(() => "?").join(", ")})`);
      const wanted = `"__marmot__wanted"("__marmot__n", ${names.join(", ")}) AS (VALUES ${rows.join(", ")})`;
      const row = `"__marmot__row"`;
      const columns = this.#columns.map((c) => `${row}.${c}`);
      const key = this.shape.key.map((k) => columns[k]!);
      this.#manySelectSql =
        `WITH ${wanted} SELECT ${columns.join(", ")}, "__marmot__n" FROM "__marmot__wanted" ` +
        `CROSS JOIN ${this.#table} AS ${row} WHERE ${keyEquals(this.shape, key, names)}`;
    }
    return this.#manySelectSql;
  }

  /** Inserts the row, or updates every column in place (the row keeps its rowid). */
  upsert(image: Image): void {
    if (hasOddText(image)) this.#prepare(this.#upsertValues(placeholders(image))).run(...image.map(bind));
    else this.#prepare(this.#upsertSql).run(...(image as readonly Bound[]));
  }

  /** The same for many rows. A row of equal key that comes later wins. */
  upsertMany(images: readonly Image[]): void {
    const size = this.rowsAtOnce;
    const single = size < 2 || images.some(isWrittenAlone) ? images.length : images.length % size;
    const whole = images.length - single;
    for (let from = 0; from < whole; from += size) {
      if (!areNearRows(this.shape, images, from, size)) {
        for (let i = from; i < from + size; i++) this.upsert(images[i]!);
        continue;
      }
      const bound: Bound[] = [];
      for (let i = from; i < from + size; i++) for (const value of images[i]!) bound.push(value as Bound);
      this.#prepare(this.#upsertRows()).run(...bound);
    }
    for (let i = whole; i < images.length; i++) this.upsert(images[i]!);
  }

  /** Rows that one statement writes. */
  get rowsAtOnce(): number {
    return Math.min(ROWS_AT_ONCE, Math.max(1, Math.floor(BOUND_AT_ONCE / this.#columns.length)));
  }

  /**
   * Writes no row, one row or `rowsAtOnce` rows in one statement. False: none is written, a UNIQUE index refuses one. OR ABORT
   * overrides another resolution of a clash that the table declares: IGNORE would drop the row without an error.
   */
  upsertUnlessClash(images: readonly Image[]): boolean {
    if (images.length === 0) return true;
    if (images.some(hasOddText)) return false;
    try {
      this.#prepare(this.#upsertOrAbort(images.length)).run(...(images.flat() as Bound[]));
      return true;
    } catch (error) {
      if (isUniqueViolation(error)) return false;
      throw error;
    }
  }

  /** The statement for `rowsAtOnce` rows. */
  #upsertRows(): string {
    if (this.#manySql === null) {
      const row = `(${this.#columns.map(() => "?").join(", ")})`;
      this.#manySql = this.#upsertInto(Array<string>(this.rowsAtOnce).fill(row).join(", "));
    }
    return this.#manySql;
  }

  #upsertOrAbort(size: number): string {
    const abort = (sql: string): string => sql.replace("INSERT", "INSERT OR ABORT");
    if (size === 1) return (this.#abortSql ??= abort(this.#upsertSql));
    return (this.#manyAbortSql ??= abort(this.#upsertRows()));
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

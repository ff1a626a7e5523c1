/** Reads a schema: SQLite's own description of tables, columns, indexes and keys, without any decision about it. */
import { foldName, isSameName } from "../base/names.ts";
import { type Affinity, affinityOf } from "./affinity.ts";
import type { Query } from "./query.ts";
import { quoteText } from "./quote.ts";
import { flag, nullable, oneOf, readTuples, text } from "./typed-rows.ts";

export interface SchemaObject {
  readonly kind: "table" | "index" | "view" | "trigger";
  readonly name: string;
  readonly tableName: string;
  /** Verbatim; "" for indexes that a constraint made. */
  readonly sql: string;
}

export const isUniqueIndex = ({ kind, sql }: SchemaObject): boolean =>
  kind === "index" && /^\s*CREATE\s+UNIQUE\b/i.test(sql);

export interface Column {
  readonly name: string;
  readonly declaredType: string;
  readonly affinity: Affinity;
  readonly notNull: boolean;
  /** Its default as an expression; null: none. */
  readonly defaultValue: string | null;
  /** 1-based place in the primary key; 0: not in it. */
  readonly keyPlace: number;
  /** 0 normal, 2 virtual generated, 3 stored generated. */
  readonly hidden: number;
}

export interface IndexTerm {
  /** null: an expression. */
  readonly column: string | null;
  readonly collation: string;
}

export interface UniqueIndex {
  readonly name: string;
  /** "pk": the primary key; "u": a UNIQUE constraint; "c": CREATE UNIQUE INDEX. */
  readonly origin: "pk" | "u" | "c";
  readonly partial: boolean;
  readonly terms: readonly IndexTerm[];
  /** Verbatim CREATE INDEX; "" unless origin is "c". */
  readonly sql: string;
}

export interface Table {
  readonly name: string;
  readonly sql: string;
  readonly withoutRowid: boolean;
  readonly strict: boolean;
  readonly columns: readonly Column[];
  /** The INTEGER PRIMARY KEY column that is the rowid; null: none. */
  readonly rowidColumn: string | null;
  readonly autoincrement: boolean;
  readonly uniques: readonly UniqueIndex[];
  readonly foreignKeys: readonly string[];
  /** Its id is a reference to another table's: SQLite does not pick it. */
  readonly inheritsId: boolean;
}

const KIND = oneOf("table", "index", "view", "trigger");
const ORIGIN = oneOf("pk", "u", "c");

/** All objects in the order of their creation, internal ones (`sqlite_…`) left out. */
export function readObjects(query: Query): SchemaObject[] {
  const rows = query(
    `SELECT type, name, tbl_name, sql FROM main.sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid`,
  );
  return readTuples(rows, KIND, text, text, nullable(text)).map(([kind, name, tableName, sql]) => ({
    kind,
    name,
    tableName,
    sql: sql ?? "",
  }));
}

/** Kind of each table by name, as `PRAGMA table_list` reports it: "table", "view", "virtual", "shadow". */
export function readTableKinds(query: Query): Map<string, string> {
  const rows = query(`SELECT name, type FROM pragma_table_list WHERE schema = 'main'`);
  return new Map(readTuples(rows, text, text));
}

/** Tables that were read, by the texts that make them: a schema is read many times before it changes. */
const known = new Map<string, Table>();
/** More than a schema has. */
const KNOWN_MAX = 2000;

export function readTable(query: Query, name: string): Table {
  const texts = query(
    `SELECT type, name, sql FROM main.sqlite_schema WHERE tbl_name = ? AND type <> 'trigger' ORDER BY rowid`,
    name,
  );
  const sql = texts.find(([type, table]) => type === "table" && table === name)?.[2];
  // A view's or a virtual table's columns depend on more than its text.
  if (sql === undefined || /^\s*CREATE\s+VIRTUAL\b/i.test(String(sql)))
    return readByPragmas(query, name, String(sql ?? ""));
  const text = JSON.stringify([name, texts]);
  const table = known.get(text) ?? readByPragmas(query, name, String(sql));
  known.delete(text);
  known.set(text, table);
  if (known.size > KNOWN_MAX) known.delete(known.keys().next().value!);
  return table;
}

function readByPragmas(query: Query, name: string, sql: string): Table {
  const [[, , withoutRowid, strict] = []] = query(
    `SELECT name, type, wr, strict FROM pragma_table_list(?) WHERE schema = 'main'`,
    name,
  );
  const columns = query(
    `SELECT name, type, "notnull", pk, hidden, dflt_value FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid`,
    name,
  ).map(([column, type, notNull, pk, hidden, defaultValue]) => ({
    name: String(column),
    declaredType: String(type ?? ""),
    affinity: affinityOf(String(type ?? ""), Number(strict) === 1),
    notNull: Number(notNull) === 1,
    defaultValue: defaultValue === null ? null : defaultExpression(String(defaultValue)),
    keyPlace: Number(pk),
    hidden: Number(hidden),
  }));
  const uniques = readUniques(query, name);
  const key = columns.filter((c) => c.keyPlace > 0);
  const isRowid = Number(withoutRowid) === 0 && key.length === 1 && !uniques.some((u) => u.origin === "pk");
  const references = query(`SELECT "table", "from" FROM pragma_foreign_key_list(?)`, name).map(
    ([parent, from]) => ({ parent: String(parent), from: String(from) }),
  );
  const rowidColumn = isRowid && foldName(key[0]!.declaredType) === "integer" ? key[0]!.name : null;
  return {
    name,
    sql: String(sql ?? ""),
    withoutRowid: Number(withoutRowid) === 1,
    strict: Number(strict) === 1,
    columns,
    rowidColumn,
    autoincrement: rowidColumn !== null && /\bAUTOINCREMENT\b/i.test(String(sql)),
    uniques,
    foreignKeys: [...new Set(references.map(({ parent }) => parent))],
    inheritsId: references.some(({ from }) => isSameName(from, rowidColumn)),
  };
}

/** `DEFAULT new` and `DEFAULT "new"` are texts, also where a column is called so. `text`: as the pragma has it. */
function defaultExpression(text: string): string {
  if (/^(?:true|false|null|current_(?:time|date|timestamp))$/i.test(text)) return text;
  if (/^[A-Z_\u{80}-\u{10ffff}][\w$\u{80}-\u{10ffff}]*$/iu.test(text)) return quoteText(text);
  const [quote] = text;
  if (quote === "[") return quoteText(text.slice(1, -1));
  if (quote === '"' || quote === "`") return quoteText(text.slice(1, -1).replaceAll(quote + quote, quote));
  return text;
}

function readUniques(query: Query, table: string): UniqueIndex[] {
  const indexes = query(
    `SELECT l.name, l.origin, l.partial, s.sql FROM pragma_index_list(?) l
       LEFT JOIN main.sqlite_schema s ON s.type = 'index' AND s.name = l.name WHERE l."unique" = 1 ORDER BY l.seq DESC`,
    table,
  );
  return readTuples(indexes, text, ORIGIN, flag, nullable(text)).map(([name, origin, partial, sql]) => ({
    name,
    origin,
    partial,
    sql: sql ?? "",
    terms: query(`SELECT name, coll, cid FROM pragma_index_xinfo(?) WHERE key = 1 ORDER BY seqno`, name).map(
      ([column, collation, cid]) => ({
        column: Number(cid) < 0 ? null : String(column),
        collation: String(collation).toUpperCase(),
      }),
    ),
  }));
}

/** Names under which the rowid can be reached: those that no column takes. */
export function rowidAliases(table: Table): string[] {
  const taken = new Set(table.columns.map((c) => foldName(c.name)));
  return ["rowid", "oid", "_rowid_"].filter((alias) => !taken.has(alias));
}

/** Collations of the primary key's columns, in key order, in capitals. */
export function keyCollations(table: Table): string[] {
  const index = table.uniques.find((u) => u.origin === "pk");
  return keyColumns(table).map((_, i) => index?.terms[i]?.collation ?? "BINARY");
}

/** The primary key's columns in key order; empty: no declared key, or one that is left empty. */
export function keyColumns(table: Table): Column[] {
  const key = table.columns.filter((c) => c.keyPlace > 0).sort((a, b) => a.keyPlace - b.keyPlace);
  return isLeftEmpty(table, key) ? [] : key;
}

/**
 * `id SERIAL PRIMARY KEY`: another database would assign a number, while SQLite stores NULL in every row. Such a
 * table has one
 * UNIQUE column more and no key. Drizzle's own migrations table is declared this way.
 */
function isLeftEmpty(table: Table, key: readonly Column[]): boolean {
  const [column] = key;
  if (column === undefined || key.length > 1 || column.notNull || table.withoutRowid) return false;
  return /\b(?:BIG|SMALL)?SERIAL\b/i.test(column.declaredType);
}

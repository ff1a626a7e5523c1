/** The rows of a table that is rebuilt, from the old one to the new one, each under its rowid. */
import { foldName } from "../../base/names.ts";
import type { DatabaseSync } from "node:sqlite";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { type Column, keyColumns, readTable, rowidAliases, type Table } from "../../sqlite/schema.ts";
import type { ColumnOrigin } from "../diff/change.ts";
import type { RejectedRows } from "./constraint-rejects.ts";
import { withScratch } from "../scratch.ts";

const SQLITE_CONSTRAINT = 19;
const SQLITE_MISMATCH = 20;

export const UNIQUE_VALUE = "another row has its unique value";

/** What a row runs into, by SQLite's extended result code; null: something else went wrong. */
export function constraintOf(error: unknown): string | null {
  const code = (error as { errcode?: unknown } | null)?.errcode;
  if (typeof code !== "number") return null;
  if ((code & 0xff) === SQLITE_MISMATCH) return "its key is not an integer";
  if ((code & 0xff) !== SQLITE_CONSTRAINT) return null;
  switch (code >> 8) {
    case 5:
      return "a column must not be NULL any more";
    case 6:
    case 8:
    case 10:
      return UNIQUE_VALUE;
    case 12:
      return "a value is not of its column's type";
    default:
      return "a constraint of the new table";
  }
}

/** `old`: what is copied from, by its present name. A conflict clause that the table declares would drop rows unseen. */
export function copyRows(
  db: DatabaseSync,
  old: RejectedRows,
  to: string,
  columns: readonly ColumnOrigin[],
): void {
  const table = readTable(queryOf(db), to);
  const { into, from, fromOne } = copied(old.table, table, columns);
  const target = `main.${quoteIdentifier(to)}`;
  const source = `${old.name} NOT INDEXED`;
  try {
    if (isWhole(old.table, table, columns))
      db.exec(`INSERT OR ABORT INTO ${target} SELECT * FROM ${old.name}`);
    else
      db.exec(`INSERT OR ABORT INTO ${target}(${into.join(", ")}) SELECT ${from.join(", ")} FROM ${source}`);
    return;
  } catch (error) {
    if (constraintOf(error) === null) throw error;
    // SQLite leaves the rows before one that a STRICT column refuses: it takes no savepoint for that alone.
    db.exec(`DELETE FROM ${target}`);
  }
  const one = db.prepare(
    `INSERT OR ABORT INTO ${target}(${into.join(", ")}) SELECT ${fromOne.join(", ")} FROM ${old.name} WHERE ${old.where}`,
  );
  for (const row of old.all())
    try {
      one.run(...row.id);
    } catch (error) {
      const reason = constraintOf(error);
      if (reason === null) throw error;
      old.report(row, reason, reason === UNIQUE_VALUE ? "unknown" : null);
    }
}

/** SQLite copies whole pages' worth of cells where nothing differs; only with an INTEGER PRIMARY KEY it keeps rowids. */
function isWhole(old: Table, now: Table, columns: readonly ColumnOrigin[]): boolean {
  const names = old.columns.map((c) => foldName(c.name));
  return (
    now.rowidColumn !== null &&
    foldName(now.rowidColumn) === (old.rowidColumn == null ? undefined : foldName(old.rowidColumn)) &&
    [...old.columns, ...now.columns].every((c) => c.hidden === 0) &&
    now.columns.length === names.length &&
    now.columns.every((c, i) => foldName(c.name) === names[i] && (!c.notNull || old.columns[i]!.notNull)) &&
    columns.every(([column, before]) => foldName(column) === (before == null ? undefined : foldName(before)))
  );
}

function copied(
  old: Table,
  now: Table,
  columns: readonly ColumnOrigin[],
): { readonly into: string[]; readonly from: string[]; readonly fromOne: string[] } {
  const into: string[] = [];
  const from: string[] = [];
  const origin = new Map(
    columns.map(([column, before]) => [foldName(column), before == null ? undefined : foldName(before)]),
  );
  const before = new Map(old.columns.map((c) => [foldName(c.name), c]));
  const oldRowid = old.withoutRowid ? undefined : rowidAliases(old)[0];
  let keyed = false;
  for (const column of now.columns) {
    if (column.hidden !== 0) continue;
    const source = before.get(origin.get(foldName(column.name)) ?? "");
    const isRowid = column.name === now.rowidColumn;
    const value = source === undefined ? newValue(column, isRowid) : carried(source, column);
    if (isRowid && source === undefined) continue;
    keyed ||= isRowid;
    if (value === null) continue;
    into.push(quoteIdentifier(column.name));
    from.push(value);
  }
  const newRowid = now.withoutRowid ? undefined : rowidAliases(now)[0];
  const oldKey = keyColumns(old).map((c) => `${quoteIdentifier(c.name)} DESC`);
  if (!keyed && oldRowid !== undefined && newRowid !== undefined) {
    into.unshift(newRowid);
    // Of a table with a key of its own the rowids need not be alike on all nodes.
    if (now.rowidColumn !== null && oldKey.length > 0) {
      const number = `row_number() OVER (ORDER BY ${oldKey.join(", ")})`;
      return { into, from: [number, ...from], fromOne: ["NULL", ...from] };
    }
    from.unshift(oldRowid);
  }
  if (into.length === 0) {
    // Nothing is carried over and there is no rowid to name: one row for each, of defaults.
    const first = now.columns.find((c) => c.hidden === 0)!;
    into.push(quoteIdentifier(first.name));
    from.push(first.defaultValue ?? "NULL");
  }
  return { into, from, fromOne: from };
}

/** A column that may have been NULL takes its default where it must not be any more. */
function carried(source: Column, { notNull, defaultValue: fallback }: Column): string {
  const name = quoteIdentifier(source.name);
  if (!notNull || source.notNull || fallback === null || !isSteady(fallback)) return name;
  return `coalesce(${name}, ${fallback})`;
}

/**
 * What a new column holds; null: its default. Every node must come to the same: a default that depends on the moment is
 * left to the row that its origin sends, and a column that must not be NULL holds as little as it can until then.
 */
function newValue(column: Column, isRowid: boolean): string | null {
  const { defaultValue: fallback } = column;
  if (isRowid || (fallback !== null && !isNull(fallback) && isSteady(fallback))) return null;
  if (!column.notNull) return fallback === null ? null : "NULL";
  if (fallback !== null && /^\(*\s*CURRENT_TIMESTAMP/i.test(fallback)) return "'1970-01-01 00:00:00'";
  switch (column.affinity) {
    case "TEXT":
      return "''";
    case "BLOB":
      return column.declaredType === "" || foldName(column.declaredType) === "any" ? "0" : "x''";
    default:
      return "0";
  }
}

const isNull = (text: string): boolean => /^\(*\s*NULL\s*\)*$/i.test(text);

/** Whether an expression is the same at any time and on any node: SQLite allows no other in an index. */
function isSteady(expression: string): boolean {
  if (/^(?:[-+]?[\d.]+(?:e[-+]?\d+)?|'(?:[^']|'')*'|x'[\da-f]*'|true|false|null)$/i.test(expression))
    return true;
  return withScratch((db) => {
    try {
      db.exec(`CREATE TABLE t(a); CREATE INDEX i ON t((a IS (${expression}))); INSERT INTO t VALUES(1)`);
      return true;
    } catch {
      return false;
    }
  });
}

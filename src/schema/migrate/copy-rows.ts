/** Copies the rows of a rebuilt table from the old table to the new one. Rowids are kept. */
import { foldName } from "../../base/names.ts";
import type { DatabaseSync } from "node:sqlite";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { type Column, keyColumns, readTable, rowidAliases, type Table } from "../../sqlite/schema.ts";
import type { ColumnOrigin } from "../diff/change.ts";
import type { RejectedRows } from "./constraint-rejects.ts";
import { isFailedExpression } from "../../sqlite/functions/failed-expression.ts";
import { isUniqueViolation } from "../../sqlite/unique-violation.ts";
import { withScratch } from "../scratch.ts";

const SQLITE_CONSTRAINT = 19;
const SQLITE_MISMATCH = 20;

export const UNIQUE_VALUE = "another row has its unique value";

/** The constraint that a row violates, by SQLite's extended result code; null: another error. */
export function constraintOf(error: unknown): string | null {
  if (isUniqueViolation(error)) return UNIQUE_VALUE;
  const code = (error as { errcode?: unknown } | null)?.errcode;
  if (typeof code !== "number") return null;
  if ((code & 0xff) === SQLITE_MISMATCH) return "its key is not an integer";
  if ((code & 0xff) !== SQLITE_CONSTRAINT) return null;
  switch (code >> 8) {
    case 5:
      return "it has NULL in a column that is NOT NULL now";
    case 12:
      return "it has a value of another type than its column";
    default:
      return "it violates a constraint of the new table";
  }
}

const reasonOf = (error: unknown): string | null =>
  isFailedExpression(error) ? "an expression of the new table fails for it" : constraintOf(error);

/** OR ABORT overrides a conflict clause that the table declares, which would drop rows without a report. */
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
    if (reasonOf(error) === null) throw error;
    // When a STRICT column refuses a row, the rows before it remain: SQLite takes no savepoint for such a statement.
    db.exec(`DELETE FROM ${target}`);
  }
  const one = db.prepare(
    `INSERT OR ABORT INTO ${target}(${into.join(", ")}) SELECT ${fromOne.join(", ")} FROM ${old.name} WHERE ${old.where}`,
  );
  for (const row of old.all())
    try {
      one.run(...row.id);
    } catch (error) {
      const reason = reasonOf(error);
      if (reason === null) throw error;
      old.report(row, reason, reason === UNIQUE_VALUE ? "unknown" : null);
    }
}

/** Whether SELECT * copies the rows as they are, which is faster. It keeps rowids only with an INTEGER PRIMARY KEY. */
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
    const value = source === undefined ? newValue(column, isRowid) : copiedValue(source, column);
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
    // If the old table has another key, its rowids may differ between nodes: the new ones follow the order of the key.
    if (now.rowidColumn !== null && oldKey.length > 0) {
      const number = `row_number() OVER (ORDER BY ${oldKey.join(", ")})`;
      return { into, from: [number, ...from], fromOne: ["NULL", ...from] };
    }
    from.unshift(oldRowid);
  }
  if (into.length === 0) {
    // No column is copied and the rowid has no name: each row becomes one of defaults.
    const first = now.columns.find((c) => c.hidden === 0)!;
    into.push(quoteIdentifier(first.name));
    from.push(first.defaultValue ?? "NULL");
  }
  return { into, from, fromOne: from };
}

/** Where a column becomes NOT NULL, its default replaces NULL. */
function copiedValue(source: Column, { notNull, defaultValue: fallback }: Column): string {
  const name = quoteIdentifier(source.name);
  if (!notNull || source.notNull || fallback === null || !isDeterministic(fallback)) return name;
  return `coalesce(${name}, ${fallback})`;
}

/**
 * The value of a new column; null: its default. It must be the same on every node. Where the default depends on the moment, the
 * origin sends the row with its value; until then a NOT NULL column has an empty value.
 */
function newValue(column: Column, isRowid: boolean): string | null {
  const { defaultValue: fallback } = column;
  if (isRowid || (fallback !== null && !isNull(fallback) && isDeterministic(fallback))) return null;
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

/** Whether an expression has the same value at any time and on any node: SQLite allows no other one in an index. */
function isDeterministic(expression: string): boolean {
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

/**
 * How a table can be altered in place. Two texts with the same structure store rows in the same way, so one can replace the
 * other without touching a row. SQLite itself reads the structure, from an empty table in memory.
 */
import type { DatabaseSync } from "node:sqlite";
import { foldName } from "../../base/names.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { readTable } from "../../sqlite/schema.ts";
import type { AlterMethod, ColumnOrigin } from "./change.ts";
import { withStandIns } from "../../sqlite/functions/stand-ins.ts";
import { createObject, withScratch } from "../scratch.ts";
import { renameSteps } from "./rename-steps.ts";
import { nameAt, parseTable, sameButReferences } from "../../sqlite/ddl-text/table-text.ts";

interface Structure {
  /** Equal for equal structures. */
  readonly stored: string;
  /** In lower case. Where a column becomes NOT NULL, the rows have to be checked. */
  readonly notNull: readonly string[];
}

/** How an ordinary table is altered. After `statements` its text is replaced by the wanted one. */
export interface AlterPlan {
  readonly method: AlterMethod;
  /** Empty for "rebuild". */
  readonly statements: readonly string[];
  /** Columns that become NOT NULL. */
  readonly newNotNull: readonly string[];
}

function readStructure(db: DatabaseSync, name: string): Structure {
  const query = queryOf(db);
  const table = readTable(query, name);
  const texts = new Map(parseTable(table.sql).columns.map((c) => [foldName(c.name), c]));
  const own = query(
    `SELECT name, origin FROM pragma_index_list(?) WHERE origin <> 'c' ORDER BY seq DESC`,
    name,
  );
  const indexes = own.map(([index, origin]) => [origin, indexTerms(db, String(index))]);
  // No pragma returns a column's collation, but an index over the column has it.
  const probe = quoteIdentifier(`__marmot__probe_${name}`);
  db.exec(
    `CREATE INDEX ${probe} ON ${quoteIdentifier(name)}(${table.columns.map((c) => quoteIdentifier(c.name)).join(", ")})`,
  );
  const collations = query(
    `SELECT coll FROM pragma_index_xinfo(?) WHERE key = 1 ORDER BY seqno`,
    `__marmot__probe_${name}`,
  ).map(([collation]) => collation);
  db.exec(`DROP INDEX ${probe}`);
  const defaults = query(`SELECT dflt_value FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid`, name);
  const columns = table.columns.map((column, i) => [
    foldName(column.name),
    column.hidden,
    table.strict ? foldName(column.declaredType) : column.affinity,
    collations[i],
    // Rows older than an ADD COLUMN read the default from the text.
    defaults[i]![0],
    column.hidden === 0 ? null : texts.get(foldName(column.name))?.definition,
  ]);
  const { withoutRowid, strict, rowidColumn, autoincrement } = table;
  return {
    stored: JSON.stringify([
      withoutRowid,
      strict,
      rowidColumn == null ? undefined : foldName(rowidColumn),
      autoincrement,
      columns,
      indexes,
    ]),
    notNull: table.columns.flatMap((c) => (c.notNull ? [foldName(c.name)] : [])),
  };
}

const indexTerms = (db: DatabaseSync, index: string): unknown[] =>
  queryOf(db)(`SELECT cid, desc, coll, key FROM pragma_index_xinfo(?) ORDER BY seqno`, index);

const create = (db: DatabaseSync, name: string, sql: string): void =>
  createObject(db, { kind: "table", name, tableName: name, sql });

const rebuild: AlterPlan = { method: "rebuild", statements: [], newNotNull: [] };

/**
 * How `before` becomes `after`. Both texts are of a table of the same name. `columns`: stored columns of `after`. A text that
 * SQLite cannot compile here (it uses functions of the application) means a rebuild, which then reports the error.
 */
export function planAlter(
  name: string,
  before: string,
  after: string,
  columns: readonly ColumnOrigin[],
): AlterPlan {
  const statements = alterStatements(name, before, after, columns);
  if (statements === null) return rebuild;
  if (statements.length === 0 && sameButReferences(before, after))
    return { method: "text", statements, newNotNull: [] };
  return withScratch((db) => {
    try {
      create(db, name, before);
      for (const sql of statements) withStandIns(db, () => db.exec(sql));
      const altered = readStructure(db, name);
      db.exec(`DROP TABLE ${quoteIdentifier(name)}`);
      create(db, name, after);
      const wanted = readStructure(db, name);
      if (altered.stored !== wanted.stored) return rebuild;
      const newNotNull = wanted.notNull.filter((c) => !altered.notNull.includes(c));
      const method = statements.some((sql) => sql.includes(" DROP COLUMN ")) ? "drop" : "text";
      return { method, statements, newNotNull };
    } catch {
      return rebuild;
    }
  });
}

/** ALTER TABLE statements that turn the columns into those of `after`; null: the kept columns have another order. */
function alterStatements(
  name: string,
  before: string,
  after: string,
  columns: readonly ColumnOrigin[],
): string[] | null {
  const alter = `ALTER TABLE main.${quoteIdentifier(name)}`;
  const old = parseTable(before).columns;
  const wanted = parseTable(after).columns;
  const origin = new Map(
    columns.map(([column, first]) => [foldName(column), first == null ? undefined : foldName(first)]),
  );
  const oldGenerated = new Set(old.flatMap((c) => (c.generated ? [foldName(c.name)] : [])));
  // For each wanted column the old column in its place.
  const places = wanted.map((c) => {
    const key = foldName(c.name);
    if (c.generated) return oldGenerated.has(key) ? key : null;
    return origin.get(key) ?? null;
  });
  const kept = old.filter((c) => places.includes(foldName(c.name)));
  if (kept.some((c, i) => places[i] !== foldName(c.name))) return null;
  const removed = old.filter((c) => !kept.includes(c));
  const dropped = [...removed.filter((c) => c.generated), ...removed.filter((c) => !c.generated)];
  const statements = dropped.map((c) => `${alter} DROP COLUMN ${quoteIdentifier(c.name)}`);
  const renames = kept.flatMap((c, i) => {
    const to = wanted[i]!.name;
    return foldName(c.name) === foldName(to) ? [] : [{ from: c.name, to }];
  });
  for (const { from, to } of renameSteps(renames, () => "__marmot__column"))
    statements.push(`${alter} RENAME COLUMN ${quoteIdentifier(from)} TO ${quoteIdentifier(to)}`);
  for (const column of wanted.slice(kept.length)) statements.push(`${alter} ADD COLUMN ${column.sql}`);
  return statements;
}

/** The text of the table after RENAME TABLE. */
export function renamedText(sql: string, to: string): string {
  const start = /^CREATE\s+TABLE\s+/i.exec(sql)?.[0].length ?? 0;
  return `CREATE TABLE ${quoteIdentifier(to)}${sql.slice(nameAt(sql, start).end)}`;
}

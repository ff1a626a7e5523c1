/**
 * REPLACE removes rows through a UNIQUE index without firing a delete trigger. These lookups name, before a row is
 * written, the rows that it could remove. Text of expressions and conditions is verbatim; each must be a SEARCH.
 */
import type { TableShape, UniqueShape } from "../change/shape.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import type { Column, Table } from "../sqlite/schema.ts";
import { mentions } from "./index-text.ts";

export interface EvictionLookup {
  readonly index: string;
  /** A WHERE clause over the table, with the incoming row as NEW. */
  readonly where: string;
  /** A SELECT with the same WHERE and parameters in place of NEW's columns, for EXPLAIN QUERY PLAN. */
  readonly probe: string;
  /** Names of columns whose change can claim another row's value. */
  readonly columns: readonly string[];
}

export function evictionLookups(shape: TableShape, table: Table): EvictionLookup[] {
  const keys = shape.key.map((k) => quoteIdentifier(shape.columns[k]!.name)).join(", ");
  const lookup = (unique: UniqueShape, defaults: boolean): EvictionLookup => {
    const where = whereOf(unique, table, (name) => `NEW.${quoteIdentifier(name)}`, defaults);
    const probed = whereOf(unique, table, () => "?1", defaults);
    const probe = `SELECT ${keys} FROM main.${quoteIdentifier(shape.name)} WHERE ${probed}`;
    return { index: unique.name, where, probe, columns: usedColumns(unique, table) };
  };
  return shape.uniques.flatMap((unique) =>
    defaulted(unique, table).length === 0
      ? [lookup(unique, false)]
      : [lookup(unique, false), lookup(unique, true)],
  );
}

/** Under REPLACE these take their default in place of NULL, after BEFORE triggers have seen the NULL. */
const defaulted = (unique: UniqueShape, table: Table): Column[] =>
  table.columns.filter(
    (c) =>
      c.notNull && c.defaultValue !== null && c.hidden === 0 && usedColumns(unique, table).includes(c.name),
  );

/** Every column whose name occurs in the index; what a generated column uses counts, too. */
function usedColumns(unique: UniqueShape, table: Table): string[] {
  const text = [...unique.terms.map((t) => t.sql), unique.where ?? ""].join(" , ");
  const direct = table.columns.filter((c) => mentions(text, c.name));
  if (direct.every((c) => c.hidden === 0)) return direct.map((c) => c.name);
  return table.columns.filter((c) => c.hidden === 0).map((c) => c.name);
}

/** `defaults`: only if a column is NULL that takes its default then. */
function whereOf(
  unique: UniqueShape,
  table: Table,
  given: (column: string) => string,
  defaults: boolean,
): string {
  const taking = new Map(defaults ? defaulted(unique, table).map((c) => [c.name, c]) : []);
  const incoming = (name: string): string => {
    const column = taking.get(name);
    if (column === undefined) return given(name);
    return `coalesce(${given(name)}, (${column.defaultValue}))`;
  };
  const row = () => {
    const list = table.columns.map((c) => `${incoming(c.name)} AS ${quoteIdentifier(c.name)}`).join(", ");
    return `(SELECT ${list})`;
  };
  const isName = (sql: string) =>
    sql.startsWith('"') && table.columns.some((c) => quoteIdentifier(c.name) === sql);
  const tests = unique.terms.map((term) => {
    // On the left, where it stands above a COLLATE inside the expression, as it does in the index.
    const collate = ` COLLATE ${term.collation}`;
    if (isName(term.sql)) {
      const name = table.columns.find((c) => quoteIdentifier(c.name) === term.sql)!.name;
      return `${term.sql}${collate} = ${incoming(name)}`;
    }
    return `(${term.sql})${collate} = (SELECT ${term.sql} FROM ${row()})`;
  });
  // The verbatim condition lets SQLite use the partial index.
  if (unique.where !== null) tests.push(`(${unique.where})`);
  const isNull = [...taking.keys()].map((name) => `${given(name)} IS NULL`);
  if (isNull.length > 0) tests.push(`(${isNull.join(" OR ")})`);
  return tests.join(" AND ");
}

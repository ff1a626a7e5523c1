/**
 * REPLACE removes rows through a UNIQUE index without firing a delete trigger. These lookups name, before a row is
 * written, the rows that it could remove. Text of expressions and conditions is verbatim; each must be a SEARCH.
 */
import type { TableShape, UniqueShape } from "../change/shape.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import type { Table } from "../sqlite/schema.ts";
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
  return shape.uniques.map((unique) => {
    const used = usedColumns(unique, table);
    const where = whereOf(unique, table, (name) => `NEW.${quoteIdentifier(name)}`);
    const probed = whereOf(unique, table, () => "?1");
    const probe = `SELECT ${keys} FROM main.${quoteIdentifier(shape.name)} WHERE ${probed}`;
    return { index: unique.name, where, probe, columns: used };
  });
}

/** Every column whose name occurs in the index; what a generated column uses counts, too. */
function usedColumns(unique: UniqueShape, table: Table): string[] {
  const text = [...unique.terms.map((t) => t.sql), unique.where ?? ""].join(" , ");
  const direct = table.columns.filter((c) => mentions(text, c.name));
  if (direct.every((c) => c.hidden === 0)) return direct.map((c) => c.name);
  return table.columns.filter((c) => c.hidden === 0).map((c) => c.name);
}

function whereOf(unique: UniqueShape, table: Table, incoming: (column: string) => string): string {
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
  return tests.join(" AND ");
}

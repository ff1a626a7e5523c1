/**
 * REPLACE removes rows through a UNIQUE index without firing a delete trigger. These lookups name, before a row is
 * written, the rows that it could remove. Text of expressions and conditions is verbatim; each must be a SEARCH.
 */
import type { TableShape, UniqueShape } from "../change/shape.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import type { Column, Table } from "../sqlite/schema.ts";
import { mentions, parseIndex } from "./index-text.ts";

export interface EvictionLookup {
  readonly index: string;
  /** A WHERE clause over the table, with the incoming row as NEW. */
  readonly where: string;
  /** A SELECT with the same WHERE and parameters in place of NEW's columns, for EXPLAIN QUERY PLAN. */
  readonly probe: string;
  /** It names generated columns. */
  readonly generated: boolean;
  /** Names of columns whose change can claim another row's value. */
  readonly columns: readonly string[];
}

export function evictionLookups(shape: TableShape, table: Table): EvictionLookup[] {
  const keys = shape.key.map((k) => quoteIdentifier(shape.columns[k]!.name)).join(", ");
  const lookup = (unique: UniqueShape, defaults: boolean): EvictionLookup => {
    const where = whereOf(unique, table, (name) => `NEW.${quoteIdentifier(name)}`, defaults);
    const probed = whereOf(unique, table, () => "?1", defaults);
    // After ANALYZE of few rows SQLite reads them all, whatever index there is.
    const from = `main.${quoteIdentifier(shape.name)} INDEXED BY ${quoteIdentifier(unique.name)}`;
    const probe = `SELECT ${keys} FROM ${from} WHERE ${probed}`;
    const generated = namedColumns(unique, table).some((c) => c.hidden !== 0);
    return { index: unique.name, where, probe, generated, columns: usedColumns(unique, table) };
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

/** Columns that the index names, generated ones among them. */
function namedColumns(unique: UniqueShape, table: Table): Column[] {
  const text = withoutStrings([...unique.terms.map((t) => t.sql), unique.where ?? ""].join(" , "));
  return table.columns.filter((c) => mentions(text, c.name));
}

const QUOTED = /"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|'(?:[^']|'')*'|--[^\n]*|\/\*[\s\S]*?\*\//g;

/** What is a text in an expression is no column, even if one is called so: that one may be dropped. */
const withoutStrings = (text: string): string =>
  text.replace(QUOTED, (quoted) => (quoted.startsWith("'") ? "''" : quoted));

/** Every column whose change can move a value of the index: those that it names, and what generated ones are made of. */
function usedColumns(unique: UniqueShape, table: Table): string[] {
  const named = namedColumns(unique, table);
  const names = named.flatMap((c) => (c.hidden === 0 ? [c.name] : sourcesOf(c, table)));
  return [...new Set(names)];
}

/** The stored columns that a generated one may be made of. */
function sourcesOf(column: Column, table: Table): string[] {
  const found = new Set<string>();
  const visit = ({ name }: Column): void => {
    const text = withoutStrings(definitionOf(name, table));
    for (const other of table.columns) {
      if (other.name === name || found.has(other.name) || !mentions(text, other.name)) continue;
      found.add(other.name);
      if (other.hidden !== 0) visit(other);
    }
  };
  visit(column);
  return table.columns.filter((c) => c.hidden === 0 && found.has(c.name)).map((c) => c.name);
}

/** A column's part of CREATE TABLE; the whole statement where it is not found. */
function definitionOf(name: string, table: Table): string {
  const { terms } = parseIndex(table.sql);
  const spelled = [name, quoteIdentifier(name), `[${name}]`, `\`${name}\``, `'${name}'`];
  const begins = (text: string): boolean =>
    spelled.some((s) => {
      const word = text.slice(0, s.length).toLowerCase() === s.toLowerCase();
      return word && !/^[\p{L}\p{N}_$]/u.test(text.slice(s.length));
    });
  const own = terms.filter((t) => begins(t));
  return own.length === 1 ? own[0]! : table.sql;
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
    const list = namedColumns(unique, table).map((c) => `${incoming(c.name)} AS ${quoteIdentifier(c.name)}`);
    return `(SELECT ${list.length > 0 ? list.join(", ") : "1"})`;
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

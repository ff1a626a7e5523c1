/**
 * REPLACE removes rows through a UNIQUE index without firing a delete trigger. These lookups name, before a row is
 * written, the rows that it could remove. Text of expressions and conditions is verbatim; each must be a SEARCH.
 */
import { foldName } from "../base/names.ts";
import type { TableShape, UniqueShape } from "../change/shape.ts";
import { storedSql } from "../sqlite/affinity.ts";
import { quoteIdentifier, quoteText } from "../sqlite/quote.ts";
import type { Column, Table } from "../sqlite/schema.ts";
import { collationOf, generationOf, mentions, parseIndex } from "../sqlite/ddl-text/index-text.ts";

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
  /** The index's terms if they name no column: where none of them is NULL, the index holds one row at most. null: they do. */
  readonly constants: readonly string[] | null;
  /** Not every row of the table is in the index. */
  readonly partial: boolean;
}

export function evictionLookups(shape: TableShape, table: Table): EvictionLookup[] {
  const keys = shape.key.map((k) => quoteIdentifier(shape.columns[k]!.name)).join(", ");
  const lookup = (unique: UniqueShape, filled: readonly Filled[]): EvictionLookup => {
    const where = whereOf(unique, table, (name) => `NEW.${quoteIdentifier(name)}`, filled);
    const probed = whereOf(unique, table, () => "?1", filled);
    // After ANALYZE of few rows SQLite reads them all, whatever index there is.
    const from = `main.${quoteIdentifier(shape.name)} INDEXED BY ${quoteIdentifier(unique.name)}`;
    const probe = `SELECT ${keys} FROM ${from} WHERE ${probed}`;
    const generated = namedColumns(unique, table).some((c) => c.hidden !== 0);
    const terms = unique.terms.map((t) => t.sql);
    const constants = namedColumns({ ...unique, where: null }, table).length === 0 ? terms : null;
    const columns = usedColumns(unique, table);
    const partial = unique.where !== null;
    return { index: unique.name, where, probe, generated, columns, constants, partial };
  };
  return shape.uniques.flatMap((unique) => {
    const filled = filledLater(unique, table);
    return filled.length === 0 ? [lookup(unique, [])] : [lookup(unique, []), lookup(unique, filled)];
  });
}

/** A column that has its value only after BEFORE triggers have seen the row. */
interface Filled {
  readonly name: string;
  /** Whether what such a trigger sees is no value. */
  readonly isMissing: (given: string) => string;
  /** What the row gets. */
  readonly value: (given: string) => string;
}

/** Under REPLACE a default takes the place of NULL; and SQLite picks an id. */
function filledLater(unique: UniqueShape, table: Table): Filled[] {
  const used = usedColumns(unique, table);
  return table.columns.flatMap(({ name, affinity, notNull, defaultValue, hidden }): Filled[] => {
    if (hidden !== 0 || !used.includes(name)) return [];
    // An id that is given as -1 is looked up as it is, too.
    if (name === table.rowidColumn)
      return [
        {
          name,
          isMissing: (given) => `${given} = -1`,
          value: (given) => `CASE WHEN ${given} = -1 THEN ${nextId(table, name)} ELSE ${given} END`,
        },
      ];
    if (!notNull || defaultValue === null) return [];
    const stored = storedSql(affinity, `(${defaultValue})`);
    return [
      {
        name,
        isMissing: (given) => `${given} IS NULL`,
        value: (given) => `coalesce(${given}, ${stored})`,
      },
    ];
  });
}

/** The id that SQLite will pick, unless the highest of all is taken: then it picks by chance. */
function nextId(table: Table, column: string): string {
  const highest = `max(${quoteIdentifier(column)})`;
  const from = quoteIdentifier(table.name);
  if (!table.autoincrement) return `(SELECT coalesce(${highest}, 0) + 1 FROM ${from})`;
  const given = `SELECT seq FROM sqlite_sequence WHERE name = ${quoteText(table.name)}`;
  return `(SELECT max(v) + 1 FROM (SELECT 0 AS v UNION ALL SELECT ${highest} FROM ${from} UNION ALL ${given}))`;
}

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

/** Other columns that a column's part of CREATE TABLE names. */
function mentionedBy({ name }: Column, table: Table): Column[] {
  const text = withoutStrings(definitionOf(name, table) ?? table.sql);
  return table.columns.filter((c) => c.name !== name && mentions(text, c.name));
}

/** The stored columns that a generated one may be made of. */
function sourcesOf(column: Column, table: Table): string[] {
  const found = new Set<string>();
  const visit = (of: Column): void => {
    for (const other of mentionedBy(of, table)) {
      if (found.has(other.name)) continue;
      found.add(other.name);
      if (other.hidden !== 0) visit(other);
    }
  };
  visit(column);
  return table.columns.filter((c) => c.hidden === 0 && found.has(c.name)).map((c) => c.name);
}

/** A column's part of CREATE TABLE; null: it is not found. */
function definitionOf(name: string, table: Table): string | null {
  const { terms } = parseIndex(table.sql);
  const spelled = [name, quoteIdentifier(name), `[${name}]`, `\`${name}\``, `'${name}'`];
  const begins = (text: string): boolean =>
    spelled.some((s) => {
      const word = foldName(text.slice(0, s.length)) === foldName(s);
      return word && !/^[\p{L}\p{N}_$]/u.test(text.slice(s.length));
    });
  const own = terms.filter((t) => begins(t));
  return own.length === 1 ? own[0]! : null;
}

/** `filled`: only if one of these has no value yet, and with that which it gets. */
function whereOf(
  unique: UniqueShape,
  table: Table,
  given: (column: string) => string,
  filled: readonly Filled[],
): string {
  const later = new Map(filled.map((f) => [f.name, f]));
  const incoming = (column: Column): string => {
    const { name, affinity } = column;
    if (later.has(name)) return later.get(name)!.value(given(name));
    if (column.hidden === 0 || !sourcesOf(column, table).some((c) => later.has(c))) return given(name);
    // NEW has what comes of no value.
    const generation = generationOf(definitionOf(name, table) ?? table.sql);
    return generation === null
      ? given(name)
      : storedSql(affinity, `(SELECT ${generation} FROM ${row(mentionedBy(column, table))})`);
  };
  // In a comparison NEW's columns have no affinity: a subquery has that of its last part, and no collation.
  const own = quoteIdentifier(table.name);
  const asColumn = (column: Column): string => {
    const name = quoteIdentifier(column.name);
    const collation = collationOf(definitionOf(column.name, table) ?? "");
    const collate = collation === null ? "" : ` COLLATE ${quoteIdentifier(collation)}`;
    return `(SELECT ${incoming(column)} UNION ALL SELECT ${name} FROM ${own} WHERE 0)${collate} AS ${name}`;
  };
  const row = (columns: readonly Column[]): string => `(SELECT ${columns.map(asColumn).join(", ") || "1"})`;
  const isName = (sql: string) =>
    sql.startsWith('"') && table.columns.some((c) => quoteIdentifier(c.name) === sql);
  const tests = unique.terms.map((term) => {
    // On the left, where it stands above a COLLATE inside the expression, as it does in the index.
    const collate = ` COLLATE ${term.collation}`;
    if (isName(term.sql)) {
      const column = table.columns.find((c) => quoteIdentifier(c.name) === term.sql)!;
      return `${term.sql}${collate} = ${incoming(column)}`;
    }
    return `(${term.sql})${collate} = (SELECT ${term.sql} FROM ${row(namedColumns(unique, table))})`;
  });
  // The verbatim condition lets SQLite use the partial index.
  if (unique.where !== null) tests.push(`(${unique.where})`);
  const missing = filled.map(({ name, isMissing }) => isMissing(given(name)));
  if (missing.length > 0) tests.push(`(${missing.join(" OR ")})`);
  return tests.join(" AND ");
}

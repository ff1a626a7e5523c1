/**
 * REPLACE deletes rows through a UNIQUE index without firing a delete trigger. These lookups find, before a row is written,
 * the rows that it could delete. Expressions and conditions are the index's own text, and each lookup must be a SEARCH.
 *
 * SQLite evaluates an index's expression only where the index's condition holds, and after NOT NULL and CHECK. A lookup does
 * the same, so that an expression that fails (`json_extract` of a text that is no JSON) fails nowhere else than in SQLite.
 */
import { foldName } from "../base/names.ts";
import type { TableShape, UniqueShape } from "../change/shape.ts";
import { storedSql } from "../sqlite/affinity.ts";
import { quoteIdentifier, quoteText } from "../sqlite/quote.ts";
import type { Column, Table } from "../sqlite/schema.ts";
import { failureOf } from "../sqlite/ddl-text/can-fail.ts";
import { checksOf } from "../sqlite/ddl-text/checks.ts";
import { collationOf, generationOf, mentions, parseIndex } from "../sqlite/ddl-text/index-text.ts";
import { namesOtherCollation } from "../sqlite/ddl-text/collations.ts";

export interface EvictionLookup {
  readonly index: string;
  /** A WHERE clause over the table, with the incoming row as NEW. */
  readonly where: string;
  /** A SELECT with the same WHERE, and with parameters in place of NEW's columns, for EXPLAIN QUERY PLAN. */
  readonly probe: string;
  /** The index names generated columns. */
  readonly generated: boolean;
  /** Names of columns whose change can claim another row's value. */
  readonly columns: readonly string[];
  /** The index's terms if they name no column: while none of them is NULL, the index holds one row at most. null: they name columns. */
  readonly constants: readonly string[] | null;
  /** The index has a condition, so it need not contain every row of the table. */
  readonly partial: boolean;
}

export type EvictionEvent = "INSERT" | "UPDATE";

export function evictionLookups(
  shape: TableShape,
  table: Table,
  event: EvictionEvent = "INSERT",
): EvictionLookup[] {
  const keys = shape.key.map((k) => quoteIdentifier(shape.columns[k]!.name)).join(", ");
  const lookup = (unique: UniqueShape, filled: readonly Filled[]): EvictionLookup => {
    const guards = new Guards(shape, table, event, namedColumns(unique, table));
    const where = whereOf(unique, guards, (name) => `NEW.${quoteIdentifier(name)}`, filled);
    const probed = whereOf(unique, guards, () => "?1", filled);
    // After ANALYZE of a small table SQLite would scan it in spite of the index.
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

/** A column that gets its value only after the BEFORE triggers have run. */
interface Filled {
  readonly name: string;
  /** An expression: the value that such a trigger sees means "no value". */
  readonly isMissing: (given: string) => string;
  /** An expression: the value that the row gets. */
  readonly value: (given: string) => string;
}

/** Under REPLACE a NOT NULL column takes its default in place of NULL. A missing id is picked by SQLite. */
function filledLater(unique: UniqueShape, table: Table): Filled[] {
  const used = usedColumns(unique, table);
  return table.columns.flatMap(({ name, affinity, notNull, defaultValue, hidden }): Filled[] => {
    if (hidden !== 0 || !used.includes(name)) return [];
    // A BEFORE trigger sees -1 for a missing id. An id that really is -1 is found by the other lookup.
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

/** The id that SQLite will pick. When the highest possible id is taken SQLite picks at random, which no lookup can foresee. */
function nextId(table: Table, column: string): string {
  const highest = `max(${quoteIdentifier(column)})`;
  const from = quoteIdentifier(table.name);
  if (!table.autoincrement) return `(SELECT coalesce(${highest}, 0) + 1 FROM ${from})`;
  const given = `SELECT seq FROM sqlite_sequence WHERE name = ${quoteText(table.name)}`;
  return `(SELECT max(v) + 1 FROM (SELECT 0 AS v UNION ALL SELECT ${highest} FROM ${from} UNION ALL ${given}))`;
}

/** Columns that the index names, including generated ones. */
function namedColumns(unique: UniqueShape, table: Table): Column[] {
  const text = withoutStrings([...unique.terms.map((t) => t.sql), unique.where ?? ""].join(" , "));
  return table.columns.filter((c) => mentions(text, c.name));
}

const QUOTED = /"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|'(?:[^']|'')*'|--[^\n]*|\/\*[\s\S]*?\*\//g;

/** A string literal is no column, even if a column has the same name: that column may be dropped. */
const withoutStrings = (text: string): string =>
  text.replace(QUOTED, (quoted) => (quoted.startsWith("'") ? "''" : quoted));

/** Every column whose change can change a value of the index: the named ones, and the sources of generated ones. */
function usedColumns(unique: UniqueShape, table: Table): string[] {
  const named = namedColumns(unique, table);
  const names = named.flatMap((c) => (c.hidden === 0 ? [c.name] : sourcesOf(c, table)));
  return [...new Set(names)];
}

/** Other columns that the column's definition in CREATE TABLE names. */
function mentionedBy({ name }: Column, table: Table): Column[] {
  const text = withoutStrings(definitionOf(name, table) ?? table.sql);
  return table.columns.filter((c) => c.name !== name && mentions(text, c.name));
}

/** The stored columns from which a generated one may be computed. */
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

/** The column's definition in CREATE TABLE; null: it is not found. */
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

/**
 * The conditions under which an expression is evaluated that can fail. They name columns of the index only, and columns of
 * keys: SQLite refuses to drop a column that a trigger names.
 */
class Guards {
  readonly table: Table;
  readonly #shape: TableShape;
  readonly #event: EvictionEvent;
  readonly #notNull: readonly Column[];
  readonly #checks: readonly string[];

  /** `named`: the columns of the index. */
  constructor(shape: TableShape, table: Table, event: EvictionEvent, named: readonly Column[]) {
    this.#shape = shape;
    this.table = table;
    this.#event = event;
    this.#notNull = named.filter((c) => c.notNull && c.hidden === 0 && c.name !== table.rowidColumn);
    this.#checks = checksOf(table.sql).filter((check) => {
      const text = withoutStrings(check);
      return (
        !namesOtherCollation(check) &&
        table.columns.every((c) => named.includes(c) || !mentions(text, c.name))
      );
    });
  }

  /** `expression` where it is evaluated without a failure, or where SQLite itself goes on to evaluate it; else NULL. */
  guarded(expression: string, incoming: (column: Column) => string): string {
    const failure = failureOf(expression);
    if (failure.fails === "never") return `(${expression})`;
    const passes = [
      ...this.#notNull.map((c) => `${incoming(c)} IS NOT NULL`),
      ...this.#checks.map((check) => `(${check}) IS NOT FALSE`),
    ];
    if (failure.fails === "unless") {
      // Another row has one of its plain values: SQLite may skip the row before it comes to this expression.
      passes.push(...this.#taken(incoming).map((lookup) => `NOT ${lookup}`));
      const guards = failure.conditions.map(({ safe, maybe }) =>
        maybe === null ? `(${safe})` : `(${safe} OR ${[maybe, ...passes].join(" AND ")})`,
      );
      return `CASE WHEN ${guards.join(" AND ")} THEN (${expression}) END`;
    }
    return passes.length === 0
      ? `(${expression})`
      : `CASE WHEN ${passes.join(" AND ")} THEN (${expression}) END`;
  }

  /** Lookups of an inserted row's key and of its UNIQUE columns. An UPDATE finds the row itself there. */
  #taken(incoming: (column: Column) => string): string[] {
    if (this.#event === "UPDATE") return [];
    const own = quoteIdentifier(this.table.name);
    const columns = new Map(this.table.columns.map((c) => [quoteIdentifier(c.name), c]));
    return this.#plainIndexes().map((terms) => {
      const tests = terms.map(({ sql, collation }) => {
        const column = columns.get(sql);
        return `${sql} COLLATE ${collation} = ${column === undefined ? "NULL" : incoming(column)}`;
      });
      return `EXISTS (SELECT 1 FROM ${own} WHERE ${tests.join(" AND ")})`;
    });
  }

  #plainIndexes(): (readonly { readonly sql: string; readonly collation: string }[])[] {
    const { columns, key, keyCollations, rowidKey, uniques } = this.#shape;
    const ofKey = key.map((k, i) => ({
      sql: quoteIdentifier(columns[k]!.name),
      collation: keyCollations[i]!,
    }));
    const plain = uniques.flatMap(({ where, terms }) =>
      where === null && terms.every((t) => t.column !== null) ? [terms] : [],
    );
    return rowidKey ? plain : [ofKey, ...plain];
  }
}

const isName = (sql: string, { columns }: Table): boolean =>
  sql.startsWith('"') && columns.some((c) => quoteIdentifier(c.name) === sql);

/** `filled`: columns of which one must have no value yet; the condition uses the value that it gets. */
function whereOf(
  unique: UniqueShape,
  guards: Guards,
  given: (column: string) => string,
  filled: readonly Filled[],
): string {
  const { table } = guards;
  const later = new Map(filled.map((f) => [f.name, f]));
  const incoming = (column: Column): string => {
    const { name, affinity } = column;
    if (later.has(name)) return later.get(name)!.value(given(name));
    if (column.hidden === 0 || !sourcesOf(column, table).some((c) => later.has(c))) return given(name);
    // NEW has the value that is computed from the missing one.
    const generation = generationOf(definitionOf(name, table) ?? table.sql);
    return generation === null
      ? given(name)
      : storedSql(affinity, `(SELECT ${generation} FROM ${row(mentionedBy(column, table))})`);
  };
  // In a comparison NEW's columns have no affinity. A compound subquery has the affinity of its last part, and no collation.
  const own = quoteIdentifier(table.name);
  const asColumn = (column: Column): string => {
    const name = quoteIdentifier(column.name);
    const collation = collationOf(definitionOf(column.name, table) ?? "");
    const collate = collation === null ? "" : ` COLLATE ${quoteIdentifier(collation)}`;
    return `(SELECT ${incoming(column)} UNION ALL SELECT ${name} FROM ${own} WHERE 0)${collate} AS ${name}`;
  };
  const row = (columns: readonly Column[]): string =>
    `(SELECT ${columns.map(asColumn).join(", ") || "1"}) AS ${own}`;
  const from = row(namedColumns(unique, table));
  const guarded = (sql: string): string => guards.guarded(sql, incoming);
  const condition = unique.where === null ? null : guarded(unique.where);
  const missing = filled.map(({ name, isMissing }) => isMissing(given(name)));
  const tests = missing.length === 0 ? [] : [`(${missing.join(" OR ")})`];
  // With the verbatim condition SQLite can use the partial index. Without the index it is tested before the terms.
  if (unique.where !== null) tests.push(`(${unique.where})`, `(SELECT ${condition} FROM ${from})`);
  for (const term of unique.terms) {
    // The collation is on the left, where it overrides a COLLATE inside the expression, as in the index.
    const collate = ` COLLATE ${term.collation}`;
    if (isName(term.sql, table)) {
      const column = table.columns.find((c) => quoteIdentifier(c.name) === term.sql)!;
      tests.push(`${term.sql}${collate} = ${incoming(column)}`);
      continue;
    }
    const value = guarded(term.sql);
    const where = condition === null ? value : `CASE WHEN ${condition} THEN ${value} END`;
    tests.push(`(${term.sql})${collate} = (SELECT ${where} FROM ${from})`);
  }
  return tests.join(" AND ");
}

/**
 * Values that SQLite stores when it writes a row and that show how it formats a REAL as text: stored generated columns, terms
 * and conditions of indexes, full-text indexes. Two versions of SQLite that format in different ways leave different values,
 * and a statement of the one finds the other's index malformed. Found by trying each expression on sample values, in both forms.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { foldName, isSameName } from "../../base/names.ts";
import { affinityOf, storedSql } from "../../sqlite/affinity.ts";
import { generationOf, mentions, parseIndex } from "../../sqlite/ddl-text/index-text.ts";
import { parseTable } from "../../sqlite/ddl-text/table-text.ts";
import { type Query, queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { alikeVersions, formatsAlike } from "../../sqlite/versions/real-format.ts";
import { type Column, readTable, type SchemaObject, type Table } from "../../sqlite/schema.ts";
import { ownVersion, showVersion, type SqliteVersion } from "../../sqlite/versions/sqlite-version.ts";
import { fillersOf } from "../fill-index.ts";
import { derivedIndexOf } from "../search-index.ts";
import { isVirtual } from "../virtual-tables.ts";
import type { SchemaCopy, Unwritable } from "./writable.ts";

/** A value that is kept in the file. */
interface Kept {
  /** SQL over the table's columns. */
  readonly sql: string;
  readonly index: string | null;
  /** The subject of a sentence. */
  readonly subject: string;
  /** Does without it. */
  readonly without: string;
}

type Sample = string | number | bigint | null;

interface Result {
  readonly isText: boolean;
  readonly value: string;
}

/** The first of each pair has 15 digits as text in older versions, and then the text of the second. */
const PAIRS: readonly (readonly [number, number])[] = [
  [0.1 + 0.2, 0.3],
  [434.99999999999994, 435],
  [0.045, 0.04499999999999999],
  [9.995, 9.994999999999997],
];
/** Two texts of one number, with the same digits before the point: arithmetic does not tell them apart. */
const TEXTS: readonly (readonly [string, string])[] = [
  ["12.5", "12.500000000000000"],
  ["0.5", "0.50000"],
  ["1", "1.0"],
];
/** Here the digits before the point differ, too, as they do between `1.0e+15` and `1000000000000000.0`. */
const EXPONENT: readonly [string, string] = ["0.5", "5e-1"];
/** `round`, and formats that round: they changed for numbers like 0.045. */
const ROUNDS = /\bround\s*\([^]*,|\b(?:printf|format)\s*\(\s*'[^']*%[^'a-zA-Z%]*[fFeEgG]/i;
/** More digits than older versions write. */
const LONG_NUMBER = /\d{16}|(?=[\d.]{17})\d+\.\d+/;
/** In these columns a REAL is an exception: they are looked at only where the file has one. */
const NO_NUMBERS = /date|time|bool/i;

/** By the folded name of the table. `query` reads the file; `application`: the version that writes it, null: unknown. */
export function realTextTables(
  query: Query,
  copy: SchemaCopy,
  application: SqliteVersion | null,
): Map<string, Unwritable[]> {
  const found = new Map<string, Unwritable[]>();
  if (application === null || formatsAlike(application)) return found;
  for (const object of copy.objects) {
    if (object.kind !== "table" || isVirtual(object) || copy.refused.has(object)) continue;
    const reasons = reasonsOf(query, copy, object, application);
    if (reasons.length > 0) found.set(foldName(object.name), reasons);
  }
  return found;
}

function reasonsOf(
  query: Query,
  copy: SchemaCopy,
  object: SchemaObject,
  application: SqliteVersion,
): Unwritable[] {
  const table = readTable(queryOf(copy.db), object.name);
  const tried = new Trial(copy.db, table);
  const holdsReal = (column: string): boolean => {
    const name = quoteIdentifier(column);
    // A table of the cluster's next schema may be missing in the file.
    const [there] = query(
      "SELECT 1 FROM pragma_table_info(?) WHERE name = ? COLLATE NOCASE",
      table.name,
      column,
    );
    if (there === undefined) return false;
    const from = `main.${quoteIdentifier(table.name)}`;
    return query(`SELECT 1 FROM ${from} WHERE typeof(${name}) = 'real' LIMIT 1`).length > 0;
  };
  const versions = `the application's SQLite ${showVersion(application)} formats them in another way than Marmot's ${showVersion(ownVersion())}`;
  return [...keptOf(table, copy.objects), ...searchedIn(table, copy.objects)].flatMap(
    (kept): Unwritable[] => {
      const column = tried.shownColumn(kept.sql, holdsReal);
      if (column === null) return [];
      return [
        {
          index: kept.index,
          reason: `${kept.subject} has REAL values of ${column} as text, and ${versions}`,
          give: `run the application on SQLite ${alikeVersions()} and run REINDEX there`,
          without: kept.without,
        },
      ];
    },
  );
}

/** Stored generated columns, and terms and conditions of the table's indexes. */
function keptOf(table: Table, objects: readonly SchemaObject[]): Kept[] {
  const stored = table.columns.flatMap(({ name, hidden }): Kept[] =>
    hidden === 3
      ? [
          {
            sql: quoteIdentifier(name),
            index: null,
            subject: `its stored generated column ${name}`,
            without: `declare ${name} VIRTUAL`,
          },
        ]
      : [],
  );
  const indexes = objects.filter((o) => o.kind === "index" && isSameName(o.tableName, table.name));
  return [
    ...stored,
    ...indexes.flatMap(({ name, sql }): Kept[] => {
      const { terms, where } = parseIndex(sql);
      return [...terms, ...(where === null ? [] : [where])].map((term) => ({
        sql: term.replace(/\s+COLLATE\s+\S+\s*$/i, ""),
        index: name,
        subject: `its index ${name}`,
        without: `drop the index: DROP INDEX ${quoteIdentifier(name)}`,
      }));
    }),
  ];
}

/** Columns of full-text indexes over the table, which have each value as text. */
function searchedIn(table: Table, objects: readonly SchemaObject[]): Kept[] {
  return objects.flatMap((object): Kept[] => {
    const index = derivedIndexOf(object);
    if (index === null) return [];
    const sources =
      index.kind === "external" ? [index.content] : fillersOf(objects, index.name).map((f) => f.table);
    if (!sources.some((name) => isSameName(name, table.name))) return [];
    return index.columns
      .filter((name) => table.columns.some((c) => isSameName(c.name, name)))
      .map((name) => ({
        sql: `CAST(${quoteIdentifier(name)} AS TEXT)`,
        index: index.name,
        subject: `its full-text index ${index.name}`,
        without: `leave ${name} out of ${index.name} or declare it UNINDEXED there`,
      }));
  });
}

/** Tries expressions over the columns of one table. */
class Trial {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #columns: readonly Column[];
  /** By way of all generated columns, each with its affinity. */
  readonly #generations: readonly { readonly column: Column; readonly sql: string }[];

  constructor(db: DatabaseSync, table: Table) {
    this.#db = db;
    this.#columns = table.columns;
    const texts = parseTable(table.sql).columns;
    this.#generations = table.columns.flatMap((column) => {
      if (column.hidden === 0) return [];
      const text = texts.find((c) => isSameName(c.name, column.name));
      const sql = text === undefined ? null : generationOf(text.definition);
      return sql === null
        ? []
        : [{ column, sql: storedSql(affinityOf(column.declaredType, table.strict), `(${sql})`) }];
    });
  }

  /** A column whose REAL values the expression has as text; null: there is none. */
  shownColumn(sql: string, holdsReal: (column: string) => boolean): string | null {
    const text = this.#expanded(sql);
    const named = this.#columns.filter((c) => c.hidden === 0 && mentions(text, c.name));
    for (const column of named) {
      const affinity = affinityOf(column.declaredType);
      if (affinity === "TEXT") continue;
      const isNumber =
        affinity === "REAL" || (affinity === "NUMERIC" && !NO_NUMBERS.test(column.declaredType));
      const shows = this.#fills(text, column).some((fill) => this.#shows(sql, text, column, fill));
      if (shows && (isNumber || holdsReal(column.name))) return column.name;
      // An integer column from which a REAL is computed.
      if (affinity === "INTEGER" && this.#computesLong(sql, text, column)) return column.name;
    }
    return null;
  }

  /** The expression and, after it, those of the generated columns that it names. */
  #expanded(sql: string): string {
    let text = sql;
    for (let before = ""; before !== text;) {
      before = text;
      for (const { column, sql: generation } of this.#generations)
        if (mentions(text, column.name) && !text.includes(generation)) text += ` , ${generation}`;
    }
    return text;
  }

  #shows(sql: string, text: string, column: Column, fill: Sample): boolean {
    if (ROUNDS.test(text)) return true;
    const results = (pair: readonly Sample[]): Result[] =>
      pair.flatMap((value) => this.#value(sql, column, value, fill) ?? []);
    for (const [one, other] of PAIRS.map(results)) {
      if (one === undefined || other === undefined || !one.isText || !other.isText) continue;
      if (one.value !== other.value || LONG_NUMBER.test(one.value)) return true;
    }
    // A text that is passed on is none where the column has a number.
    return textsFor(text)
      .map(results)
      .some(([one, other]) => one?.isText === false && other?.isText === false && one.value !== other.value);
  }

  #computesLong(sql: string, text: string, column: Column): boolean {
    return this.#fills(text, column).some((fill) =>
      [7, 29].some((sample) => {
        const result = this.#value(sql, column, BigInt(sample), fill);
        return result?.isText === true && LONG_NUMBER.test(result.value);
      }),
    );
  }

  /** Values for the other columns: some of each kind, and the literals of the expression. */
  #fills(text: string, { name }: Column): Sample[] {
    const isAlone = this.#columns.every((c) => c.hidden !== 0 || c.name === name || !mentions(text, c.name));
    if (isAlone) return [null];
    const literals = [...text.matchAll(/'((?:[^']|'')*)'/g)].map(([, literal]) =>
      literal!.replaceAll("''", "'"),
    );
    return [null, "a", 1n, 0n, "{}", ...new Set(literals)];
  }

  /** null: it cannot be evaluated for these values. */
  #value(sql: string, column: Column, value: Sample, fill: Sample): Result | null {
    const values = this.#columns.map((c) => (c.hidden === 0 ? (c === column ? value : fill) : null));
    try {
      // Of generated columns that are computed from each other.
      for (let round = 0; round < this.#generations.length; round++)
        for (const { column: generated, sql: generation } of this.#generations)
          values[this.#columns.indexOf(generated)] = this.#evaluate(generation, values)[1] as Sample;
      const [type, result] = this.#evaluate(sql, values);
      const shown = result instanceof Uint8Array ? Buffer.from(result).toString() : String(result);
      return { isText: type === "text" || type === "blob", value: shown };
    } catch {
      return null;
    }
  }

  #evaluate(sql: string, values: readonly Sample[]): unknown[] {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      const columns = this.#columns.map((c) => `? AS ${quoteIdentifier(c.name)}`).join(", ");
      // The limit keeps SQLite from evaluating the parameters in place of the columns.
      statement = this.#db.prepare(
        `SELECT typeof(v), v FROM (SELECT (${sql}) AS v FROM (SELECT ${columns} LIMIT -1))`,
      );
      statement.setReturnArrays(true);
      statement.setReadBigInts(true);
      this.#statements.set(sql, statement);
    }
    return statement.get(...values) as unknown as unknown[];
  }
}

/** Pairs of texts for an expression: also such that a comparison with one of its numerals tells them apart. */
function textsFor(text: string): (readonly [string, string])[] {
  const numerals = [...text.matchAll(/'(\d+(\.\d+)?)'/g)].map(([, numeral, fraction]) => {
    const longer = fraction === undefined ? ".0" : "0";
    return [numeral!, numeral! + longer] as const;
  });
  return [...TEXTS, ...numerals, ...(/\bAS\s+(?:INT|NUM|DEC)/i.test(text) ? [] : [EXPONENT])];
}

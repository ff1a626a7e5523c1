/**
 * Whether this SQLite can write a table: on an empty copy of the schema, with the texts as they are. SQLite evaluates
 * expressions of indexes, conditions of indexes and stored generated columns when it writes a row. It does not evaluate CHECK,
 * since Marmot switches that off, and nothing keeps the value of a virtual generated column that no index names.
 */
import type { DatabaseSync } from "node:sqlite";
import { errorMessage, UserError } from "../../base/errors.ts";
import { foldName, isSameName } from "../../base/names.ts";
import { BUILT_IN_COLLATIONS, collationsIn } from "../../sqlite/ddl-text/collations.ts";
import { generationOf, mentions, parseIndex, splitBracket } from "../../sqlite/ddl-text/index-text.ts";
import { parseTable } from "../../sqlite/ddl-text/table-text.ts";
import { extensions } from "../../sqlite/functions/extensions.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { readTable, type SchemaObject, type Table } from "../../sqlite/schema.ts";
import { missingCollation, standIn, standInsOf, withStandIns } from "../../sqlite/functions/stand-ins.ts";
import { createAll, withScratch } from "../scratch.ts";
import { isVirtual } from "../virtual-tables.ts";

export interface Unwritable {
  /** The index that needs it; null: the table itself does. */
  readonly index: string | null;
  readonly reason: string;
  /** Gives SQLite the function, the collation or the module. */
  readonly give: string;
  /** Does without it; "": nothing does. */
  readonly without: string;
}

/** One hint for all reasons, without "leave the table out". */
export function hintOf(reasons: readonly Unwritable[]): string {
  const gives = [...new Set(reasons.map((r) => r.give))].filter((give) => give !== "");
  const withouts = [...new Set(reasons.map((r) => r.without))].filter((without) => without !== "");
  return [gives.join(" and "), withouts.join(" and ")].filter((part) => part !== "").join(", or ");
}

/** The reasons of each table, of all maps. */
export function mergedReasons(
  ...all: readonly ReadonlyMap<string, readonly Unwritable[]>[]
): Map<string, readonly Unwritable[]> {
  const merged = new Map<string, readonly Unwritable[]>();
  for (const [table, reasons] of all.flatMap((map) => [...map]))
    merged.set(table, [...(merged.get(table) ?? []), ...reasons]);
  return merged;
}

/** An empty copy of a schema in memory. */
export interface SchemaCopy {
  readonly db: DatabaseSync;
  readonly objects: readonly SchemaObject[];
  /** Objects that SQLite cannot create, with its message. */
  readonly refused: ReadonlyMap<SchemaObject, string>;
  /** Folded names of functions that it lacks and that the schema calls. */
  readonly missing: ReadonlySet<string>;
}

export const withCopy = <T>(objects: readonly SchemaObject[], use: (copy: SchemaCopy) => T): T =>
  withScratch((db) => {
    const refused = createAll(
      db,
      objects.filter((o) => o.kind === "table" || o.kind === "index"),
    );
    return use({ db, objects, refused, missing: standInsOf(db) });
  });

export const GIVE_FUNCTIONS =
  "start it with the --functions FILE.js and --load-extension FILE that the other nodes have";

export class UnwritableError extends UserError {}

/**
 * Throws `UnwritableError` for tables that this SQLite would write otherwise than the other nodes do: a replica, and the file built
 * from it, evaluate their expressions. `objects`: replicated tables and their UNIQUE indexes. `isWithoutRows`: nothing is written.
 */
export function requireWritable<T extends SchemaObject>(
  objects: readonly T[],
  isWithoutRows: (table: T) => boolean = () => false,
): void {
  const empty = new Set(
    objects.flatMap((o) => (o.kind === "table" && isWithoutRows(o) ? [foldName(o.name)] : [])),
  );
  const found = withCopy(objects, (copy) => [...unwritableTables(copy)]).filter(([name]) => !empty.has(name));
  if (found.length === 0) return;
  const tables = found.map(([table, why]) => `${table} (${why.map((u) => u.reason).join("; ")})`);
  throw new UnwritableError(
    `this node cannot write tables of the cluster's schema: ${tables.join(", ")}`,
    GIVE_FUNCTIONS,
  );
}

/** The schemas asked for last: each connection to a file asks for the same. */
const asked = new Map<string, readonly string[]>();
const ASKED_MAX = 4;

/** Functions of `--functions` and `--load-extension` that this table's replica evaluates when it is written. */
export function extensionsOf(table: string, objects: readonly SchemaObject[]): string[] {
  const { names } = extensions();
  if (names.size === 0) return [];
  const texts = objects
    .filter((o) => isSameName(o.tableName, table))
    .flatMap((o) => {
      if (o.kind === "index") return /^\s*CREATE\s+UNIQUE\b/i.test(o.sql) ? [o.sql] : [];
      if (o.kind !== "table" || isVirtual(o)) return [];
      return parseTable(o.sql).columns.flatMap((c) => (c.generated ? [c.definition] : []));
    });
  return [...names].filter((name) => texts.some((text) => mentions(text, name)));
}

/** Gives a connection that writes these tables what it needs to compile its statements; see `sqlite/functions/stand-ins.ts`. */
export function addStandIns(db: DatabaseSync, objects: readonly SchemaObject[]): void {
  const text = JSON.stringify(
    objects.flatMap((o) => (o.kind === "table" || o.kind === "index" ? [o.sql] : [])),
  );
  const missing = asked.get(text) ?? withCopy(objects, (copy) => (unwritableTables(copy), [...copy.missing]));
  asked.delete(text);
  asked.set(text, missing);
  if (asked.size > ASKED_MAX) asked.delete(asked.keys().next().value!);
  for (const name of missing) standIn(db, name);
}

/** Each table that cannot be written, by its folded name, with every reason. */
export function unwritableTables(copy: SchemaCopy): Map<string, Unwritable[]> {
  const found = new Map<string, Unwritable[]>();
  for (const object of copy.objects) {
    if (object.kind !== "table" || isVirtual(object)) continue;
    const reasons = new TableCheck(copy, object).reasons();
    if (reasons.length > 0) found.set(foldName(object.name), reasons);
  }
  return found;
}

const GIVE_FUNCTION = "give it to marmot with --functions FILE.js or --load-extension FILE";
const GIVE_LIBRARY = "give it to marmot with --load-extension FILE";

/** The expression is one call of the function, so it has the value that the function returns. */
function isCallOf(name: string, expression: string): boolean {
  const [call, called] = /^\s*(\w+)\s*\(/.exec(expression) ?? [];
  if (call === undefined || !isSameName(called, name)) return false;
  return splitBracket(expression, call.length - 1)[1] === expression.trimEnd().length;
}

class TableCheck {
  readonly #copy: SchemaCopy;
  readonly #object: SchemaObject;

  constructor(copy: SchemaCopy, object: SchemaObject) {
    this.#copy = copy;
    this.#object = object;
  }

  reasons(): Unwritable[] {
    const { refused } = this.#copy;
    const why = refused.get(this.#object);
    if (why !== undefined)
      return [
        { index: null, reason: `SQLite cannot create it here: ${why}`, give: GIVE_LIBRARY, without: "" },
      ];
    const table = readTable(queryOf(this.#copy.db), this.#object.name);
    const calls = this.#columnCalls(table);
    const reasons = table.columns.flatMap((column): Unwritable[] => {
      const called = calls.get(column.name);
      if (called === undefined) return [];
      const { name } = column;
      const by = `calls ${called}, which only the application has`;
      const found = (reason: string, without: string): Unwritable[] => [
        { index: null, reason, give: GIVE_FUNCTION, without },
      ];
      if (column.hidden === 3)
        return found(`its stored generated column ${name} ${by}`, `declare ${name} VIRTUAL`);
      if (table.strict && !/^(?:any|int|integer|real)$/i.test(column.declaredType))
        return found(`its generated column ${name}, of a STRICT table, ${by}`, `declare ${name} ANY`);
      // SQLite computes the column for each write, and the function's place is taken by one that returns 0.
      if (column.notNull && !isCallOf(called, this.#generation(name)))
        return found(
          `its generated column ${name}, which is NOT NULL, ${by}`,
          `declare ${name} without NOT NULL`,
        );
      return [];
    });
    const indexes = this.#copy.objects.filter(
      (o) => o.kind === "index" && foldName(o.tableName) === foldName(table.name),
    );
    for (const index of indexes) {
      const reason = this.#reasonOf(index, calls);
      if (reason !== null) reasons.push(reason);
    }
    if (reasons.length > 0) return reasons;
    const failure = this.#tryWrites(table);
    if (failure === null) return [];
    const collation = missingCollation(failure);
    const reason =
      collation === null
        ? `SQLite cannot write it here: ${errorMessage(failure)}`
        : `it compares with the collation ${collation}, which only the application has`;
    return [{ index: null, reason, give: GIVE_LIBRARY, without: "declare it with NOCASE, RTRIM or BINARY" }];
  }

  /** Name of a generated column ⇒ the missing function from which it is computed, if by way of other columns. */
  #columnCalls(table: Table): Map<string, string> {
    const calls = new Map<string, string>();
    const generations = parseTable(table.sql).columns.flatMap(({ name, definition, generated }) => {
      const text = generated ? generationOf(definition) : null;
      return text === null ? [] : [{ name, text }];
    });
    for (let before = -1; before !== calls.size;) {
      before = calls.size;
      for (const { name, text } of generations) {
        const called = this.#called(text, calls);
        if (called !== null) calls.set(name, called);
      }
    }
    return calls;
  }

  #generation(column: string): string {
    const found = parseTable(this.#object.sql).columns.find((c) => isSameName(c.name, column));
    return (found === undefined ? null : generationOf(found.definition)) ?? "";
  }

  /** A missing function that the text calls, or from which a column that it names is computed. */
  #called(text: string, columns: ReadonlyMap<string, string>): string | null {
    for (const name of this.#copy.missing) if (mentions(text, name)) return name;
    for (const [column, name] of columns) if (mentions(text, column)) return name;
    return null;
  }

  #reasonOf(index: SchemaObject, calls: ReadonlyMap<string, string>): Unwritable | null {
    const unique = /^\s*CREATE\s+UNIQUE\b/i.test(index.sql) ? "unique index" : "index";
    const { terms, where } = parseIndex(index.sql);
    const without = `drop the index: DROP INDEX ${quoteIdentifier(index.name)}`;
    const found = (problem: string, give: string): Unwritable => ({
      index: index.name,
      reason: `its ${unique} ${index.name} ${problem}, which only the application has`,
      give,
      without,
    });
    const called = this.#called([...terms, where ?? ""].join(" , "), calls);
    if (called !== null) return found(`calls ${called}`, GIVE_FUNCTION);
    const why = this.#copy.refused.get(index);
    const named = queryOf(this.#copy.db)("SELECT coll FROM pragma_index_xinfo(?) WHERE key = 1", index.name);
    const collation = [
      ...named.map(([name]) => String(name)),
      ...collationsIn(index.sql).map((c) => c.name),
    ].find((name) => this.#isMissing(name));
    const needed = collation ?? (why === undefined ? null : missingCollation(why));
    if (needed !== null && needed !== undefined) return found(`needs the collation ${needed}`, GIVE_LIBRARY);
    if (why === undefined) return null;
    return {
      index: index.name,
      reason: `SQLite cannot create its index ${index.name} here: ${why}`,
      give: "",
      without,
    };
  }

  #isMissing(collation: string): boolean {
    if (BUILT_IN_COLLATIONS.has(collation.toUpperCase())) return false;
    try {
      queryOf(this.#copy.db)(`SELECT 'a' = 'b' COLLATE ${quoteIdentifier(collation)}`);
      return false;
    } catch {
      return true;
    }
  }

  /** Compiles every kind of write. */
  #tryWrites(table: Table): unknown {
    const { db } = this.#copy;
    const name = `main.${quoteIdentifier(table.name)}`;
    const columns = table.columns.flatMap((c) => (c.hidden === 0 ? [quoteIdentifier(c.name)] : []));
    try {
      db.exec("PRAGMA ignore_check_constraints = ON");
      for (const sql of [
        `INSERT INTO ${name}(${columns.join(", ")}) VALUES(${columns.map(() => "NULL").join(", ")})`,
        `UPDATE ${name} SET ${columns.map((c) => `${c} = NULL`).join(", ")}`,
        `DELETE FROM ${name}`,
      ])
        withStandIns(db, () => db.prepare(sql));
      return null;
    } catch (error) {
      return error;
    }
  }
}

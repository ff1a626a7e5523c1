/**
 * Which tables of a schema replicate, which need care and which are refused, with reason and hint. `doctor` prints the result
 * and `run` obeys it.
 */
import { counted, shellWord } from "../../base/text/spans.ts";
import type { DatabaseSync } from "node:sqlite";
import { type ClassifiedTable, PICKED_IDS, refused, replicates } from "./table-verdict.ts";
import { classifyVirtual } from "./virtual.ts";
import { errorMessage } from "../../base/errors.ts";
import { foldName } from "../../base/names.ts";
import { type Query, queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import {
  keyCollations,
  keyColumns,
  readObjects,
  readTable,
  readTableKinds,
  rowidAliases,
  type Table,
} from "../../sqlite/schema.ts";
import { withStandIns } from "../../sqlite/functions/stand-ins.ts";
import { isOwn, readCatalogue } from "../catalogue.ts";
import { type EvictionLookup, evictionLookups } from "../evictions.ts";
import {
  hintOf,
  mergedReasons,
  type SchemaCopy,
  type Unwritable,
  unwritableTables,
  withCopy,
} from "./writable.ts";
import { realTextTables } from "./real-texts.ts";
import type { SqliteVersion } from "../../sqlite/versions/sqlite-version.ts";
import { raisingCascades } from "./raising-cascades.ts";
import { type Leftover, readLeftovers } from "../leftovers.ts";
import type { Selection } from "../selection.ts";
import { shadowTablesOf } from "../virtual-tables.ts";
import { APP_DB_TABLES, PREFIX } from "../app-db-tables.ts";
import { shapeOf } from "../read-shape.ts";
import { classifyTriggers, type UserTriggers } from "../triggers.ts";

export type { ClassifiedTable, Verdict } from "./table-verdict.ts";

export const ALL: Selection = { tables: null, exclude: [] };

/** The reason of a table that the selection does not have. Replicas keep it on disk. */
export const NOT_SELECTED = "left out by --tables or --exclude";

const BUILT_IN = new Set(["BINARY", "NOCASE", "RTRIM"]);
const OTHER_COLLATION = "use NOCASE, RTRIM or BINARY";

const lower = (names: readonly string[]): Set<string> => new Set(names.map(foldName));

/**
 * In the order of creation. The caller reports names in the selection that no table has. `application`: the SQLite that writes
 * the file; null: unknown.
 */
export function classify(
  query: Query,
  selection: Selection,
  application: SqliteVersion | null = null,
): ClassifiedTable[] {
  const { objects } = readCatalogue(query);
  return withCopy(objects, (copy) =>
    classifyAll(
      query,
      selection,
      copy,
      mergedReasons(unwritableTables(copy), realTextTables(query, copy, application)),
    ),
  );
}

function classifyAll(
  query: Query,
  selection: Selection,
  copy: SchemaCopy,
  unwritable: ReadonlyMap<string, readonly Unwritable[]>,
): ClassifiedTable[] {
  const kinds = readTableKinds(query);
  const { objects } = copy;
  const wanted = selection.tables === null ? null : lower(selection.tables);
  const unwanted = lower(selection.exclude);
  const leftovers = readLeftovers(query);
  const reserved = reservedNames(query, leftovers);
  const left = new Map(leftovers.map((l) => [l.name, l]));
  const tables = objects.filter((o) => o.kind === "table");
  const shadows = shadowTablesOf(objects);
  const alone = tables.map(({ name }): ClassifiedTable => {
    if (unwanted.has(foldName(name)) || (wanted !== null && !wanted.has(foldName(name))))
      return { name, verdict: "skipped", reason: NOT_SELECTED, hint: "" };
    if (left.has(name)) return refuseLeftover(query, left.get(name)!);
    const kind = kinds.get(name);
    if (kind === "shadow" || shadows.has(foldName(name)))
      return { name, verdict: "skipped", reason: "belongs to a virtual table", hint: "" };
    // Decided by `classifyVirtual`: it depends on the other tables.
    if (kind === "virtual") return { name, verdict: "local", reason: "", hint: "" };
    return classifyTable(query, readTable(query, name), copy, unwritable.get(foldName(name)) ?? []);
  });
  const triggers = classifyTriggers(
    objects,
    alone.filter(replicates).map((t) => t.name),
  );
  const cascades = raisingCascades(query, objects);
  const classified = alone.map((table) =>
    replicates(table) ? withCascades(withTriggers(table, triggers), cascades) : table,
  );
  const views = lower(objects.filter((o) => o.kind === "view").map((o) => o.name));
  const all = classified.map((table, i) =>
    table.verdict === "local"
      ? classifyVirtual(tables[i]!, { tables: classified, views, triggers, objects })
      : table,
  );
  return [...all, ...reserved];
}

/** Tables and views of the application whose names look like Marmot's. */
function reservedNames(query: Query, leftovers: readonly Leftover[]): ClassifiedTable[] {
  const own = new Set<string>(Object.keys(APP_DB_TABLES).map((t) => `${PREFIX}${t}`));
  const objects = readObjects(query).filter((o) => o.kind === "table" || o.kind === "view");
  const registry = `${PREFIX}table`;
  if (objects.some((o) => o.name === registry))
    for (const [log] of query(`SELECT "log" FROM main.${quoteIdentifier(registry)}`)) own.add(String(log));
  const left = new Map(leftovers.map((l) => [l.name, l]));
  const reserved = objects
    .filter((o) => isOwn(o.name) && !own.has(o.name))
    .map((o) =>
      left.has(o.name)
        ? refuseLeftover(query, left.get(o.name)!)
        : refused(o.name, `names that begin with ${PREFIX} are Marmot's own`, "rename it"),
    );
  // Without its log such a trigger makes each write of its table fail.
  const alone = leftovers.some((l) => l.kind === "table") ? [] : leftovers;
  return [...reserved, ...alone.map((l) => refuseLeftover(query, l))];
}

/** Its triggers still fire, and what they write is no data of the application. */
function refuseLeftover(query: Query, { kind, name, of }: Leftover): ClassifiedTable {
  const [[file] = [""]] = query(`SELECT file FROM pragma_database_list WHERE name = 'main'`);
  const what = kind === "trigger" ? "a trigger" : "a table with its triggers";
  const versions = of === "HarmonyLite" ? of : `${of} (version 0.3 to 0.8)`;
  return refused(
    name,
    `it is ${what} that ${versions} left in the file`,
    `remove all of them: marmot cleanup --db ${shellWord(String(file))} --also-others`,
  );
}

/** A table is refused if a write of it fires a trigger with a problem. */
function withTriggers(table: ClassifiedTable, triggers: UserTriggers): ClassifiedTable {
  for (const { problem } of triggers.reachedFrom(table.name))
    if (problem !== null)
      return refused(
        table.name,
        problem.reason,
        problem.hint,
        `or leave the table out: --exclude ${table.name}`,
      );
  return table;
}

function withCascades(table: ClassifiedTable, cascades: ReadonlyMap<string, string>): ClassifiedTable {
  const failing = cascades.get(foldName(table.name));
  if (failing === undefined || !replicates(table)) return table;
  const join = (one: string, other: string): string => (one === "" ? other : `${one}; ${other}`);
  return {
    name: table.name,
    verdict: "care",
    reason: join(
      table.reason,
      `its changes cascade to ${failing}, of which a trigger uses RAISE(FAIL): if the application continues after that error, its change of this table is captured only when the row is written again`,
    ),
    hint: join(table.hint, "use RAISE(ABORT), which undoes the statement, or roll back after the error"),
  };
}

/** https://www.sqlite.org/limits.html: columns of a result. */
const MAX_COLUMNS = 2000;
/** Of a read of changed rows, beside key and columns. */
const LOG_COLUMNS = 4;

/** A changed row is read with the key of its log, a copied row with its key and the key's bytes. */
function columnsBeyond(table: Table, declaredKey: number): number {
  const keys = Math.max(declaredKey, 1);
  const rowid = declaredKey === 0 ? 1 : 0;
  const stored = table.columns.filter((c) => c.hidden === 0).length + rowid;
  return stored + Math.max(keys + LOG_COLUMNS, 2 * keys) - MAX_COLUMNS;
}

function classifyTable(
  query: Query,
  table: Table,
  copy: SchemaCopy,
  unwritable: readonly Unwritable[],
): ClassifiedTable {
  const { name } = table;
  const leaveOut = `or leave it out: --exclude ${name}`;
  const key = keyColumns(table);
  if (key.length === 0 && rowidAliases(table).length === 0)
    return refused(
      name,
      "it has no declared primary key, and columns named rowid, _rowid_ and oid hide SQLite's rowid, which would identify its rows",
      "give it a PRIMARY KEY, rename one of these columns",
      leaveOut,
    );
  const tooWide = columnsBeyond(table, key.length);
  if (tooWide > 0)
    return refused(
      name,
      `it has ${counted(tooWide, "column")} more than can be read at once together with its key`,
      "move columns to a second table",
      leaveOut,
    );
  if (key.some((c) => c.hidden !== 0))
    return refused(name, "a generated column is part of its primary key", "give it another key", leaveOut);
  const ofKey = keyCollations(table).find((c) => !BUILT_IN.has(c));
  if (ofKey !== undefined)
    return refused(
      name,
      `its key has the collation ${ofKey}, which only the application has`,
      `${OTHER_COLLATION}`,
      leaveOut,
    );
  const ofIndex = table.uniques.flatMap((u) => u.terms).find((t) => !BUILT_IN.has(t.collation));
  if (ofIndex !== undefined)
    return refused(
      name,
      `a unique index has the collation ${ofIndex.collation}, which only the application has`,
      `${OTHER_COLLATION}`,
      leaveOut,
    );
  if (unwritable.length > 0)
    return refused(name, unwritable.map((u) => u.reason).join("; "), hintOf(unwritable), leaveOut);
  const nullable = nullableKey(table);
  if (nullable !== null && hasNullKey(query, table))
    return refused(
      name,
      `it has rows with NULL in the key column ${nullable}`,
      "give these rows a key",
      leaveOut,
    );
  const scan = findScan(copy.db, table);
  if (scan !== null)
    return refused(
      name,
      `rows cannot be found through its unique index ${scan.index}: ${scan.why}`,
      `${scan.hint}`,
      leaveOut,
    );
  return { name, ...careOf(table, nullable) };
}

/** A key column of a rowid table that may be NULL, or null. */
function nullableKey(table: Table): string | null {
  if (table.withoutRowid || table.rowidColumn !== null) return null;
  return keyColumns(table).find((c) => !c.notNull)?.name ?? null;
}

function hasNullKey(query: Query, table: Table): boolean {
  const where = keyColumns(table)
    .map((c) => `${quoteIdentifier(c.name)} IS NULL`)
    .join(" OR ");
  return query(`SELECT 1 FROM main.${quoteIdentifier(table.name)} WHERE ${where} LIMIT 1`).length > 0;
}

/** A unique index through which SQLite does not find rows by a search; null: it searches all of them. */
function findScan(db: DatabaseSync, table: Table): { index: string; why: string; hint: string } | null {
  const query = queryOf(db);
  const whole = "SQLite would read the whole table";
  const hint = "write the index without functions of the application";
  for (const lookup of evictionLookups(shapeOf(table, 0), table)) {
    const { index, partial } = lookup;
    try {
      const explain = `EXPLAIN QUERY PLAN ${lookup.probe}`;
      const plan = withStandIns(db, () => query(explain)).map((row) => String(row[3]));
      const step = plan.find((text) => / main\b|^(SEARCH|SCAN) /.test(text)) ?? "";
      const isShort = !partial || step.endsWith(` INDEX ${index}`);
      if (!step.startsWith("SEARCH") && !(isShort && isSingle(query, lookup)))
        return { index, why: whole, hint };
    } catch (error) {
      const message = errorMessage(error);
      if (message !== "no query solution") return { index, why: message, hint };
      if (!partial) return { index, why: whole, hint };
      return {
        index,
        why: "SQLite searches no index with a condition, or an AND-joined part of it, that is always true or always false",
        hint: "write its condition without that part (IS NOT NULL of a NOT NULL column is one)",
      };
    }
  }
  return null;
}

/** The index holds one row at most, as `UNIQUE INDEX … ((1)) WHERE chosen` does. */
const isSingle = (query: Query, { constants }: EvictionLookup): boolean =>
  constants !== null &&
  Number(query(`SELECT ${constants.map((c) => `(${c}) IS NOT NULL`).join(" AND ")}`)[0]![0]) === 1;

function careOf(table: Table, nullable: string | null): Omit<ClassifiedTable, "name"> {
  if (nullable !== null)
    return {
      verdict: "care",
      reason: `the key column ${nullable} allows NULL, and a row without a key cannot be replicated`,
      hint: "declare it NOT NULL",
    };
  if (keyColumns(table).length === 0)
    return {
      verdict: "care",
      reason: `${table.columns.some((c) => c.keyPlace > 0) ? "SQLite leaves its primary key empty" : "it has no declared primary key"}: SQLite's rowid identifies its rows, and when two nodes insert at the same time the row that is ordered later gets another rowid`,
      hint: "nothing is needed unless something refers to the rowid: then declare an INTEGER PRIMARY KEY",
    };
  if (table.autoincrement)
    return {
      verdict: "care",
      reason:
        "SQLite picks its ids; each node takes them from blocks of its own, and a burst longer than a block can still pick an id of another node",
      hint: "nothing is needed: rows that collide are in the journal, and marmot conflicts restore ID --as-new puts one back; for longer bursts run with a larger --id-block",
    };
  if (table.rowidColumn !== null && !table.inheritsId)
    return {
      verdict: "care",
      reason: PICKED_IDS,
      hint: "declare it AUTOINCREMENT, insert on one node only, or choose ids that are unique by themselves",
    };
  return { verdict: "replicates", reason: "", hint: "" };
}

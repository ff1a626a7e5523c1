/**
 * What of a schema replicates, what needs care and what is refused, by table, with reason and cure. `doctor` prints it
 * and `run` obeys it.
 */
import { foldName } from "../../base/names.ts";
import type { Query } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import {
  keyCollations,
  keyColumns,
  readObjects,
  readTable,
  readTableKinds,
  rowidAliases,
  type SchemaObject,
  type Table,
} from "../../sqlite/schema.ts";
import { isOwn, readCatalogue } from "../catalogue.ts";
import { type EvictionLookup, evictionLookups } from "../evictions.ts";
import { raisingCascades } from "./raising-cascades.ts";
import { searchIndexOf } from "../search-index.ts";
import { APP_DB_TABLES, PREFIX } from "../app-db-tables.ts";
import { shapeOf } from "../read-shape.ts";
import { classifyTriggers, type UserTriggers } from "../triggers.ts";

/** "local": not replicated itself, but built and kept on every node out of what is. */
export type Verdict = "replicates" | "care" | "refused" | "skipped" | "local";

export interface ClassifiedTable {
  readonly name: string;
  readonly verdict: Verdict;
  /** In a sentence; "" for a table that simply replicates. */
  readonly reason: string;
  readonly hint: string;
}

export interface Selection {
  /** null: all. */
  readonly tables: readonly string[] | null;
  readonly exclude: readonly string[];
}

export const ALL: Selection = { tables: null, exclude: [] };

/** Why a table is skipped that the selection does not have. */
export const LEFT_OUT = "left out by --tables or --exclude";

const BUILT_IN = new Set(["BINARY", "NOCASE", "RTRIM"]);

const lower = (names: readonly string[]): Set<string> => new Set(names.map(foldName));

/** In the order of creation. Names in the selection that no table has are the caller's to report. */
export function classify(query: Query, selection: Selection): ClassifiedTable[] {
  const kinds = readTableKinds(query);
  const { objects } = readCatalogue(query);
  const wanted = selection.tables === null ? null : lower(selection.tables);
  const unwanted = lower(selection.exclude);
  const reserved = reservedNames(query);
  const tables = objects.filter((o) => o.kind === "table");
  const alone = tables.map(({ name }): ClassifiedTable => {
    if (unwanted.has(foldName(name)) || (wanted !== null && !wanted.has(foldName(name))))
      return { name, verdict: "skipped", reason: LEFT_OUT, hint: "" };
    const kind = kinds.get(name);
    if (kind === "shadow")
      return { name, verdict: "skipped", reason: "belongs to a virtual table", hint: "" };
    // Judged below: whether it can be kept depends on the others.
    if (kind === "virtual") return { name, verdict: "local", reason: "", hint: "" };
    return judge(query, readTable(query, name));
  });
  const triggers = classifyTriggers(
    objects,
    alone.filter(replicates).map((t) => t.name),
  );
  const cascades = raisingCascades(query, objects);
  const judged = alone.map((table) =>
    replicates(table) ? judgeCascade(judgeFired(table, triggers), cascades) : table,
  );
  const views = lower(objects.filter((o) => o.kind === "view").map((o) => o.name));
  const judgedAll = judged.map((table, i) =>
    table.verdict === "local" ? judgeVirtual(tables[i]!, judged, views, triggers) : table,
  );
  return [...judgedAll, ...reserved];
}

/** Tables and views of the application whose names look like Marmot's. */
function reservedNames(query: Query): ClassifiedTable[] {
  const own = new Set<string>(Object.keys(APP_DB_TABLES).map((t) => `${PREFIX}${t}`));
  const objects = readObjects(query).filter((o) => o.kind === "table" || o.kind === "view");
  const registry = `${PREFIX}table`;
  if (objects.some((o) => o.name === registry))
    for (const [log] of query(`SELECT "log" FROM main.${quoteIdentifier(registry)}`)) own.add(String(log));
  return objects
    .filter((o) => isOwn(o.name) && !own.has(o.name))
    .map((o) => refused(o.name, `names that begin with ${PREFIX} are Marmot's own`, "rename it"));
}

const replicates = ({ verdict }: ClassifiedTable): boolean => verdict === "replicates" || verdict === "care";

/** A table is only as good as the triggers that writing it fires. */
function judgeFired(table: ClassifiedTable, triggers: UserTriggers): ClassifiedTable {
  for (const { problem } of triggers.reachedFrom(table.name))
    if (problem !== null)
      return refused(
        table.name,
        problem.reason,
        `${problem.hint}, or leave the table out: --exclude ${table.name}`,
      );
  return table;
}

function judgeCascade(table: ClassifiedTable, cascades: ReadonlyMap<string, string>): ClassifiedTable {
  const failing = cascades.get(foldName(table.name));
  if (failing === undefined || !replicates(table)) return table;
  const join = (one: string, other: string): string => (one === "" ? other : `${one}; ${other}`);
  return {
    name: table.name,
    verdict: "care",
    reason: join(
      table.reason,
      `its changes cascade to ${failing}, of which a trigger uses RAISE(FAIL): if the application goes on after that error, what it changed here is in its own file alone until the row is written again`,
    ),
    hint: join(table.hint, "use RAISE(ABORT), which takes the statement back, or roll back after the error"),
  };
}

/** A virtual table replicates in no way; a full-text index over what replicates can be kept on every node. */
function judgeVirtual(
  object: SchemaObject,
  tables: readonly ClassifiedTable[],
  views: ReadonlySet<string>,
  triggers: UserTriggers,
): ClassifiedTable {
  const { name } = object;
  const leaveOut = `leave it out: --exclude ${name}, and fill it on each node`;
  const index = searchIndexOf(object);
  if (index === null) return refused(name, "it is a virtual table", leaveOut);
  if (index.content === "")
    return refused(
      name,
      "it is a full-text index that holds its content itself, or none, and cannot be rebuilt on another node",
      `keep the text in a table of its own and name that with content=, or ${leaveOut}`,
    );
  const content = foldName(index.content);
  const source = tables.find((t) => foldName(t.name) === content);
  if (!views.has(content) && (source === undefined || !replicates(source)))
    return {
      name,
      verdict: "skipped",
      reason: `a full-text index of ${index.content}, which does not replicate`,
      hint: "",
    };
  const events = new Set(
    [...triggers.byName.values()].flatMap((t) =>
      t.mode === "passes" &&
      t.writes.has(foldName(name)) &&
      (triggers.isReplicated(t.table) || triggers.isView(t.table))
        ? [t.event]
        : [],
    ),
  );
  const missing = (["INSERT", "UPDATE", "DELETE"] as const).filter((event) => !events.has(event));
  if (missing.length > 0)
    return refused(
      name,
      `it is a full-text index of ${index.content} without a trigger that keeps it on ${missing.join(", ")}: search would miss other nodes' rows`,
      `create the triggers that the documentation of FTS5 gives for external content, or ${leaveOut}`,
    );
  return {
    name,
    verdict: "local",
    reason: `a full-text index of ${index.content}: every node builds its own, and its triggers keep it`,
    hint: "",
  };
}

const refused = (name: string, reason: string, hint: string): ClassifiedTable => ({
  name,
  verdict: "refused",
  reason,
  hint,
});

function judge(query: Query, table: Table): ClassifiedTable {
  const { name } = table;
  const leaveOut = `or leave it out: --exclude ${name}`;
  const key = keyColumns(table);
  if (key.length === 0 && rowidAliases(table).length === 0)
    return refused(
      name,
      "it has no declared primary key, and columns called rowid, _rowid_ and oid hide what else tells its rows apart",
      `give it a PRIMARY KEY, rename one of these columns, ${leaveOut}`,
    );
  if (key.some((c) => c.hidden !== 0))
    return refused(name, "a generated column is part of its primary key", `give it another key, ${leaveOut}`);
  const odd = keyCollations(table).find((c) => !BUILT_IN.has(c));
  if (odd !== undefined)
    return refused(
      name,
      `its key has the collation ${odd}, which only the application knows`,
      `use NOCASE, RTRIM or BINARY, ${leaveOut}`,
    );
  const foreign = table.uniques.flatMap((u) => u.terms).find((t) => !BUILT_IN.has(t.collation));
  if (foreign !== undefined)
    return refused(
      name,
      `a unique index has the collation ${foreign.collation}, which only the application knows`,
      `use NOCASE, RTRIM or BINARY, ${leaveOut}`,
    );
  const nullable = nullableKey(table);
  if (nullable !== null && hasNullKey(query, table))
    return refused(
      name,
      `rows have NULL in the key column ${nullable}`,
      `give these rows a key, ${leaveOut}`,
    );
  const scan = findScan(query, table);
  if (scan !== null)
    return refused(
      name,
      `rows cannot be found through its unique index ${scan.index}: ${scan.why}`,
      `${scan.hint}, ${leaveOut}`,
    );
  return { name, ...care(table, nullable) };
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

function findScan(query: Query, table: Table): { index: string; why: string; hint: string } | null {
  const whole = "SQLite would read the whole table";
  const hint = "write the index without functions of the application";
  for (const lookup of evictionLookups(shapeOf(table, 0), table)) {
    const { index, partial } = lookup;
    try {
      const plan = query(`EXPLAIN QUERY PLAN ${lookup.probe}`).map((row) => String(row[3]));
      const step = plan.find((text) => / main\b|^(SEARCH|SCAN) /.test(text)) ?? "";
      const isShort = !partial || step.endsWith(` INDEX ${index}`);
      if (!step.startsWith("SEARCH") && !(isShort && isSingle(query, lookup)))
        return { index, why: whole, hint };
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      if (said !== "no query solution") return { index, why: said, hint };
      if (!partial) return { index, why: whole, hint };
      return {
        index,
        why: "SQLite searches none whose condition, or a part of it that AND joins, is always true or always false",
        hint: "write its condition without that part (IS NOT NULL of a NOT NULL column is one)",
      };
    }
  }
  return null;
}

/** The whole index is one row at most: one of a kind, as `UNIQUE INDEX … ((1)) WHERE chosen` has it. */
const isSingle = (query: Query, { constants }: EvictionLookup): boolean =>
  constants !== null &&
  Number(query(`SELECT ${constants.map((c) => `(${c}) IS NOT NULL`).join(" AND ")}`)[0]![0]) === 1;

function care(table: Table, nullable: string | null): Omit<ClassifiedTable, "name"> {
  if (nullable !== null)
    return {
      verdict: "care",
      reason: `the key column ${nullable} allows NULL; a row without a key cannot be replicated`,
      hint: `declare it NOT NULL`,
    };
  if (keyColumns(table).length === 0)
    return {
      verdict: "care",
      reason: `${table.columns.some((c) => c.keyPlace > 0) ? "SQLite leaves its primary key empty" : "it has no declared primary key"}: its rows are told apart by SQLite's rowid, and of rows that two nodes insert at the same time those that are ordered later get another one`,
      hint: "nothing is needed unless something refers to the rowid: then declare an INTEGER PRIMARY KEY",
    };
  if (table.autoincrement)
    return {
      verdict: "care",
      reason:
        "SQLite picks its ids; each node takes them from blocks of its own, and a burst longer than a block can still pick another node's",
      hint: "nothing is needed: what collides is in the journal, and marmot conflicts restore ID --as-new puts it back; for longer bursts run with a larger --id-block",
    };
  if (table.rowidColumn !== null)
    return {
      verdict: "care",
      reason:
        "SQLite picks its ids; two nodes that insert at the same time may pick the same one, and the later row stands",
      hint: "declare it AUTOINCREMENT, insert on one node only, or choose ids that are unique on their own",
    };
  return { verdict: "replicates", reason: "", hint: "" };
}

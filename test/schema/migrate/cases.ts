/** One random migration from a seed: made on one file, then applied to a copy of the older file and to a replica. */
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Random } from "../../../src/base/random.ts";
import { captureObjects } from "../../../src/capture/capture-triggers.ts";
import { createSchema, numberTables, type CatalogueObject } from "../../../src/replica/store/schema-store.ts";
import { readCatalogue } from "../../../src/schema/catalogue.ts";
import { applySchemaChanges, type AppliedSchema } from "../../../src/schema/migrate/migrate.ts";
import type { RejectedRow, SchemaChange, SchemaState } from "../../../src/schema/diff/change.ts";
import { compareCatalogues, readRecorders, tablesOf } from "../../../src/schema/diff/diff.ts";
import { columnsOf, followTables, sameSchema } from "../../../src/schema/diff/evolve.ts";
import { ALL, classify } from "../../../src/schema/classify/classify.ts";
import { changeLogName, triggerName } from "../../../src/schema/app-db-tables.ts";
import { shapeOf } from "../../../src/schema/read-shape.ts";
import { isVirtual } from "../../../src/schema/virtual-tables.ts";
import { queryOf } from "../../../src/sqlite/query.ts";
import { quoteIdentifier } from "../../../src/sqlite/quote.ts";
import {
  type Column,
  keyColumns,
  readTable,
  rowidAliases,
  type SchemaObject,
} from "../../../src/sqlite/schema.ts";
import { attempt, Generator } from "./generator.ts";

export function open(path: string): DatabaseSync {
  const db = new DatabaseSync(path, { enableForeignKeyConstraints: false });
  db.exec("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY");
  return db;
}

export function check(condition: boolean, what: string, detail: unknown = ""): asserts condition {
  if (!condition) throw new Error(`${what}: ${typeof detail === "string" ? detail : JSON.stringify(detail)}`);
}

export function inFolder<T>(use: (path: (name: string) => string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "changes-"));
  try {
    return use((name) => join(folder, name));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Creates Marmot's triggers on every replicated table, and the rename recorder on the others. Returns table id ⇒ name. */
export function capture(db: DatabaseSync): Map<number, string> {
  const names = new Map<number, string>();
  const query = queryOf(db);
  let id = 0;
  for (const { name, verdict } of classify(query, ALL)) {
    const object = tablesOf(stateOf(db)).get(name.toLowerCase());
    if (object === undefined || isVirtual(object)) continue;
    names.set(++id, name);
    const table = readTable(query, name);
    const replicates = verdict === "replicates" || verdict === "care";
    if (replicates)
      for (const { sql } of captureObjects(shapeOf(table, id), table, changeLogName(name))) db.exec(sql);
    else
      db.exec(
        `CREATE TRIGGER ${quoteIdentifier(triggerName(id, "columns"))} AFTER UPDATE OF ${columnsOf(object).map(quoteIdentifier).join(", ")} ON ${quoteIdentifier(name)} WHEN 0 BEGIN SELECT 1; END`,
      );
  }
  return names;
}

/** Each row: its rowid, then its stored columns with exact storage classes. */
export function rowsOf(db: DatabaseSync, name: string): { columns: string[]; rows: string[][] } {
  const table = readTable(queryOf(db), name);
  const columns = table.columns.filter((c) => c.hidden === 0).map((c) => c.name);
  const rowid = table.withoutRowid ? "NULL" : (rowidAliases(table)[0] ?? "NULL");
  const list = columns.map((c) => `typeof(${quoteIdentifier(c)}) || quote(${quoteIdentifier(c)})`);
  const rows = queryOf(db)(
    `SELECT quote(${rowid}), ${list.join(", ")} FROM main.${quoteIdentifier(name)} NOT INDEXED`,
  );
  return { columns, rows: rows.map((r) => r.map(String)).sort() };
}

export const stateOf = (db: DatabaseSync): SchemaState => readCatalogue(queryOf(db));

export function apply(
  db: DatabaseSync,
  changes: readonly SchemaChange[],
  role: "app-db" | "replica",
  state?: SchemaState,
): AppliedSchema & { rejectedRows: RejectedRow[] } {
  const rejectedRows: RejectedRow[] = [];
  db.exec("BEGIN IMMEDIATE");
  const applied = applySchemaChanges(db, changes, {
    role,
    rejected: (row) => rejectedRows.push(row),
    ...(state === undefined ? {} : { state }),
  });
  db.exec("COMMIT");
  return { ...applied, rejectedRows };
}

export function integrity(db: DatabaseSync): string {
  return JSON.stringify(queryOf(db)("PRAGMA integrity_check"));
}

/** A replica as the initial import creates it, with the app database's rows. */
export function replicaOf(
  appDb: DatabaseSync,
  appDbPath: string,
  path: string,
): { db: DatabaseSync; objects: CatalogueObject[] } {
  const catalogue = readCatalogue(queryOf(appDb));
  const replicated = new Set(
    classify(queryOf(appDb), ALL)
      .filter((t) => t.verdict === "replicates" || t.verdict === "care")
      .map((t) => t.name),
  );
  const objects = numberTables(catalogue, replicated);
  const db = open(path);
  createSchema(db, objects);
  db.exec(`PRAGMA ignore_check_constraints = ON; ATTACH '${appDbPath}' AS live`);
  for (const { name, tableId } of objects) {
    if (tableId === null) continue;
    const columns = columnsOf(tablesOf(catalogue).get(name.toLowerCase())!).map(quoteIdentifier).join(", ");
    db.exec(
      `INSERT INTO main.${quoteIdentifier(name)}(${columns}) SELECT ${columns} FROM live.${quoteIdentifier(name)}`,
    );
  }
  db.exec("DETACH live");
  return { db, objects };
}

/** A replica has exactly the replicated tables and their UNIQUE indexes. */
export function checkReplica(db: DatabaseSync, to: SchemaState): void {
  const { objects } = stateOf(db);
  const tables = new Set(objects.flatMap((o) => (o.kind === "table" ? [o.name] : [])));
  const isUnique = (o: SchemaObject): boolean => /^CREATE UNIQUE /i.test(o.sql);
  const wanted = to.objects.filter(
    (o) => tables.has(o.tableName) && (o.kind === "table" || (o.kind === "index" && isUnique(o))),
  );
  const shown = (list: readonly SchemaObject[]): string =>
    list
      .map((o) => JSON.stringify([o.kind, o.name, o.tableName, o.sql]))
      .sort()
      .join("\n");
  check(shown(objects) === shown(wanted), "the objects of the replica", [objects, wanted]);
}

/** The rows of every older table are in the table of its new name, column by column. */
function checkRows(
  before: ReadonlyMap<string, ReturnType<typeof rowsOf>>,
  db: DatabaseSync,
  changes: readonly SchemaChange[],
  state: SchemaState,
  rejected: readonly RejectedRow[],
): void {
  const lineages = new Map(followTables(state, changes).map((l) => [l.from?.toLowerCase() ?? "", l]));
  for (const [name, old] of before) {
    const lineage = lineages.get(name);
    const to = lineage === undefined ? name : lineage.to;
    if (to === null) continue;
    const now = rowsOf(db, to);
    const table = readTable(queryOf(db), to);
    const isRequired = (c: Column): boolean => c.notNull || c.name === table.rowidColumn;
    const required = new Set(table.columns.flatMap((c) => (isRequired(c) ? [c.name] : [])));
    const origins = lineage?.columns ?? now.columns.map((c) => [c, c] as const);
    const carried = origins.flatMap(([column, from]) => {
      if (from === null) return [];
      const at = old.columns.findIndex((c) => c.toLowerCase() === from.toLowerCase());
      // A NOT NULL column takes its default.
      const isFilled = required.has(column) && old.rows.some((row) => row[at + 1] === "nullNULL");
      if (isFilled) return [];
      return [[at + 1, now.columns.indexOf(column) + 1] as const];
    });
    // A column of another type may hold 1 as '1'.
    const loose = (cell: string): string => cell.replace(/^(?:text|integer|real)'?(.*?)(?:\.0)?'?$/, "$1");
    const had = old.rows.map((row) => carried.map(([i]) => loose(row[i]!)).join(" ")).sort();
    const has = now.rows.map((row) => carried.map(([, i]) => loose(row[i]!)).join(" ")).sort();
    const gone = rejected.filter((row) => row.from.toLowerCase() === name).length;
    check(had.length === has.length + gone, `no row of ${to} is lost`, [had, has]);
    if (gone === 0) check(had.join("\n") === has.join("\n"), `the rows of ${to}`, [had, has]);
  }
}

/** Runs a case; throws an error with the seed and the statements. */
export function runCase(seed: number): void {
  inFolder((path) => {
    const gen = new Generator(new Random(seed));
    const x = open(path("x.db"));
    gen.build(x);
    const names = capture(x);
    const base = stateOf(x);
    x.close();
    copyFileSync(path("x.db"), path("y.db"));
    const origin = open(path("x.db"));
    const log: string[] = [];
    const steps = 1 + gen.int(8);
    // Sometimes compared halfway, too: the two lists of changes, one after the other, have the same effect as one.
    const halfway = gen.chance(0.3) ? gen.int(steps) : -1;
    let seen: { readonly state: SchemaState; readonly changes: readonly SchemaChange[] } | null = null;
    for (let i = 0; i < steps; i++) {
      if (i === halfway) {
        const state = stateOf(origin);
        const changes = compareCatalogues(base, state, readRecorders(queryOf(origin), names));
        seen = { state, changes };
      }
      origin.exec(
        `PRAGMA foreign_keys = ${gen.pick(["ON", "OFF"])}; PRAGMA legacy_alter_table = ${gen.pick(["ON", "OFF"])}`,
      );
      const statements = gen.statements(origin, gen.int(17));
      const inTransaction = gen.chance(0.5) && !statements.some((s) => s === "VACUUM");
      if (inTransaction) origin.exec("BEGIN");
      let good = true;
      for (const sql of statements) good &&= attempt(origin, sql);
      if (inTransaction && origin.isTransaction) origin.exec(good ? "COMMIT" : "ROLLBACK");
      log.push(...statements);
    }
    const recorders = readRecorders(queryOf(origin), names);
    const to = stateOf(origin);
    const changes =
      seen === null
        ? compareCatalogues(base, to, recorders)
        : [...seen.changes, ...compareCatalogues(seen.state, to, [])];
    const detail = JSON.stringify(changes, null, 1) + `\n${log.join(";\n")}`;
    try {
      const appDb = open(path("y.db"));
      // Concurrent rows may violate the new constraints.
      const isConcurrent = gen.chance(0.3);
      if (isConcurrent)
        for (const { name, sql } of tablesOf(base).values())
          if (!isVirtual({ sql })) gen.insertRows(appDb, name, 6);
      const before = new Map(
        [...tablesOf(base).values()]
          .filter((t) => !isVirtual(t))
          .map((t) => [t.name.toLowerCase(), rowsOf(appDb, t.name)]),
      );
      const { db: replica, objects } = replicaOf(appDb, path("y.db"), path("s.db"));
      const inReplica = new Map(
        [...before]
          .filter(([name]) => objects.some((o) => o.tableId !== null && o.name.toLowerCase() === name))
          .map(([name]) => [name, rowsOf(replica, name)]),
      );
      if (gen.chance(0.5)) appDb.exec("PRAGMA legacy_alter_table = ON");
      const applied = apply(appDb, changes, "app-db");
      check(sameSchema(stateOf(appDb), to), "the schema of the app database", stateOf(appDb));
      check(sameSchema(applied.state, to), "the state it reports");
      check(integrity(appDb) === '[["ok"]]', "integrity of the app database", integrity(appDb));
      checkRows(before, appDb, changes, base, applied.rejectedRows);
      // Dropping a table may have changed rows that refer to it.
      if (
        seen === null &&
        !isConcurrent &&
        applied.rejectedRows.length === 0 &&
        !log.some((sql) => /DROP TABLE/i.test(sql))
      )
        checkTraceable(origin, appDb, recorders, gen);
      checkTriggers(appDb, names, applied);
      const again = open(path("y.db"));
      check(sameSchema(stateOf(again), to), "the app database opened again");
      again.close();

      const appliedS = apply(replica, changes, "replica", { ...base, objects });
      check(sameSchema(appliedS.state, to), "the replica's state");
      check(integrity(replica) === '[["ok"]]', "integrity of the replica", integrity(replica));
      checkReplica(replica, to);
      checkAlike(appDb, replica);
      appDb.close();
      checkRows(inReplica, replica, changes, base, appliedS.rejectedRows);
      replica.close();
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).stack}\n${detail}`);
    }
  });
}

/** Both keep the same rows. */
function checkAlike(appDb: DatabaseSync, replica: DatabaseSync): void {
  for (const { kind, name } of stateOf(replica).objects) {
    if (kind !== "table" || keyColumns(readTable(queryOf(replica), name)).length === 0) continue;
    const shown = (db: DatabaseSync): string =>
      rowsOf(db, name)
        .rows.map((row) => row.slice(1).join(" "))
        .sort()
        .join("\n");
    check(shown(appDb) === shown(replica), `the rows of ${name} in both`, [
      rowsOf(appDb, name),
      rowsOf(replica, name),
    ]);
  }
}

/** Tables that still have their recorder hold, column by column, the same rows as the file on which the statements ran. */
function checkTraceable(
  origin: DatabaseSync,
  appDb: DatabaseSync,
  recorders: ReturnType<typeof readRecorders>,
  gen: Generator,
): void {
  for (const { now, columns } of recorders) {
    if (new Set(columns.map((c) => c.toLowerCase())).size < columns.length) continue;
    const [here, there] = [rowsOf(origin, now), rowsOf(appDb, now)];
    const known = here.columns.map((c) => !gen.readded.has(c.toLowerCase()));
    const shown = (rows: string[][]): string =>
      rows
        .map((row) => [row[0], ...row.slice(1).filter((_, i) => known[i])].join(" "))
        .sort()
        .join("\n");
    check(shown(here.rows) === shown(there.rows), `${now} is as its origin has it`, [here, there]);
  }
}

/** A table has all of Marmot's triggers, as the youngest ones, or none of them and is in `reinstall`. */
function checkTriggers(db: DatabaseSync, names: ReadonlyMap<number, string>, applied: AppliedSchema): void {
  const rows = queryOf(db)(
    `SELECT name, tbl_name, rowid FROM main.sqlite_schema WHERE type = 'trigger' ORDER BY rowid`,
  );
  const own = rows.filter(([name]) => String(name).startsWith("__marmot__"));
  for (const table of applied.reinstall)
    check(!own.some(([, t]) => t === table), `no trigger of Marmot is left on ${table}`);
  const dropped = new Set(applied.tables.flatMap((t) => (t.from === null ? [] : [t.from.toLowerCase()])));
  for (const name of names.values()) {
    if (dropped.has(name.toLowerCase()) || applied.reinstall.includes(name)) continue;
    check(
      own.some(([, t]) => t === name),
      `${name} is captured as it was`,
    );
    const places = rows.flatMap(([n, t], i) =>
      t === name ? [[String(n).startsWith("__marmot__"), i] as const] : [],
    );
    const youngest = places.filter(([mine]) => !mine).at(-1)?.[1] ?? -1;
    check(
      places.every(([mine, i]) => !mine || i > youngest),
      `Marmot's triggers on ${name} are the youngest`,
    );
  }
}

/** Brings a file to a new schema, rows and all. */
import { foldName } from "../../base/names.ts";
import type { DatabaseSync } from "node:sqlite";
import { assert } from "../../base/assert.ts";
import { UserError } from "../../base/errors.ts";
import type { Value } from "../../change/value.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { readTable, type SchemaObject } from "../../sqlite/schema.ts";
import { isOwn, readCatalogue } from "../catalogue.ts";
import { indexesOver, searchIndexOf } from "../search-index.ts";
import { isVirtual, withoutShadowTables } from "../virtual-tables.ts";
import type { ColumnOrigin, RejectedRow, SchemaChange, SchemaState } from "../diff/change.ts";
import { tablesOf } from "../diff/diff.ts";
import { constraintOf, copyRows } from "./copy-rows.ts";
import { FileSchema } from "./schema-writer.ts";
import { changeCatalogue, followTables, type TableLineage } from "../diff/evolve.ts";
import { RejectedRows } from "./constraint-rejects.ts";
import { alone } from "./sqlite-schema-rows.ts";
import { planAlter, renamedText } from "../diff/alter-plan.ts";
import { renameSteps } from "../diff/rename-steps.ts";
import { sameButReferences, sameTokens } from "../../sqlite/ddl-text/table-text.ts";
import { createUniqueIndex } from "./unique-index.ts";

export interface ApplyOptions {
  /** "live": the application's file, everything in it. "replica": only replicated tables and UNIQUE indexes exist. */
  readonly role: "live" | "replica";
  /** The catalogue before the changes. Needed for a replica; of a live file it is read. */
  readonly state?: SchemaState;
  /** Replica: whether a table that a change creates exists there. Default: all but virtual ones. */
  readonly replicates?: (table: string) => boolean;
  /**
   * Of rows that clash the one with the greatest rank stays, of equals the one with the greatest key. `key`: the primary
   * key's values before the change, or the rowid.
   */
  readonly rank?: (table: string, key: readonly Value[]) => number | bigint | string;
  readonly rejected?: (row: RejectedRow) => void;
}

export interface AppliedTable {
  readonly from: string | null;
  readonly to: string | null;
  readonly columns: readonly ColumnOrigin[];
  /** "renamed": name only; "altered": no row was written, or columns were dropped in place; "rebuilt": every row anew. */
  readonly method: "created" | "dropped" | "renamed" | "altered" | "rebuilt";
  /** Rows left out, by constraints or by UNIQUE indexes. */
  readonly rejected: number;
}

export interface AppliedSchema {
  readonly state: SchemaState;
  readonly tables: readonly AppliedTable[];
  /** Live: names of tables whose capture is to be installed again, since all of Marmot's triggers on them were dropped. */
  readonly reinstall: readonly string[];
}

/** In a write transaction of the caller, on a connection without foreign-key enforcement and without open statements. */
export function applySchemaChanges(
  db: DatabaseSync,
  changes: readonly SchemaChange[],
  options: ApplyOptions,
): AppliedSchema {
  assert(options.role === "live" || options.state !== undefined, "a replica's catalogue is given");
  const state = options.state ?? readCatalogue(queryOf(db));
  return alone(db, () => new Applier(db, state, changes, options).run());
}

const isUnique = (sql: string): boolean => /^\s*CREATE\s+UNIQUE\b/i.test(sql);
const SQLITE_ERROR = 1;

/** SQLite will not do it, and did nothing; anything else that goes wrong is none of the schema's. */
function isRefusal(error: unknown): boolean {
  if (error instanceof UserError) return true;
  return constraintOf(error) !== null || (error as { errcode?: unknown }).errcode === SQLITE_ERROR;
}

interface Kept {
  readonly from: string;
  readonly to: string;
  readonly columns: readonly ColumnOrigin[];
}

class Applier {
  readonly #db: DatabaseSync;
  readonly #file: FileSchema;
  readonly #options: ApplyOptions;
  readonly #before: SchemaState;
  readonly #after: SchemaState;
  /** Of `#after`, by name in lower case. */
  readonly #tables: ReadonlyMap<string, SchemaObject>;
  readonly #lineages: readonly TableLineage[];
  readonly #methods = new Map<TableLineage | Kept, AppliedTable["method"]>();
  /** By the table's name afterwards, in lower case. */
  readonly #rejected = new Map<string, number>();
  /** Tables (names afterwards, lower case) that lost triggers of Marmot. */
  readonly #uncaptured = new Set<string>();

  constructor(db: DatabaseSync, state: SchemaState, changes: readonly SchemaChange[], options: ApplyOptions) {
    this.#db = db;
    this.#file = new FileSchema(db);
    this.#options = options;
    this.#before = { ...state, objects: withoutShadowTables(state.objects) };
    this.#after = changeCatalogue(state, changes);
    this.#tables = tablesOf(this.#after);
    this.#lineages = followTables(state, changes).filter((l) => this.#lives(l));
  }

  get #isLive(): boolean {
    return this.#options.role === "live";
  }

  /** Whether the table is in this file, or is to be. */
  #lives({ from, to }: TableLineage): boolean {
    if (this.#isLive) return true;
    if (from !== null) return this.#file.text("table", from) !== null;
    const object = this.#tables.get(foldName(to!))!;
    return !isVirtual(object) && (this.#options.replicates?.(object.name) ?? true);
  }

  run(): AppliedSchema {
    const kept = this.#lineages.filter((l): l is Kept & TableLineage => l.from !== null && l.to !== null);
    this.#dropTriggersAndViews();
    this.#dropIndexes();
    for (const { from, to } of this.#lineages)
      if (to === null) this.#file.exec(`DROP TABLE main.${quoteIdentifier(from!)}`);
    this.#renameTables(kept);
    const foreignKeys = this.#isLive ? [] : kept.map(({ to }) => this.#foreignKeys(to));
    for (const lineage of kept) this.#methods.set(lineage, this.#alter(lineage));
    this.#file.reload();
    // A replica's indexes for references are known by their place among them.
    foreignKeys.forEach((before, i) => {
      const { to } = kept[i]!;
      if (this.#foreignKeys(to) !== before)
        this.#dropOwn(
          (t) => foldName(t) === foldName(to),
          () => null,
        );
    });
    const created = this.#lineages.filter((l) => l.from === null);
    for (const { to } of created) this.#file.exec(this.#tables.get(foldName(to!))!.sql);
    for (const object of this.#after.objects) if (this.#isWantedIndex(object)) this.#makeIndex(object);
    this.#file.reload();
    if (this.#isLive) this.#finishAppDb(created);
    return {
      state: this.#after,
      tables: this.#lineages.map((l) => ({
        ...l,
        method: l.from === null ? "created" : l.to === null ? "dropped" : this.#methods.get(l)!,
        rejected: l.to === null ? 0 : (this.#rejected.get(foldName(l.to)) ?? 0),
      })),
      reinstall: [...this.#tables.values()].flatMap((t) =>
        this.#uncaptured.has(foldName(t.name)) ? [t.name] : [],
      ),
    };
  }

  /** Views, triggers and the rest of what only a live file has. */
  #finishAppDb(created: readonly TableLineage[]): void {
    for (const kind of ["view", "trigger"] as const)
      for (const object of this.#after.objects) {
        if (object.kind !== kind) continue;
        const text = this.#file.text(kind, object.name);
        if (text === object.sql) continue;
        if (text !== null) this.#file.drop(kind, object.name);
        this.#file.create(object);
      }
    this.#fillSearchIndexes(created);
    const { userVersion, applicationId } = this.#after;
    if (userVersion !== this.#before.userVersion)
      this.#file.exec(`PRAGMA main.user_version = ${userVersion}`);
    if (applicationId !== this.#before.applicationId)
      this.#file.exec(`PRAGMA main.application_id = ${applicationId}`);
    this.#file.reorder(this.#after.objects);
    this.#file.reload();
  }

  /** Those that are new, and those whose content was written without the triggers that keep them. */
  #fillSearchIndexes(created: readonly TableLineage[]): void {
    const fill = (name: string): void =>
      this.#file.exec(`INSERT INTO ${quoteIdentifier(name)}(${quoteIdentifier(name)}) VALUES('rebuild')`);
    const fresh = created.flatMap(({ to }) => {
      const index = searchIndexOf(this.#tables.get(foldName(to!))!);
      return index === null || index.content === "" ? [] : [index.name];
    });
    for (const name of fresh) fill(name);
    const written = new Set(this.#rejected.keys());
    for (const [{ to }, method] of this.#methods) if (method === "rebuilt") written.add(foldName(to!));
    for (const name of indexesOver(this.#after.objects, written)) {
      if (fresh.includes(name)) continue;
      try {
        fill(name);
      } catch (error) {
        // It names what its content no longer has: the application has broken it.
        if (!isRefusal(error)) throw error;
      }
    }
  }

  /** Marmot's triggers go from every table that is touched: the caller installs them, and they must be the youngest. */
  #dropTriggersAndViews(): void {
    if (!this.#isLive) return;
    const wanted = new Map(this.#after.objects.map((o) => [`${o.kind} ${o.name}`, o]));
    // Where only a reference follows a table that was renamed, capture is as good as before.
    const names = new Map(
      this.#lineages.flatMap((l) =>
        l.from === null || this.#onlyRefersOtherwise(l) ? [] : [[foldName(l.from), l.to] as const],
      ),
    );
    const isSame = (o: SchemaObject): boolean => {
      const now = wanted.get(`${o.kind} ${o.name}`);
      return now !== undefined && now.sql === o.sql && foldName(now.tableName) === foldName(o.tableName);
    };
    const before = new Map(this.#before.objects.map((o) => [`${o.kind} ${o.name}`, o]));
    const gone = this.#before.objects.filter(
      (o) => (o.kind === "trigger" || o.kind === "view") && !isSame(o),
    );
    const came = this.#after.objects.filter(
      (o) => o.kind === "trigger" && !isSame(before.get(`trigger ${o.name}`) ?? { ...o, sql: "" }),
    );
    const moved = this.#movedTriggers();
    const touched = new Set([
      ...names.keys(),
      ...[...gone, ...came, ...moved].filter((o) => o.kind === "trigger").map((o) => foldName(o.tableName)),
    ]);
    this.#dropOwn(
      (table) => touched.has(foldName(table)),
      (table) => (names.has(foldName(table)) ? names.get(foldName(table))! : table),
    );
    for (const { kind, name } of gone)
      if (this.#file.text(kind, name) !== null) this.#file.drop(kind as "trigger" | "view", name);
  }

  #onlyRefersOtherwise({ from, to, columns }: TableLineage): boolean {
    if (from === null || from !== to || columns.some(([column, before]) => column !== before)) return false;
    const before = this.#before.objects.find((o) => o.kind === "table" && o.name === from);
    return before !== undefined && sameButReferences(before.sql, this.#tables.get(foldName(to))!.sql);
  }

  /** Triggers that stand in another order now: moved, they come after what is not among the application's objects. */
  #movedTriggers(): SchemaObject[] {
    const order = (state: SchemaState): SchemaObject[] => state.objects.filter((o) => o.kind === "trigger");
    const [before, after] = [order(this.#before), order(this.#after)];
    return after.filter((o, i) => o.name !== before[i]?.name);
  }

  #dropOwn(isTouched: (table: string) => boolean, nameAfter: (table: string) => string | null): void {
    const sql = "SELECT type, name, tbl_name FROM main.sqlite_schema WHERE type IN ('trigger', 'index')";
    for (const [type, name, table] of queryOf(this.#db)(sql)) {
      if (!isOwn(String(name)) || isOwn(String(table)) || !isTouched(String(table))) continue;
      this.#file.drop(type as "trigger" | "index", String(name));
      const now = nameAfter(String(table));
      if (now !== null) this.#uncaptured.add(foldName(now));
    }
  }

  #dropIndexes(): void {
    const wanted = new Set(this.#after.objects.flatMap((o) => (this.#isWantedIndex(o) ? [o.name] : [])));
    for (const { kind, name } of this.#before.objects)
      if (kind === "index" && !wanted.has(name) && this.#file.text("index", name) !== null)
        this.#file.drop("index", name);
  }

  #isWantedIndex({ kind, sql }: SchemaObject): boolean {
    return kind === "index" && (this.#isLive || isUnique(sql));
  }

  #renameTables(kept: readonly Kept[]): void {
    for (const { from, to } of renameSteps(kept, () => this.#file.freeName()))
      this.#file.exec(`ALTER TABLE main.${quoteIdentifier(from)} RENAME TO ${quoteIdentifier(to)}`);
  }

  /** The table has its new name, and the columns that it had. */
  #alter({ from, to, columns }: Kept): AppliedTable["method"] {
    const wanted = this.#tables.get(foldName(to))!.sql;
    const isIdentity = columns.every(([c, before]) => c === before);
    const text = this.#file.text("table", to)!;
    if (text === wanted && isIdentity) return from === to ? "altered" : "renamed";
    const plan = planAlter(to, text, wanted, columns);
    if (plan.method === "rebuild" || !this.#alterInPlace(to, wanted, plan.statements, plan.newNotNull)) {
      this.#rebuild(from, to, wanted, columns);
      return "rebuilt";
    }
    return plan.statements.length === 0 && renamedText(text, to) === renamedText(wanted, to)
      ? "renamed"
      : "altered";
  }

  /** False: rows stand against it, and nothing was changed. */
  #alterInPlace(
    name: string,
    wanted: string,
    statements: readonly string[],
    newNotNull: readonly string[],
  ): boolean {
    const table = `main.${quoteIdentifier(name)}`;
    const isNull = newNotNull.map((c) => `${quoteIdentifier(c)} IS NULL`).join(" OR ");
    if (statements.length > 0 || isNull !== "") {
      this.#file.reload();
      this.#file.forget();
      this.#db.exec("SAVEPOINT alter_in_place");
      let isDone = false;
      try {
        if (statements.some((sql) => sql.includes(" DROP COLUMN "))) this.#dropChangedIndexes(name);
        for (const sql of statements) this.#db.exec(sql);
        isDone =
          isNull === "" || queryOf(this.#db)(`SELECT 1 FROM ${table} WHERE ${isNull} LIMIT 1`).length === 0;
      } catch (error) {
        if (!isRefusal(error)) throw error;
      }
      this.#file.forget();
      this.#db.exec(`${isDone ? "" : "ROLLBACK TO alter_in_place; "}RELEASE alter_in_place`);
      if (!isDone) return false;
    }
    if (this.#file.text("table", name) !== wanted) this.#file.setText("table", name, wanted);
    return true;
  }

  /** Which columns refer to others, in the order of declaration. */
  #foreignKeys(table: string): string {
    const sql = `SELECT f.id, f.seq, c.cid FROM pragma_foreign_key_list(?1) f JOIN pragma_table_info(?1) c ON c.name = f."from" ORDER BY 1, 2`;
    return JSON.stringify(queryOf(this.#db)(sql, table));
  }

  /** SQLite drops no column that an index names. */
  #dropChangedIndexes(table: string): void {
    if (!this.#isLive)
      this.#dropOwn(
        (t) => foldName(t) === foldName(table),
        () => null,
      );
    for (const { kind, name, tableName, sql } of this.#after.objects) {
      if (kind !== "index" || foldName(tableName) !== foldName(table)) continue;
      const text = this.#file.text("index", name);
      if (text !== null && text !== sql) this.#file.drop("index", name);
    }
  }

  #rebuild(from: string, to: string, wanted: string, columns: readonly ColumnOrigin[]): void {
    this.#file.reload();
    const aside = this.#file.freeName();
    const quoted = quoteIdentifier(aside);
    const query = queryOf(this.#db);
    this.#file.exec(`ALTER TABLE main.${quoteIdentifier(to)} RENAME TO ${quoted}`);
    this.#file.exec(wanted);
    const old = this.#rowsOf(aside, from, to);
    try {
      copyRows(this.#db, old, to, columns);
    } catch (error) {
      throw this.#file.failed(wanted, error);
    }
    this.#count(to, old);
    if (readTable(query, to).autoincrement) this.#keepSequence(aside, to);
    this.#file.exec(`DROP TABLE main.${quoted}`);
  }

  /** The highest id that was ever given, also if its row is gone. */
  #keepSequence(from: string, to: string): void {
    const before = "SELECT seq FROM main.sqlite_sequence WHERE name = ?1 AND typeof(seq) = 'integer'";
    const raise = this.#db.prepare(
      `UPDATE main.sqlite_sequence SET seq = max(seq, coalesce((${before}), seq)) WHERE name = ?2`,
    );
    if (Number(raise.run(from, to).changes) > 0) return;
    this.#db
      .prepare(`INSERT INTO main.sqlite_sequence(name, seq) SELECT ?2, seq FROM (${before})`)
      .run(from, to);
  }

  #rowsOf(present: string, from: string, to: string): RejectedRows {
    const table = readTable(queryOf(this.#db), present);
    const { rank, rejected: report } = this.#options;
    return new RejectedRows(this.#db, table, { from, to, rank, report });
  }

  #count(table: string, rows: RejectedRows): void {
    if (rows.count > 0)
      this.#rejected.set(foldName(table), (this.#rejected.get(foldName(table)) ?? 0) + rows.count);
  }

  #makeIndex(object: SchemaObject): void {
    const { name, tableName, sql } = object;
    const text = this.#file.text("index", name);
    if (!this.#isLive && this.#file.text("table", tableName) === null) {
      // It moved to a table that does not replicate.
      if (text !== null) this.#file.drop("index", name);
      return;
    }
    if (text === sql) return;
    if (text !== null && sameTokens(text, sql)) {
      this.#file.setText("index", name, sql);
      return;
    }
    if (text !== null) this.#file.drop("index", name);
    if (!isUnique(sql)) return this.#file.create(object);
    let rows: RejectedRows | null = null;
    const from =
      this.#lineages.find((l) => l.to !== null && foldName(l.to) === foldName(tableName))?.from ?? tableName;
    try {
      createUniqueIndex(
        this.#db,
        sql,
        () => (rows = this.#rowsOf(tableName, from, tableName)),
        () => this.#dropTriggersOf(tableName),
      );
    } catch (error) {
      throw this.#file.failed(sql, error);
    }
    this.#file.note(object);
    if (rows !== null) this.#count(tableName, rows);
  }

  /** The application's come back with all that is missing. */
  #dropTriggersOf(table: string): void {
    this.#dropOwn(
      (t) => foldName(t) === foldName(table),
      (t) => t,
    );
    const sql = "SELECT name FROM main.sqlite_schema WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE";
    for (const [name] of queryOf(this.#db)(sql, table)) this.#file.drop("trigger", String(name));
  }
}

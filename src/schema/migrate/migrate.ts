/** Migrates a file to a new schema, with its rows. */
import { foldName } from "../../base/names.ts";
import type { DatabaseSync } from "node:sqlite";
import { assert } from "../../base/assert.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { readCatalogue } from "../catalogue.ts";
import { fillIndex, indexesOver } from "../fill-index.ts";
import { derivedIndexOf } from "../search-index.ts";
import { renameSteps } from "../diff/rename-steps.ts";
import type { ColumnOrigin, SchemaChange, SchemaState } from "../diff/change.ts";
import type { TableLineage } from "../diff/evolve.ts";
import { AlteredTables, type AlterResult } from "./alter-table.ts";
import { Indexes } from "./indexes.ts";
import { isRefusal, type KeptTable, Migration, type MigrationOptions } from "./migration.ts";
import { alone } from "./sqlite-schema-rows.ts";
import { dropTriggersAndViews } from "./triggers-and-views.ts";

export interface ApplyOptions extends MigrationOptions {
  /** The catalogue before the changes. Needed for a replica; the one of an app database is read. */
  readonly state?: SchemaState;
}

export interface AppliedTable {
  readonly from: string | null;
  readonly to: string | null;
  readonly columns: readonly ColumnOrigin[];
  /** "renamed": name only; "altered": no row was written, or columns were dropped in place; "rebuilt": every row was copied. */
  readonly method: "created" | "dropped" | AlterResult;
  /** Number of rows that constraints or UNIQUE indexes rejected. */
  readonly rejected: number;
}

export interface AppliedSchema {
  readonly state: SchemaState;
  readonly tables: readonly AppliedTable[];
  /** App database: tables without Marmot's triggers, all of which were dropped. The caller installs their capture again. */
  readonly reinstall: readonly string[];
}

/** In a write transaction of the caller, on a connection without foreign-key enforcement and without open statements. */
export function applySchemaChanges(
  db: DatabaseSync,
  changes: readonly SchemaChange[],
  options: ApplyOptions,
): AppliedSchema {
  assert(options.role === "app-db" || options.state !== undefined, "a replica's catalogue is given");
  const state = options.state ?? readCatalogue(queryOf(db));
  return alone(db, () => migrate(new Migration({ db, state, changes, options })));
}

function migrate(migration: Migration): AppliedSchema {
  const { file, lineages, tables, after } = migration;
  const kept = lineages.filter((l): l is KeptTable & TableLineage => l.from !== null && l.to !== null);
  const indexes = new Indexes(migration);
  dropTriggersAndViews(migration);
  indexes.dropUnwanted();
  for (const { from, to } of lineages)
    if (to === null) file.exec(`DROP TABLE main.${quoteIdentifier(from!)}`);
  for (const { from, to } of renameSteps(kept, () => file.freeName()))
    file.exec(`ALTER TABLE main.${quoteIdentifier(from)} RENAME TO ${quoteIdentifier(to)}`);
  const altered = new AlteredTables(migration, indexes);
  const methods: ReadonlyMap<TableLineage, AlterResult> = altered.alter(kept);
  const created = lineages.filter((l) => l.from === null);
  for (const { to } of created) {
    file.forget();
    file.create(tables.get(foldName(to!))!);
  }
  file.reload();
  indexes.create();
  file.reload();
  if (migration.isAppDb) {
    createViewsAndTriggers(migration);
    fillSearchIndexes(migration, created, methods);
    setVersions(migration);
    file.reorder(after.objects);
    file.reload();
  }
  return {
    state: after,
    tables: lineages.map((l) => ({
      ...l,
      method: l.from === null ? "created" : l.to === null ? "dropped" : methods.get(l)!,
      rejected: l.to === null ? 0 : migration.rejectedOf(l.to),
    })),
    reinstall: migration.uncaptured,
  };
}

function createViewsAndTriggers({ file, after }: Migration): void {
  for (const kind of ["view", "trigger"] as const)
    for (const object of after.objects) {
      if (object.kind !== kind) continue;
      const text = file.text(kind, object.name);
      if (text === object.sql) continue;
      if (text !== null) file.drop(kind, object.name);
      file.create(object);
    }
}

/** Fills the new ones, and those whose content was written while their triggers were absent. */
function fillSearchIndexes(
  { file, tables, after, rejectingTables }: Migration,
  created: readonly TableLineage[],
  methods: ReadonlyMap<TableLineage, AlterResult>,
): void {
  const fill = (name: string): void =>
    fillIndex((sql) => file.exec(sql), derivedIndexOf(tables.get(foldName(name))!)!, after.objects);
  const fresh = created.flatMap(({ to }) => {
    const index = derivedIndexOf(tables.get(foldName(to!))!);
    return index === null ? [] : [index.name];
  });
  for (const name of fresh) fill(name);
  const written = new Set(rejectingTables);
  for (const [{ to }, method] of methods) if (method === "rebuilt") written.add(foldName(to!));
  for (const name of indexesOver(after.objects, written)) {
    if (fresh.includes(name)) continue;
    try {
      fill(name);
    } catch (error) {
      // The index names a column that its content no longer has: the application has to fix it.
      if (!isRefusal(error)) throw error;
    }
  }
}

function setVersions({ file, before, after }: Migration): void {
  const { userVersion, applicationId } = after;
  if (userVersion !== before.userVersion) file.exec(`PRAGMA main.user_version = ${userVersion}`);
  if (applicationId !== before.applicationId) file.exec(`PRAGMA main.application_id = ${applicationId}`);
}

/**
 * Applies a schema change to the replica, in the transaction of its entry: the tables, the catalogue, and the records about
 * rows of changed tables. Deterministic, except for records that belong to this node alone.
 */
import { HaltError } from "../../base/halt.ts";
import { foldName, isSameName } from "../../base/names.ts";
import { keyIdOf } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import type { RejectedRow } from "../../schema/diff/change.ts";
import type { SchemaEntry } from "../../schema/diff/schema-entry.ts";
import {
  addStandIns,
  GIVE_FUNCTIONS,
  requireWritable,
  type Unwritable,
  UnwritableError,
} from "../../schema/classify/writable.ts";
import { changeCatalogue, followTables } from "../../schema/diff/evolve.ts";
import { isVirtual } from "../../schema/virtual-tables.ts";
import { type AppliedSchema, applySchemaChanges } from "../../schema/migrate/migrate.ts";
import { missingCollation, missingFunction } from "../../sqlite/functions/stand-ins.ts";
import { foreignKeyTexts, forgetForeignKeys, indexForeignKeys } from "../references/foreign-key-indexes.ts";
import { readRouting, type RowRouting } from "../store/row-routing.ts";
import {
  emptyTable,
  type IncompleteTables,
  incompleteUnder,
  unwritableAmong,
  writeIncomplete,
} from "../store/incomplete-tables.ts";
import {
  type CatalogueObject,
  readObjectsOf,
  replicaObjects,
  readShapes,
  stateOf,
  writeObjects,
} from "../store/schema-store.ts";
import type { ReplicaSettings } from "../store/settings.ts";
import { raiseReplicaFormat } from "../store/used-formats.ts";
import { isSameImage } from "./image-map.ts";
import { journalLocalRejects, journalReject, type RejectedKey, SeenRows } from "./journal-rejects.ts";
import type { MigrationComponents, ReplicaSchema } from "./migration-components.ts";
import { rekeyRows, type UnreflectedRow, unreflectedRows } from "./rekeyed-rows.ts";
import { forgetTable, mapRecordedImages, sumRows } from "./row-metadata.ts";
import { mapTables, numberObjects, placesOf, type TableMapping } from "./table-mapping.ts";

interface ChangedSchema extends ReplicaSchema {
  readonly incomplete: IncompleteTables;
  readonly rejected: readonly RejectedKey[];
}

/** A schema change, as it was made and as it was received. */
interface SchemaProposal {
  readonly entry: SchemaEntry;
  readonly bytes: Uint8Array;
  /** The node that made it. */
  readonly peer: string;
}

/** The old and the new schema while records are adapted. */
interface Migration {
  readonly before: ReplicaSchema;
  readonly after: ReplicaSchema;
  readonly routingBefore: RowRouting;
  readonly routing: RowRouting;
  readonly keysBefore: ReadonlyMap<number, string>;
  readonly keysAfter: ReadonlyMap<number, string>;
  readonly tables: AppliedSchema["tables"];
  readonly unreflected: ReadonlyMap<number, readonly UnreflectedRow[]>;
  readonly hasRejects: boolean;
}

/** The entry stays where it is: with the functions, the node goes on from there. */
function needingFunctions<T>(apply: () => T): T {
  try {
    return apply();
  } catch (error) {
    if (error instanceof UnwritableError) throw lacking(error.message, error);
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
      const isMissing = missingFunction(cause) ?? missingCollation(cause);
      if (isMissing !== null)
        throw lacking(`a schema change of the cluster needs what this node lacks: ${cause.message}`, error);
    }
    throw error;
  }
}

const lacking = (reason: string, cause: unknown): HaltError =>
  new HaltError({ name: "functions-missing", reason, hint: GIVE_FUNCTIONS }, { cause });

/** Inside the entry's transaction. Yields between slices of rows; returns the schema that holds from now on. */
export function* changeSchema(
  before: ReplicaSchema,
  proposal: SchemaProposal,
  components: MigrationComponents,
): Generator<void, ChangedSchema> {
  const { entry } = proposal;
  const { db } = components;
  const { settings } = before;
  const objects = readObjectsOf(db);
  const routingBefore = readRouting(db, before.shapes, settings);
  const keysBefore = foreignKeyTexts(db, before.shapes);
  const shapeNamed = new Map(before.shapes.map((s) => [foldName(s.name), s]));
  const local = new Set(entry.local.map(foldName));
  const rejected: RejectedRow[] = [];
  const unreflected = unreflectedRows(before, entry, objects, components);
  const unwritable = prepareIncomplete(before, entry, objects, components);
  const applied = needingFunctions(() =>
    applySchemaChanges(db, entry.changes, {
      role: "replica",
      state: stateOf(objects, settings),
      replicates: (table) => !local.has(foldName(table)),
      rank: (table, key) => rankOf(shapeNamed.get(foldName(table)), key, components),
      rejected: (row) => void rejected.push(row),
    }),
  );
  const numbered = numberObjects(db, objects, applied, { before: shapeNamed, local });
  writeObjects(db, numbered);
  const shapes = readShapes(db);
  const incomplete = incompleteAfter(
    { objects, numbered, applied, shapes, unwritable, settings },
    components,
  );
  needingFunctions(() =>
    requireWritable(replicaObjects(numbered), (table) => incomplete.has(table.tableId ?? 0)),
  );
  const after = { settings: storeVersion(settings, applied, proposal, components), shapes };
  writeIncomplete(db, incomplete);
  if (entry.lost !== null) journalLocalRejects(entry.lost, components);
  const seen = new SeenRows(components);
  const rejectedKeys = rejected.flatMap((row): RejectedKey[] => {
    const shape = shapeNamed.get(foldName(row.from));
    return shape === undefined ? [] : [journalReject(shape, row, seen, components)];
  });
  yield* adaptRecords(
    {
      ...{ before, after, routingBefore, keysBefore, unreflected },
      routing: readRouting(db, after.shapes, after.settings),
      keysAfter: foreignKeyTexts(db, after.shapes),
      tables: applied.tables,
      hasRejects: rejected.length > 0,
    },
    components,
  );
  indexForeignKeys(db, after.shapes);
  return { ...after, incomplete, rejected: rejectedKeys };
}

/**
 * Empties the tables that this SQLite cannot write under the new schema: nothing is evaluated for them. Returns these tables, by
 * their folded name in the new schema.
 */
function prepareIncomplete(
  { settings }: ReplicaSchema,
  { changes, local }: SchemaEntry,
  objects: readonly CatalogueObject[],
  { db, completion: { tables: incomplete } }: MigrationComponents,
): ReadonlyMap<string, readonly Unwritable[]> {
  const state = stateOf(objects, settings);
  const next = changeCatalogue(state, changes);
  const lineages = followTables(state, changes);
  const isLocal = new Set(local.map(foldName));
  const had = new Map(objects.map((o) => [foldName(o.name), o.tableId]));
  const formerOf = (name: string): string | null => {
    const lineage = lineages.find((l) => isSameName(l.to, name));
    return lineage === undefined ? name : lineage.from;
  };
  const replicated = next.objects.flatMap((o): CatalogueObject[] => {
    if (o.kind !== "table") return [];
    const former = formerOf(o.name);
    const id = former === null ? (isLocal.has(foldName(o.name)) ? null : 0) : had.get(foldName(former));
    return id === null || id === undefined || isVirtual(o) ? [] : [{ ...o, tableId: id }];
  });
  const indexes = next.objects.flatMap((o) => (o.kind === "index" ? [{ ...o, tableId: null }] : []));
  const wanted = replicaObjects([...replicated.filter((t) => t.tableId !== null), ...indexes]);
  const unwritable = unwritableAmong(wanted);
  if (unwritable.size === 0 && incomplete.size === 0) return unwritable;
  addStandIns(db, wanted);
  for (const { name, tableId } of replicated)
    if (tableId !== 0 && unwritable.has(foldName(name))) emptyTable(db, formerOf(name)!);
  return unwritable;
}

interface NumberedSchema {
  readonly objects: readonly CatalogueObject[];
  readonly numbered: readonly CatalogueObject[];
  readonly applied: AppliedSchema;
  readonly shapes: readonly TableShape[];
  readonly unwritable: ReadonlyMap<string, readonly Unwritable[]>;
  readonly settings: ReplicaSettings;
}

/** The tables without rows from now on. Throws `HaltError` where they would change rows of others. */
function incompleteAfter(
  { objects, numbered, applied, shapes, unwritable, settings }: NumberedSchema,
  { db, completion }: MigrationComponents,
): IncompleteTables {
  const { tables: incomplete } = completion;
  if (unwritable.size === 0 && incomplete.size === 0) return incomplete;
  const found = incompleteUnder(db, shapes, { unwritable, before: incomplete, settings });
  const ids = new Map(objects.map((o) => [foldName(o.name), o.tableId]));
  // The file keeps such a table as it is, under the id of its rows.
  const isRekeyed = (table: AppliedSchema["tables"][number]): boolean => {
    const id = numbered.find((o) => o.kind === "table" && isSameName(o.name, table.to))?.tableId ?? null;
    return (
      id !== null && table.from !== null && found?.has(id) === true && ids.get(foldName(table.from)) !== id
    );
  };
  if (completion.mayReceive() && found !== null && !applied.tables.some(isRekeyed)) return found;
  const reasons = [...unwritable].map(([name, why]) => `${name}: ${why.map((u) => u.reason).join("; ")}`);
  throw lacking(
    `a schema change of the cluster needs functions that this node lacks: ${reasons.join("; ")}`,
    null,
  );
}

/** Of two rows that clash under the new schema, the one with the later write wins. */
function rankOf(
  shape: TableShape | undefined,
  key: Parameters<typeof keyIdOf>[1],
  { keyPositions }: MigrationComponents,
): number {
  return shape === undefined ? 0 : (keyPositions.last(shape.id, keyIdOf(shape, key))?.index ?? 0);
}

/** The format of the replica that has schema changes. */
const SCHEMA_CHANGES_FORMAT = 3;

/** Stores the schema entry and the changed settings. Returns the settings that hold from now on. */
function storeVersion(
  settings: ReplicaSettings,
  { state: { userVersion, applicationId } }: AppliedSchema,
  { peer, bytes }: SchemaProposal,
  { db }: MigrationComponents,
): ReplicaSettings {
  const schemaVersion = settings.schemaVersion + 1;
  const set = db.prepare(`INSERT OR REPLACE INTO "__marmot__setting" VALUES(?, ?)`);
  raiseReplicaFormat(db, SCHEMA_CHANGES_FORMAT);
  for (const [name, value] of [
    ["schema_version", schemaVersion],
    ["user_version", userVersion],
    ["application_id", applicationId],
  ] as const)
    set.run(name, BigInt(value));
  db.prepare(`INSERT INTO "__marmot__schema" VALUES(?, ?, ?)`).run(schemaVersion, peer, bytes);
  return { ...settings, schemaVersion, userVersion, applicationId };
}

/** Adapts the records about rows to the new tables. */
function* adaptRecords(migration: Migration, components: MigrationComponents): Generator<void, void> {
  const { before, after, tables } = migration;
  const known = new Set(before.shapes.map((s) => s.id));
  for (const shape of after.shapes) {
    if (known.has(shape.id)) continue;
    stampVersion(shape.id, migration, components);
    // A new table id may have rows: those of a table whose key changed.
    yield* sumAgain(shape, migration, components);
  }
  for (const mapping of mapTables(before.shapes, after.shapes, tables))
    yield* adaptTable(mapping, migration, components);
}

/** Adapts the records about rows of one table of the old schema. */
function* adaptTable(
  mapping: TableMapping,
  migration: Migration,
  components: MigrationComponents,
): Generator<void, void> {
  const { routingBefore, routing, keysBefore, keysAfter, hasRejects } = migration;
  const { settings } = migration.before;
  const { before, after, places } = mapping;
  const same = after !== null && isSameImage(before, after, places);
  const rerouted = after !== null && routingBefore.routeOf(before) !== routing.routeOf(after);
  if (!same || rerouted) stampVersion(before.id, migration, components);
  // Where transactions are whole, one watermark per change log covers all shards.
  if (rerouted && settings.transactions === "row")
    components.origins.levelWatermarks(before.id, settings.shards);
  if (keysBefore.get(before.id) !== keysAfter.get(before.id)) forgetForeignKeys(components.db, before.id);
  if (after === null) {
    rekeyTable(before, migration, components);
    forgetTable(before.id, components);
    return;
  }
  if (!same) mapRecordedImages(after, places, components);
  if (!same || rerouted || hasRejects) yield* sumAgain(after, migration, components);
}

/** A table of the old schema has no successor with its key: carries its before images over to the table with the new key. */
function rekeyTable(
  before: TableShape,
  { after, tables, unreflected }: Migration,
  components: MigrationComponents,
): void {
  const table = tables.find((t) => isSameName(t.from, before.name));
  const renamed = after.shapes.find((s) => isSameName(s.name, table?.to));
  if (renamed !== undefined)
    rekeyRows(renamed, placesOf(before, renamed, table), unreflected.get(before.id) ?? [], components);
}

/** Records that rows of the table changed their shape or shard with this schema version. */
function stampVersion(table: number, { after }: Migration, { db }: MigrationComponents): void {
  db.prepare(`INSERT OR REPLACE INTO "__marmot__table_version" VALUES(?, ?)`).run(
    table,
    after.settings.schemaVersion,
  );
}

/** Computes the checksums of a table again: its rows have other images, or other shards. */
function* sumAgain(
  shape: TableShape,
  { routing, before }: Migration,
  { db, checksums }: MigrationComponents,
): Generator<void, void> {
  checksums.forget(shape.id);
  const source = { db, routing, encoding: before.settings.encoding };
  for (const _rows of sumRows(shape, source, checksums)) yield;
}

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
import { GIVE_FUNCTIONS, requireWritable, UnwritableError } from "../../schema/classify/writable.ts";
import { type AppliedSchema, applySchemaChanges } from "../../schema/migrate/migrate.ts";
import { missingCollation, missingFunction } from "../../sqlite/functions/stand-ins.ts";
import { foreignKeyTexts, forgetForeignKeys, indexForeignKeys } from "../references/foreign-key-indexes.ts";
import { readRouting, type RowRouting } from "../store/row-routing.ts";
import { readObjectsOf, replicaObjects, readShapes, stateOf, writeObjects } from "../store/schema-store.ts";
import type { ReplicaSettings } from "../store/settings.ts";
import { raiseReplicaFormat } from "../store/used-formats.ts";
import { isSameImage } from "./image-map.ts";
import { journalLocalRejects, journalReject, type RejectedKey, SeenRows } from "./journal-rejects.ts";
import type { MigrationComponents, ReplicaSchema } from "./migration-components.ts";
import { rekeyRows, type UnreflectedRow, unreflectedRows } from "./rekeyed-rows.ts";
import { forgetTable, mapRecordedImages, sumRows } from "./row-metadata.ts";
import { mapTables, numberObjects, placesOf, type TableMapping } from "./table-mapping.ts";

interface ChangedSchema extends ReplicaSchema {
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
  needingFunctions(() => requireWritable(replicaObjects(numbered)));
  writeObjects(db, numbered);
  const after = { settings: storeVersion(settings, applied, proposal, components), shapes: readShapes(db) };
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
  return { ...after, rejected: rejectedKeys };
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

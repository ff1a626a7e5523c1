/**
 * A change of the schema takes effect in the replica, in the transaction of its entry: the tables, the catalogue, and all
 * that the replica keeps about rows of tables that are another thing now. Deterministic but for what is this node's own.
 */
import type { DatabaseSync } from "node:sqlite";
import { foldName, isSameName } from "../../base/names.ts";
import type { ChangedRows } from "../../change/changed-rows.ts";
import { type KeyId, keyIdOf } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import { applySchemaChanges } from "../../schema/migrate/migrate.ts";
import type { RejectedRow } from "../../schema/diff/change.ts";
import { readForeignKeys } from "../../schema/foreign-keys.ts";
import type { SchemaEntry } from "../../schema/diff/schema-entry.ts";
import { queryOf } from "../../sqlite/query.ts";
import type { ChangesetContext, LastWrite } from "../apply/row-applier.ts";
import type { RowidCollisions } from "../apply/rowid-collisions.ts";
import { carryRows, forgetTable, nameAnew, sumAnew, unseenRows } from "./row-metadata.ts";
import type { Checksums } from "../apply/checksums.ts";
import { foreignKeyTexts, forgetForeignKeys, indexForeignKeys } from "../references/checked-foreign-key.ts";
import { isSameImage } from "./image-map.ts";
import type { Journal } from "../conflicts/journal.ts";
import { type RejectedKey, noteRejected, noteLost, SeenRows } from "./journal-rejects.ts";
import type { Origins } from "../order/origins.ts";
import type { References } from "../apply/before-images.ts";
import { readRouting } from "../store/row-routing.ts";
import { readObjectsOf, readShapes, stateOf, writeObjects } from "../store/schema-store.ts";
import type { ReplicaSettings } from "../store/settings.ts";
import { mapTables, numberObjects } from "./table-mapping.ts";
import { REPLICA_FORMAT } from "../store/tables.ts";

export interface SchemaChangeComponents {
  readonly journal: Journal;
  readonly references: References;
  readonly checksums: Checksums;
  readonly changed: ChangedRows;
  readonly births: RowidCollisions;
  readonly origins: Origins;
  readonly last: (table: number, keyId: KeyId) => LastWrite | null;
}

/** How the replica stands before an entry, and after it. */
export interface ReplicaSchema {
  readonly settings: ReplicaSettings;
  readonly shapes: readonly TableShape[];
}

export interface ChangedSchema extends ReplicaSchema {
  readonly rejected: readonly RejectedKey[];
}

/** Inside the entry's transaction. `peer`: who made it. Yields now and then; returns what holds from now on. */
export function* changeSchema(
  db: DatabaseSync,
  before: ReplicaSchema,
  entry: SchemaEntry,
  peer: string,
  bytes: Uint8Array,
  context: ChangesetContext,
  components: SchemaChangeComponents,
): Generator<void, ChangedSchema> {
  const { settings } = before;
  const objects = readObjectsOf(db);
  const routingBefore = readRouting(db, before.shapes, settings);
  const keysBefore = foreignKeyTexts(db, before.shapes);
  const shapeNamed = new Map(before.shapes.map((s) => [foldName(s.name), s]));
  const local = new Set(entry.local.map(foldName));
  const rejected: RejectedRow[] = [];
  const unseen = unseenRows(db, before, entry, objects, components);
  const applied = applySchemaChanges(db, entry.changes, {
    role: "replica",
    state: stateOf(objects, settings),
    replicates: (table) => !local.has(foldName(table)),
    rank: (table, key) => rankOf(shapeNamed.get(foldName(table)), key, components),
    rejected: (row) => void rejected.push(row),
  });
  const version = settings.schemaVersion + 1;
  const next = numberObjects(db, objects, applied.state, applied.tables, { before: shapeNamed, local });
  writeObjects(db, next);
  const set = db.prepare(`INSERT OR REPLACE INTO "__marmot__setting" VALUES(?, ?)`);
  const { userVersion, applicationId } = applied.state;
  for (const [name, value] of [
    ["format", REPLICA_FORMAT],
    ["schema_version", version],
    ["user_version", userVersion],
    ["application_id", applicationId],
  ] as const)
    set.run(name, BigInt(value));
  db.prepare(`INSERT INTO "__marmot__schema" VALUES(?, ?, ?)`).run(version, peer, bytes);
  const after: ReplicaSchema = {
    settings: { ...settings, schemaVersion: version, userVersion, applicationId },
    shapes: readShapes(db),
  };
  if (entry.lost !== null) noteLost(entry.lost, context, components);
  const seen = new SeenRows(db, context, components.last);
  const rejectedKeys = rejected.flatMap((row): RejectedKey[] => {
    const shape = shapeNamed.get(foldName(row.from));
    return shape === undefined ? [] : [noteRejected(db, shape, row, context, components, seen)];
  });
  const mappings = mapTables(before.shapes, after.shapes, applied.tables);
  const keysAfter = foreignKeyTexts(db, after.shapes);
  const routing = readRouting(db, after.shapes, after.settings);
  const stamp = db.prepare(`INSERT OR REPLACE INTO "__marmot__table_version" VALUES(?, ?)`);
  const known = new Set(before.shapes.map((s) => s.id));
  for (const shape of after.shapes) {
    if (known.has(shape.id)) continue;
    stamp.run(shape.id, version);
    // Not empty where the rows of a table are named anew.
    yield* sumAnew(db, shape, routing, settings, components.checksums);
  }
  for (const mapping of mappings) {
    const { id } = mapping.before;
    const same = mapping.after !== null && isSameImage(mapping.before, mapping.after, mapping.places);
    const moved =
      mapping.after !== null && routingBefore.wayOf(mapping.before) !== routing.wayOf(mapping.after);
    if (!same || moved) stamp.run(id, version);
    // Whole changesets have one watermark a log, whatever the shard.
    if (moved && settings.transactions === "row") components.origins.meet(id, settings.shards);
    if (keysBefore.get(id) !== keysAfter.get(id)) forgetForeignKeys(db, id);
    if (mapping.after === null) {
      const table = applied.tables.find((t) => isSameName(t.from, mapping.before.name));
      const named = after.shapes.find((s) => isSameName(s.name, table?.to));
      if (named !== undefined)
        nameAnew(db, mapping.before, named, table, unseen.get(id) ?? [], settings.encoding, components);
      forgetTable(db, id, components);
    }
    if (mapping.after !== null && !same) carryRows(db, mapping, mapping.after, settings.encoding, components);
    if (mapping.after !== null && (!same || moved || rejected.length > 0))
      yield* sumAnew(db, mapping.after, routing, settings, components.checksums);
  }
  indexForeignKeys(db, readForeignKeys(queryOf(db), after.shapes));
  return { ...after, rejected: rejectedKeys };
}

/** Of two rows that clash under the new schema the one written later in the order stays. */
function rankOf(
  shape: TableShape | undefined,
  key: Parameters<typeof keyIdOf>[1],
  { last }: SchemaChangeComponents,
): number {
  return shape === undefined ? 0 : (last(shape.id, keyIdOf(shape, key))?.index ?? 0);
}

/**
 * Applies the schema of the cluster to the application's file, rebases the application's own pending schema changes on it,
 * and adapts the capture triggers: one write transaction, so that a crash leaves all or nothing.
 */
import type { DatabaseSync } from "node:sqlite";
import { errorMessage, isDiskFull, UserError } from "../base/errors.ts";
import { foldName } from "../base/names.ts";
import { createReaderTriggers, dropReaderTriggers, isReaderFile } from "../capture/reader-triggers.ts";
import { writeRemembered } from "../capture/remembered.ts";
import type { PositionVector } from "../change/batch.ts";
import type { ChangeLogCursors } from "../change/change-log-cursor.ts";
import { type KeyId, keyIdOfImage } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import type { Value } from "../change/value.ts";
import { rejectedImage } from "../replica/migrate/journal-rejects.ts";
import { type CatalogueObject, stateOf } from "../replica/store/schema-store.ts";
import { knowSchema } from "../schema/catalogue.ts";
import { type AppliedTable, applySchemaChanges } from "../schema/migrate/migrate.ts";
import type { RejectedRow, SchemaChange, SchemaState } from "../schema/diff/change.ts";
import { compareCatalogues } from "../schema/diff/diff.ts";
import { changeCatalogue } from "../schema/diff/evolve.ts";
import { rebaseChanges, type Rebased } from "../schema/rebase/rebase.ts";
import { realTextTables } from "../schema/classify/real-texts.ts";
import { mergedReasons, unwritableTables, withCopy } from "../schema/classify/writable.ts";
import { dependentObjects } from "../schema/dependent-objects.ts";
import { isSelected } from "../schema/selection.ts";
import { withoutShadowTables } from "../schema/virtual-tables.ts";
import { isUniqueIndex, type SchemaObject } from "../sqlite/schema.ts";
import { queryOf } from "../sqlite/query.ts";
import { PendingKeys } from "../app-db/pending-keys.ts";
import {
  advanceRecorders,
  type AppDbSchema,
  type NameInFile,
  namesInFile,
  shapeInFile,
  without,
} from "./detect-change.ts";
import type { AppDbSession } from "../app-db/session.ts";
import { forgetRejects, keepRejectedRows, keepRejectedTable, nextRejects } from "./keep-rejects.ts";
import { rekeyedTables } from "./rekeyed-tables.ts";
import { hasColumns, type HeldTable, withHeld, withoutHeld } from "./tables-held-back.ts";
import { refillColumns } from "./refill-columns.ts";
import type { SchemaWorkspace, SchemaSyncComponents } from "./workspace.ts";

/** The file after it has the schema of the cluster. */
export interface AppliedSchema {
  readonly session: AppDbSession;
  /** Tables that are held back under this schema. */
  readonly held: readonly HeldTable[];
  /** The file also reflects the position of the replica. */
  readonly reflected: boolean;
}

/** Inside a write transaction, which it commits. Yields between steps while the transaction is open. */
export function* applyClusterSchema(
  workspace: SchemaWorkspace,
  position: PositionVector,
  previous: ChangeLogCursors,
): Generator<void, AppliedSchema> {
  const { connection, replica, peerId } = workspace.components;
  const { db } = connection;
  const appDb = workspace.read();
  const isReader = workspace.components.isReader?.() ?? isReaderFile(db);
  // Schema changes write rows with the triggers enabled.
  dropReaderTriggers(db);
  const objects = replica.catalogue();
  const onto = agreedSchema(workspace.components, appDb, objects);
  const rebased = rebase(workspace, appDb, onto);
  for (const { table, columns, reason } of rebased.rejected)
    if (table !== null) keepTableRejects(workspace, table, columns, reason);
  const before = shapesBefore(db, appDb);
  const pending = new PendingKeys(db, appDb.captured, replica.settings.encoding);
  const changed = changeFile(workspace, rebased, before, pending);
  const entries = replica.schemaEntriesAfter(appDb.remembered.version);
  for (const { peer, entry } of entries)
    // The conflict journal of the replica has these rows now.
    if (peer === peerId && entry.lost !== null) forgetRejects(db, entry.lost.id);
  const inFile = namesInFile(onto, rebased.changes);
  const toRestore = workspace.toRestore.all();
  const created = changed.tables.flatMap((t) => (t.method === "created" ? [foldName(t.to!)] : []));
  const isOwnChange = entries[0]?.peer === peerId;
  const { tables, unreconciled } = workspace.recapture(appDb, replica, {
    inFile,
    created: new Set(created),
    isOwnChange,
  });
  const { schemaVersion: version } = replica.settings;
  writeRemembered(db, { version, state: onto, tables, unreconciled });
  const reflected = readReflected(db, position.length);
  replica.recallChanges(reflected);
  // The replica applied its changes one by one. All of them at once may give a row other values.
  const isOneStep = rebased.changes.length === 0 && version === appDb.remembered.version + 1;
  // Columns that this node dropped and the cluster keeps are empty in this file.
  const mayDiffer = rebased.rejected.length > 0 || !isOneStep;
  const isMore =
    rebased.changes.length > 0 ||
    unreconciled.length > 0 ||
    nextRejects(db) !== null ||
    appDb.held.some((table) => !hasColumns(db, replica, table));
  markRowsToRestore(workspace, {
    ...{ objects, inFile, before, pending, applied: changed.tables, mayDiffer },
    ...{ reflected, isReflectedLater: isMore },
  });
  if (toRestore.size > 0) {
    const all = entries.flatMap(({ entry }) => entry.changes);
    const changes = withoutHeld(all, appDb.remembered.state, appDb.held);
    for (const [id, { had, keyBefore }] of rekeyedTables(appDb.remembered, changes, replica))
      workspace.toRestore.rename(id, toRestore.get(had) ?? [], keyBefore);
  }
  for (const { table, keyId } of changed.rejected) {
    const id = tables.get(table);
    if (id !== undefined) workspace.toRestore.note(id, keyId);
  }
  if (isReader) createReaderTriggers(db);
  const { held } = workspace.read();
  if (isMore) {
    const committed = connection.life.raise();
    db.exec("COMMIT");
    committed();
    return { session: workspace.openSession(null, previous, held), held, reflected: false };
  }
  const session = workspace.openSession(knowSchema(queryOf(db)), previous, held);
  yield* session.reflector.run(position, true);
  return { session, held, reflected: true };
}

/** The schema of the cluster without the tables that this file keeps to itself. Held tables stay as they were. */
function agreedSchema(
  components: SchemaSyncComponents,
  { ignored: kept, held, from }: AppDbSchema,
  objects: readonly CatalogueObject[],
): SchemaState {
  const { settings } = components.replica;
  const state = stateOf(objects, settings);
  // A local table keeps its name unless a replicated table of the cluster has that name.
  const agreed = new Set(objects.flatMap((o) => (o.tableId === null ? [] : [foldName(o.name)])));
  const ignored = new Set([...kept].filter((name) => !agreed.has(name)));
  const chosen = isSelected(settings.selection);
  for (const { kind, name, tableId } of objects)
    if (kind === "table" && tableId === null && !chosen(name)) ignored.add(foldName(name));
  const agreedNames = new Map(
    objects.flatMap((o) => (o.tableId === null ? [] : [[o.tableId, o.name] as const])),
  );
  const there = held.flatMap((t): HeldTable[] => {
    const name = agreedNames.get(t.id);
    return name === undefined ? [] : [{ ...t, name }];
  });
  const objectsHere = withoutIndexes(components, withoutShadowTables(state.objects));
  const present = { ...state, objects: withoutDependent(objectsHere, from, there) };
  return without(withHeld(present, from, there), ignored);
}

/** Without views and triggers that need a table which this file does not have yet. */
function withoutDependent(
  objects: readonly SchemaObject[],
  from: SchemaState,
  held: readonly HeldTable[],
): readonly SchemaObject[] {
  const had = new Set(from.objects.map((o) => foldName(o.name)));
  const absent = new Set(held.flatMap((t) => (had.has(foldName(t.remembered)) ? [] : [foldName(t.name)])));
  const dependent = dependentObjects(objects, absent);
  return objects.filter((o) => !dependent.includes(o));
}

/**
 * Without indexes that this node cannot write, or not as its application does: a table can do without one that is not UNIQUE.
 */
function withoutIndexes(
  { connection, applicationVersion }: SchemaSyncComponents,
  objects: readonly SchemaObject[],
): SchemaObject[] {
  const query = queryOf(connection.db);
  const unwritable = withCopy(objects, (copy) =>
    mergedReasons(unwritableTables(copy), realTextTables(query, copy, applicationVersion?.() ?? null)),
  );
  const left = new Set([...unwritable.values()].flat().flatMap(({ index }) => index ?? []));
  return objects.filter((o) => o.kind !== "index" || !left.has(o.name) || isUniqueIndex(o));
}

/** The file has replicated tables in an older form than the cluster, since it could not write their newer one. */
export function isBehind(components: SchemaSyncComponents, appDb: AppDbSchema): boolean {
  const objects = components.replica.catalogue();
  const replicated = new Set(objects.flatMap((o) => (o.tableId === null ? [] : [foldName(o.name)])));
  const texts = (state: SchemaState): string =>
    JSON.stringify(
      state.objects
        .filter((o) => o.kind === "table" || o.kind === "index")
        .flatMap((o) => (replicated.has(foldName(o.tableName)) ? [`${o.kind} ${o.name} ${o.sql}`] : []))
        .sort(),
    );
  return texts(agreedSchema(components, appDb, objects)) !== texts(appDb.from);
}

/** Rebases the application's schema changes on the schema of the cluster. */
function rebase(
  { components }: SchemaWorkspace,
  { remembered, from, now, recorders, changes, held }: AppDbSchema,
  onto: SchemaState,
): Rebased {
  const { replica, peerId, logger } = components;
  const [first, ...rest] = replica.schemaEntriesAfter(remembered.version);
  let base = from;
  let pending: readonly SchemaChange[] = changes;
  let theirs = [first, ...rest].flatMap((e) => e?.entry.changes ?? []);
  if (first?.peer === peerId) {
    // The file has this node's own change already; only later changes of the file are pending.
    base = changeCatalogue(from, first.entry.changes);
    pending = compareCatalogues(base, now, advanceRecorders(recorders, from, first.entry.changes));
    theirs = rest.flatMap((e) => e.entry.changes);
  }
  const rebased = rebaseChanges({ base, pending, onto, theirs: withoutHeld(theirs, base, held) });
  for (const { change, reason } of rebased.rejected)
    logger.event(
      "schema",
      `a schema change of this node was rejected: ${reason}`,
      { change: JSON.stringify(change), reason },
      "warn",
    );
  return rebased;
}

function keepTableRejects(
  { components }: SchemaWorkspace,
  table: string,
  columns: readonly string[] | null,
  reason: string,
): void {
  const { connection, replica, rejectsFile: file, logger } = components;
  const { encoding, schemaVersion: version } = replica.settings;
  const saved = keepRejectedTable(connection.db, { table, columns, reason, encoding, file, version });
  if (saved !== null)
    logger.warn(
      "all rows of a table were rejected, and are too many for the journal: they are saved in a file",
      {
        ...{ table, rows: saved.rows, reason, file, as: saved.name },
      },
    );
}

interface ChangedFile {
  readonly tables: readonly AppliedTable[];
  /** Rows that the new schema rejects. `table`: the name of the table afterwards. */
  readonly rejected: readonly { readonly table: string; readonly keyId: KeyId }[];
}

/** Changes the schema and the rows of the file. Unacknowledged changes of rejected rows are kept for the journal. */
function changeFile(
  { components }: SchemaWorkspace,
  { appDb: changes }: Rebased,
  before: ReadonlyMap<string, TableShape>,
  pending: PendingKeys,
): ChangedFile {
  if (changes.length === 0) return { tables: [], rejected: [] };
  const { connection, replica } = components;
  const { db } = connection;
  const rejected: { table: string; keyId: KeyId }[] = [];
  const lost: { table: string; columns: readonly string[]; reason: string; values: readonly Value[] }[] = [];
  const given = new Map<TableShape, Set<KeyId>>();
  const leave = (row: RejectedRow): void => {
    const shape = before.get(foldName(row.from));
    if (shape === undefined) return;
    const keyId = keyIdOfImage(shape, rejectedImage(shape, row));
    rejected.push({ table: row.table, keyId });
    const { id } = shape;
    // The replica itself rejected and journalled the changes that are already ordered.
    if (pending.newestOf(shape, keyId) <= (replica.shapes.has(id) ? replica.watermark(id, keyId) : 0)) return;
    // The journal keeps the rejected change. Its absence here is no delete: the row of the cluster is restored.
    lost.push({ table: row.from, columns: row.columns, reason: row.reason, values: row.values });
    given.set(shape, (given.get(shape) ?? new Set()).add(keyId));
  };
  const rank = (table: string, key: readonly Value[]): number =>
    pending.newest(before.get(foldName(table)), key);
  const { tables } = asApplication(components, () =>
    applySchemaChanges(db, changes, { role: "app-db", rank, rejected: leave }),
  );
  for (const [shape, keyIds] of given) pending.forget(shape, keyIds);
  keepRejectedRows(db, lost);
  return { tables, rejected };
}

/** Changes the schema of the file with its triggers enabled. Throws `UserError` if this file does not accept the change. */
function asApplication<T>({ file, connection, replica }: SchemaSyncComponents, change: () => T): T {
  try {
    return connection.triggers.asApplication(change);
  } catch (cause) {
    if (isDiskFull(cause)) throw cause;
    throw new UserError(
      `version ${replica.settings.schemaVersion} of the cluster's schema cannot be applied to ${file}: ${errorMessage(cause)}`,
      "rename or drop the object that is in its place, and start the node again; no data is lost",
      { cause },
    );
  }
}

interface MarkOptions {
  readonly objects: readonly CatalogueObject[];
  readonly inFile: NameInFile;
  readonly before: ReadonlyMap<string, TableShape>;
  readonly applied: readonly AppliedTable[];
  /** Rows of changed tables may have other values than the replica. */
  readonly mayDiffer: boolean;
  readonly pending: PendingKeys;
  readonly reflected: PositionVector;
  /** The reflection follows in a later transaction. */
  readonly isReflectedLater: boolean;
}

/** Marks rows and values that differ from the replica although no application wrote them. */
function markRowsToRestore(
  { components, toRestore }: SchemaWorkspace,
  { objects, inFile, before, applied, mayDiffer, pending, reflected, isReflectedLater }: MarkOptions,
): void {
  const { connection, replica } = components;
  const { db, triggers } = connection;
  const byName = new Map(applied.flatMap((t) => (t.to === null ? [] : [[foldName(t.to), t] as const])));
  const replicated = objects.flatMap((object) => {
    const here = object.tableId === null ? null : inFile(object);
    return here === null ? [] : [{ object, id: object.tableId!, here }];
  });
  triggers.replicate(replicated.map(({ here }) => here.name));
  for (const { object, id, here } of replicated) {
    const table = byName.get(foldName(here.name));
    if (table === undefined) continue;
    const isEmpty = table.method === "created";
    if (isEmpty || mayDiffer) toRestore.noteTable(id, isEmpty);
    const had = mayDiffer && !isEmpty ? before.get(foldName(table.from!)) : undefined;
    const shape = had?.id === id ? shapeInFile(db, here.name, id) : null;
    if (had === undefined || shape === null) continue;
    const empty = table.columns.flatMap(([column, from]) => (from === null ? [column] : []));
    // The reflection writes the other rows as the replica has them.
    const only = isReflectedLater ? null : pending.keys(had);
    refillColumns({ db, triggers, replica, reflected }, { object, inFile: here, table: shape, empty, only });
  }
}

/** The current shapes of the captured tables in the file, by name in lower case. */
function shapesBefore(db: DatabaseSync, { captured, remembered }: AppDbSchema): Map<string, TableShape> {
  const ids = new Set(remembered.tables.values());
  const shapes = new Map<string, TableShape>();
  for (const { id, name } of captured) {
    const shape = ids.has(id) ? shapeInFile(db, name, id) : null;
    if (shape !== null) shapes.set(foldName(name), shape);
  }
  return shapes;
}

/** The position that the file reflects, by shard. */
function readReflected(db: DatabaseSync, shards: number): number[] {
  const reflected = Array.from({ length: shards }, () => 0);
  const rows = db.prepare(`SELECT "name", "value" FROM "__marmot__status" WHERE "item" = 'shard'`).all();
  for (const { name, value } of rows as { name: string; value: number }[]) reflected[Number(name)] = value;
  return reflected;
}

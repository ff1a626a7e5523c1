/**
 * The application's file is brought to the cluster's schema, with what the application changed beyond it on top, and capture
 * follows: one write transaction, of which a crash leaves all or nothing.
 */
import type { DatabaseSync } from "node:sqlite";
import { errorMessage, isDiskFull, UserError } from "../base/errors.ts";
import { foldName } from "../base/names.ts";
import { writeRemembered } from "../capture/remembered.ts";
import type { PositionVector } from "../change/batch.ts";
import { type KeyId, keyIdOfImage } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import type { Value } from "../change/value.ts";
import type { Acknowledgement } from "../reflect/reflector.ts";
import { rejectedImage } from "../replica/migrate/journal-rejects.ts";
import { type CatalogueObject, stateOf } from "../replica/store/schema-store.ts";
import type { ReplicaSettings } from "../replica/store/settings.ts";
import { knowSchema } from "../schema/catalogue.ts";
import { type AppliedTable, applySchemaChanges } from "../schema/migrate/migrate.ts";
import type { RejectedRow, SchemaChange, SchemaState } from "../schema/diff/change.ts";
import { compareCatalogues } from "../schema/diff/diff.ts";
import { changeCatalogue } from "../schema/diff/evolve.ts";
import { rebaseChanges, type Rebased } from "../schema/rebase/rebase.ts";
import { isSelected } from "../schema/selection.ts";
import { withoutShadowTables } from "../schema/virtual-tables.ts";
import { queryOf } from "../sqlite/query.ts";
import { PendingKeys } from "../app-db/pending-keys.ts";
import {
  advanceRecorders,
  type AppDbSchema,
  type HeldTable,
  type NameInFile,
  namesInFile,
  shapeInFile,
  withHeld,
  without,
} from "./detect-change.ts";
import type { AppDbSession } from "../app-db/session.ts";
import { forgetLost, keepRejected, keepTable, nextLost } from "./keep-rejects.ts";
import { renumberedTables } from "./rekeyed-tables.ts";
import { fillReturned } from "./refill-columns.ts";
import type { SchemaFile, SchemaStepsComponents } from "./workspace.ts";

/** What the file is once it has the cluster's schema. */
export interface Followed {
  readonly session: AppDbSession;
  /** It shows what the replica holds, too. */
  readonly reflected: boolean;
}

/** Inside a write transaction, which it commits. Yields now and then while that is open. */
export function* followSchema(
  file: SchemaFile,
  position: PositionVector,
  acknowledgement: Acknowledgement,
): Generator<void, Followed> {
  const { connection, replica, peerId } = file.components;
  const { db } = connection;
  const appDb = file.read();
  const objects = replica.catalogue();
  const onto = agreedSchema(appDb, objects, replica.settings);
  const rebased = rebase(file, appDb, onto);
  for (const { table, columns, reason } of rebased.rejected)
    if (table !== null) keepLostTable(file, table, columns, reason);
  const before = shapesBefore(db, appDb);
  const pending = new PendingKeys(db, appDb.captured, replica.settings.encoding);
  const changed = changeFile(file, rebased, before, pending);
  const entries = replica.schemaEntriesAfter(appDb.remembered.version);
  for (const { peer, entry } of entries)
    // The replica's journal has it by now.
    if (peer === peerId && entry.lost !== null) forgetLost(db, entry.lost.id);
  const inFile = namesInFile(onto, rebased.changes);
  const awaited = file.awaited.all();
  const created = changed.tables.flatMap((t) => (t.method === "created" ? [foldName(t.to!)] : []));
  const stands = entries[0]?.peer === peerId;
  const { tables, unreconciled } = file.recapture(appDb, replica, inFile, new Set(created), stands);
  const { schemaVersion: version } = replica.settings;
  writeRemembered(db, { version, state: onto, tables, unreconciled });
  const reflected = readReflected(db, position.length);
  replica.recallChanges(reflected);
  // The replica took its changes one after the other: what one gave and the next would not is not what all at once give.
  const isOneStep = rebased.changes.length === 0 && version === appDb.remembered.version + 1;
  // What this node dropped and gets back, a column or more, is empty here.
  const mayDiffer = rebased.rejected.length > 0 || !isOneStep;
  const isMore = rebased.changes.length > 0 || unreconciled.length > 0 || nextLost(db) !== null;
  showAnew(file, {
    ...{ objects, inFile, before, pending, applied: changed.tables, mayDiffer },
    ...{ reflected, isReflectedLater: isMore },
  });
  if (awaited.size > 0) {
    const changes = entries.flatMap(({ entry }) => entry.changes);
    for (const [id, { had, keyBefore }] of renumberedTables(appDb.remembered, changes, replica))
      file.awaited.rename(id, awaited.get(had) ?? [], keyBefore);
  }
  for (const { table, keyId } of changed.rejected) {
    const id = tables.get(table);
    if (id !== undefined) file.awaited.note(id, keyId);
  }
  if (isMore) {
    db.exec("COMMIT");
    return { session: file.openSession(null, appDb.held), reflected: false };
  }
  const session = file.openSession(knowSchema(queryOf(db)), appDb.held);
  yield* session.reflector.run(position, acknowledgement, true);
  return { session, reflected: true };
}

/** The cluster's schema as this file is to have it: held tables stay as they were. */
function agreedSchema(
  { ignored: kept, held, from }: AppDbSchema,
  objects: readonly CatalogueObject[],
  settings: ReplicaSettings,
): SchemaState {
  const state = stateOf(objects, settings);
  // A table that stays here for what it is gives way to nobody: another of its name cannot be made.
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
  return without(withHeld({ ...state, objects: withoutShadowTables(state.objects) }, from, there), ignored);
}

/** What the application changed, on top of what the cluster decided. */
function rebase(
  { components }: SchemaFile,
  { remembered, from, now, recorders, changes }: AppDbSchema,
  onto: SchemaState,
): Rebased {
  const { replica, peerId, logger } = components;
  const [first, ...rest] = replica.schemaEntriesAfter(remembered.version);
  let base = from;
  let pending: readonly SchemaChange[] = changes;
  let theirs = [first, ...rest].flatMap((e) => e?.entry.changes ?? []);
  if (first?.peer === peerId) {
    // This node's own change is in the file already: what the file has beyond it is what is pending.
    base = changeCatalogue(from, first.entry.changes);
    pending = compareCatalogues(base, now, advanceRecorders(recorders, from, first.entry.changes));
    theirs = rest.flatMap((e) => e.entry.changes);
  }
  const rebased = rebaseChanges({ base, pending, onto, theirs });
  for (const { change, reason } of rebased.rejected)
    logger.warn("a schema change of this node does not stand", { change: JSON.stringify(change), reason });
  return rebased;
}

function keepLostTable(
  { components }: SchemaFile,
  table: string,
  columns: readonly string[] | null,
  reason: string,
): void {
  const { connection, replica, lostFile: file, logger } = components;
  const { encoding, schemaVersion: version } = replica.settings;
  const saved = keepTable(connection.db, { table, columns, reason, encoding, file, version });
  if (saved !== null)
    logger.warn("a table's rows do not stand, and are too many for the journal: all of them are in a file", {
      ...{ table, rows: saved.rows, reason, file, as: saved.name },
    });
}

interface ChangedFile {
  readonly tables: readonly AppliedTable[];
  /** Rows that there was no room for. `table`: its name afterwards. */
  readonly rejected: readonly { readonly table: string; readonly keyId: KeyId }[];
}

/** The file's schema, and its rows. What was pending of rows that leave is kept for the journal. */
function changeFile(
  { components }: SchemaFile,
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
    // What is ordered already, the replica itself has judged and journalled.
    if (pending.newestOf(shape, keyId) <= (replica.shapes.has(id) ? replica.watermark(id, keyId) : 0)) return;
    // The journal keeps it. That it is gone here is no delete: what the others have of the row comes back.
    lost.push({ table: row.from, columns: row.columns, reason: row.reason, values: row.values });
    given.set(shape, (given.get(shape) ?? new Set()).add(keyId));
  };
  const rank = (table: string, key: readonly Value[]): number =>
    pending.newest(before.get(foldName(table)), key);
  const { tables } = asApplication(components, () =>
    applySchemaChanges(db, changes, { role: "app-db", rank, rejected: leave }),
  );
  for (const [shape, keyIds] of given) pending.forget(shape, keyIds);
  keepRejected(db, lost);
  return { tables, rejected };
}

/** Changes the file's schema, with no trigger silenced. Throws `UserError` for what this file cannot take. */
function asApplication<T>({ file, connection, replica }: SchemaStepsComponents, change: () => T): T {
  try {
    return connection.triggers.asApplication(change);
  } catch (cause) {
    if (isDiskFull(cause)) throw cause;
    throw new UserError(
      `version ${replica.settings.schemaVersion} of the cluster's schema cannot be made in ${file}: ${errorMessage(cause)}`,
      "rename or drop what this file has in its place, and start the node again; it then goes on from here, and nothing is lost",
      { cause },
    );
  }
}

interface ShowAnewOptions {
  readonly objects: readonly CatalogueObject[];
  readonly inFile: NameInFile;
  readonly before: ReadonlyMap<string, TableShape>;
  readonly applied: readonly AppliedTable[];
  /** Rows of tables that changed may hold other values than the replica's. */
  readonly mayDiffer: boolean;
  readonly pending: PendingKeys;
  readonly reflected: PositionVector;
  /** Not in this transaction. */
  readonly isReflectedLater: boolean;
}

/** Tables of which rows, or values of them, are not what the replica has, though nobody wrote them. */
function showAnew(
  { components, awaited }: SchemaFile,
  { objects, inFile, before, applied, mayDiffer, pending, reflected, isReflectedLater }: ShowAnewOptions,
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
    if (isEmpty || mayDiffer) awaited.noteTable(id, isEmpty);
    const had = mayDiffer && !isEmpty ? before.get(foldName(table.from!)) : undefined;
    const shape = had?.id === id ? shapeInFile(db, here.name, id) : null;
    if (had === undefined || shape === null) continue;
    const empty = table.columns.flatMap(([column, from]) => (from === null ? [column] : []));
    // Others are shown as the replica has them.
    const only = isReflectedLater ? null : pending.keys(had);
    fillReturned({ db, triggers, replica, reflected }, { object, inFile: here, table: shape, empty, only });
  }
}

/** The captured tables' shapes in the file as it is, by name in lower case. */
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

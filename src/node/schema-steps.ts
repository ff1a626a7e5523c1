/**
 * What is done to the application's file when its schema or the cluster's changed. Each step leaves the file whole, so
 * that a crash after any of them goes on with the next:
 *
 * 1. The application's own change is proposed with the rows that were written under it (`own`), alone in flight.
 * 2. When the replica's schema is another than the file last reflected, the file's is brought to it, with what the
 *    application changed beyond it on top; capture follows; all in one transaction (`follow`).
 * 3. Tables that were written while nothing captured them are compared with the replica; what differs gets log rows
 *    (`compare`).
 *
 * In between nothing is drained and nothing reflected.
 */
import type { DatabaseSync } from "node:sqlite";
import { foldName } from "../base/names.ts";
import { assert } from "../base/assert.ts";
import { errorMessage, isDiskFull, UserError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { bytesEqual } from "../base/bytes.ts";
import { type CapturedTable, readCaptured } from "../capture/install.ts";
import { recapture, uncapture, type WantedCapture } from "../capture/recapture.ts";
import { readRemembered, type RememberedSchema, writeRemembered } from "../capture/remembered.ts";
import type { PositionVector } from "../change/batch.ts";
import { type KeyId, keyIdOf } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import type { Value } from "../change/value.ts";
import type { BlockPlace } from "../reflect/id-blocks.ts";
import { isBusy, type LiveConnection } from "../reflect/live-connection.ts";
import type { Acknowledgement } from "../reflect/reflector.ts";
import { openReplica } from "../replica/open.ts";
import type { Replica } from "../replica/replica.ts";
import type { CatalogueObject } from "../replica/schema.ts";
import { stateOf } from "../replica/schema-change.ts";
import { type KnownSchema, knowSchema, readCatalogue } from "../schema/catalogue.ts";
import { applySchemaChanges } from "../schema/changes/apply.ts";
import type { SchemaChange, SchemaState } from "../schema/changes/change.ts";
import { compareCatalogues } from "../schema/changes/compare.ts";
import { changeCatalogue } from "../schema/changes/follow.ts";
import { rebaseChanges, type Rebased } from "../schema/changes/rebase.ts";
import { withoutShadows } from "../schema/changes/shadows.ts";
import { encodeSchemaEntry } from "../schema/schema-entry.ts";
import { tableNames } from "../sqlite/has.ts";
import { LOCKED_MS } from "../sqlite/locked.ts";
import { openDatabase } from "../sqlite/open.ts";
import { queryOf } from "../sqlite/query.ts";
import { LivePending } from "./live-pending.ts";
import {
  advanceRecorders,
  type LiveSchema,
  type LocalTable,
  type NameInFile,
  namesInFile,
  readLiveSchema,
  shapeInFile,
  without,
} from "./live-schema.ts";
import { LiveSide } from "./live-side.ts";
import { forgetLost, keepLeftOut, keepTable, nextLost } from "./lost-rows.ts";
import { logDifferences, logKeys, snapshotOf, type Waits, writing } from "./uncompared.ts";

export interface SchemaStepsComponents {
  /** The application's file. */
  readonly file: string;
  readonly replicaFile: string;
  /** Where rows go that do not stand and are too many for the journal. */
  readonly lostFile: string;
  readonly peerId: string;
  readonly connection: LiveConnection;
  readonly replica: Replica;
  /** This node's blocks of ids; null: unknown yet. */
  readonly place: () => BlockPlace | null;
  readonly logger: Logger;
}

/** What has to be done before anything is drained or reflected. */
export type SchemaLook =
  | { readonly due: "nothing" | "follow" | "compare" }
  | { readonly due: "own"; readonly entry: Uint8Array }
  | { readonly due: "obstacle"; readonly reason: string };

export class SchemaSteps {
  readonly #components: SchemaStepsComponents;
  /** Tables that the application made and that cannot be replicated: they stay here. */
  local: readonly LocalTable[] = [];
  /** Tables that replicate and, as the application changed them, cannot any more. */
  refused: readonly LocalTable[] = [];
  /** By table id: rows that a change of others left no room for here, and that come back as the replica has them. */
  readonly #leftOut = new Map<number, Set<KeyId>>();

  constructor(components: SchemaStepsComponents) {
    this.#components = components;
    const { db } = components.connection;
    if (readRemembered(db) === null) this.#remember();
  }

  /** A file of format 1: no schema was ever changed in its cluster. */
  #remember(): void {
    const { connection, replica } = this.#components;
    const { db } = connection;
    const { schemaVersion } = replica.settings;
    const state = readCatalogue(queryOf(db));
    const tables = new Map([...replica.shapes.values()].map((s) => [s.name, s.id]));
    const { version } = db
      .prepare(`SELECT "value" AS version FROM "__marmot__meta" WHERE "name" = 'schema_version'`)
      .get() as { version: number };
    assert(version <= schemaVersion, "a file reflects no schema that its replica does not have");
    writeRemembered(db, { version, state, tables, uncompared: [] });
    db.exec(`UPDATE "__marmot__meta" SET "value" = 2 WHERE "name" = 'format'`);
  }

  #read(): LiveSchema {
    const { connection, replica, replicaFile } = this.#components;
    let opened: DatabaseSync | null = null;
    try {
      const schema = readLiveSchema(connection.db, replica.settings.selection, (sql, ...parameters) => {
        opened ??= openDatabase(replicaFile, { readOnly: true });
        return queryOf(opened)(sql, ...parameters);
      });
      assert(schema !== null, "a member's file is captured");
      return schema;
    } finally {
      (opened as DatabaseSync | null)?.close();
    }
  }

  /** Opens what reads and writes the file as it is now. */
  openSide(): LiveSide {
    const { connection } = this.#components;
    const { db } = connection;
    db.exec("BEGIN");
    try {
      const isSettled = this.#lookAt(this.#read()).due === "nothing";
      return this.#openSide(isSettled ? knowSchema(queryOf(db)) : null);
    } finally {
      db.exec("COMMIT");
    }
  }

  #openSide(expected: KnownSchema | null): LiveSide {
    const { file, connection, replica, place } = this.#components;
    const { db } = connection;
    const there = tableNames(db);
    const captured = readCaptured(db)!.filter(({ log }) => there.has(log));
    const remembered = readRemembered(db)!;
    return new LiveSide({ file, connection, replica, captured, remembered, expected, place });
  }

  look(): SchemaLook {
    const { db } = this.#components.connection;
    db.exec("BEGIN");
    try {
      return this.#lookAt(this.#read());
    } finally {
      db.exec("COMMIT");
    }
  }

  #lookAt({ remembered, whole, changes, local, keptByAll, refused }: LiveSchema): SchemaLook {
    const { replica } = this.#components;
    this.local = local;
    this.refused = refused;
    if (remembered.version !== replica.settings.schemaVersion) return { due: "follow" };
    if (refused.length > 0) {
      const names = refused.map(({ name, reason, cure }) => `${name} (${reason}; cure: ${cure})`).join(", ");
      const reason = `the application changed its schema, and cannot be replicated any more: ${names}`;
      return { due: "obstacle", reason };
    }
    const lost = nextLost(this.#components.connection.db);
    if (changes.length > 0 || lost !== null)
      return { due: "own", entry: encodeSchemaEntry({ changes, local: keptByAll, lost }) };
    if ([...remembered.tables.values()].some((id) => !whole.has(id))) return { due: "follow" };
    return { due: remembered.uncompared.length > 0 ? "compare" : "nothing" };
  }

  /**
   * One transaction; yields now and then while it is open. The side that is opened is for the file as it is afterwards.
   * Where nothing else is due then, the file also shows what the replica holds, `position`. null: the application holds
   * the write lock, nothing happened.
   */
  *follow(
    position: PositionVector,
    acknowledgement: Acknowledgement,
  ): Generator<void, { readonly side: LiveSide; readonly reflected: boolean } | null> {
    const { connection, replica } = this.#components;
    const { db } = connection;
    try {
      db.exec("BEGIN IMMEDIATE");
    } catch (error) {
      if (isBusy(error)) return null;
      throw error;
    }
    try {
      const live = this.#read();
      const objects = replica.catalogue();
      const state = stateOf(objects, replica.settings);
      // A table that stays here for what it is gives way to nobody: another of its name cannot be made.
      const agreed = new Set(objects.flatMap((o) => (o.tableId === null ? [] : [foldName(o.name)])));
      const ignored = new Set([...live.ignored].filter((name) => !agreed.has(name)));
      const onto = without({ ...state, objects: withoutShadows(state.objects) }, ignored);
      const rebased = this.#rebase(live, onto);
      const pending = new LivePending(db, live.captured, replica.settings.encoding);
      const before = shapesBefore(db, live);
      const created = new Set<string>();
      const differing = new Set<string>();
      // The replica took its changes one after the other: what one gave and the next would not is not what all at once give.
      const isOneStep =
        rebased.changes.length === 0 && replica.settings.schemaVersion === live.remembered.version + 1;
      const outside: { table: string; keyId: KeyId }[] = [];
      const lost: { table: string; columns: readonly string[]; reason: string; values: readonly Value[] }[] =
        [];
      const given = new Map<TableShape, Set<KeyId>>();
      for (const { table, columns, reason } of rebased.lost)
        if (table !== null) this.#keepTable(table, columns, reason);
      if (rebased.live.length > 0)
        this.#inFile(() => {
          const applied = applySchemaChanges(db, rebased.live, {
            role: "live",
            rank: (table, key) => pending.newest(before.get(foldName(table)), key),
            leftOut: ({ from, table, columns, values, rowid, reason }) => {
              const shape = before.get(foldName(from));
              const keyId = keyOf(shape, columns, values, rowid);
              if (keyId === null) return;
              outside.push({ table, keyId });
              const newest = pending.newestOf(shape, keyId);
              // What is ordered already, the replica itself has judged and journalled.
              const { id } = shape!;
              if (newest <= (replica.shapes.has(id) ? replica.watermark(id, keyId) : 0)) return;
              // The journal keeps it. That it is gone here is no delete: what the others have of the row comes back.
              lost.push({ table: from, columns, reason, values });
              const keyIds = given.get(shape!) ?? new Set();
              given.set(shape!, keyIds.add(keyId));
            },
          });
          for (const { to, method } of applied.tables) {
            if (to === null) continue;
            if (method === "created") created.add(foldName(to));
            // What this node dropped and gets back, a column or more, is empty here.
            if (method === "created" || rebased.lost.length > 0 || !isOneStep) differing.add(foldName(to));
          }
        });
      for (const [shape, keyIds] of given) pending.forget(shape, keyIds);
      const inFile = namesInFile(onto, rebased.changes);
      keepLeftOut(db, lost);
      this.#forgetLost(live.remembered.version);
      const { tables, uncompared } = this.#recapture(live, replica, inFile, created);
      const version = replica.settings.schemaVersion;
      const remembered: RememberedSchema = { version, state: onto, tables, uncompared };
      writeRemembered(db, remembered);
      replica.recallChanges(readReflected(db, position.length));
      for (const object of objects) {
        const here = object.tableId === null ? null : inFile(object);
        if (here !== null && differing.has(foldName(here.name))) replica.recallTable(object.tableId!);
      }
      for (const [id, keyIds] of this.#leftOut)
        this.#leftOut.set(id, new Set([...keyIds].filter((keyId) => this.#absent(id, keyId))));
      for (const { table, keyId } of outside) {
        const id = remembered.tables.get(table);
        if (id === undefined) continue;
        replica.recallRow(id, keyId);
        this.#leftOut.set(id, (this.#leftOut.get(id) ?? new Set()).add(keyId));
      }
      if (rebased.changes.length > 0 || remembered.uncompared.length > 0 || nextLost(db) !== null) {
        db.exec("COMMIT");
        return { side: this.#openSide(null), reflected: false };
      }
      const side = this.#openSide(knowSchema(queryOf(db)));
      yield* side.reflector.run(position, acknowledgement, true);
      return { side, reflected: true };
    } catch (error) {
      if (db.isTransaction) db.exec("ROLLBACK");
      throw error;
    }
  }

  #keepTable(table: string, columns: readonly string[] | null, reason: string): void {
    const { connection, replica, lostFile: file, logger } = this.#components;
    const { encoding, schemaVersion: version } = replica.settings;
    const saved = keepTable(connection.db, { table, columns, reason, encoding, file, version });
    if (saved !== null)
      logger.warn(
        "a table's rows do not stand, and are too many for the journal: all of them are in a file",
        {
          ...{ table, rows: saved.rows, reason, file, as: saved.name },
        },
      );
  }

  /** Changes the file's schema, with no trigger silenced. Throws `UserError` for what this file cannot take. */
  #inFile(change: () => void): void {
    const { file, connection, replica } = this.#components;
    try {
      connection.triggers.asApplication(change);
    } catch (cause) {
      if (isDiskFull(cause)) throw cause;
      throw new UserError(
        `version ${replica.settings.schemaVersion} of the cluster's schema cannot be made in ${file}: ${errorMessage(cause)}`,
        "rename or drop what this file has in its place, and start the node again; it then goes on from here, and nothing is lost",
        { cause },
      );
    }
  }

  /** Left out, and not reflected since. */
  readonly #absent = (table: number, keyId: KeyId): boolean =>
    this.#leftOut.get(table)?.has(keyId) === true &&
    this.#components.replica.changed.get(table, keyId) !== undefined;

  /** What this node lost and the replica's journal has by now. */
  #forgetLost(version: number): void {
    const { connection, replica, peerId } = this.#components;
    for (const { peer, entry } of replica.schemaEntriesAfter(version))
      if (peer === peerId && entry.lost !== null) forgetLost(connection.db, entry.lost.id);
  }

  /** What the application changed, on top of what the cluster decided. */
  #rebase({ remembered, from, now, recorders, changes }: LiveSchema, onto: SchemaState): Rebased {
    const { replica, peerId, logger } = this.#components;
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
    for (const { change, reason } of rebased.lost)
      logger.warn("a schema change of this node does not stand", { change: JSON.stringify(change), reason });
    return rebased;
  }

  /** Everything that the replica has is captured in the file from now on. `created`: names of tables that are empty. */
  #recapture(
    live: LiveSchema,
    of: Replica,
    inFile: NameInFile,
    created: ReadonlySet<string>,
  ): Pick<RememberedSchema, "tables" | "uncompared"> {
    const { connection, replica, peerId } = this.#components;
    const { db } = connection;
    const tables = new Map<string, number>();
    const wanted: WantedCapture[] = [];
    const uncompared = new Set(live.remembered.uncompared);
    const known = new Set(live.remembered.tables.values());
    const registered = new Map(live.captured.map((c) => [c.id, foldName(c.name)]));
    const strange: number[] = [];
    for (const object of of.catalogue()) {
      const { tableId } = object;
      if (tableId === null) continue;
      tables.set(object.name, tableId);
      const here = inFile(object);
      const shape = here === null ? null : shapeInFile(db, here.name, tableId);
      if (here === null || shape === null) continue;
      wanted.push({ shape, recorded: here.recorded });
      const name = foldName(here.name);
      // Captured for a change that was not taken, under an id that is another table's now.
      const isStrange =
        !known.has(tableId) &&
        registered.has(tableId) &&
        (registered.get(tableId) !== name || created.has(name));
      if (isStrange) strange.push(tableId);
      if (created.has(name)) uncompared.delete(tableId);
      else if (isStrange || !live.whole.has(tableId)) uncompared.add(tableId);
    }
    uncapture(db, strange);
    const { shards } = replica.settings;
    const floor = (table: number): number =>
      Math.max(
        ...Array.from({ length: shards }, (_, shard) => replica.origins.watermark(peerId, shard, table)),
      );
    recapture(db, wanted, floor, of !== replica);
    const there = new Set(wanted.map((w) => w.shape.id));
    return { tables, uncompared: [...uncompared].filter((id) => there.has(id)) };
  }

  /**
   * Gives log rows to every row in which tables that nothing captured for a while differ from the replica. A read snapshot
   * and short transactions.
   */
  *compare(): Waits {
    const { file, replicaFile, connection, replica } = this.#components;
    const { db } = connection;
    const { uncompared, ...remembered } = readRemembered(db)!;
    const tables = tablesOf(readCaptured(db)!, replica, uncompared);
    const { encoding } = replica.settings;
    const options = { readOnly: true, timeout: LOCKED_MS };
    const state = snapshotOf(() => openDatabase(replicaFile, options));
    const live = snapshotOf(() => openDatabase(file, options));
    try {
      yield* logDifferences({ replica: state, live, db }, tables, encoding, this.#absent);
    } finally {
      state.close();
      live.close();
    }
    yield* writing(db, () => writeRemembered(db, { ...remembered, uncompared: [] }));
  }

  /**
   * The application's change, with the rows that were written under it: the replica shows, in a transaction that is rolled
   * back, what it will be, and what the file has otherwise goes into the same changeset. Of rows that a new constraint leaves
   * no room for in the replica the file says which stay: it obeys the constraint already. Row by row only these go along.
   * False: the schema changed again meanwhile, and nothing was put in the outbox. The replica takes nothing while this runs.
   */
  *own(
    entry: Uint8Array,
    position: PositionVector,
    outbox: OwnOutbox,
  ): Generator<"busy" | undefined, boolean> {
    const { file, replicaFile, connection, peerId, place } = this.#components;
    const { db } = connection;
    const trial = openReplica(replicaFile, peerId);
    let side: LiveSide | null = null;
    try {
      trial.db.exec("BEGIN IMMEDIATE");
      const leftOut = yield* pausing(trial.replica.trySchema(entry));
      if (!outbox.whole && leftOut.length === 0) {
        outbox.alone(entry, position);
        return true;
      }
      let expected: KnownSchema | null = null;
      yield* writing(db, () => {
        expected = this.#captureOwn(entry, trial.replica);
      });
      if (expected === null) return false;
      const captured = readCaptured(db)!;
      const { uncompared, ...remembered } = readRemembered(db)!;
      const options = { readOnly: true, timeout: LOCKED_MS };
      const live = snapshotOf(() => openDatabase(file, options));
      try {
        const tables = tablesOf(captured, trial.replica, uncompared);
        const { encoding } = trial.replica.settings;
        yield* logDifferences({ replica: trial.db, live, db }, tables, encoding, this.#absent);
        const byTable = Map.groupBy(leftOut, ({ table }) => table);
        for (const table of tablesOf(captured, trial.replica, [...byTable.keys()]))
          yield* logKeys(
            db,
            table,
            byTable.get(table.shape.id)!.map(({ key }) => key),
          );
      } finally {
        live.close();
      }
      yield* writing(db, () => writeRemembered(db, { ...remembered, uncompared: [] }));
      const { version } = remembered;
      side = new LiveSide({
        ...{ file, connection, replica: trial.replica, captured, expected, place },
        remembered: { ...remembered, version, uncompared: [] },
      });
      const only = outbox.whole ? null : new Set(leftOut.map(({ table }) => table));
      return yield* outbox.drain(side, trial.replica, entry, position, only);
    } finally {
      side?.close();
      if (trial.db.isTransaction) trial.db.exec("ROLLBACK");
      trial.close();
    }
  }

  /** Captures what the change made. Returns the file's schema; null: it is another change by now. */
  #captureOwn(entry: Uint8Array, trial: Replica): KnownSchema | null {
    const { db } = this.#components.connection;
    const live = this.#read();
    const { changes, keptByAll } = live;
    const lost = nextLost(db);
    if (!bytesEqual(entry, encodeSchemaEntry({ changes, local: keptByAll, lost }))) return null;
    const had = new Map([...live.remembered.tables].map(([name, id]) => [id, name]));
    const followed = namesInFile(live.from, changes);
    const recordedOf = (object: CatalogueObject): readonly string[] | null => {
      const before = live.from.objects.find((o) => o.kind === "table" && o.name === had.get(object.tableId!));
      // What led here from the remembered schema must stay readable: the change may still be refused.
      return before === undefined
        ? null
        : (followed({ ...before, tableId: object.tableId })?.recorded ?? null);
    };
    const inFile = (object: CatalogueObject) => ({ name: object.name, recorded: recordedOf(object) });
    const { uncompared } = this.#recapture(live, trial, inFile, new Set());
    writeRemembered(db, { ...live.remembered, uncompared });
    return knowSchema(queryOf(db));
  }
}

/** What collects the rows that go with a change of the schema. */
export interface OwnOutbox {
  /** All rows that were written under the change go along, not only those that it would leave out. */
  readonly whole: boolean;
  /** The change without rows. */
  alone(entry: Uint8Array, position: PositionVector): void;
  /** `only`: ids of the tables whose rows go along; null: all. False: the schema moved again; nothing is collected. */
  drain(
    side: LiveSide,
    replica: Replica,
    entry: Uint8Array,
    position: PositionVector,
    only: ReadonlySet<number> | null,
  ): Generator<undefined, boolean>;
}

/** `steps` with a pause for others at each of its own. */
function* pausing<T>(steps: Generator<void, T>): Generator<undefined, T> {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    yield;
  }
}

function tablesOf(
  captured: readonly CapturedTable[],
  { shapes }: Replica,
  ids: readonly number[],
): { shape: TableShape; log: string }[] {
  return captured.flatMap(({ id, log }) => {
    const shape = shapes.get(id);
    return shape === undefined || !ids.includes(id) ? [] : [{ shape, log }];
  });
}

/** The captured tables' shapes in the file as it is, by name in lower case. */
function shapesBefore(db: DatabaseSync, { captured, remembered }: LiveSchema): Map<string, TableShape> {
  const ids = new Set(remembered.tables.values());
  const shapes = new Map<string, TableShape>();
  for (const { id, name } of captured) {
    const shape = ids.has(id) ? shapeInFile(db, name, id) : null;
    if (shape !== null) shapes.set(foldName(name), shape);
  }
  return shapes;
}

function keyOf(
  shape: TableShape | undefined,
  columns: readonly string[],
  values: readonly Value[],
  rowid: bigint | null,
): KeyId | null {
  if (shape === undefined) return null;
  if (shape.rowidKey) return keyIdOf(shape, [rowid]);
  const value = new Map(columns.map((c, i) => [foldName(c), values[i]!]));
  return keyIdOf(
    shape,
    shape.key.map((k) => value.get(foldName(shape.columns[k]!.name)) ?? null),
  );
}

/** The position that the file reflects, by shard. */
function readReflected(db: DatabaseSync, shards: number): number[] {
  const reflected = Array.from({ length: shards }, () => 0);
  const rows = db.prepare(`SELECT "name", "value" FROM "__marmot__status" WHERE "item" = 'shard'`).all();
  for (const { name, value } of rows as { name: string; value: number }[]) reflected[Number(name)] = value;
  return reflected;
}

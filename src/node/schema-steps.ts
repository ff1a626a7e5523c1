/**
 * What is done to the application's file when its schema or the cluster's changed. Each step leaves the file whole, so
 * that a crash after any of them goes on with the next:
 *
 * 1. The application's own change is proposed (`own`), alone in flight.
 * 2. When the replica's schema is another than the file last reflected, the file's is brought to it, with what the
 *    application changed beyond it on top; capture follows; all in one transaction (`follow`).
 * 3. Tables that were written while nothing captured them are compared with the replica; what differs gets log rows
 *    (`compare`).
 *
 * In between nothing is drained and nothing reflected.
 */
import { DatabaseSync } from "node:sqlite";
import { assert } from "../base/assert.ts";
import type { Logger } from "../base/logger.ts";
import { readCaptured } from "../capture/install.ts";
import { recapture, type WantedCapture } from "../capture/recapture.ts";
import { readRemembered, type RememberedSchema, writeRemembered } from "../capture/remembered.ts";
import type { PositionVector } from "../change/batch.ts";
import { type KeyId, keyIdOf } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import { TextBytes, type Value } from "../change/value.ts";
import type { BlockPlace } from "../reflect/id-blocks.ts";
import { isBusy, type LiveConnection } from "../reflect/live-connection.ts";
import type { Acknowledgement } from "../reflect/reflector.ts";
import { differingKeys } from "../replica/compare.ts";
import type { Replica } from "../replica/replica.ts";
import type { CatalogueObject } from "../replica/schema.ts";
import { stateOf } from "../replica/schema-change.ts";
import { fingerprint, readCatalogue } from "../schema/catalogue.ts";
import { applySchemaChanges } from "../schema/changes/apply.ts";
import type { SchemaChange, SchemaState } from "../schema/changes/change.ts";
import { compareCatalogues } from "../schema/changes/compare.ts";
import { changeCatalogue } from "../schema/changes/follow.ts";
import { rebaseChanges, type Rebased } from "../schema/changes/rebase.ts";
import { withoutShadows } from "../schema/changes/shadows.ts";
import { encodeSchemaEntry } from "../schema/schema-entry.ts";
import { queryOf } from "../sqlite/query.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { LivePending } from "./live-pending.ts";
import {
  advanceRecorders,
  type LiveSchema,
  type LocalTable,
  namesInFile,
  readLiveSchema,
  shapeInFile,
  without,
} from "./live-schema.ts";
import { LiveSide } from "./live-side.ts";

/** Log rows written in one transaction: the application waits no longer than for them. */
const LOGGED_AT_ONCE = 2000;

export interface SchemaStepsComponents {
  /** The application's file. */
  readonly file: string;
  readonly replicaFile: string;
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
    const { connection, replica } = this.#components;
    const schema = readLiveSchema(connection.db, replica.settings.selection);
    assert(schema !== null, "a member's file is captured");
    return schema;
  }

  /** Opens what reads and writes the file as it is now. */
  openSide(): LiveSide {
    const { connection } = this.#components;
    const { db } = connection;
    db.exec("BEGIN");
    try {
      const isSettled = this.#lookAt(this.#read()).due === "nothing";
      return this.#openSide(isSettled ? fingerprint(queryOf(db)) : null);
    } finally {
      db.exec("COMMIT");
    }
  }

  #openSide(expected: string | null): LiveSide {
    const { file, connection, replica, place } = this.#components;
    const { db } = connection;
    const there = db.prepare(`SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ?`);
    const captured = readCaptured(db)!.filter(({ log }) => there.get(log) !== undefined);
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

  #lookAt({ remembered, whole, changes, local, keptByAll, obstacle }: LiveSchema): SchemaLook {
    const { replica } = this.#components;
    this.local = local;
    if (remembered.version !== replica.settings.schemaVersion) return { due: "follow" };
    if (obstacle !== null) return { due: "obstacle", reason: obstacle };
    if (changes.length > 0) return { due: "own", entry: encodeSchemaEntry({ changes, local: keptByAll }) };
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
    const { db, triggers } = connection;
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
      const onto = without({ ...state, objects: withoutShadows(state.objects) }, live.ignored);
      const rebased = this.#rebase(live, onto);
      const pending = new LivePending(db, live.captured, replica.settings.encoding);
      const before = shapesBefore(db, live);
      const created = new Set<string>();
      const outside: { table: string; keyId: KeyId }[] = [];
      if (rebased.live.length > 0)
        triggers.asApplication(() => {
          const applied = applySchemaChanges(db, rebased.live, {
            role: "live",
            rank: (table, key) => pending.newest(before.get(table.toLowerCase()), key),
            leftOut: ({ from, table, columns, values }) => {
              const keyId = keyOf(before.get(from.toLowerCase()), columns, values);
              if (keyId !== null) outside.push({ table, keyId });
            },
          });
          for (const table of applied.tables)
            if (table.method === "created") created.add(table.to!.toLowerCase());
        });
      const remembered = this.#recapture(live, objects, onto, rebased.changes, created);
      replica.recallChanges(readReflected(db, position.length));
      for (const [name, id] of remembered.tables)
        if (created.has(name.toLowerCase())) replica.recallTable(id);
      for (const { table, keyId } of outside) {
        const id = remembered.tables.get(table);
        if (id !== undefined) replica.recallRow(id, keyId);
      }
      if (rebased.changes.length > 0 || remembered.uncompared.length > 0) {
        db.exec("COMMIT");
        return { side: this.#openSide(null), reflected: false };
      }
      const side = this.#openSide(fingerprint(queryOf(db)));
      yield* side.reflector.run(position, acknowledgement, true);
      return { side, reflected: true };
    } catch (error) {
      if (db.isTransaction) db.exec("ROLLBACK");
      throw error;
    }
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

  #recapture(
    live: LiveSchema,
    objects: readonly CatalogueObject[],
    onto: SchemaState,
    changes: readonly SchemaChange[],
    created: ReadonlySet<string>,
  ): RememberedSchema {
    const { connection, replica, peerId } = this.#components;
    const { db } = connection;
    const inFile = namesInFile(onto, changes);
    const tables = new Map<string, number>();
    const wanted: WantedCapture[] = [];
    const uncompared = new Set(live.remembered.uncompared);
    for (const object of objects) {
      const { tableId } = object;
      if (tableId === null) continue;
      tables.set(object.name, tableId);
      const here = inFile(object);
      const shape = here === null ? null : shapeInFile(db, here.name, tableId);
      if (here === null || shape === null) continue;
      wanted.push({ shape, recorded: here.recorded });
      if (!live.whole.has(tableId) && !created.has(here.name.toLowerCase())) uncompared.add(tableId);
    }
    const { shards } = replica.settings;
    const floor = (table: number): number =>
      Math.max(
        ...Array.from({ length: shards }, (_, shard) => replica.origins.watermark(peerId, shard, table)),
      );
    recapture(db, wanted, floor);
    const there = new Set(wanted.map((w) => w.shape.id));
    const remembered: RememberedSchema = {
      version: replica.settings.schemaVersion,
      state: onto,
      tables,
      uncompared: [...uncompared].filter((id) => there.has(id)),
    };
    writeRemembered(db, remembered);
    return remembered;
  }

  /**
   * Gives log rows to every row in which tables that nothing captured for a while differ from the replica. A read snapshot
   * and short transactions; yields "busy" where the application holds the write lock.
   */
  *compare(): Generator<"busy" | undefined, void> {
    const { file, replicaFile, connection, replica } = this.#components;
    const { db } = connection;
    const { shapes, settings } = replica;
    const { uncompared, ...remembered } = readRemembered(db)!;
    const captured = new Map(readCaptured(db)!.map((c) => [c.id, c]));
    const options = { readOnly: true, enableForeignKeyConstraints: false };
    const [left, right] = [new DatabaseSync(replicaFile, options), new DatabaseSync(file, options)];
    try {
      for (const side of [left, right]) {
        side.exec("BEGIN");
        side.prepare("SELECT count(*) FROM sqlite_schema").get();
      }
      for (const id of uncompared) {
        const shape = shapes.get(id);
        const log = captured.get(id)?.log;
        if (shape === undefined || log === undefined) continue;
        let keys: (readonly Value[])[] = [];
        for (const key of differingKeys({ left, right, table: shape, encoding: settings.encoding })) {
          if (key !== null && keys.push(key) < LOGGED_AT_ONCE) continue;
          if (keys.length >= LOGGED_AT_ONCE) {
            yield* this.#write(() => noteRows(db, shape, log, keys));
            keys = [];
          }
          yield;
        }
        yield* this.#write(() => noteRows(db, shape, log, keys));
      }
    } finally {
      left.close();
      right.close();
    }
    yield* this.#write(() => writeRemembered(db, { ...remembered, uncompared: [] }));
  }

  *#write(work: () => void): Generator<"busy" | undefined, void> {
    const { db } = this.#components.connection;
    for (;;) {
      try {
        db.exec("BEGIN IMMEDIATE");
        break;
      } catch (error) {
        if (!isBusy(error)) throw error;
        yield "busy";
      }
    }
    try {
      work();
      db.exec("COMMIT");
    } catch (error) {
      if (db.isTransaction) db.exec("ROLLBACK");
      throw error;
    }
  }
}

/** Log rows as the triggers would have written them. */
function noteRows(
  db: DatabaseSync,
  shape: TableShape,
  log: string,
  keys: readonly (readonly Value[])[],
): void {
  const columns = shape.key.map((_, i) => `k${i + 1}`).join(", ");
  for (const key of keys) {
    const marks = key.map((v) => (v instanceof TextBytes ? "CAST(? AS TEXT)" : "?")).join(", ");
    const bound = key.map((v) => (v instanceof TextBytes ? v.bytes : v));
    db.prepare(`INSERT INTO main.${quoteIdentifier(log)}(${columns}) VALUES(${marks})`).run(...bound);
  }
}

/** The captured tables' shapes in the file as it is, by name in lower case. */
function shapesBefore(db: DatabaseSync, { captured, remembered }: LiveSchema): Map<string, TableShape> {
  const ids = new Set(remembered.tables.values());
  const shapes = new Map<string, TableShape>();
  for (const { id, name } of captured) {
    const shape = ids.has(id) ? shapeInFile(db, name, id) : null;
    if (shape !== null) shapes.set(name.toLowerCase(), shape);
  }
  return shapes;
}

function keyOf(
  shape: TableShape | undefined,
  columns: readonly string[],
  values: readonly Value[],
): KeyId | null {
  if (shape === undefined) return null;
  const value = new Map(columns.map((c, i) => [c.toLowerCase(), values[i]!]));
  return keyIdOf(
    shape,
    shape.key.map((k) => value.get(shape.columns[k]!.name.toLowerCase()) ?? null),
  );
}

/** The position that the file reflects, by shard. */
function readReflected(db: DatabaseSync, shards: number): number[] {
  const reflected = Array.from({ length: shards }, () => 0);
  const rows = db.prepare(`SELECT "name", "value" FROM "__marmot__status" WHERE "item" = 'shard'`).all();
  for (const { name, value } of rows as { name: string; value: number }[]) reflected[Number(name)] = value;
  return reflected;
}

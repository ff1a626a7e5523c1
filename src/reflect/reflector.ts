/**
 * Makes the app database equal to the replica in one short transaction: shows changed rows that are not pending, deletes
 * acknowledged log rows and stores the position. Afterwards the file is the replica at that position with the pending rows
 * on top.
 */
import type { StatementSync } from "node:sqlite";
import { assert } from "../base/assert.ts";
import { showPosition } from "../base/text/position-token.ts";
import type { PositionVector } from "../change/batch.ts";
import type { ChangeLogCursors } from "../change/change-log-cursor.ts";
import type { KeyId } from "../change/key.ts";
import { prepareExact } from "../rows/exact-values.ts";
import { newestIdsSql } from "../schema/app-db-tables.ts";
import { fingerprint, type KnownSchema } from "../schema/catalogue.ts";
import { trusted } from "../sqlite/typed-rows.ts";
import { isBusy } from "../sqlite/locked.ts";
import { queryOf } from "../sqlite/query.ts";
import { requireSameFile } from "./app-db-connection.ts";
import type { ChangeLogWriter } from "./change-log-writer.ts";
import type { IdBlocks } from "./id-blocks.ts";
import { RowReflector, type RowReflectorComponents } from "./row-reflector.ts";

export interface ReflectorComponents extends RowReflectorComponents {
  /** Absent: SQLite's ids are left alone. */
  readonly ids?: IdBlocks;
  /** The schema that the components are made for; null: the file does not have it yet. */
  readonly expected: KnownSchema | null;
}

/**
 * "busy": the application holds the write lock; "schema-changed": it changed the schema; "own-first": rows in flight must be
 * ordered before (`OccupiedRowids`). In all three cases nothing happened.
 */
export type Reflected = "done" | "busy" | "schema-changed" | "own-first";

export class Reflector {
  readonly #components: ReflectorComponents;
  readonly #rows: RowReflector;
  readonly #commit: StatementSync;
  readonly #rollback: StatementSync;
  readonly #newest: readonly StatementSync[];
  readonly #storePosition: StatementSync;
  readonly #storeToken: StatementSync;
  #sweepMore: boolean;
  #keptUnseen = false;
  readonly #schemaVersion: StatementSync;
  /** SQLite's schema version when the schema was last known to be the expected one. */
  #cookie: unknown;

  constructor(components: ReflectorComponents) {
    const { db } = components.appDb;
    this.#components = components;
    // Rows that were withheld when the file was opened may be shown now.
    this.#sweepMore = components.withheld.size > 0;
    this.#rows = new RowReflector(components);
    this.#cookie = components.expected?.versions.schema ?? null;
    this.#schemaVersion = db.prepare("PRAGMA schema_version");
    this.#commit = db.prepare("COMMIT");
    this.#rollback = db.prepare("ROLLBACK");
    const logs = [...components.logs].map(([id, { log }]) => ({ id, log }));
    this.#newest = newestIdsSql(logs).map((sql) => prepareExact(db, sql));
    this.#storePosition = db.prepare(
      `UPDATE "__marmot__status" SET "value" = ? WHERE "item" = 'shard' AND "name" = ?`,
    );
    // A file of an older build has no such row yet.
    this.#storeToken = db.prepare(`INSERT OR REPLACE INTO "__marmot__status" VALUES('node', 'position', ?)`);
  }

  /** See `RowReflector.isDeferred`. */
  isDeferred(table: number, keyId: KeyId): boolean {
    return this.#rows.isDeferred(table, keyId);
  }

  /** Acknowledged log rows are still to be deleted. */
  get unfinished(): boolean {
    return this.#sweepMore;
  }

  /** The transaction to come, or the one that is open, may give own rows of a table without a declared key other rowids. */
  get mayMoveRowids(): boolean {
    return this.#rows.occupied.tables.length > 0;
  }

  /** Rows that no trigger saw wait for the conflict journal, since the last call. */
  takeKeptUnseen(): boolean {
    const kept = this.#keptUnseen;
    this.#keptUnseen = false;
    return kept;
  }

  /** SQLite would pick an id of another node: a transaction is due. */
  get idsDue(): boolean {
    return this.#components.ids?.due ?? false;
  }

  /**
   * One transaction. `position` is the source's. Yields now and then while the transaction is open. `joined`: it is open
   * already, the schema was just brought to the expected one, and nothing is in flight. `isDraining`: a drain runs.
   */
  *run(position: PositionVector, joined = false, isDraining = false): Generator<void, Reflected> {
    try {
      if (!joined) this.#components.appDb.db.beginWriting();
    } catch (error) {
      if (isBusy(error)) return "busy";
      throw error;
    }
    try {
      if (!joined && this.#hasMoved()) {
        this.#rollback.run();
        return "schema-changed";
      }
      const newest = this.#newestIds();
      if (!joined && this.#isAnyCut(newest)) {
        this.#rollback.run();
        return "schema-changed";
      }
      if (!joined && this.#rows.occupied.isInFlight(new Map(newest), isDraining)) {
        this.#rollback.run();
        return "own-first";
      }
      const commits = yield* this.#write(position, newest);
      yield* this.#commitWhenFree();
      for (const commit of commits) commit();
      this.#components.bases.reflected = [...position];
      this.#cookie = this.#readCookie();
      return "done";
    } catch (error) {
      // A full disk makes SQLite roll back by itself.
      if (this.#components.appDb.db.isTransaction) this.#rollback.run();
      throw error;
    }
  }

  /** Everything between BEGIN and COMMIT. Returns the calls that belong after the commit. */
  *#write(
    position: PositionVector,
    newest: readonly (readonly [table: number, id: number])[],
  ): Generator<void, (() => void)[]> {
    const { pending, logs, appDb, ids } = this.#components;
    appDb.triggers.begin();
    this.#rows.begin();
    const tailed = new Set<ChangeLogWriter>();
    for (const [table, id] of newest) {
      const log = logs.get(table)!;
      if (log.readTail(pending, id)) tailed.add(log);
    }
    const acknowledged = this.#acknowledge();
    yield* this.#rows.redirect();
    this.#rows.makeRoom();
    yield* this.#rows.showChanged();
    this.#rows.showWithheld();
    if (this.#rows.keepUnseen()) this.#keptUnseen = true;
    const commits = [acknowledged.committed, ...this.#storePositions(position, acknowledged.tables)];
    commits.push(appDb.life.raise());
    const { written } = this.#rows;
    for (const log of written)
      assert(log.maxId() <= pending.seen(log.shape.id), "nothing of Marmot's own writes is captured");
    appDb.triggers.restore();
    this.#sweepMore = false;
    for (const log of logs.values()) if (log.sweep()) this.#sweepMore = true;
    if (ids !== undefined)
      commits.push(ids.keep(new Set([...tailed, ...written].map((log) => log.shape.id))));
    return commits;
  }

  /** A connection that reads keeps a commit waiting only where the application took the file out of WAL mode. */
  *#commitWhenFree(): Generator<void, void> {
    for (;;)
      try {
        this.#commit.run();
        return;
      } catch (error) {
        if (!isBusy(error)) throw error;
        yield;
      }
  }

  #readCookie(): unknown {
    return Object.values(this.#schemaVersion.get() as Record<string, unknown>)[0];
  }

  /** Nothing is written into a schema that these components were not made for: its tables may not be captured. */
  #hasMoved(): boolean {
    const { expected, appDb } = this.#components;
    if (expected === null) return true;
    requireSameFile(appDb);
    const cookie = this.#readCookie();
    if (cookie === this.#cookie) return false;
    if (fingerprint(queryOf(appDb.db)) !== expected.fingerprint) return true;
    this.#cookie = cookie;
    return false;
  }

  /** A log lost rows: writes of the application may be missing in it, and its tables must be compared first. */
  #isAnyCut(newest: readonly (readonly [table: number, id: number])[]): boolean {
    const ids = new Map(newest);
    return [...this.#components.logs].some(([table, log]) => log.isCut(ids.get(table) ?? 0));
  }

  /** Of logs that hold rows. */
  #newestIds(): [number, number][] {
    const rows = this.#newest.flatMap((s) => trusted<[bigint, bigint][]>(s.all()));
    return rows.map(([table, id]) => [Number(table), Number(id)]);
  }

  /** Ordered log rows are no longer pending. Rows that others changed since are shown. */
  #acknowledge(): ReturnType<ChangeLogCursors["acknowledge"]> {
    const { cursors, logs } = this.#components;
    const acknowledged = cursors.acknowledge();
    for (const table of acknowledged.tables) logs.get(table)?.storeAcknowledged(); // the table may be dropped by now
    for (const [table, keys] of acknowledged.looked.flatMap((list) => [...list.tables()])) {
      if (!logs.has(table)) continue;
      const { acknowledged: id } = cursors.of(table);
      for (const keyId of keys) this.#rows.release(table, keyId, id);
    }
    return acknowledged;
  }

  /** Stores the new position and the base positions that follow from it. Returns the calls that belong after the commit. */
  #storePositions(position: PositionVector, acknowledged: readonly number[]): (() => void)[] {
    const { bases, logs, pending } = this.#components;
    const moved = position.some((index, shard) => index !== bases.reflected[shard]);
    if (!moved && acknowledged.length === 0) return [];
    if (moved) this.#storeToken.run(showPosition(position));
    position.forEach((index, shard) => {
      if (index !== bases.reflected[shard]) this.#storePosition.run(BigInt(index), String(shard));
    });
    return [...logs.values()].flatMap((log) => log.advanceBases(bases, pending, position) ?? []);
  }
}

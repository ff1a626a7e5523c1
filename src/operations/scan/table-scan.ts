/**
 * `--scan TABLE=1m`: a slow comparison of a table of the application's file with the replica, in the background. Rows that no
 * trigger saw are published, as by `marmot verify --publish`. Each slice reads a few rows in one turn of the event loop, in
 * which the file shows just what the replica holds, and the pauses are long enough to bound the cost.
 */
import type { DatabaseSync } from "node:sqlite";
import { type KeyId, keyIdOf, keyOfImage } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import { imageEqual, type Value } from "../../change/value.ts";
import type { Replicator } from "../../replication/replicator.ts";
import { ChangeLogReader, selectsOf } from "../../rows/change-log-reader.ts";
import { readAcknowledged, readChangeLogs } from "../../rows/change-logs.ts";
import { writeLogKeys } from "../../rows/log-keys.ts";
import { RowAccess } from "../../rows/row-access.ts";
import { rowsAfter } from "../../rows/rows-after.ts";
import { isBusy } from "../../sqlite/locked.ts";
import { type AppDatabase, openAppDb } from "../../sqlite/open-app-db.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { commitAfter } from "../../sqlite/transaction.ts";

/** Rows of one side that a slice reads. */
const ROWS = 500;

/** Where a pass is: first the replica's rows are looked up in the file, then the file's in the replica. */
export interface ScanPlace {
  readonly side: "replica" | "file";
  /** null: at the beginning. */
  readonly after: readonly Value[] | null;
}

export const BEGINNING: ScanPlace = { side: "replica", after: null };

/** "waits": the file does not show the replica just now, or an application holds the write lock. */
export type ScanStep =
  | { readonly done: "waits" }
  | { readonly done: "slice" | "pass"; readonly next: ScanPlace; readonly published: number };

interface Sides {
  readonly appDb: DatabaseSync;
  readonly state: DatabaseSync;
}

export class TableScan {
  readonly #replicator: Replicator;
  readonly #shape: TableShape;

  constructor(replicator: Replicator, shape: TableShape) {
    this.#replicator = replicator;
    this.#shape = shape;
  }

  /** One slice, all of it in this turn. */
  step(place: ScanPlace): ScanStep {
    if (!this.#isReflected()) return { done: "waits" };
    const { db, paths } = this.#replicator.options;
    const appDb = openAppDb(db);
    const state = openDatabase(paths.replica, { readOnly: true });
    try {
      const sides = { appDb, state };
      for (const side of [appDb, state]) {
        side.exec("BEGIN");
        side.prepare("SELECT count(*) FROM sqlite_schema").get();
      }
      const { keys, next } = this.#compare(sides, place);
      const { log } = readChangeLogs(appDb).find(({ id }) => id === this.#shape.id)!;
      // A reader sends no rows of its own.
      const isSent = keys.length > 0 && this.#replicator.isReader !== true;
      const unseen = isSent ? this.#unseen(appDb, log, keys) : [];
      appDb.exec("COMMIT");
      if (unseen.length > 0 && !this.#publish(appDb, log, unseen)) return { done: "waits" };
      return next === null
        ? { done: "pass", next: BEGINNING, published: unseen.length }
        : { done: "slice", next, published: unseen.length };
    } finally {
      appDb.close();
      state.close();
    }
  }

  /** The file shows exactly the rows of the replica, pending ones aside. */
  #isReflected(): boolean {
    const { pipeline, readiness, replica: open, reader } = this.#replicator;
    const { replica } = open;
    if (replica.completion.tables.has(this.#shape.id)) return false;
    if (pipeline.schemaDue || pipeline.reflecting || reader.schemaMovedBeside()) return false;
    if (!replica.betweenEntries || replica.changed.size > 0 || replica.queued > 0) return false;
    return replica.positions().every((index, shard) => index === readiness.reflected[shard]);
  }

  /** `next`: null at the end of the pass. */
  #compare({ appDb, state }: Sides, { side, after }: ScanPlace): { keys: Value[][]; next: ScanPlace | null } {
    const shape = this.#shape;
    const { encoding } = this.#replicator.replica.replica.settings;
    const [from, to] = side === "replica" ? [state, appDb] : [appDb, state];
    const other = new RowAccess(to, shape, encoding);
    const keys: Value[][] = [];
    let last: Value[] | null = null;
    let rows = 0;
    for (const image of rowsAfter(from, { shape, encoding }, after, ROWS)) {
      rows++;
      last = keyOfImage(shape, image);
      const match = other.get(last);
      if (match === null || (side === "replica" && !imageEqual(image, match))) keys.push(last);
    }
    if (rows === ROWS) return { keys, next: { side, after: last } };
    return { keys, next: side === "replica" ? { side: "file", after: null } : null };
  }

  /** Without pending, deferred and withheld rows, which may differ. */
  #unseen(appDb: DatabaseSync, log: string, keys: readonly Value[][]): Value[][] {
    const { id } = this.#shape;
    const logged = this.#loggedKeys(appDb, log);
    return keys.filter((key) => {
      const keyId = keyIdOf(this.#shape, key);
      return !logged.has(keyId) && !this.#replicator.pipeline.isDeferred(id, keyId);
    });
  }

  /** Keys with log rows that are not acknowledged: few, while the file is reflected. */
  #loggedKeys(appDb: DatabaseSync, log: string): Set<KeyId> {
    const shape = this.#shape;
    const { encoding } = this.#replicator.replica.replica.settings;
    const reader = new ChangeLogReader(selectsOf(appDb), { shape, log, encoding });
    const acknowledged = readAcknowledged(appDb).get(shape.id) ?? 0;
    return new Set([...reader.keyIds(acknowledged)].map(([, keyId]) => keyId));
  }

  /** False: an application holds the write lock; the slice is read again. */
  #publish(appDb: AppDatabase, log: string, keys: readonly (readonly Value[])[]): boolean {
    try {
      appDb.beginWriting();
    } catch (error) {
      if (isBusy(error)) return false;
      throw error;
    }
    commitAfter(appDb, () => writeLogKeys(appDb, { shape: this.#shape, log }, keys));
    this.#replicator.pipeline.touch();
    this.#replicator.loop.wake();
    return true;
  }
}

/** The app database beside the replica, both closed to all others of this process: which of its rows the cluster lacks. */
import { isSameName } from "../../base/names.ts";
import type { DatabaseSync } from "node:sqlite";
import { readStoredState } from "../../app-db/stored-state.ts";
import { readRemembered } from "../../capture/remembered.ts";
import { type KeyId, keyIdOf, keyValues } from "../../change/key.ts";
import { settingOf } from "../../change/per-table.ts";
import type { TableShape } from "../../change/shape.ts";
import { type Image, imageEqual, type Value } from "../../change/value.ts";
import { KeyPositions } from "../../replica/apply/key-positions.ts";
import { readShapes } from "../../replica/store/schema-store.ts";
import { readSettings, type ReplicaSettings } from "../../replica/store/settings.ts";
import { peerHash } from "../../replica/store/tables.ts";
import { ChangeLogReader, selectsOf } from "../../rows/change-log-reader.ts";
import { readAcknowledged, readChangeLogs } from "../../rows/change-logs.ts";
import { RowAccess } from "../../rows/row-access.ts";
import { readAppDbSchema } from "../../schema-sync/detect-change.ts";
import { hasTable } from "../../sqlite/has.ts";

export interface FilePairOptions {
  readonly peerId: string;
  /** Path of the replica, for messages. */
  readonly replicaFile: string;
}

/** A row of the file with an unacknowledged log row, which the replica has otherwise. */
export interface OwnRow {
  readonly shape: TableShape;
  readonly keyId: KeyId;
  /** null: the application deleted it. */
  readonly image: Image | null;
  readonly inReplica: Image | null;
}

export class FilePair {
  readonly #db: DatabaseSync;
  readonly #replica: DatabaseSync;
  readonly #peerId: string;
  readonly #settings: ReplicaSettings;
  readonly #shapes: readonly TableShape[];
  readonly #acknowledged: ReadonlyMap<number, number>;
  readonly #logs: ReadonlyMap<number, ChangeLogReader>;
  /** Set by a salvage: a row or a log that cannot be read is reported and passed over. Absent: the error is thrown. */
  onUnreadable: ((shape: TableShape, error: unknown) => void) | null = null;

  constructor(db: DatabaseSync, replica: DatabaseSync, { peerId, replicaFile }: FilePairOptions) {
    this.#db = db;
    this.#replica = replica;
    this.#peerId = peerId;
    this.#settings = readSettings(replica, replicaFile);
    this.#acknowledged = readAcknowledged(db);
    const logs = new Map(readChangeLogs(db).map(({ id, log }) => [id, log]));
    this.#shapes = readShapes(replica).filter(({ id }) => hasTable(db, logs.get(id) ?? ""));
    const { encoding } = this.#settings;
    this.#logs = new Map(
      this.#shapes.map((shape) => [
        shape.id,
        new ChangeLogReader(selectsOf(db), { shape, log: logs.get(shape.id)!, encoding }),
      ]),
    );
  }

  /** Highest ordered log id of the table. */
  #ordered(table: number): number {
    const row = this.#replica
      .prepare(`SELECT max("up_to") AS id FROM "__marmot__watermark" WHERE "peer" = ? AND "tbl" = ?`)
      .get(this.#peerId, table) as { id: number | null };
    return row.id ?? 0;
  }

  get #hasSameSchema(): boolean {
    return readRemembered(this.#db)?.version === this.#settings.schemaVersion;
  }

  /** The file has the table with all of its columns: the application did not drop or rename them since. */
  #isUnchanged({ name, columns }: TableShape): boolean {
    const there = this.#db.prepare("SELECT name FROM pragma_table_xinfo(?)").all(name) as { name: string }[];
    return columns.every((column) => there.some((other) => isSameName(other.name, column.name)));
  }

  /**
   * The replica took rows of this node that the file does not have: the file went back. Only rows above its acknowledged
   * log ids are looked at; after an orderly stop there are none. Rows that may differ for another reason are left out.
   */
  hasLostOwnRows(): boolean {
    const { merge, shards, encoding } = this.#settings;
    const open = this.#shapes.filter(
      (shape) =>
        !shape.rowidKey &&
        settingOf(merge, shape.name) === "row" &&
        this.#ordered(shape.id) > (this.#acknowledged.get(shape.id) ?? 0) &&
        this.#isUnchanged(shape),
    );
    if (open.length === 0 || !this.#hasSameSchema) return false;
    const { bases, withheld } = readStoredState(this.#db, open, shards);
    const self = peerHash(this.#peerId);
    const positions = new KeyPositions(this.#replica);
    for (const shape of open) {
      const [there, here] = [this.#replica, this.#db].map((db) => new RowAccess(db, shape, encoding));
      const ordered = this.#ordered(shape.id);
      const later = new Map<KeyId, number>();
      for (const [id, keyId] of this.#logs.get(shape.id)!.keyIds(ordered)) later.set(keyId, id);
      for (let shard = 0; shard < shards; shard++)
        for (const { table, keyId, origin } of positions.since(shard, bases.reflected[shard] ?? 0)) {
          if (table !== shape.id || origin !== self || later.has(keyId)) continue;
          if (withheld.get(table, keyId) !== undefined) continue;
          const key = keyValues(shape, keyId);
          if (!isSame(there!.get(key), here!.get(key))) return true;
        }
    }
    return false;
  }

  /** Rows that the application wrote and the replica does not have so; null: its schema differs, too, and they are not counted. */
  writtenRows(): number | null {
    if (!this.#hasSameSchema)
      return this.#shapes.some(({ id }) => this.#logs.get(id)!.maxId() > (this.#acknowledged.get(id) ?? 0))
        ? null
        : 0;
    const schema = readAppDbSchema(this.#db, this.#settings.selection);
    if (schema === null || schema.changes.length > 0) return null;
    let rows = 0;
    for (const _ of this.ownRows()) rows++;
    return rows;
  }

  /** Rows with unacknowledged log rows that the replica has otherwise; each once. */
  *ownRows(): Generator<OwnRow, void> {
    for (const shape of this.#shapes) {
      const seen = new Set<KeyId>();
      try {
        const log = this.#logs.get(shape.id)!;
        for (const { suspect, key } of log.rows(this.#acknowledged.get(shape.id) ?? 0)) {
          if (key.includes(null) || seen.has(keyIdOf(shape, key))) continue;
          const row = this.#ownRow(shape, key);
          if (row === null || (suspect && row.image !== null)) continue;
          seen.add(row.keyId);
          if (!isSame(row.image, row.inReplica)) yield row;
        }
      } catch (error) {
        this.#report(shape, error);
      }
    }
  }

  /** null: it cannot be read. */
  #ownRow(shape: TableShape, key: readonly Value[]): OwnRow | null {
    const { encoding } = this.#settings;
    try {
      const [inReplica, image] = [this.#replica, this.#db].map((db) =>
        new RowAccess(db, shape, encoding).get(key),
      );
      return { shape, keyId: keyIdOf(shape, key), image: image ?? null, inReplica: inReplica ?? null };
    } catch (error) {
      this.#report(shape, error);
      return null;
    }
  }

  #report(shape: TableShape, error: unknown): void {
    if (this.onUnreadable === null) throw error;
    this.onUnreadable(shape, error);
  }
}

const isSame = (a: Image | null, b: Image | null): boolean =>
  a === null || b === null ? a === b : imageEqual(a, b);

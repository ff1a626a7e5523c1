/**
 * A received replica in place of this node's own, or as its first one. What this node knows for itself stays; what the
 * sender knew for itself goes; and every row that the two differ in is remembered as this node's file last showed it.
 */
import { existsSync } from "node:fs";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { UserError } from "../../base/errors.ts";
import { encodeImage } from "../../change/codec.ts";
import { type KeyId, keyIdOf, keyValues } from "../../change/key.ts";
import { settingOf } from "../../change/per-table.ts";
import type { TableShape } from "../../change/shape.ts";
import { ChangeLogReader, selectsOf } from "../../rows/change-log-reader.ts";
import { readAcknowledged, readChangeLogs } from "../../rows/change-logs.ts";
import { prepareExact, RowAccess } from "../../rows/row-access.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { queryOf } from "../../sqlite/query.ts";
import type { GroupConfiguration } from "../../shard/seams.ts";
import { compareRows, type RowDifference } from "./compare-rows.ts";
import { publish, yieldToLoop } from "./initial-import.ts";
import { mergeParts } from "./merge-replicas.ts";
import { writeLocal } from "../open-replica.ts";
import { readShapes } from "../store/schema-store.ts";
import { readSettings, type ReplicaSettings } from "../store/settings.ts";
import { completeReplica, LOCAL_TABLES, peerHash } from "../store/tables.ts";

export interface Vector {
  readonly positions: readonly { readonly index: number; readonly term: number }[];
  readonly configurations: readonly GroupConfiguration[];
}

/** A reference that equals no image: what the row was is unknown, so whatever is pending is sent. */
const UNKNOWN = encodeImage([]);

const positionsOf = (db: DatabaseSync): number[] =>
  (db.prepare(`SELECT "idx" FROM "__marmot__position" ORDER BY "shard"`).all() as { idx: number }[]).map(
    (r) => r.idx,
  );

/** Checks a received file and makes it this node's: the sender's own knowledge goes. Returns its settings. */
export function strip(
  received: string,
  clusterId: string | null,
  peerId: string,
  vector: Vector,
): ReplicaSettings {
  const db = openDatabase(received);
  try {
    const settings = readSettings(db, received);
    if (clusterId !== null && settings.clusterId !== clusterId)
      throw new UserError(
        `the replica received is of cluster ${settings.clusterId}, expected ${clusterId}`,
        "check --peers: they lead to another cluster",
      );
    const found = positionsOf(db);
    if (
      found.length !== vector.positions.length ||
      found.some((index, i) => index !== vector.positions[i]!.index)
    )
      throw new UserError(
        "the replica received does not stand where its header says",
        "start the node again",
      );
    db.exec("PRAGMA journal_mode = DELETE; BEGIN");
    completeReplica(db);
    for (const sql of Object.values(LOCAL_TABLES)) {
      const name = /"(__marmot__local_\w+)"/.exec(sql)![1]!;
      db.exec(`DELETE FROM "${name}"`);
    }
    writeLocal(db, "peer_id", peerId);
    writeLocal(db, "configurations", JSON.stringify(vector.configurations));
    db.exec("COMMIT");
    return settings;
  } finally {
    db.close();
  }
}

/** A received replica is worth taking: it is at or ahead of one's own in every shard, or at least further in one. */
export const isWorthTaking = (received: readonly number[], own: readonly number[]): boolean =>
  received.every((index, shard) => index >= own[shard]!) ||
  received.some((index, shard) => index > own[shard]!);

/**
 * Puts a stripped replica in the place of the one at `path`. Where that is further in a shard, its part of the shard is
 * kept. False: nothing in it is new, and nothing changed. No connection to `path` may be open. The rename is the one
 * moment at which it happens.
 */
export async function replaceReplica(
  path: string,
  received: string,
  peerId: string,
  appDb: string,
  onProgress: (rows: number) => void,
): Promise<boolean> {
  if (!existsSync(path)) {
    publish(received, path);
    return true;
  }
  const next = openDatabase(received);
  const previous = openDatabase(path);
  let done = false;
  try {
    const before = positionsOf(previous);
    if (isWorthTaking(positionsOf(next), before)) {
      const pause = async (rows: number): Promise<void> => {
        onProgress(rows);
        await yieldToLoop();
      };
      next.exec("BEGIN");
      previous.exec("BEGIN");
      const isAhead = positionsOf(next).every((index, shard) => index >= before[shard]!);
      done = isAhead || (await mergeParts(previous, next, pause));
      if (done) await carryOver(previous, next, { peerId, appDb, before, after: positionsOf(next) }, pause);
      next.exec("COMMIT");
      previous.exec("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
    }
  } finally {
    next.close();
    previous.close();
  }
  if (!done) return false;
  publish(received, path);
  return true;
}

interface CarryOver {
  readonly peerId: string;
  /** The application's file. */
  readonly appDb: string;
  /** Positions of the replica that goes and of the one that comes. */
  readonly before: readonly number[];
  readonly after: readonly number[];
}

async function carryOver(
  previous: DatabaseSync,
  next: DatabaseSync,
  { peerId, appDb, before, after }: CarryOver,
  pause: (rows: number) => Promise<void>,
): Promise<void> {
  // An attempt that a crash ended before the rename left its references: begin anew.
  next.exec(`DELETE FROM "__marmot__local_reference"`);
  const copy = next.prepare(`INSERT INTO "__marmot__local_reference" VALUES(?, ?, ?, ?, ?, ?)`);
  let id = 0;
  for (const row of previous
    .prepare(`SELECT "tbl", "key", "shard", "idx", "image" FROM "__marmot__local_reference" ORDER BY "id"`)
    .iterate() as Iterable<{
    tbl: number;
    key: string | number;
    shard: number;
    idx: number;
    image: Uint8Array | null;
  }>)
    copy.run(++id, row.tbl, row.key, row.shard, row.idx, row.image);
  const settings = readSettings(next, "the replica received");
  const shapes = readShapes(next);
  const self = peerHash(peerId);
  const forget = next.prepare(`DELETE FROM "__marmot__local_reference" WHERE "tbl" = ? AND "key" = ?`);
  const file = openAppDb(appDb, { readOnly: true });
  try {
    file.exec("BEGIN");
    const reflected = reflectedBy(file, before);
    // The file showed nothing of what is new here, and will show all of it at once: any position that moved tells that.
    const shown = before.map((index, shard) => Math.max(index, reflected[shard]!));
    const moved = Math.max(
      0,
      after.findIndex((index, shard) => index > shown[shard]!),
    );
    const note = (table: number, keyId: KeyId, own: boolean, image: Uint8Array | null): void => {
      if (own)
        forget.run(table, keyId); // the own image was taken last: the row as it is now is the reference
      else copy.run(++id, table, keyId, moved, after[moved]!, image);
    };
    const unchanged = unchangedTables(previous, next);
    noteChangedTables(next, {
      ...{ shapes: shapes.filter((s) => !unchanged.has(s.id)), known: previous, before, self, note },
    });
    const same = shapes.filter((s) => unchanged.has(s.id));
    if (reflected.some((index, shard) => index > before[shard]!)) {
      // The replica lost its end in a power cut and is behind what the file shows: the file itself says what that was.
      const { encoding, merge } = settings;
      noteShown(next, file, { shapes: same, encoding, merge, reflected, self, note });
      return;
    }
    const taken = keysTaken(previous, next, peerId, file, same);
    for (const key of keysMoved(next, self, before, same)) taken.add(key);
    const lastWriter = prepareArrays(
      next,
      `SELECT "origin", "shard", "idx" FROM "__marmot__key" WHERE "tbl" = ? AND "key" = ?`,
    );
    const onDifference = ({ table, keyId, left }: RowDifference): boolean => {
      const last = lastWriter.get(table.id, keyId) as unknown as [number, number, number] | undefined;
      const own = last !== undefined && last[0] === self && last[2] > before[last[1]]!;
      // Merged by column, the own image may not be what stands: the file is led to it.
      const whole = settingOf(settings.merge, table.name) === "row";
      // An own image came and went in between: what it was is not known any more.
      const unknown = (own && !whole) || taken.has(`${table.id}/${keyId}`);
      note(table.id, keyId, own && whole, unknown ? UNKNOWN : left === null ? null : encodeImage(left));
      return true;
    };
    await compareRows({
      left: previous,
      right: next,
      shapes: same,
      encoding: settings.encoding,
      onDifference,
      pause,
    });
  } finally {
    file.close();
  }
}

/** Ids of tables that are the same thing in both replicas. */
function unchangedTables(previous: DatabaseSync, next: DatabaseSync): Set<number> {
  const texts = new Map(readShapes(previous).map((s) => [s.id, JSON.stringify(s)]));
  return new Set(readShapes(next).flatMap((s) => (texts.get(s.id) === JSON.stringify(s) ? [s.id] : [])));
}

interface ChangedTables {
  /** Tables of the replica that comes which the one that goes has otherwise, or not at all. */
  readonly shapes: readonly TableShape[];
  readonly known: DatabaseSync;
  readonly before: readonly number[];
  readonly self: number;
  readonly note: (table: number, keyId: KeyId, own: boolean, image: Uint8Array | null) => void;
}

/**
 * Rows of tables that another schema made another thing: what the file showed of those that were written since is not known
 * in today's terms, and of a table that was not there it showed nothing.
 */
function noteChangedTables(next: DatabaseSync, { shapes, known, before, self, note }: ChangedTables): void {
  const had = new Set(readShapes(known).map((s) => s.id));
  const written = prepareArrays(
    next,
    `SELECT "key", "shard", "idx", "origin" FROM "__marmot__key" WHERE "tbl" = ?`,
  );
  for (const { id } of shapes)
    for (const row of written.all(id) as unknown as [KeyId, number, number, number][]) {
      const [keyId, shard, index, origin] = row;
      if (index > before[shard]!) note(id, keyId, origin === self, had.has(id) ? UNKNOWN : null);
    }
}

interface Shown {
  readonly shapes: readonly TableShape[];
  readonly encoding: string;
  readonly merge: ReplicaSettings["merge"];
  /** Positions that the file shows. */
  readonly reflected: readonly number[];
  /** `peerHash` of this node. */
  readonly self: number;
  readonly note: (table: number, keyId: KeyId, own: boolean, image: Uint8Array | null) => void;
}

/** Notes every key that was written after what the file shows, as the file has it; what a pending one showed is not known. */
function noteShown(next: DatabaseSync, file: DatabaseSync, shown: Shown): void {
  const { shapes, encoding, merge, reflected, self, note } = shown;
  const shapeOf = new Map(shapes.map((s) => [s.id, s]));
  const acknowledged = readAcknowledged(file);
  const pending = pendingSince(file, shapes, ({ id }) => acknowledged.get(id) ?? 0);
  const access = new Map(shapes.map((s) => [s.id, new RowAccess(file, s, encoding)]));
  const changedSince = prepareArrays(
    next,
    `SELECT "tbl", "key", "origin" FROM "__marmot__key" WHERE "shard" = ? AND "idx" > ?`,
  );
  for (let shard = 0; shard < reflected.length; shard++)
    for (const row of changedSince.all(shard, reflected[shard]!) as unknown as [number, KeyId, number][]) {
      const [table, keyId, origin] = row;
      const shape = shapeOf.get(table);
      if (shape === undefined) continue;
      const now = access.get(table)!.get(keyValues(shape, keyId));
      const image = pending.has(`${table}/${keyId}`) ? UNKNOWN : now === null ? null : encodeImage(now);
      note(table, keyId, origin === self && settingOf(merge, shape.name) === "row", image);
    }
}

function prepareArrays(db: DatabaseSync, sql: string): StatementSync {
  const statement = db.prepare(sql);
  statement.setReturnArrays(true);
  return statement;
}

/** Per shard, the position that the file shows. */
function reflectedBy(file: DatabaseSync, shards: readonly number[]): number[] {
  const reflected = shards.map(() => 0);
  const rows = prepareArrays(file, `SELECT "name", "value" FROM "__marmot__status" WHERE "item" = 'shard'`);
  for (const [shard, index] of rows.all() as unknown as [string, number][]) reflected[Number(shard)] = index;
  return reflected;
}

/** Keys of own log rows that the new replica covers and the old one does not: they are still in the file's logs. */
function keysTaken(
  previous: DatabaseSync,
  next: DatabaseSync,
  peerId: string,
  file: DatabaseSync,
  shapes: readonly TableShape[],
): Set<string> {
  const bound = (db: DatabaseSync, which: "min" | "max", table: number): number => {
    const sql = `SELECT ${which}("up_to") AS bound FROM "__marmot__watermark" WHERE "peer" = ? AND "tbl" = ?`;
    return (db.prepare(sql).get(peerId, table) as { bound: number | null }).bound ?? 0;
  };
  return pendingSince(
    file,
    shapes,
    ({ id }) => bound(previous, "min", id),
    ({ id }) => bound(next, "max", id),
  );
}

/** Own rows that the new replica has under other rowids, unknown to the old one: the file will have what is pending of them there. */
function keysMoved(
  next: DatabaseSync,
  self: number,
  before: readonly number[],
  shapes: readonly TableShape[],
): string[] {
  const moved = prepareExact(
    next,
    `SELECT "tbl", "to_rowid", "shard", "idx" FROM "__marmot__moved" WHERE "origin" = ?`,
  );
  const rows = moved.all(self) as unknown as [bigint, bigint, bigint, bigint][];
  const shapeOf = new Map(shapes.map((s) => [BigInt(s.id), s]));
  return rows.flatMap(([table, to, shard, index]) =>
    Number(index) > before[Number(shard)]! && shapeOf.has(table)
      ? [`${table}/${keyIdOf(shapeOf.get(table)!, [to])}`]
      : [],
  );
}

/** "table/key" of log rows after `from` and up to `to`, each of the table. */
function pendingSince(
  file: DatabaseSync,
  shapes: readonly TableShape[],
  from: (table: TableShape) => number,
  to: (table: TableShape) => number = () => Number.MAX_SAFE_INTEGER,
): Set<string> {
  const keys = new Set<string>();
  const encoding = String(queryOf(file)("PRAGMA encoding")[0]![0]);
  const logs = new Map(readChangeLogs(file).map(({ id, log }) => [id, log]));
  for (const shape of shapes) {
    const log = logs.get(shape.id);
    if (log === undefined) continue;
    const reader = new ChangeLogReader(selectsOf(file), { shape, log, encoding });
    for (const [, keyId] of reader.keyIds(from(shape), to(shape))) keys.add(`${shape.id}/${keyId}`);
  }
  return keys;
}

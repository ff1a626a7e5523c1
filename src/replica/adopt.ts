/**
 * A received replica in place of this node's own, or as its first one. What this node knows for itself stays; what the
 * sender knew for itself goes; and every row that the two differ in is remembered as this node's file last showed it.
 */
import { existsSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { UserError } from "../base/errors.ts";
import { encodeImage } from "../change/codec.ts";
import { keyIdOf } from "../change/key.ts";
import { settingOf } from "../change/per-table.ts";
import type { TableShape } from "../change/shape.ts";
import type { Value } from "../change/value.ts";
import { prepareExact } from "../schema/row-access.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import type { GroupConfiguration } from "../shard/seams.ts";
import { compareRows, type RowDifference } from "./compare.ts";
import { publish, yieldToLoop } from "./genesis.ts";
import { writeLocal } from "./open.ts";
import { shardOfRow } from "./row-shard.ts";
import { readShapes } from "./schema.ts";
import { readSettings, type ReplicaSettings } from "./settings.ts";
import { completeReplica, LOCAL_TABLES, peerHash } from "./tables.ts";

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
  const db = new DatabaseSync(received, { enableForeignKeyConstraints: false });
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

/**
 * Puts a stripped replica in the place of the one at `path`, if it is at or ahead of that in every shard. False: it is
 * not, and nothing changed. No connection to `path` may be open. The rename is the one moment at which it happens.
 */
export async function replaceReplica(
  path: string,
  received: string,
  peerId: string,
  live: string,
  onProgress: (rows: number) => void,
): Promise<boolean> {
  if (!existsSync(path)) {
    publish(received, path);
    return true;
  }
  const next = new DatabaseSync(received, { enableForeignKeyConstraints: false });
  const previous = new DatabaseSync(path, { enableForeignKeyConstraints: false });
  let ahead: boolean;
  try {
    const before = positionsOf(previous);
    const after = positionsOf(next);
    ahead = after.every((index, shard) => index >= before[shard]!);
    if (ahead) {
      next.exec("BEGIN");
      previous.exec("BEGIN");
      await carryOver(previous, next, { peerId, live, before, after }, onProgress);
      next.exec("COMMIT");
      previous.exec("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
    }
  } finally {
    next.close();
    previous.close();
  }
  if (!ahead) return false;
  publish(received, path);
  return true;
}

interface CarryOver {
  readonly peerId: string;
  /** The application's file. */
  readonly live: string;
  /** Positions of the replica that goes and of the one that comes. */
  readonly before: readonly number[];
  readonly after: readonly number[];
}

async function carryOver(
  previous: DatabaseSync,
  next: DatabaseSync,
  { peerId, live, before, after }: CarryOver,
  onProgress: (rows: number) => void,
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
  const taken = keysTaken(previous, next, peerId, live, shapes);
  const lastWriter = next.prepare(
    `SELECT "origin", "idx" FROM "__marmot__key" WHERE "tbl" = ? AND "key" = ?`,
  );
  const self = peerHash(peerId);
  const forget = next.prepare(`DELETE FROM "__marmot__local_reference" WHERE "tbl" = ? AND "key" = ?`);
  const onDifference = ({ table, keyId, left }: RowDifference): boolean => {
    const shard = shardOfRow(table, keyId, settings.shards);
    const last = lastWriter.get(table.id, keyId) as { origin: number; idx: number } | undefined;
    const own = last !== undefined && last.origin === self && last.idx > before[shard]!;
    // Merged by column, the own image may not be what stands: the file is led to it.
    if (own && settingOf(settings.merge, table.name) === "row") {
      forget.run(table.id, keyId); // the own image was taken last: the row as it is now is the reference
      return true;
    }
    // An own image came and went in between: what it was is not known any more.
    const image =
      own || taken.has(`${table.id}/${keyId}`) ? UNKNOWN : left === null ? null : encodeImage(left);
    copy.run(++id, table.id, keyId, shard, after[shard]!, image);
    return true;
  };
  await compareRows({
    left: previous,
    right: next,
    shapes,
    encoding: settings.encoding,
    onDifference,
    pause: async (rows) => {
      onProgress(rows);
      await yieldToLoop();
    },
  });
}

/** Keys of own log rows that the new replica covers and the old one does not: they are still in the file's logs. */
function keysTaken(
  previous: DatabaseSync,
  next: DatabaseSync,
  peerId: string,
  live: string,
  shapes: readonly TableShape[],
): Set<string> {
  const keys = new Set<string>();
  const file = new DatabaseSync(live, { readOnly: true });
  try {
    const logs = file.prepare(`SELECT "id", "log" FROM "__marmot__table"`).all() as {
      id: number;
      log: string;
    }[];
    const bound = (db: DatabaseSync, which: "min" | "max", table: number): number => {
      const sql = `SELECT ${which}("up_to") AS bound FROM "__marmot__watermark" WHERE "peer" = ? AND "tbl" = ?`;
      return (db.prepare(sql).get(peerId, table) as { bound: number | null }).bound ?? 0;
    };
    for (const shape of shapes) {
      const log = logs.find((l) => l.id === shape.id)?.log;
      if (log === undefined) continue;
      const columns = shape.key.map((_, i) => `k${i + 1}`).join(", ");
      const rows = prepareExact(
        file,
        `SELECT ${columns} FROM ${quoteIdentifier(log)} WHERE id > ? AND id <= ?`,
      );
      for (const key of rows.iterate(
        bound(previous, "min", shape.id),
        bound(next, "max", shape.id),
      ) as unknown as Iterable<Value[]>)
        keys.add(`${shape.id}/${keyIdOf(shape, key)}`);
    }
  } finally {
    file.close();
  }
  return keys;
}

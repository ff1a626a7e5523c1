/**
 * Installs a snapshot: a received replica becomes this node's first one, or replaces it. The sender's
 * node-local records are deleted and this node's are kept. For every row that differs between the two replicas, a before
 * image records the row as this node's app database last had it.
 */
import { nextTurn } from "../../base/clock.ts";
import { existsSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { UserError } from "../../base/errors.ts";
import type { GroupConfiguration } from "../../shard/seams.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { writeLocal } from "../store/local.ts";
import { readPositions } from "../store/positions.ts";
import { readSettings, type ReplicaSettings } from "../store/settings.ts";
import { completeReplica, LOCAL_TABLES } from "../store/tables.ts";
import { markIncomplete, readIncomplete } from "../store/incomplete-tables.ts";
import { carryBeforeImages } from "./carry-before-images.ts";
import { publish } from "./database-files.ts";
import { mergeParts } from "./merge-replicas.ts";

/** The positions of a snapshot and the configurations of its groups, from the snapshot's header. */
interface SnapshotVector {
  readonly positions: readonly { readonly index: number; readonly term: number }[];
  readonly configurations: readonly GroupConfiguration[];
}

/** Checks a received replica and replaces its node-local records by those of this node. Returns its settings. */
export function prepareSnapshot(
  received: string,
  clusterId: string | null,
  peerId: string,
  vector: SnapshotVector,
): ReplicaSettings {
  const db = openDatabase(received);
  try {
    const settings = readSettings(db, received);
    if (clusterId !== null && settings.clusterId !== clusterId)
      throw new UserError(
        `the replica received is of cluster ${settings.clusterId}, expected ${clusterId}`,
        "check --peers: the addresses belong to another cluster",
      );
    const found = readPositions(db);
    if (
      found.length !== vector.positions.length ||
      found.some((index, i) => index !== vector.positions[i]!.index)
    )
      throw new UserError(
        "the replica received has other positions than its header says",
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
    writeLocal(db, "received", JSON.stringify(found));
    db.exec("COMMIT");
    return settings;
  } finally {
    db.close();
  }
}

/** The received replica is at or ahead of the own one in every shard, or ahead of it in at least one. */
export const isWorthTaking = (received: readonly number[], own: readonly number[]): boolean =>
  received.every((index, shard) => index >= own[shard]!) ||
  received.some((index, shard) => index > own[shard]!);

const isAheadOf = (next: DatabaseSync, own: readonly number[]): boolean =>
  readPositions(next).every((index, shard) => index >= own[shard]!);

interface SnapshotInstall {
  /** Path of this node's replica. */
  readonly replica: string;
  /** Path of the prepared snapshot. */
  readonly received: string;
  readonly peerId: string;
  /** Path of the app database. */
  readonly appDb: string;
  /** Called with the number of rows compared. */
  readonly onProgress: (rows: number) => void;
}

/**
 * Replaces this node's replica by a prepared snapshot. If that is ahead in a shard, its part of the shard is
 * kept. False: the snapshot has nothing new, and nothing changed. No connection to the replica may be open. The
 * installation takes effect at one moment, with the rename. A replica with tables without rows is replaced as a lost one is.
 */
export async function installSnapshot(install: SnapshotInstall): Promise<boolean> {
  const { replica, received } = install;
  if (existsSync(replica)) {
    const next = openDatabase(received);
    const previous = openDatabase(replica);
    let withoutRows: ReadonlySet<number>;
    try {
      withoutRows = new Set(readIncomplete(previous).keys());
      if (withoutRows.size === 0) {
        if (!(await takeOver(previous, next, install))) return false;
      } else {
        if (!isAheadOf(next, readPositions(previous))) return false;
        previous.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      }
    } finally {
      next.close();
      previous.close();
    }
    if (withoutRows.size > 0) {
      await installAfterLoss(install, withoutRows);
      return true;
    }
  }
  publish(received, replica);
  return true;
}

/**
 * The prepared snapshot takes the place of a replica that is lost. The app database alone tells which rows it shows, and which
 * of them are unacknowledged. `withoutRows`: tables of which the lost replica had no rows.
 */
export async function installAfterLoss(
  { replica, received, peerId, appDb, onProgress }: SnapshotInstall,
  withoutRows: ReadonlySet<number> = new Set(),
): Promise<void> {
  const next = openDatabase(received);
  try {
    const after = readPositions(next);
    const settings = readSettings(next, received);
    next.exec("BEGIN");
    const pause = async (rows: number): Promise<void> => {
      onProgress(rows);
      await nextTurn();
    };
    // No record of the lost replica is left, as in one that has applied nothing.
    if (readIncomplete(next).size === 0)
      await carryBeforeImages({
        previous: next,
        next,
        peerId,
        appDb,
        before: after.map(() => 0),
        after,
        pause,
        withoutRows,
      });
    markIncomplete(next, settings);
    next.exec("COMMIT");
  } finally {
    next.close();
  }
  publish(received, replica);
}

/** Copies into `next` everything of `previous` that is kept. False: `next` has nothing new. */
async function takeOver(
  previous: DatabaseSync,
  next: DatabaseSync,
  { peerId, appDb, onProgress }: SnapshotInstall,
): Promise<boolean> {
  const before = readPositions(previous);
  if (!isWorthTaking(readPositions(next), before)) return false;
  // A crash came before the rename.
  if (readIncomplete(next).size > 0) return true;
  const pause = async (rows: number): Promise<void> => {
    onProgress(rows);
    await nextTurn();
  };
  next.exec("BEGIN");
  previous.exec("BEGIN");
  const isAhead = isAheadOf(next, before);
  const done = isAhead || (await mergeParts(previous, next, pause));
  if (done)
    await carryBeforeImages({ previous, next, peerId, appDb, before, after: readPositions(next), pause });
  if (done) markIncomplete(next, readSettings(next, "the replica received"));
  next.exec("COMMIT");
  previous.exec("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
  return done;
}

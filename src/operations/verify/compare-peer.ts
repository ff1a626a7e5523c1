/** Fetches the replica of a peer and compares its rows with this node's replica. */
import type { DatabaseSync } from "node:sqlite";
import { rmSync } from "node:fs";
import { type Clock, nextTurn } from "../../base/clock.ts";
import { errorMessage } from "../../base/errors.ts";
import type { KeyId } from "../../change/key.ts";
import { compareRows } from "../../replica/copies/compare-rows.ts";
import { readSettings } from "../../replica/store/settings.ts";
import { fetchFreshReplica } from "../../replication/snapshots/fetch-replica.ts";
import type { Replicator } from "../../replication/replicator.ts";
import type { PeerId, Transport } from "../../shard/seams.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { integer, readRow, readRows } from "../../sqlite/typed-rows.ts";
import type { VerifyDifference } from "../api.ts";
import { showKey } from "../literals.ts";

const FETCH_WITHIN_MS = 120_000;

export interface ComparePeerComponents {
  readonly replicator: Replicator;
  readonly transport: Transport;
  readonly clock: Clock;
}

const positionsOf = (db: DatabaseSync): number[] =>
  readRows(db.prepare(`SELECT "idx" FROM "__marmot__position" ORDER BY "shard"`).all(), {
    idx: integer,
  }).map(({ idx }) => idx);

/** Rows that one node changed after the position of the other may differ. Returns the number of compared rows. */
export async function comparePeer(
  { replicator, transport, clock }: ComparePeerComponents,
  peer: PeerId,
  report: (difference: VerifyDifference) => boolean,
): Promise<number> {
  const { replica } = replicator.replica;
  const path = `${replicator.options.paths.incoming}/verify.db`;
  const node = replicator.peers.nameOf(peer);
  const nothingCompared = (detail: string): number => {
    report({ kind: "replica", node, table: "", key: "", detail });
    return 0;
  };
  try {
    const onProgress = (): void => {};
    await fetchFreshReplica(
      peer,
      path,
      { transport, clock, onProgress },
      AbortSignal.timeout(FETCH_WITHIN_MS),
    );
  } catch (error) {
    return nothingCompared(`its replica could not be fetched: ${errorMessage(error)}`);
  }
  const theirs = openDatabase(path, { readOnly: true });
  const ours = openDatabase(replicator.options.paths.replica, { readOnly: true });
  try {
    ours.exec("BEGIN");
    const version = (db: DatabaseSync): number => readSettings(db, "the replica").schemaVersion;
    if (version(ours) !== version(theirs))
      return nothingCompared("its schema changed during the comparison: verify again");
    return await compareRows({
      left: ours,
      right: theirs,
      shapes: [...replica.shapes.values()],
      encoding: replica.settings.encoding,
      skip: changedLater(ours, theirs),
      onDifference: ({ table, keyId, left, right }) => {
        const detail = right === null ? "missing there" : left === null ? "only there" : "the images differ";
        return report({ kind: "replica", node, table: table.name, key: showKey(table, keyId), detail });
      },
      pause: nextTurn,
    });
  } finally {
    theirs.close();
    ours.close();
    rmSync(path, { force: true });
  }
}

/** Whether one of two replicas wrote a row after the position of the other. */
function changedLater(ours: DatabaseSync, theirs: DatabaseSync): (table: number, keyId: KeyId) => boolean {
  const [a, b] = [positionsOf(ours), positionsOf(theirs)];
  const lastWrites = [ours, theirs].map((db) =>
    db.prepare(`SELECT "shard", "idx" FROM "__marmot__key" WHERE "tbl" = ? AND "key" = ?`),
  );
  // An entry of shard 0 may write a row that is routed to another shard: the row's own position names the log.
  return (table, keyId) =>
    lastWrites.some((statement) => {
      const row = statement.get(table, keyId);
      if (row === undefined) return false;
      const written = readRow(row, { shard: integer, idx: integer });
      return written.idx > Math.min(a[written.shard]!, b[written.shard]!);
    });
}

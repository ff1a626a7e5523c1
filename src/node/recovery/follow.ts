/** A learner of an earlier epoch follows the recovery of its cluster: see `followers.ts`. Its files are closed. */
import type { LogIndex, PeerId } from "../../base/ids.ts";
import { readMembership } from "../../log-store/log-file.ts";
import { SqliteLogStore } from "../../log-store/sqlite-log-store.ts";
import { openReplica } from "../../replica/open-replica.ts";
import { alignLog } from "../../replication/lives/align-log.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";
import type { Control } from "../../replication/messages/control-messages.ts";
import type { GroupConfiguration } from "../../shard/seams.ts";
import { mayFollow } from "../halt/superseded.ts";

type Follow = Extract<Control, { kind: "follow" }>;

/** The question to the node that began the newest epoch; null: this node is no learner, and does not follow. */
export function followQuestion(paths: DataPaths, peerId: PeerId): Follow | null {
  const { self, at } = readMembership(paths.log);
  if (!mayFollow(at, self)) return null;
  const replica = openReplica(paths.replica, peerId);
  const log = SqliteLogStore.open(paths.log, 0);
  try {
    alignLog(log, replica);
    const applied = replica.replica.positions();
    return {
      kind: "follow",
      after: at.epochs?.at(-1)?.id ?? "",
      ends: applied.map((index, shard) => {
        const end = committedEnd(log, shard, index);
        return [end, log.group(shard).term(end)] as const;
      }),
    };
  } finally {
    log.close();
    replica.close();
  }
}

/** The last entry of the shard that this node knows to be committed. */
const committedEnd = (log: SqliteLogStore, shard: number, applied: LogIndex): LogIndex =>
  Math.max(applied, Math.min(log.group(shard).hardState.commit, log.group(shard).lastIndex()));

/** Takes over the configurations. False: they are not for this node. `epoch`: the newest that it knows. */
export function followEpoch(
  { ends }: Follow,
  configurations: readonly GroupConfiguration[],
  { paths, epoch }: { readonly paths: DataPaths; readonly epoch: string },
): boolean {
  const log = SqliteLogStore.open(paths.log, 0);
  try {
    const isForThis = configurations.every(
      ({ configuration, members }) =>
        configuration.learners.includes(log.member) &&
        members.some(({ id, peerId }) => id === log.member && peerId === log.identity.peerId),
    );
    const isNewest = configurations[0]?.epochs?.at(-1)?.id === epoch;
    if (!isForThis || !isNewest || configurations.length !== log.shards) return false;
    log.follow(
      ends.map(([index]) => index),
      configurations,
    );
    return true;
  } finally {
    log.close();
  }
}

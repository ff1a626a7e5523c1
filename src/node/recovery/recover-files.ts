/** `marmot members recover` on the files of a node that does not use them now. */
import { existsSync } from "node:fs";
import { UserError } from "../../base/errors.ts";
import type { PeerId } from "../../base/ids.ts";
import { readLogHead } from "../../log-store/log-file.ts";
import { SqliteLogStore } from "../../log-store/sqlite-log-store.ts";
import type { Recovery } from "../../operations/api.ts";
import { installSnapshot } from "../../replica/copies/install-snapshot.ts";
import type { IncompleteTables } from "../../replica/store/incomplete-tables.ts";
import { openReplica } from "../../replica/open-replica.ts";
import {
  beginEpoch,
  type EpochSigner,
  formerMembers,
  learnersOf,
  nextNumber,
  ownMember,
  type Survivor,
  unconfirmed,
} from "../../replication/epochs/begin-epoch.ts";
import { alignLog } from "../../replication/lives/align-log.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";
import type { MemberInfo } from "../../shard/seams.ts";

export interface RecoveredFiles {
  readonly db: string;
  readonly paths: DataPaths;
  readonly peerId: PeerId;
}

/** `signer`: null: only says the effects. Throws `UserError`. */
export async function recoverFiles(files: RecoveredFiles, signer: EpochSigner | null): Promise<Recovery> {
  const { db, paths, peerId } = files;
  if (!existsSync(paths.replica) || !existsSync(paths.log))
    throw new UserError(
      `${paths.folder} holds no member of a cluster`,
      "check --db and --data-dir; marmot run without --peers forms a new cluster with a file",
    );
  // A replica that was received before the last stop is newer.
  if (signer !== null && existsSync(paths.nextReplica))
    await installSnapshot({
      ...{ replica: paths.replica, received: paths.nextReplica, peerId, appDb: db },
      onProgress: () => {},
    });
  const { supersededBy } = readLogHead(paths.log);
  const replica = openReplica(paths.replica, peerId);
  const log = SqliteLogStore.open(paths.log, 0);
  try {
    const applied = replica.replica.positions();
    requireWhole(replica.replica.completion.tables);
    requireLog(log, applied, paths);
    if (signer !== null) alignLog(log, replica);
    return recoverMember({ log, applied, supersededBy }, signer);
  } finally {
    log.close();
    replica.close();
  }
}

/** Other nodes would lose these rows. */
export function requireWhole(incomplete: IncompleteTables): void {
  const [table] = incomplete.values();
  if (table !== undefined)
    throw new UserError(
      `the replica lacks the rows of a table: ${table.reason}`,
      "recover on another member, whose replica is whole",
    );
}

/** Entries between the replica and the log are lost. */
function requireLog(log: SqliteLogStore, applied: readonly number[], paths: DataPaths): void {
  const shard = applied.findIndex((index, at) => index + 1 < log.group(at).firstIndex());
  if (shard !== -1)
    throw new UserError(
      `the replica ends at entry ${applied[shard]} of shard ${shard}, and ${paths.log} begins after it: entries between them are lost`,
      "recover on another member; or run marmot cleanup on the file, move the data directory to another place, and form a new cluster with the file",
    );
}

/** `signer`: null: only says the effects. */
export function recoverMember(survivor: Survivor, signer: EpochSigner | null): Recovery {
  const member = requireMember(survivor);
  const { log, applied } = survivor;
  const result = {
    node: member.name,
    epoch: nextNumber(survivor),
    leaves: formerMembers(survivor).map(({ name }) => name),
    stays: learnersOf(survivor).map(({ name }) => name),
    lastEntries: applied.map((index, shard) => Math.max(index, log.group(shard).lastIndex())),
    unconfirmed: unconfirmed(survivor),
  };
  if (signer !== null) beginEpoch(survivor, member, signer);
  return { done: signer !== null, ...result };
}

export const removedError = (): UserError =>
  new UserError(
    "this node was removed from the cluster: it cannot go on in its place",
    "recover on a member; marmot rejoin makes this node a new member of a cluster that runs",
  );

function requireMember(survivor: Survivor): MemberInfo {
  const member = ownMember(survivor);
  if (member === null) throw removedError();
  return member;
}

/** Receives the replica of a member again, in place of a damaged or missing one; see `lost-replica.ts`. */
import { existsSync, renameSync, rmSync } from "node:fs";
import { sleep } from "../../base/clock.ts";
import { errorMessage, UserError } from "../../base/errors.ts";
import { HaltError } from "../../base/halt.ts";
import { readLogHead } from "../../log-store/log-file.ts";
import { installAfterLoss, prepareSnapshot } from "../../replica/copies/install-snapshot.ts";
import { type FetchReplicaComponents, fetchFreshReplica } from "../../replication/snapshots/fetch-replica.ts";
import { logEndHalt } from "../../replication/lives/log-end.ts";
import type { Logger } from "../../base/logger.ts";
import type { PeerId } from "../../base/ids.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";
import type { MessageRouter } from "../../replication/messages/message-router.ts";
import { rejoinHint } from "../halt/refused.ts";
import { readReflectedOf } from "../startup/check-files.ts";

const AGAIN_MS = 300;

export interface RebuildComponents extends FetchReplicaComponents {
  /** The application's file. */
  readonly db: string;
  readonly paths: DataPaths;
  readonly peerId: PeerId;
  readonly router: MessageRouter;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** Lets members of the cluster connect. */
  readonly enter: (clusterId: string) => void;
  readonly onPhase: (phase: string) => void;
}

/**
 * The received replica reaches at least the position that the file shows and the beginning of the log. Resolves when it is in
 * place; the files of the node must be closed. `reason`: why the old one is lost. Rejects when the node stops.
 */
export async function rebuildReplica(reason: string, components: RebuildComponents): Promise<void> {
  const { db, paths, peerId, transport, router, clock, logger, signal, onProgress, onPhase } = components;
  const { identity, groups } = readLogHead(paths.log);
  const reflected = readReflectedOf(db);
  if (reflected === null)
    throw new UserError(
      `${reason}; and ${db} has no tables of Marmot`,
      `move ${paths.folder} away, and start the node with --peers to join again`,
    );
  logger.event("file", `${reason}; it is received again from another member`, {}, "warn");
  components.enter(identity.clusterId);
  // Entries that the file shows were in the log. Without them it lost its end, and votes.
  const needed = groups.map(({ compactedIndex }, shard) => Math.max(compactedIndex, reflected[shard] ?? 0));
  const facts = { log: paths.log, groups, replica: needed, received: [], reflected };
  const halt = logEndHalt(facts, rejoinHint({ db, folder: paths.folder }));
  if (halt !== null) throw new HaltError(halt);
  const target = `${paths.replica}.received`;
  for (;;) {
    signal.throwIfAborted();
    onPhase(`${reason}: waiting for a member that sends its replica`);
    for (const peer of transport.connected()) {
      const hello = router.hellos.get(peer);
      if (hello?.clusterId !== identity.clusterId) continue;
      onPhase(`${reason}: receiving the replica from ${hello.name}`);
      try {
        rmSync(target, { force: true });
        const header = await fetchFreshReplica(peer, target, { transport, clock, onProgress }, signal);
        if (header.positions.some(({ index }, shard) => index < needed[shard]!)) continue;
        onPhase(`${reason}: installing the received replica`);
        prepareSnapshot(target, identity.clusterId, peerId, header);
        setAside(paths.replica, clock.wallTime());
        await installAfterLoss({
          ...{ replica: paths.replica, received: target, peerId, appDb: db },
          onProgress: () => {},
        });
        logger.event("file", `the replica was received from ${hello.name}`, {});
        return;
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof UserError) throw error;
        logger.warn("the transfer of the replica was interrupted", { error: errorMessage(error) });
      }
    }
    await sleep(clock, AGAIN_MS);
  }
}

/** The damaged file is kept. */
function setAside(replica: string, time: number): void {
  const stamp = new Date(time).toISOString().replace(/[-:]|\.\d+/g, "");
  for (const end of ["", "-wal", "-shm"])
    if (existsSync(replica + end)) renameSync(replica + end, `${replica}.damaged-${stamp}${end}`);
}

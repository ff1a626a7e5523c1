/** Receives the replica of a member again, in place of a damaged or missing one; see `lost-replica.ts`. */
import { existsSync, renameSync, rmSync } from "node:fs";
import { sleep } from "../../base/clock.ts";
import { errorMessage, UserError } from "../../base/errors.ts";
import { HaltError } from "../../base/halt.ts";
import { readLogHead } from "../../log-store/log-file.ts";
import { installAfterLoss, prepareSnapshot } from "../../replica/copies/install-snapshot.ts";
import { fetchFreshReplica } from "../../replication/snapshots/fetch-replica.ts";
import { logEndHalt } from "../../replication/lives/log-end.ts";
import { rejoinHint } from "../halt/refused.ts";
import { silentStage } from "../disk-full.ts";
import type { NodeCore } from "../node-core.ts";
import { readReflectedOf } from "../startup/check-files.ts";

const AGAIN_MS = 300;

/**
 * The received replica reaches at least the position that the file shows and the beginning of the log. Resolves when it is in
 * place; the files of the node must be closed. Rejects when the node stops.
 */
export async function rebuildReplica(core: NodeCore, reason: string): Promise<void> {
  const { paths, peerId, transport, router, stopping } = core;
  const { clock, logger } = core.components;
  const { identity, groups } = readLogHead(paths.log);
  const reflected = readReflectedOf(core.options.db);
  if (reflected === null)
    throw new UserError(
      `${reason}; and ${core.options.db} has no tables of Marmot`,
      `move ${paths.folder} away, and start the node with --peers to join again`,
    );
  logger.event("file", `${reason}; it is received again from another member`, {}, "warn");
  router.enter(silentStage(identity.clusterId));
  // Entries that the file shows were in the log. Without them it lost its end, and votes.
  const needed = groups.map(({ compactedIndex }, shard) => Math.max(compactedIndex, reflected[shard] ?? 0));
  const facts = { log: paths.log, groups, replica: needed, received: [], reflected };
  const halt = logEndHalt(facts, rejoinHint(core.options.db));
  if (halt !== null) throw new HaltError(halt);
  const target = `${paths.replica}.received`;
  for (;;) {
    stopping.signal.throwIfAborted();
    core.phase = `${reason}: waiting for a member that sends its replica`;
    for (const peer of transport.connected()) {
      const hello = router.hellos.get(peer);
      if (hello?.clusterId !== identity.clusterId) continue;
      core.phase = `${reason}: receiving the replica from ${hello.name}`;
      try {
        rmSync(target, { force: true });
        const onProgress = core.report.bind(core);
        const header = await fetchFreshReplica(
          peer,
          target,
          { transport, clock, onProgress },
          stopping.signal,
        );
        if (header.positions.some(({ index }, shard) => index < needed[shard]!)) continue;
        core.phase = `${reason}: installing the received replica`;
        prepareSnapshot(target, identity.clusterId, peerId, header);
        setAside(paths.replica, clock.wallTime());
        await installAfterLoss({
          ...{ replica: paths.replica, received: target, peerId, appDb: core.options.db },
          onProgress: () => {},
        });
        core.report(null);
        logger.event("file", `the replica was received from ${hello.name}`, {});
        return;
      } catch (error) {
        stopping.signal.throwIfAborted();
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

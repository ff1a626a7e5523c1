/** Forms the cluster of a node, or joins one. */
import { existsSync } from "node:fs";
import { archiveSetting } from "./backup/beside/cluster-archive.ts";
import { checkClusterSettings, readClusterSettings } from "./cluster-settings.ts";
import { keepClusterKey } from "./data-dir.ts";
import { joinCluster } from "./joining/join-cluster.ts";
import type { NodeCore } from "./node-core.ts";
import type { Opening } from "./opening.ts";
import { startKind } from "./startup/check-files.ts";
import { formCluster } from "./startup/form-cluster.ts";
import { noteDataDir } from "./startup/held-file.ts";
import { requireWal } from "./startup/wal-mode.ts";

const DEFAULT_SHARDS = 1;

/** The replica of a new cluster, with the content of the application's file. */
export async function formNewCluster(core: NodeCore): Promise<void> {
  const { db, tables, exclude, merge, foreignKeys, idBlock } = core.options;
  const { paths, peerId } = core;
  const { name } = core.member;
  const shards = core.options.shards ?? DEFAULT_SHARDS;
  const transactions = shards === 1 ? "whole" : (core.options.transactions ?? "whole");
  core.noteMode(requireWal(db));
  const selection = { tables, exclude: exclude ?? [] };
  await formCluster(
    {
      ...{ db, paths, peerId, name, shards, transactions, selection },
      ...{ merge, foreignKeys, idBlock, application: core.applicationVersion },
      archive: archiveSetting(core.options.archive),
    },
    { clock: core.components.clock, onProgress: (progress) => core.report(progress) },
  );
  noteDataDir(db, paths.folder);
  core.notes.push(`formed a new cluster with ${shards} ${shards === 1 ? "shard" : "shards"}`);
}

/** Joins a cluster and opens the replicator. Never rejects: an error stops the node. */
export async function enterCluster(core: NodeCore, opening: Opening): Promise<void> {
  const { paths, peerId, transport, router, stopping } = core;
  const { db, bootstrapExpect: expect } = core.options;
  const { clock, logger } = core.components;
  try {
    const done = await joinCluster(
      {
        ...{ db, paths, peerId, ...core.member, expect, isRoleChosen: core.options.role !== null },
        checkReceived: () => checkClusterSettings(core.options, readClusterSettings(paths.replica)),
      },
      {
        ...{ transport, router, clock, logger: logger.child("join"), signal: stopping.signal },
        onProgress: (progress) => core.report(progress),
        onPhase: (phase) => {
          core.phase = phase;
        },
      },
    );
    if (done === "form") await formExpected(core);
    stopping.signal.throwIfAborted();
    checkClusterSettings(core.options, readClusterSettings(paths.replica));
    keepClusterKey(core.options, paths);
    noteDataDir(db, paths.folder);
    opening.enterOrWait();
    const cluster = core.replicator?.clusterId ?? "";
    logger.event("member", done === "form" ? "formed the cluster" : "joined the cluster", { cluster });
  } catch (error) {
    if (!core.isStopping) core.failWith(error);
  }
}

/** The nodes of `--bootstrap-expect` have met, and this one forms the cluster. */
async function formExpected(core: NodeCore): Promise<void> {
  const { paths, peerId } = core;
  const { db } = core.options;
  core.phase = "forming the cluster";
  if (!existsSync(db))
    core.components.logger.info("no node has data: the cluster begins with an empty file", { db });
  startKind({ file: db, paths, peerId, hasPeers: false, create: true });
  await formNewCluster(core);
}

/** The composition root: starts a node from its options, and stops it. */
import { existsSync, mkdirSync } from "node:fs";
import { resolve } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { isDamage, isDiskFull } from "../base/errors.ts";
import { type Halt, HaltError } from "../base/halt.ts";
import { NO_PEER } from "../base/ids.ts";
import type { NodeApi } from "../operations/api.ts";
import { dataPaths } from "../replication/machine/data-paths.ts";
import type { Replicator } from "../replication/replicator.ts";
import type { Transport } from "../shard/seams.ts";
import { requireOwnSqlite } from "../sqlite/versions/sqlite-version.ts";
import { readWriterVersion } from "../sqlite/versions/writer-version.ts";
import { keyFingerprint } from "../transport/cluster-key.ts";
import { loadIdentity, peerIdOf } from "../transport/identity.ts";
import { refuseUsedArchive, requireArchiveKey } from "./backup/beside/cluster-archive.ts";
import { enterCluster, formNewCluster } from "./cluster-entry.ts";
import {
  cleanUpAfterCrash,
  findClusterKeys,
  isOtherKey,
  keepClusterKey,
  keyFileNotes,
  keyFileOf,
  lockDataDir,
  makeClusterKey,
} from "./data-dir.ts";
import { type RunningNode, type StartedInfo, startedInfo } from "./handle.ts";
import { historyFacts, Milestones, sightOf } from "./milestones.ts";
import { createNodeApi } from "./node-api.ts";
import { type NodeComponents, NodeCore } from "./node-core.ts";
import { openTransport } from "./open-transport.ts";
import { Opening } from "./opening.ts";
import type { NodeOptions } from "./options.ts";
import type { Start } from "./startup/check-files.ts";
import { decideStart } from "./decide-start.ts";
import { nodeFileError } from "./startup/file-access.ts";
import { giveExtensions } from "./startup/give-extensions.ts";
import { lostReplica } from "./startup/lost-replica.ts";
import { groupId, shareFile, shareFolder } from "./startup/unix-group.ts";

/** Throws `UserError` for each problem that a user can fix; nothing runs then. */
export async function startNode(options: NodeOptions, components: NodeComponents): Promise<Node> {
  await giveExtensions(options);
  requireOwnSqlite();
  const node = new Node(options, components);
  try {
    await node.start();
  } catch (error) {
    await node.stop();
    throw nodeFileError(error, { db: options.db, ...dataPaths(options.dataDir) }) ?? error;
  }
  return node;
}

export class Node implements RunningNode {
  readonly api: NodeApi;
  readonly failed: Promise<Error>;
  readonly #core: NodeCore;
  readonly #opening: Opening;
  #lock: DatabaseSync | null = null;
  #milestones: Milestones | null = null;
  /** Stores a key that no other member is known to have; null: none is to be stored. */
  #keepKeyLater: (() => void) | null = null;

  constructor(options: NodeOptions, components: NodeComponents) {
    const core = new NodeCore(options, components);
    const startedAt = components.clock.now();
    this.#core = core;
    this.failed = core.failed;
    this.#opening = new Opening(core);
    this.api = createNodeApi(() => ({
      name: core.member.name,
      file: resolve(options.db),
      peerId: core.peerId,
      clock: components.clock,
      startedAt,
      transport: (core.transport as Transport | undefined) ?? null,
      replicator: core.replicator,
      phase: core.phase,
      progress: core.progress,
      refusals: (core.router as typeof core.router | undefined)?.refusals.list() ?? [],
      keys: core.keys,
      verified: core.verified,
      backups: core.backups?.status ?? null,
      feed: core.webhook?.status ?? null,
      archive: core.archiver?.status ?? null,
      past: core.past,
      onVerified: (result) => core.noteVerified(result),
      events: core.events,
      history: core.history,
      measures: core.measures,
      files: { appDb: options.db, replica: core.paths.replica, log: core.paths.log },
      halt: core.halted ?? core.guard.halt,
      recover: (options) => this.#opening.recover(options),
      repair: () => core.guard.repair(core.transport.peerId),
    }));
  }

  async start(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      if (!(error instanceof HaltError) || (this.#core.transport as Transport | undefined) !== undefined)
        throw error;
      await this.#haltAtStart(error.halt);
    }
  }

  /** The files are of a newer build: the node stays up, and says so. */
  async #haltAtStart(halt: Halt): Promise<void> {
    const core = this.#core;
    if (this.#lock === null) this.#takeDataDir();
    const privateKey = await loadIdentity(core.paths.identity);
    const clusterKeys = findClusterKeys(core.options, core.paths, true) ?? [];
    openTransport(core, { privateKey, clusterKeys }, () => {});
    this.#opening.halt(halt);
  }

  async #start(): Promise<void> {
    const core = this.#core;
    const { paths } = core;
    const { db } = core.options;
    this.#watchMilestones();
    // Before Marmot writes the first page itself.
    if (core.components.host === undefined) core.noteVersion(readWriterVersion(db));
    // Refused before the first write: a wrong path must not leave a data directory behind.
    await requireArchiveKey(core.options.archive);
    if (!existsSync(paths.folder)) {
      const { kind } = decideStart(core.options, paths, NO_PEER);
      if (kind === "form") await refuseUsedArchive(core.options.archive);
    }
    this.#takeDataDir();
    const privateKey = await loadIdentity(paths.identity);
    const peerId = peerIdOf(privateKey);
    core.peerId = peerId;
    const { kind, head, keys, member } = decideStart(core.options, paths, peerId);
    if (member !== null) core.member = member;
    const clusterKeys = keys ?? [makeClusterKey(paths, core.notes)];
    core.keys = { fingerprints: clusterKeys.map(keyFingerprint), file: keyFileOf(core.options, paths) };
    core.notes.push(...keyFileNotes(core.options, paths));
    // A join keeps its key when it is done, and a member another key when a member has it.
    const isOther = kind === "member" && isOtherKey(core.options, paths, clusterKeys);
    if (isOther) {
      this.#keepKeyLater = () => keepClusterKey(core.options, paths);
      core.notes.push(
        `the given key is none of those in ${paths.clusterKey}: it is kept there when another member has it`,
      );
    } else if (kind !== "join") keepClusterKey(core.options, paths);
    openTransport(core, { privateKey, clusterKeys }, (peer, reason) => this.#opening.onRefused(peer, reason));
    core.scans.start();
    core.backups?.start();
    core.webhook?.start();
    core.archiver?.start();
    if (kind === "join") return this.#join();
    if (kind === "form") await formNewCluster(core);
    await this.#open({ kind, head });
  }

  #watchMilestones(): void {
    const core = this.#core;
    const { clock, logger } = core.components;
    this.#milestones = new Milestones({
      ...{ clock, logger },
      notReady: () => this.api.notReady(),
      onSample: () => core.history.sample(historyFacts(this.api.status(), core.replicator, clock.wallTime())),
      sight: () =>
        core.replicator === null
          ? null
          : sightOf(core.replicator, {
              peerId: core.transport.peerId,
              connected: core.transport.connected(),
            }),
      onLook: () => this.#keepProvenKey(),
    });
  }

  /** A connection to a member proves the key. A cluster of one node has no other key. */
  #keepProvenKey(): void {
    const { replicator, transport } = this.#core;
    if (this.#keepKeyLater === null || replicator === null) return;
    const others = replicator.runtime.groups[0]!.configuration.members.filter(
      (m) => m.peerId !== transport.peerId,
    );
    if (others.length > 0 && others.every((m) => !transport.connected().includes(m.peerId))) return;
    this.#keepKeyLater();
    this.#keepKeyLater = null;
  }

  /** Makes and locks the data directory. */
  #takeDataDir(): void {
    const { paths, options, components } = this.#core;
    const { db } = options;
    mkdirSync(paths.folder, { recursive: true, mode: 0o700 });
    this.#lock = lockDataDir(paths);
    const group = options.group === null ? null : groupId(options.group);
    if (group !== null) {
      shareFolder(paths.folder, group);
      if (!existsSync(db)) this.#opening.shareNewFile = () => shareFile(db, group);
    }
    components.onLocked?.(this.api);
    cleanUpAfterCrash(paths);
  }

  async #join(): Promise<void> {
    const core = this.#core;
    await core.transport.start(core.router);
    core.phase = "joining: waiting for a member of the cluster to answer";
    core.background = enterCluster(core, this.#opening);
  }

  /** Opens the files of a member, or of the cluster that was just formed, and lets peers connect. */
  async #open({ kind, head }: Start): Promise<void> {
    const core = this.#core;
    let isTaken = true;
    try {
      if (kind === "member") {
        const lost = existsSync(core.paths.replica) ? null : lostReplica(core.paths);
        if (lost !== null) return this.#rebuild(lost);
        await this.#opening.checkFiles(head);
        isTaken = await core.guard.take(core.peerId);
      }
    } catch (error) {
      if (error instanceof HaltError) {
        this.#opening.halt(error.halt);
        // It tells other nodes of its epoch.
        return error.halt.name === "superseded" ? core.transport.start(core.router) : undefined;
      }
      const lost = isDamage(error) ? lostReplica(core.paths) : null;
      if (lost !== null) return this.#rebuild(lost);
      if (!isDiskFull(error)) throw error;
      this.#opening.waitForRoom(error);
      return core.transport.start(core.router);
    }
    // The first hello has the incarnation of this start: it is on disk before the node can be reached.
    if (isTaken) this.#opening.enterOrWait();
    else this.#opening.waitForFile(null);
    if (core.halted === null) await core.transport.start(core.router);
  }

  /** The replica is lost: it is received again. */
  #rebuild(reason: string): Promise<void> {
    this.#opening.rebuildReplica(reason);
    return this.#core.transport.start(this.#core.router);
  }

  /** Before an orderly stop. */
  async handOver(): Promise<void> {
    await this.#core.replicator?.handOver();
  }

  async stop(): Promise<void> {
    const core = this.#core;
    core.stopping.abort();
    this.#milestones?.stop();
    const transport = core.transport as Transport | undefined;
    core.scans.stop();
    core.backups?.stop();
    core.webhook?.stop();
    core.archiver?.stop();
    core.past?.stop();
    core.replicator?.loop.stop();
    await transport?.stop();
    await core.background;
    if (!core.hasFailed) core.replicator?.noteStop();
    core.closeReplicator();
    this.#lock?.close();
    this.#lock = null;
  }

  get mustBeKilled(): boolean {
    return this.#core.guard.mustRestart;
  }

  /** null while the node joins, or replaces its replica. */
  get replicator(): Replicator | null {
    return this.#core.replicator;
  }

  get started(): StartedInfo {
    const { replicator, transport, member, notes } = this.#core;
    const addresses = transport.addresses();
    return startedInfo(replicator, { peerId: transport.peerId, name: member.name, addresses, notes });
  }
}

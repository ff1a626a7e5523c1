/** The composition root: starts a node from its options, opens and replaces its replicator, and stops the node. */
import { existsSync, mkdirSync, rmSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { type Clock, nextTurn } from "../base/clock.ts";
import { errorMessage, isDiskFull } from "../base/errors.ts";
import { HaltError } from "../base/halt.ts";
import type { Logger } from "../base/logger.ts";
import type { Random } from "../base/random.ts";
import { NO_PEER, type PeerId } from "../base/ids.ts";
import { VERSION } from "../base/version.ts";
import { BATCH_FORMAT } from "../change/batch.ts";
import type { NodeApi } from "../operations/api.ts";
import { installSnapshot } from "../replica/copies/install-snapshot.ts";
import { type DataPaths, dataPaths } from "../replication/data-paths.ts";
import { type Host, type SyncedFile, systemHost } from "../replication/host.ts";
import { MessageRouter } from "../replication/messages/message-router.ts";
import { Scans } from "../operations/scan/scans.ts";
import { fileChecks } from "../operations/verify/file-checks.ts";
import { Replicator } from "../replication/replicator.ts";
import type { OnProgress, ProgressStatus } from "../replication/work-progress.ts";
import type { Transport } from "../shard/seams.ts";
import { SNAPSHOT_FORMAT } from "../snapshot/header.ts";
import { keyFingerprint } from "../transport/cluster-key.ts";
import { loadIdentity, peerIdOf } from "../transport/identity.ts";
import { checkClusterSettings, readClusterSettings, shardsNote } from "./cluster-settings.ts";
import {
  cleanUpAfterCrash,
  findClusterKeys,
  keepClusterKey,
  keyFileNotes,
  lockDataDir,
  makeClusterKey,
  missingKey,
  storeAddresses,
  storedAddresses,
} from "./data-dir.ts";
import { silentStage, untilRoom } from "./disk-full.ts";
import { groupId, shareFile, shareFolder } from "./group.ts";
import { type RunningNode, type StartedInfo, startedInfo } from "./handle.ts";
import { FileGuard } from "./file/file-guard.ts";
import { isFileTrouble } from "./file/halted-file.ts";
import { createNodeApi } from "./node-api.ts";
import { leadersOf, Milestones } from "./milestones.ts";
import type { NodeOptions } from "./options.ts";
import { Halting } from "./halt/halting.ts";
import { checkMemberFiles, type Start, startKind } from "./startup/check-files.ts";
import { giveExtensions } from "./startup/give-extensions.ts";
import { nodeFileError } from "./startup/file-access.ts";
import { noteDataDir, refuseHeldFile } from "./startup/held-file.ts";
import { requireWal, switchToWal, untilWal } from "./startup/wal-mode.ts";
import { requireOwnSqlite, type SqliteVersion } from "../sqlite/sqlite-version.ts";
import { readWriterVersion, walResetNote } from "../sqlite/writer-version.ts";
import { formCluster } from "./startup/form-cluster.ts";
import { joinCluster } from "./startup/join-cluster.ts";
import { type NameAndRole, newMember, ownMember } from "./startup/own-member.ts";

/** Version of the messages between nodes. */
const WIRE_FORMAT = 1;
const DEFAULT_SHARDS = 1;

export interface NodeComponents {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly onProgress?: OnProgress;
  /** The data directory exists, and is this process's. */
  readonly onLocked?: () => void;
  /** Default: the machine itself. */
  readonly host?: Host;
}

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
  readonly #options: NodeOptions;
  readonly #components: NodeComponents;
  readonly #paths: DataPaths;
  readonly #notes: string[] = [];
  readonly #stopping = new AbortController();
  #fail!: (error: Error) => void;
  #lock: DatabaseSync | null = null;
  readonly #scans: Scans;
  #transport!: Transport;
  #router!: MessageRouter;
  readonly #host: Host;
  #appDbFile: SyncedFile | null = null;
  #applicationVersion: SqliteVersion | null = null;
  #replicator: Replicator | null = null;
  #milestones: Milestones | null = null;
  /** Gives a file that this node makes to the group of `--group`. */
  #shareNewFile: () => void = () => {};
  #phase = "starting";
  #keyFingerprint = "";
  /** Name and role of this node, from the cluster if it is a member. */
  #member: NameAndRole;
  #halting!: Halting;
  #progress: ProgressStatus | null = null;
  readonly #guard: FileGuard;
  #hasFailed = false;
  #background: Promise<void> = Promise.resolve();

  constructor(options: NodeOptions, components: NodeComponents) {
    this.#options = options;
    this.#member = newMember(options);
    this.#components = components;
    this.#host = components.host ?? systemHost;
    this.#paths = dataPaths(options.dataDir);
    this.failed = new Promise((resolve) => {
      this.#fail = resolve;
    });
    const { clock, logger } = components;
    this.#scans = new Scans(
      { replicator: () => this.#replicator, clock, logger: logger.child("scan"), file: this.#paths.scans },
      options.scan ?? {},
    );
    this.#guard = new FileGuard(
      { file: options.db, paths: this.#paths },
      {
        ...{ clock, logger, signal: this.#stopping.signal },
        collectGarbage: () => this.#host.collectGarbage(),
        onProgress: (progress) => this.#report(progress),
      },
    );
    this.api = createNodeApi(() => ({
      name: this.#member.name,
      clock: components.clock,
      transport: this.#transport,
      replicator: this.#replicator,
      phase: this.#phase,
      progress: this.#progress,
      keyFingerprint: this.#keyFingerprint,
      halt: this.#halting?.halted ?? this.#guard.halt,
      repair: () => this.#guard.repair(this.#transport.peerId),
    }));
  }

  async start(): Promise<void> {
    const { clock, logger } = this.#components;
    this.#milestones = new Milestones({
      ...{ clock, logger },
      notReady: () => this.api.notReady(),
      leaders: () =>
        this.#replicator === null
          ? null
          : leadersOf(this.#replicator, {
              peerId: this.#transport.peerId,
              connected: this.#transport.connected(),
            }),
    });
    const { db, peers, create, bootstrapExpect } = this.#options;
    const paths = this.#paths;
    // A node that was a member knows its peers, also without --peers.
    const hasPeers = peers.length > 0 || storedAddresses(paths).length > 0 || (bootstrapExpect ?? 1) > 1;
    // Before Marmot writes the first page itself.
    if (this.#components.host === undefined) this.#noteVersion(readWriterVersion(db));
    // Refused before the first write: a wrong path must not leave a data directory behind.
    if (!existsSync(paths.folder)) startKind({ file: db, paths, peerId: NO_PEER, hasPeers, create });
    const keys = findClusterKeys(this.#options, paths, hasPeers);
    mkdirSync(paths.folder, { recursive: true, mode: 0o700 });
    this.#lock = lockDataDir(paths);
    const group = this.#options.group === null ? null : groupId(this.#options.group);
    if (group !== null) shareFolder(paths.folder, group);
    this.#shareNewFile = group !== null && !existsSync(db) ? () => shareFile(db, group) : () => {};
    this.#components.onLocked?.();
    cleanUpAfterCrash(paths);
    const privateKey = await loadIdentity(paths.identity);
    const peerId = peerIdOf(privateKey);
    const { kind, head } = startKind({ file: db, paths, peerId, hasPeers, create });
    refuseHeldFile(db, paths.folder);
    if (keys === null && kind !== "form") throw missingKey(paths);
    if (kind === "member") this.#member = ownMember(this.#options, paths);
    const clusterKeys = keys ?? [makeClusterKey(paths, this.#notes)];
    this.#keyFingerprint = keyFingerprint(clusterKeys[0]!);
    this.#notes.push(...keyFileNotes(this.#options, paths));
    // A join keeps its key when it is done.
    if (kind !== "join") keepClusterKey(this.#options, paths);
    this.#openTransport(privateKey, clusterKeys);
    this.#scans.start();
    if (kind === "join") {
      await this.#transport.start(this.#router);
      this.#phase = "joining: waiting for a member of the cluster to answer";
      this.#background = this.#join(peerId);
      return;
    }
    if (kind === "form") await this.#formCluster(peerId);
    let isTaken = true;
    try {
      if (kind === "member") {
        await this.#checkFiles(peerId, head);
        isTaken = await this.#guard.take(peerId);
      }
    } catch (error) {
      if (error instanceof HaltError) return this.#halting.halt(error.halt);
      if (!isDiskFull(error)) throw error;
      this.#waitForRoom(peerId, error);
      return this.#transport.start(this.#router);
    }
    // The first hello has the incarnation of this start: it is on disk before the node can be reached.
    if (isTaken) this.#enterOrWait(peerId);
    else this.#waitForFile(peerId, null);
    if (this.#halting.halted === null) await this.#transport.start(this.#router);
  }

  #noteVersion(version: SqliteVersion | null): void {
    this.#applicationVersion = version;
    const note = walResetNote(version);
    if (note !== null) this.#notes.push(`${note.message} (hint: ${note.hint})`);
  }

  #openTransport(
    privateKey: Awaited<ReturnType<typeof loadIdentity>>,
    clusterKeys: readonly Uint8Array[],
  ): void {
    const { listen, announce, peers, mdns } = this.#options;
    const { name, role } = this.#member;
    const { clock, random, logger } = this.#components;
    const formats: [number, number, number] = [WIRE_FORMAT, BATCH_FORMAT, SNAPSHOT_FORMAT];
    const nonce = this.#host.nonce();
    this.#router = new MessageRouter({ name, version: VERSION, role, formats, nonce });
    this.#halting = this.#openHalting();
    this.#transport = this.#host.transport(
      { clock, random: random.fork(), logger: logger.child("transport") },
      {
        ...{ privateKey, clusterKeys, listen, announce, mdns, peers },
        remembered: storedAddresses(this.#paths),
        onAddresses: (addresses) => storeAddresses(this.#paths, addresses, logger),
        onRefused: (peer, reason) => this.#halting.onRefused(peer, reason, this.#replicator),
      },
    );
  }

  /** `seen`: the head of the application's file, if it was just read; null: read it. */
  async #checkFiles(peerId: PeerId, seen: Start["head"]): Promise<void> {
    const isInstalled = await this.#installReceived(peerId);
    const settings = checkMemberFiles(this.#options.db, this.#paths, peerId, isInstalled ? null : seen);
    checkClusterSettings(this.#options, settings);
  }

  /** Installs a replica that was received before the last stop. False: there is none. */
  async #installReceived(peerId: PeerId): Promise<boolean> {
    if (!existsSync(this.#paths.nextReplica)) return false;
    const { replica, nextReplica } = this.#paths;
    const done = await installSnapshot({
      ...{ replica, received: nextReplica, peerId, appDb: this.#options.db },
      onProgress: (rows) =>
        this.#report({ work: "adopting a replica", done: rows, total: 0, unit: "rows", remainingMs: null }),
    });
    if (!done) rmSync(nextReplica); // this node's own replica is newer
    this.#report(null);
    return true;
  }

  async #formCluster(peerId: PeerId): Promise<void> {
    const { db, tables, exclude, merge, foreignKeys, idBlock } = this.#options;
    const { name } = this.#member;
    const shards = this.#options.shards ?? DEFAULT_SHARDS;
    const transactions = shards === 1 ? "whole" : (this.#options.transactions ?? "whole");
    this.#noteMode(requireWal(db));
    const selection = { tables, exclude: exclude ?? [] };
    await formCluster(
      {
        ...{ db, paths: this.#paths, peerId, name, shards, transactions, selection },
        ...{ merge, foreignKeys, idBlock },
      },
      { clock: this.#components.clock, onProgress: (progress) => this.#report(progress) },
    );
    noteDataDir(db, this.#paths.folder);
    this.#notes.push(`formed a new cluster with ${shards} ${shards === 1 ? "shard" : "shards"}`);
  }

  async #join(peerId: PeerId): Promise<void> {
    const { db, bootstrapExpect: expect } = this.#options;
    const { name, role } = this.#member;
    const { clock, logger } = this.#components;
    try {
      const done = await joinCluster(
        { db, paths: this.#paths, peerId, name, role, expect },
        {
          ...{ transport: this.#transport, router: this.#router, clock, logger: logger.child("join") },
          onProgress: (progress) => this.#report(progress),
          onPhase: (phase) => {
            this.#phase = phase;
          },
          signal: this.#stopping.signal,
        },
      );
      if (done === "form") await this.#formExpected(peerId);
      this.#stopping.signal.throwIfAborted();
      checkClusterSettings(this.#options, readClusterSettings(this.#paths.replica));
      keepClusterKey(this.#options, this.#paths);
      noteDataDir(db, this.#paths.folder);
      this.#enterOrWait(peerId);
      const { id: cluster } = this.api.status().cluster;
      logger.info(done === "form" ? "formed the cluster" : "joined the cluster", { cluster });
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#failWith(error);
    }
  }

  /** The nodes of `--bootstrap-expect` have met, and this one forms the cluster. */
  async #formExpected(peerId: PeerId): Promise<void> {
    const { db } = this.#options;
    this.#phase = "forming the cluster";
    if (!existsSync(db))
      this.#components.logger.info("no node has data: the cluster begins with an empty file", { db });
    startKind({ file: db, paths: this.#paths, peerId, hasPeers: false, create: true });
    await this.#formCluster(peerId);
  }

  #enter(peerId: PeerId): void {
    const { db } = this.#options;
    const { name, role } = this.#member;
    const { clock, random, logger } = this.#components;
    this.#shareNewFile();
    this.#shareNewFile = () => {};
    this.#appDbFile ??= this.#host.appDbFile(db);
    const replicator = new Replicator(
      {
        ...{ db, paths: this.#paths, peerId, name, role, ...this.#options.limits },
        applicationVersion: this.#applicationVersion,
      },
      {
        ...{ transport: this.#transport, router: this.#router, clock, logger, host: this.#host },
        random: random.fork(),
        onProgress: (progress) => this.#report(progress),
        onFailure: (error) => {
          if (isDiskFull(error)) this.#waitForRoom(peerId, error);
          else if (isFileTrouble(error)) this.#waitForFile(peerId, error);
          else this.#failWith(error);
        },
        onReplacement: () => {
          this.#background = this.#replace(peerId);
        },
        onRefused: (peer, reason) => this.#halting.onRefused(peer, reason, this.#replicator),
      },
      this.#appDbFile,
    );
    this.#replicator = replicator;
    replicator.onFileAsked = fileChecks(replicator, clock);
    this.#phase = "";
    this.#guard.halt = null;
    const note = shardsNote(replicator.replica.replica.settings);
    if (note !== null && !this.#notes.includes(note)) this.#notes.push(note);
    if (replicator.pollingBecause !== "")
      this.#notes.push(`the file system cannot be watched (${replicator.pollingBecause}): polling`);
    replicator.start();
    replicator.takeOver(this.#transport.connected());
  }

  #openHalting(): Halting {
    const { clock, logger } = this.#components;
    return new Halting({
      ...{ clock, logger, router: this.#router, db: this.#options.db },
      setPhase: (phase) => {
        this.#phase = phase;
      },
      take: () => {
        const taken = this.#replicator;
        this.#replicator = null;
        return taken;
      },
      disconnect: () => {
        this.#background = this.#background.then(() => this.#transport.stop());
      },
      resume: () => {
        if (!this.#stopping.signal.aborted) this.#enterOrWait(this.#transport.peerId);
      },
    });
  }

  async #replace(peerId: PeerId): Promise<void> {
    try {
      this.#phase = "installing a received replica";
      this.#replicator?.close();
      this.#replicator = null;
      await this.#installReceived(peerId);
      if (!this.#stopping.signal.aborted) this.#enterOrWait(peerId);
    } catch (error) {
      if (isDiskFull(error)) this.#waitForRoom(peerId, error);
      else this.#failWith(error);
    }
  }

  #enterOrWait(peerId: PeerId): void {
    try {
      const before = switchToWal(this.#options.db, 0);
      if (before === "busy") {
        this.#waitForWal(peerId);
        return;
      }
      this.#noteMode(before);
      this.#enter(peerId);
    } catch (error) {
      if (error instanceof HaltError) this.#halting.halt(error.halt);
      else if (isDiskFull(error)) this.#waitForRoom(peerId, error);
      else if (isFileTrouble(error)) this.#waitForFile(peerId, error);
      else throw error;
    }
  }

  /** Closes all files, and opens them again when the file at the path can be taken. `error`: null at the start. */
  #waitForFile(peerId: PeerId, error: unknown): void {
    if (error !== null && this.#guard.isTroubleAgain()) return this.#failWith(error);
    const clusterId = this.#replicator?.clusterId ?? readClusterSettings(this.#paths.replica).clusterId;
    this.#router.enter(silentStage(clusterId));
    this.#phase = "inspecting the application's file";
    this.#background = (async () => {
      try {
        await nextTurn(); // not in the turn that failed
        const open = { replicator: this.#replicator, appDbFile: this.#appDbFile };
        this.#replicator = null;
        this.#appDbFile = null;
        await this.#guard.reopen(peerId, error, open);
        await this.#checkFiles(peerId, null);
        if (this.#stopping.signal.aborted) return;
        noteDataDir(this.#options.db, this.#paths.folder);
        this.#enterOrWait(peerId);
      } catch (failure) {
        if (this.#stopping.signal.aborted) return;
        if (isDiskFull(failure)) this.#waitForRoom(peerId, failure);
        else if (failure instanceof HaltError) this.#halting.halt(failure.halt);
        else this.#failWith(failure);
      }
    })();
  }

  #noteMode(before: string): void {
    if (before !== "wal") this.#notes.push(`switched ${this.#options.db} from journal mode ${before} to WAL`);
  }

  /** The application took the file out of WAL mode and uses it: the node goes on when its connections allow that. */
  #waitForWal(peerId: PeerId): void {
    const { db } = this.#options;
    const { clock, logger } = this.#components;
    this.#phase = `${db} is not in WAL mode, and a transaction of another connection prevents the switch: waiting for its end`;
    logger.warn(this.#phase);
    this.#background = (async () => {
      try {
        this.#noteMode(await untilWal(db, clock, this.#stopping.signal));
        this.#enterOrWait(peerId);
      } catch (error) {
        if (!this.#stopping.signal.aborted) this.#failWith(error);
      }
    })();
  }

  /**
   * Closes all files, as if the process had been killed, and opens them again when the disk has room. During this time
   * applications can write where their disk has room, and no ordered entry is lost.
   */
  #waitForRoom(peerId: PeerId, error: unknown): void {
    const { db } = this.#options;
    const { clock, logger } = this.#components;
    const clusterId = this.#replicator?.clusterId ?? "";
    logger.error("the disk is full; this node waits for room", { error: errorMessage(error) });
    this.#phase = `the disk is full (${errorMessage(error)}): waiting for room`;
    if (clusterId !== "") this.#router.enter(silentStage(clusterId));
    this.#replicator?.close();
    this.#replicator = null;
    this.#background = (async () => {
      try {
        // Not in the turn that failed: its callers still use the closed files.
        await untilRoom({ db, paths: this.#paths }, { clock, signal: this.#stopping.signal }, (full) => {
          this.#phase = `the disk is full: waiting for room in ${full.join(" and ")}`;
        });
        this.#phase = "opening its files: there is room again";
        await this.#checkFiles(peerId, null);
        if (this.#stopping.signal.aborted) return;
        logger.info("there is room again; going on");
        this.#enterOrWait(peerId);
      } catch (failure) {
        if (this.#stopping.signal.aborted) return;
        if (isDiskFull(failure)) this.#waitForRoom(peerId, failure);
        else if (failure instanceof HaltError) this.#halting.halt(failure.halt);
        else this.#failWith(failure);
      }
    })();
  }

  #report(progress: ProgressStatus | null): void {
    this.#progress = progress;
    this.#components.onProgress?.(progress);
  }

  #failWith(error: unknown): void {
    const explained = nodeFileError(error, { db: this.#options.db, ...this.#paths });
    const failure = explained ?? (error instanceof Error ? error : new Error(errorMessage(error)));
    this.#phase = `stopped: ${failure.message}`;
    this.#hasFailed = true;
    this.#scans.stop();
    this.#replicator?.loop.stop();
    this.#fail(failure);
  }

  /** Before an orderly stop. */
  async handOver(): Promise<void> {
    await this.#replicator?.handOver();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#milestones?.stop();
    const transport = this.#transport as Transport | undefined;
    this.#scans.stop();
    this.#replicator?.loop.stop();
    await transport?.stop();
    await this.#background;
    if (!this.#hasFailed) this.#replicator?.noteStop();
    this.#replicator?.close();
    this.#replicator = null;
    this.#lock?.close();
    this.#lock = null;
  }

  get mustBeKilled(): boolean {
    return this.#guard.mustRestart;
  }

  /** null while the node joins, or replaces its replica. */
  get replicator(): Replicator | null {
    return this.#replicator;
  }

  get started(): StartedInfo {
    const { peerId } = this.#transport;
    const own = { peerId, name: this.#member.name, addresses: this.#transport.addresses() };
    return startedInfo(this.#replicator, { ...own, notes: this.#notes });
  }
}

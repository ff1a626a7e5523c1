/** The composition root: starts a node from its options, keeps it one member after another, and stops it. */
import { NO_PEER, type PeerId } from "../base/ids.ts";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import type { Clock } from "../base/clock.ts";
import { errorMessage, isDiskFull, UserError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Random } from "../base/random.ts";
import { BATCH_FORMAT } from "../change/batch.ts";
import { showPerTable } from "../change/per-table.ts";
import { replaceReplica } from "../replica/copies/install-snapshot.ts";
import { readSettings, type ReplicaSettings } from "../replica/store/settings.ts";
import { createClusterKey, parseClusterKeys, readClusterKeys } from "../transport/cluster-key.ts";
import { loadIdentity, peerIdOf } from "../transport/identity.ts";
import { SNAPSHOT_FORMAT } from "../snapshot/header.ts";
import type { Transport } from "../shard/seams.ts";
import type { NodeApi, ProgressStatus } from "../operations/api.ts";
import { found, tidy } from "./startup/form-cluster.ts";
import { join } from "./startup/join-cluster.ts";
import { type Host, type SyncedFile, systemHost } from "../replication/host.ts";
import { Member } from "../replication/replicator.ts";
import type { NodeOptions } from "./options.ts";
import { type DataPaths, dataPaths } from "../replication/data-paths.ts";
import { silentStage, untilRoom } from "./disk-full.ts";
import type { RunningNode, StartedInfo } from "./handle.ts";
import { restoreConflict } from "../operations/restore/restore.ts";
import { checkMember, type Start, startKind } from "./startup/check-files.ts";
import {
  conflictDetail,
  conflictSummary,
  findConflict,
  nodeMetrics,
  nodeStatus,
  type StatusSource,
} from "../operations/node-status.ts";
import { MessageRouter } from "../replication/message-router.ts";
import { verify } from "../operations/verify/verify.ts";
import { VERSION } from "../base/version.ts";
import { waitFor } from "../operations/wait.ts";
import { openDatabase } from "../sqlite/open.ts";
import { requireOwnSqlite, type SqliteVersion } from "../sqlite/sqlite-version.ts";
import { readWriterVersion, walResetNote } from "../sqlite/writer-version.ts";
import { nodeFileError } from "./startup/file-access.ts";
import { switchToWal, untilWal } from "./startup/wal-mode.ts";

/** Version of the messages between nodes. */
const WIRE_FORMAT = 1;
const DEFAULT_SHARDS = 1;

export interface NodeComponents {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly onProgress?: (progress: ProgressStatus | null) => void;
  /** Default: the real one. */
  readonly host?: Host;
}

/** Throws `UserError` for everything that a user can mend; then nothing runs. */
export async function startNode(options: NodeOptions, components: NodeComponents): Promise<Node> {
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
  readonly failed: Promise<Error>;
  readonly #options: NodeOptions;
  readonly #components: NodeComponents;
  readonly #paths: DataPaths;
  readonly #notes: string[] = [];
  readonly #stopping = new AbortController();
  #fail!: (error: Error) => void;
  #lock: DatabaseSync | null = null;
  #transport!: Transport;
  #router!: MessageRouter;
  readonly #host: Host;
  #appDbFile: SyncedFile | null = null;
  #applicationVersion: SqliteVersion | null = null;
  #member: Member | null = null;
  #phase = "starting";
  #progress: ProgressStatus | null = null;
  #background: Promise<void> = Promise.resolve();

  constructor(options: NodeOptions, components: NodeComponents) {
    this.#options = options;
    this.#components = components;
    this.#host = components.host ?? systemHost;
    this.#paths = dataPaths(options.dataDir);
    this.failed = new Promise((resolve) => {
      this.#fail = resolve;
    });
  }

  async start(): Promise<void> {
    const { db, name, role, peers } = this.#options;
    const paths = this.#paths;
    // Before Marmot writes the first page itself.
    if (this.#components.host === undefined) this.#seeVersion(readWriterVersion(db));
    const hadFolder = existsSync(paths.folder);
    // Refuse before anything is written: a wrong path must not leave a data directory behind.
    if (!hadFolder) startKind(db, paths, NO_PEER, peers.length > 0, this.#options.create);
    const hasPeers = peers.length > 0;
    const keys = this.#readKeys(hasPeers);
    mkdirSync(paths.folder, { recursive: true, mode: 0o700 });
    this.#takeLock();
    tidy(paths);
    const privateKey = await loadIdentity(paths.identity);
    const peerId = peerIdOf(privateKey);
    const { kind, head } = startKind(db, paths, peerId, hasPeers, this.#options.create);
    const clusterKey = keys?.[0] ?? this.#makeKey();
    const formats: [number, number, number] = [WIRE_FORMAT, BATCH_FORMAT, SNAPSHOT_FORMAT];
    this.#router = new MessageRouter({ name, version: VERSION, role, formats });
    this.#transport = this.#host.transport(
      {
        clock: this.#components.clock,
        random: this.#components.random.fork(),
        logger: this.#components.logger.child("transport"),
      },
      {
        privateKey,
        clusterKey,
        listen: this.#options.listen,
        announce: this.#options.announce,
        peers: [...peers, ...this.#rememberedAddresses()],
        mdns: this.#options.mdns,
        onAddresses: (addresses) => this.#rememberAddresses(addresses),
        onRefused: (peer, reason) => {
          if (this.#member === null) this.#phase = `${peer} refuses this node: ${reason}`;
        },
      },
    );
    let full: unknown = null;
    if (kind === "member")
      try {
        await this.#checkFiles(peerId, head);
      } catch (error) {
        if (!isDiskFull(error)) throw error;
        full = error;
      }
    if (kind === "found") await this.#found(peerId);
    await this.#transport.start(this.#router);
    if (kind === "join") {
      this.#phase = "joining: waiting for a member of the cluster to answer";
      this.#background = this.#join(peerId);
    } else if (full === null) this.#enterOrWait(peerId);
    else this.#waitForRoom(peerId, full);
  }

  /** `seen`: of the file, just before; null: nobody looked. */
  async #checkFiles(peerId: PeerId, seen: Start["head"]): Promise<void> {
    const adopted = await this.#adoptReplacement(peerId);
    this.#checkSettings(checkMember(this.#options.db, this.#paths, peerId, adopted ? null : seen));
  }

  #seeVersion(version: SqliteVersion | null): void {
    this.#applicationVersion = version;
    const note = walResetNote(version);
    if (note !== null) this.#notes.push(`${note.message} (hint: ${note.hint})`);
  }

  /** Keys that were given or are there; null: there are none yet. */
  #readKeys(hasPeers: boolean): Uint8Array[] | null {
    const { clusterKeyText, clusterKeyFile } = this.#options;
    if (clusterKeyText !== null) return parseClusterKeys(clusterKeyText, "MARMOT_CLUSTER_KEY");
    if (clusterKeyFile !== null) return readClusterKeys(clusterKeyFile);
    if (existsSync(this.#paths.clusterKey)) return readClusterKeys(this.#paths.clusterKey);
    if (hasPeers)
      throw new UserError(
        `joining needs the cluster's key, and there is none at ${this.#paths.clusterKey}`,
        "copy cluster.key from a node of the cluster and give it with --cluster-key FILE or in MARMOT_CLUSTER_KEY",
      );
    return null;
  }

  #makeKey(): Uint8Array {
    const line = createClusterKey(this.#paths.clusterKey);
    this.#notes.push(
      `made the cluster key ${this.#paths.clusterKey}; other nodes join with a copy of it and --peers`,
    );
    return parseClusterKeys(line, this.#paths.clusterKey)[0]!;
  }

  /** One process a data directory. */
  #takeLock(): void {
    const lock = openDatabase(this.#paths.lock, { timeout: 0 });
    chmodSync(this.#paths.lock, 0o600);
    try {
      lock.exec("PRAGMA journal_mode = DELETE");
      // Never empty: locking an empty database writes its first page, which a full disk does not take.
      const { page_count: pages } = lock.prepare("PRAGMA page_count").get() as { page_count: number };
      if (pages === 0) lock.exec("PRAGMA user_version = 1");
      lock.exec("BEGIN EXCLUSIVE");
      this.#lock = lock;
    } catch (error) {
      lock.close();
      if (isDiskFull(error))
        throw new UserError(
          `the disk of ${this.#paths.folder} is full: ${errorMessage(error)}`,
          "make room, and start the node again",
          { cause: error },
        );
      throw new UserError(
        `another marmot runs on ${this.#paths.folder}`,
        `stop it first; marmot status --data-dir ${this.#paths.folder} shows it`,
        { cause: error },
      );
    }
  }

  #rememberedAddresses(): string[] {
    try {
      const value: unknown = JSON.parse(readFileSync(this.#paths.addresses, "utf8"));
      return Array.isArray(value) ? value.filter((x): x is string => typeof x === "string") : [];
    } catch {
      return []; // none were learned yet, or a crash tore the file: peers tell them again
    }
  }

  #rememberAddresses(addresses: readonly string[]): void {
    const { addresses: path } = this.#paths;
    try {
      // Never in place: on a full disk nothing would be left of what is known.
      writeFileSync(`${path}.new`, JSON.stringify(addresses), { mode: 0o600 });
      renameSync(`${path}.new`, path);
    } catch (error) {
      this.#components.logger.warn("addresses of peers are not remembered", { error: errorMessage(error) });
    }
  }

  /** A replica that was received before the last stop takes its place now. False: there is none. */
  async #adoptReplacement(peerId: PeerId): Promise<boolean> {
    if (!existsSync(this.#paths.nextReplica)) return false;
    const { replica, nextReplica } = this.#paths;
    const done = await replaceReplica(replica, nextReplica, peerId, this.#options.db, (rows) =>
      this.#report({ work: "adopting a replica", done: rows, total: 0, unit: "rows", remainingMs: null }),
    );
    if (!done) rmSync(nextReplica); // this node's own is ahead by now
    this.#report(null);
    return true;
  }

  /** The cluster's settings are fixed when it is formed. */
  #checkSettings(settings: ReplicaSettings): void {
    const { shards, transactions, merge, foreignKeys, idBlock } = this.#options;
    const hint = "leave the option out: the cluster's setting holds for every node";
    if (shards !== null && shards !== settings.shards)
      throw new UserError(`--shards ${shards} was given, but the cluster has ${settings.shards}`, hint);
    if (transactions !== null && transactions !== settings.transactions && settings.shards > 1)
      throw new UserError(
        `--transactions ${transactions} was given, but the cluster has ${settings.transactions}`,
        hint,
      );
    const others = [
      ["merge", merge === null ? null : showPerTable(merge), showPerTable(settings.merge)],
      ["foreign-keys", foreignKeys, settings.foreignKeys],
      ["id-block", idBlock === null ? null : showPerTable(idBlock), showPerTable(settings.idBlock)],
    ] as const;
    for (const [option, given, has] of others)
      if (given !== null && given !== has)
        throw new UserError(`--${option} ${given} was given, but the cluster has ${has}`, hint);
  }

  #readSettings(): ReplicaSettings {
    const db = openDatabase(this.#paths.replica, { readOnly: true });
    try {
      return readSettings(db, this.#paths.replica);
    } finally {
      db.close();
    }
  }

  async #found(peerId: PeerId): Promise<void> {
    const { db, name, tables, exclude } = this.#options;
    const shards = this.#options.shards ?? DEFAULT_SHARDS;
    const transactions = shards === 1 ? "whole" : (this.#options.transactions ?? "whole");
    this.#toWal(db);
    await found(
      {
        db,
        paths: this.#paths,
        peerId,
        name,
        shards,
        transactions,
        merge: this.#options.merge,
        foreignKeys: this.#options.foreignKeys,
        idBlock: this.#options.idBlock,
        selection: { tables, exclude: exclude ?? [] },
      },
      (progress) => this.#report(progress),
    );
    this.#notes.push(`formed a new cluster with ${shards} ${shards === 1 ? "shard" : "shards"}`);
  }

  /** Opens or makes the file and switches it to WAL. */
  #toWal(file: string): void {
    const before = switchToWal(file, 10_000);
    if (before === "busy")
      throw new UserError(
        `${file} cannot be switched to WAL mode: other connections use it`,
        "close the applications that use it, and start again",
      );
    this.#noteMode(before);
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

  async #join(peerId: PeerId): Promise<void> {
    const { db, name, role } = this.#options;
    const { clock, logger } = this.#components;
    try {
      await join(
        { db, paths: this.#paths, peerId, name, role },
        {
          transport: this.#transport,
          router: this.#router,
          clock,
          logger: logger.child("join"),
          onProgress: (progress) => this.#report(progress),
          signal: this.#stopping.signal,
        },
      );
      this.#stopping.signal.throwIfAborted();
      this.#checkSettings(this.#readSettings());
      this.#enterOrWait(peerId);
      logger.info("joined the cluster", { cluster: this.api.status().cluster.id });
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#failWith(error);
    }
  }

  #enter(peerId: PeerId): void {
    const { db, name, role } = this.#options;
    const { clock, random, logger } = this.#components;
    this.#appDbFile ??= this.#host.appDbFile(db);
    const member = new Member(
      {
        ...{ db, paths: this.#paths, peerId, name, role, ...this.#options.limits },
        applicationVersion: this.#applicationVersion,
      },
      {
        transport: this.#transport,
        router: this.#router,
        clock,
        random: random.fork(),
        logger,
        host: this.#host,
        onProgress: (progress) => this.#report(progress),
        onFailure: (error) => {
          if (isDiskFull(error)) this.#waitForRoom(peerId, error);
          else this.#failWith(error);
        },
        onReplacement: () => {
          this.#background = this.#replace(peerId);
        },
      },
      this.#appDbFile,
    );
    this.#member = member;
    this.#phase = "";
    this.#noteOrder(member);
    if (member.pollingBecause !== "")
      this.#notes.push(`the file system cannot be watched (${member.pollingBecause}): polling`);
    member.start();
    for (const peer of this.#transport.connected()) member.onConnect(peer);
  }

  /** What several shards do to transactions and to speed: said once, on every node. */
  #noteOrder({ replica }: Member): void {
    const { shards, transactions } = replica.replica.settings;
    const note =
      transactions === "row"
        ? "several shards: rows are ordered one by one (--transactions row), a transaction can be seen in parts"
        : "several shards: transactions stay whole (--transactions whole); that orders them, but does not scale with the shards: only --transactions row does";
    if (shards > 1 && !this.#notes.includes(note)) this.#notes.push(note);
  }

  async #replace(peerId: PeerId): Promise<void> {
    try {
      this.#phase = "adopting a received replica";
      this.#member?.close();
      this.#member = null;
      await this.#adoptReplacement(peerId);
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
      if (!isDiskFull(error)) throw error;
      this.#waitForRoom(peerId, error);
    }
  }

  /**
   * A full disk is waited out: the files are closed as they are, as if the process had been killed, and opened anew when
   * there is room. Applications write on meanwhile, where their disk has room; nothing that was ordered is lost.
   */
  #waitForRoom(peerId: PeerId, error: unknown): void {
    const { db } = this.#options;
    const { clock, logger } = this.#components;
    const clusterId = this.#member?.clusterId ?? "";
    logger.error("the disk is full; this node waits for room", { error: errorMessage(error) });
    this.#phase = `the disk is full (${errorMessage(error)}): waiting for room`;
    if (clusterId !== "") this.#router.enter(silentStage(clusterId));
    this.#member?.close();
    this.#member = null;
    this.#background = (async () => {
      try {
        // Never in the turn that failed: what is on the stack still uses what was closed.
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
    this.#member?.loop.stop();
    this.#fail(failure);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    const transport = this.#transport as Transport | undefined;
    this.#member?.loop.stop();
    await transport?.stop();
    await this.#background;
    this.#member?.close();
    this.#member = null;
    this.#lock?.close();
    this.#lock = null;
  }

  /** The member at work; null while joining, or while a replica is being adopted. */
  get member(): Member | null {
    return this.#member;
  }

  get started(): StartedInfo {
    const settings = this.#member?.replica.replica.settings;
    return {
      peerId: this.#transport.peerId,
      name: this.#options.name,
      addresses: this.#transport.addresses(),
      clusterId: this.#member?.clusterId ?? "",
      replicated:
        this.#member === null ? [] : [...this.#member.replica.replica.shapes.values()].map((s) => s.name),
      skipped: settings?.skipped ?? [],
      notes: this.#notes,
    };
  }

  get #source(): StatusSource {
    return {
      name: this.#options.name,
      peerId: this.#transport.peerId,
      member: this.#member,
      transport: this.#transport,
      clock: this.#components.clock,
      progress: this.#progress,
      notReady: this.api.notReady(),
    };
  }

  readonly api: NodeApi = {
    status: () => nodeStatus(this.#source),
    notReady: () =>
      this.#phase !== "" || this.#member === null ? this.#phase : this.#member.readiness.notReady(),
    metrics: () => nodeMetrics(this.#source),
    wait: async (options) => {
      const { clock } = this.#components;
      const result = await waitFor(() => this.#member, { clock, transport: this.#transport }, options);
      return result.done || this.#member !== null
        ? result
        : { done: false, missing: `this node (${this.#phase})` };
    },
    verify: (options) => {
      const member = this.#member;
      if (member === null)
        throw new UserError(`this node is not ready: ${this.#phase}`, "wait until marmot status says so");
      return verify({ member, transport: this.#transport, clock: this.#components.clock }, options);
    },
    conflicts: ({ limit }) => {
      const member = this.#member;
      return member === null
        ? []
        : member.replica.replica.journal.list(limit).map((c) => conflictSummary(member, c));
    },
    conflict: (id) => {
      const member = this.#member;
      const conflict = member === null ? null : findConflict(member, id);
      return member === null || conflict === null ? null : conflictDetail(member, conflict);
    },
    restore: async (id, options) => {
      const member = this.#member;
      const reason = this.api.notReady();
      if (member === null || reason !== null)
        throw new UserError(`this node is not ready: ${reason}`, "wait until marmot status says so");
      const conflict = findConflict(member, id);
      return conflict === null ? null : restoreConflict(member, this.#components.clock, conflict, options);
    },
  };
}

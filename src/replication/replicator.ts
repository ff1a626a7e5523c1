/**
 * Replicates the application's file of one node: opens replica, log and file, connects Raft, pipeline and event loop, and
 * answers the messages of the peers.
 */
import { mkdirSync } from "node:fs";
import { Spool } from "../capture/spool.ts";
import { WalUpkeep } from "../app-db/wal-upkeep.ts";
import type { SqliteVersion } from "../sqlite/sqlite-version.ts";
import { walResetNote } from "../sqlite/writer-version.ts";
import { Watcher } from "../app-db/watcher.ts";
import type { PendingRows } from "../change/pending-rows.ts";
import { UnseenRows } from "../rows/unseen-rows.ts";
import { SqliteLogStore } from "../log-store/sqlite-log-store.ts";
import { type AppDbConnection, openAppDbConnection, proveTriggers } from "../reflect/app-db-connection.ts";
import { FileChangedError } from "../rows/file-life.ts";
import { type OpenReplica, openReplica } from "../replica/open-replica.ts";
import type { PeerHello, PeerId } from "../shard/seams.ts";
import { ShardRuntime } from "../shard/runtime.ts";
import { slotOf } from "../shard/slots.ts";
import { neverClose, noteStop } from "../app-db/closing.ts";
import {
  type Control,
  encodeControl,
  type FileCheck,
  type Hello,
  type Life,
  type NodeNews,
} from "./messages/control-messages.ts";
import { EventLoop } from "./event-loop.ts";
import type { AppDbReader } from "../app-db/reader.ts";
import { handOverLeadership } from "./hand-over.ts";
import type { SyncedFile } from "./host.ts";
import { PeerLives } from "./lives/peer-lives.ts";
import { MemberChanges } from "./member-changes.ts";
import { Pipeline } from "./pipeline/pipeline.ts";
import { lowestHold } from "./log-holds.ts";
import { liveMembers, type UnreachedPair, unreachedPairs, UnreachedReports } from "./reachability.ts";
import { Readiness, type ReadinessFacts } from "./readiness.ts";
import type { ReplicatorComponents, ReplicatorOptions } from "./replicator-components.ts";
import { SnapshotExchange } from "./snapshot-exchange.ts";
import { alignLog } from "./lives/align-log.ts";
import { extensions } from "../sqlite/functions/extensions.ts";
import { SchemaCoordinator } from "../schema-sync/coordinator.ts";
import type { Stage } from "./messages/message-router.ts";
import { VERSION } from "../base/version.ts";

/** Ticks between two messages to all peers with the positions of this node. */
const NEWS_TICKS = 10;
/** Peers and addresses in one message. */
const TOLD_PEERS = 64;
const TOLD_ADDRESSES = 8;
/** The last positions that a peer reported, and the time of the report. */
interface PeerNews extends NodeNews {
  readonly at: number;
}

export class Replicator implements Stage {
  readonly options: ReplicatorOptions;
  readonly clusterId: string;
  readonly replica: OpenReplica;
  readonly log: SqliteLogStore;
  readonly runtime: ShardRuntime;
  readonly pipeline: Pipeline;
  readonly schema: SchemaCoordinator;
  readonly news = new Map<PeerId, PeerNews>();
  /** Rows of the file that no trigger saw and that `verify` found. */
  readonly unseen = new UnseenRows();
  /** Whether a peer's checksums agreed when they were last compared. */
  readonly agreement = new Map<PeerId, boolean>();
  readonly readiness: Readiness;
  readonly lives: PeerLives;
  readonly members: MemberChanges;
  readonly loop: EventLoop;
  /** Set by a request that changes a member: receives the answers of the leader. */
  onChanged: ((control: Extract<Control, { kind: "changed" }>) => void) | null = null;
  /** Set by `verify`: receives the checksums that peers report. */
  onSums: ((from: PeerId, control: Extract<Control, { kind: "sums" }>) => void) | null = null;
  /** Set by `verify`: receives the state of a peer's comparison. */
  onFile: ((from: PeerId, control: Extract<Control, { kind: "file" }>) => void) | null = null;
  /** Set by the node: begins the comparison of this node's file, or tells how far it has come; null: it cannot be done. */
  onFileAsked: ((note: string) => FileCheck) | null = null;
  readonly #components: ReplicatorComponents;
  readonly #appDb: AppDbConnection;
  readonly #watcher: Watcher;
  readonly #snapshots: SnapshotExchange;
  readonly #wal: WalUpkeep;
  readonly #appDbFile: SyncedFile;
  #applicationVersion: SqliteVersion | null;
  readonly #unreached = new UnreachedReports();
  #ticks = 0;
  #closed = false;

  constructor(options: ReplicatorOptions, components: ReplicatorComponents, appDbFile: SyncedFile) {
    this.options = options;
    this.#appDbFile = appDbFile;
    this.#applicationVersion = options.applicationVersion ?? null;
    this.#components = components;
    const { db, paths, peerId } = options;
    const { clock, host } = components;
    proveTriggers();
    this.replica = openReplica(paths.replica, peerId);
    this.clusterId = this.replica.replica.settings.clusterId;
    this.log = SqliteLogStore.open(paths.log, options.logWalPages);
    alignLog(this.log, this.replica);
    this.#appDb = openAppDbConnection(db, []);
    this.schema = this.#openSchema();
    this.#watcher = new Watcher(db, {
      clock,
      moved: () => this.#hasMoved(),
      wake: () => this.#touched(),
      watchFolder: host.watchFolder,
    });
    mkdirSync(paths.incoming, { recursive: true, mode: 0o700 });
    this.pipeline = this.#openPipeline();
    this.#wal = new WalUpkeep({
      db: this.#appDb.db,
      now: () => clock.now(),
      isUsed: () => this.pipeline.usesAppDb,
    });
    this.loop = this.#openLoop();
    this.runtime = this.#openRuntime();
    this.lives = this.#openLives();
    this.members = this.#openMembers();
    this.#snapshots = this.#openSnapshots();
    this.readiness = new Readiness(this.#facts(), clock);
  }

  #openSchema(): SchemaCoordinator {
    const { db, paths, peerId } = this.options;
    return new SchemaCoordinator({
      file: db,
      replicaFile: paths.replica,
      rejectsFile: paths.rejects,
      peerId,
      connection: this.#appDb,
      replica: this.replica.replica,
      place: () => slotOf(this.runtime.groups[0]!.configuration.members, peerId),
      logger: this.#components.logger.child("schema"),
      withOtherFunctions: () => this.withOtherFunctions(),
      unseen: this.unseen,
    });
  }

  #openPipeline(): Pipeline {
    const { paths, peerId } = this.options;
    const { clock, logger } = this.#components;
    const { replica } = this.replica;
    return new Pipeline(
      {
        replica,
        schema: this.schema,
        spool: new Spool(paths.spool),
        syncAppDb: () => {
          this.#appDbFile.sync();
          replica.fileNote.synced = this.#appDb.life.current;
        },
        onOwnCommit: () => this.#watcher.ownCommit(),
        propose: (shard, data) => this.runtime.propose(shard, data),
        leads: (shard) => this.runtime.groups[shard]!.raft.isLeader,
        nextIncarnation: (atLeast) => this.#nextIncarnation(atLeast),
        now: () => clock.now(),
        wallTime: () => clock.wallTime(),
        logger: logger.child("pipeline"),
      },
      { peerId, shards: replica.settings.shards },
    );
  }

  #openLoop(): EventLoop {
    const { clock, host, logger, onFailure } = this.#components;
    return new EventLoop({
      replica: this.replica,
      clock,
      host,
      logger: logger.child("engine"),
      idle: () => this.log.idle(),
      onFailure: (error) => onFailure(error),
      onSnapshotOffered: (shard, from) => this.#snapshots.receive(shard, from),
      checkFile: () => this.checkFile(),
      onTick: () => this.#onTick(),
    });
  }

  #openRuntime(): ShardRuntime {
    const { peerId, keepEntries } = this.options;
    const { transport, random, logger } = this.#components;
    return new ShardRuntime(
      {
        ...{ logStore: this.log, transport, stateMachine: this.loop, random, logger: logger.child("raft") },
        keepFrom: (shard) =>
          lowestHold(shard, this.#snapshots.holds, this.news.values(), this.#components.clock.now()),
      },
      {
        shards: this.replica.replica.settings.shards,
        peerId,
        member: this.log.member,
        ...(keepEntries === undefined ? {} : { keepEntries }),
        // A replica that lost its newest entries in a power failure reads them from the log again before any other work.
        committed: this.pipeline.session.bases.reflected,
      },
    );
  }

  #openLives(): PeerLives {
    const { clock, router, transport, logger } = this.#components;
    return new PeerLives({
      ...{ clock, router, transport, logger, runtime: this.runtime, peers: this.log.peers },
      ...{ member: this.log.member, self: this.options.peerId },
      incarnation: () => this.pipeline.outbox.incarnation,
      nameOf: (peer) => this.nameOf(peer),
    });
  }

  #openMembers(): MemberChanges {
    const { transport, clock, logger } = this.#components;
    const { runtime, clusterId } = this;
    const self = this.options.peerId;
    return new MemberChanges({ runtime, transport, clock, clusterId, self, logger: logger.child("members") });
  }

  #openSnapshots(): SnapshotExchange {
    const { paths, peerId } = this.options;
    const { transport, clock, logger, onProgress, onReplacement } = this.#components;
    return new SnapshotExchange(
      {
        ...{ replica: this.replica, log: this.log, transport, clock, logger, onProgress, onReplacement },
        nameOf: (peer) => this.nameOf(peer),
        nonce: this.#components.router.nonce,
        freeze: (isFrozen) => {
          this.loop.frozen = isFrozen;
          if (!isFrozen) this.loop.wake();
        },
      },
      { paths, peerId },
    );
  }

  #facts(): ReadinessFacts {
    const { runtime, loop, pipeline } = this;
    const { replica } = this.replica;
    return {
      groups: runtime.groups,
      replica,
      fileChange: () => this.#appDbFile.look(),
      isReceiving: () => loop.frozen,
      obstacle: () => pipeline.obstacle,
      held: () => pipeline.held,
      isSchemaDue: () => pipeline.schemaDue,
      fencing: () => pipeline.outbox.fencing(),
      hasAcknowledged: () => pipeline.session.cursors.waiting,
      unordered: (table, id) => pipeline.unordered(table, id),
      newestIds: () => this.reader.newestIds(),
      reflected: () => pipeline.session.bases.reflected,
    };
  }

  start(): void {
    this.#components.router.enter(this);
    this.#watcher.start();
    this.loop.start(this.runtime, this.pipeline);
    // The only voter of a group need not wait for an election timeout.
    for (const group of this.runtime.groups) {
      const { voters } = group.configuration.configuration;
      if (voters.length === 1 && this.log.member === voters[0]) group.raft.campaign();
    }
    this.pipeline.openIncarnation();
    this.loop.wake();
  }

  /** Hands the leadership of all groups over, as far as other voters take it within a short time. */
  handOver(): Promise<void> {
    const { clock, logger } = this.#components;
    const ask = (): number => {
      if (this.#closed) return 0;
      this.loop.wake();
      return this.runtime.handOver();
    };
    return handOverLeadership({ clock, logger, ask });
  }

  close(): void {
    if (this.#closed) return;
    this.pipeline.close();
    this.#appDb.db.close();
    this.#closeRest();
  }

  /** Closes everything but the connections to the app database; see `neverClose`. */
  abandonFile(): void {
    if (this.#closed) return;
    neverClose(this);
    this.#closeRest();
  }

  #closeRest(): void {
    this.#closed = true;
    this.loop.stop();
    this.#watcher.stop();
    this.#snapshots.close();
    this.replica.close();
    this.log.close();
  }

  /** Before the last `close` of an orderly stop. */
  noteStop(): void {
    if (this.#closed) return;
    const { replica } = this;
    noteStop({ replica, appDb: this.#appDb, appDbFile: this.#appDbFile }, this.#components.logger);
  }

  /** Throws `FileChangedError` if the path of the app database no longer leads to the open file. */
  checkFile(): void {
    const change = this.#appDbFile.look();
    if (change !== null) throw new FileChangedError(change);
  }

  #hasMoved(): boolean {
    if (this.#appDbFile.look() === null) return this.reader.moved();
    this.loop.fileSuspect = true;
    return true;
  }

  get pending(): PendingRows {
    return this.pipeline.session.pending;
  }

  get reader(): AppDbReader {
    return this.pipeline.session.reader;
  }

  get pollingBecause(): string {
    return this.#watcher.pollingBecause;
  }

  #touched(): void {
    this.pipeline.touch();
    this.loop.wake();
  }

  #nextIncarnation(atLeast: number): number {
    const next = this.log.nextIncarnation(atLeast);
    // The first one is told by the hello; peers on open connections learn the others.
    if (this.pipeline.outbox.incarnation > 0)
      queueMicrotask(() => {
        if (!this.#closed) this.lives.tell();
      });
    return next;
  }

  // ------------------------------------------------------------------------------------------ transport

  life(): Life | null {
    return this.lives.own();
  }

  admit(peer: PeerHello, hello: Hello, linkedNonce: string | null): string | null {
    return this.lives.admit(peer, hello, linkedNonce);
  }

  /** Records of others are invented, or of nodes that connect by themselves. */
  knows(peer: PeerId): boolean {
    return this.runtime.groups[0]!.memberOf(peer) !== undefined;
  }

  /** Takes over connections that were opened before this node was a member, or while its files were closed. */
  takeOver(peers: readonly PeerId[]): void {
    for (const peer of peers) {
      this.lives.checkAgain(peer);
      this.onConnect(peer);
    }
    if (peers.length > 0) this.lives.tell();
  }

  onConnect(peerId: PeerId): void {
    this.#components.logger.info("connected", { peer: this.nameOf(peerId) });
    this.#components.transport.send(peerId, encodeControl({ kind: "news", ...this.ownNews() }), "urgent");
    this.loop.wake();
  }

  onDisconnect(peerId: PeerId): void {
    this.#components.logger.info("disconnected", { peer: this.nameOf(peerId) });
  }

  onRaft(peerId: PeerId, body: Uint8Array): void {
    if (this.lives.isRefused(peerId)) return;
    this.runtime.receive(peerId, body);
    this.loop.wake();
  }

  onControl(peerId: PeerId, control: Control): void {
    const answer = (message: Control): void =>
      void this.#components.transport.send(peerId, encodeControl(message), "urgent");
    switch (control.kind) {
      case "join":
      case "leave":
      case "change":
      case "forward":
      case "promote":
        this.members.onRequest(peerId, control, answer);
        this.loop.wake();
        return;
      case "changed":
        this.onChanged?.(control);
        return;
      case "tell":
        answer({ kind: "news", ...this.ownNews() });
        return;
      case "life":
        return this.lives.onLife(peerId, control.life);
      case "refused":
        return this.#components.onRefused(peerId, control.reason);
      case "twin":
        return this.lives.onTwin();
      case "news":
        this.lives.onNews(peerId, control);
        this.news.set(peerId, { ...control, at: this.#components.clock.now() });
        this.#snapshots.served(peerId);
        this.#snapshots.holds.heard(
          peerId,
          control.applied,
          this.runtime.groups.map((g) => g.log.lastIndex()),
        );
        return;
      case "sums?":
        answer({ kind: "sums", note: control.note, shards: this.checks(control.note) });
        return;
      case "sums":
        this.onSums?.(peerId, control);
        return;
      case "received":
        return this.#snapshots.served(peerId);
      case "file?": {
        const check = this.onFileAsked?.(control.note);
        if (check !== undefined) answer({ kind: "file", note: control.note, ...check });
        return;
      }
      case "file":
        this.onFile?.(peerId, control);
        return;
      case "joined":
      case "meet":
        return;
    }
  }

  #holds(): { readonly holds?: number[] } {
    const { holds } = this.#snapshots;
    if (holds.isEmpty) return {};
    return { holds: this.runtime.groups.map(({ shard, log }) => holds.lowest(shard) ?? log.lastIndex()) };
  }

  /** The checksums that this node recorded for a check entry, per shard; null: the entry is not applied yet. */
  checks(note: string): ({ index: number; sums: [number, string][] } | null)[] {
    return this.runtime.groups.map((g) => this.replica.replica.check(note, g.shard));
  }

  ownNews(): NodeNews {
    const { replica } = this.replica;
    return {
      name: this.options.name,
      version: VERSION,
      ready: this.readiness.notReady() === null,
      applied: replica.positions(),
      reflected: [...this.readiness.reflected],
      functions: extensions().digest,
      waiting: this.waiting,
      reaches: this.#components.transport.connected().slice(0, TOLD_PEERS),
      addresses: this.#components.transport.announced().slice(0, TOLD_ADDRESSES),
      ...this.#holds(),
      lives: this.lives.known(),
    };
  }

  /** Rows of other nodes that the file does not show, since this node cannot write their tables. */
  get waiting(): number {
    return [...this.pipeline.session.holdBack.waiting().values()].reduce((sum, n) => sum + n, 0);
  }

  /** Names of connected nodes that have other functions of the application than this one, as far as they told. */
  withOtherFunctions(): string[] {
    const { digest } = extensions();
    if (digest === "") return [];
    // While the node opens its files, no peer has told anything.
    if ((this.runtime as ShardRuntime | undefined) === undefined) return ["another node"];
    return this.#components.transport
      .connected()
      .filter((peer) => {
        const isMember = this.runtime.groups[0]!.memberOf(peer) !== undefined;
        return isMember && (this.news.get(peer)?.functions ?? "") !== digest;
      })
      .map((peer) => this.nameOf(peer));
  }

  /** Pairs of running members that do not reach each other. */
  unreached(): UnreachedPair[] {
    const { clock, transport } = this.#components;
    const self = {
      peerId: this.options.peerId,
      reaches: transport.connected(),
      addresses: transport.announced(),
    };
    const { members } = this.runtime.groups[0]!.configuration;
    return unreachedPairs(liveMembers(members, self, this.news, clock.now()));
  }

  tellAll(control: Control): void {
    for (const peer of this.#components.transport.connected())
      this.#components.transport.send(peer, encodeControl(control), "urgent");
  }

  nameOf(peerId: PeerId): string {
    const member = this.runtime.groups[0]!.memberOf(peerId);
    return member?.name ?? this.#components.router.hellos.get(peerId)?.name ?? peerId;
  }

  #onTick(): void {
    this.#wal.tick();
    const ticks = ++this.#ticks;
    const { role } = this.options;
    this.members.askForPromotion({ role, ticks, isNewsTick: ticks % NEWS_TICKS === 0 }, this.readiness);
    if (ticks % NEWS_TICKS !== 0) return;
    this.members.look();
    // Peers that were removed since their hello are told so.
    for (const peer of this.#components.transport.connected()) this.lives.checkAgain(peer);
    this.#lookAtVersion();
    this.tellAll({ kind: "news", ...this.ownNews() });
    for (const { from, to, reason } of this.#unreached.take(this.unreached(), this.#components.clock.now()))
      this.#components.logger.warn("two nodes do not reach each other", { from, to, reason });
    this.#snapshots.holds.tick(this.#components.transport.connected(), this.#components.clock.now());
    const longest = this.loop.takeLongestTurn();
    if (longest > 250) this.#components.logger.debug("a long turn", { ms: Math.round(longest) });
  }

  /** The SQLite that the application writes with, as its file shows; null: unknown. */
  get applicationVersion(): SqliteVersion | null {
    return this.#applicationVersion;
  }

  #lookAtVersion(): void {
    const version = this.#appDbFile.writerVersion?.() ?? null;
    if (version === null || version === this.#applicationVersion) return;
    this.#applicationVersion = version;
    const note = walResetNote(version);
    if (note !== null) this.#components.logger.warn(note.message, { hint: note.hint });
  }

  onTransfer(peerId: PeerId, request: string): AsyncIterable<Uint8Array> {
    return this.#snapshots.send(peerId, request);
  }
}

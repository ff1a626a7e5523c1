/**
 * Replicates the application's file of one node: opens replica, log and file, and connects
 * Raft, pipeline, event loop and the messages of the peers.
 */
import { mkdirSync } from "node:fs";
import { ClusterFormats } from "./formats/cluster-formats.ts";
import { readStoredFormats } from "./formats/told-formats.ts";
import { Spool } from "../capture/spool.ts";
import { ForeignCommits } from "../app-db/foreign-commits.ts";
import { WalUpkeep } from "../app-db/wal-upkeep.ts";
import { Watcher } from "../app-db/watcher.ts";
import type { PendingRows } from "../change/pending-rows.ts";
import { UnseenRows } from "../rows/unseen-rows.ts";
import { SqliteLogStore } from "../log-store/sqlite-log-store.ts";
import { type AppDbConnection, openAppDbConnection, proveTriggers } from "../reflect/app-db-connection.ts";
import { FileChangedError } from "../rows/file-life.ts";
import { type OpenReplica, openReplica } from "../replica/open-replica.ts";
import { ShardRuntime } from "../shard/runtime.ts";
import { slotOf } from "../shard/slots.ts";
import { neverClose, noteStop, storeReplica } from "../app-db/closing.ts";
import type { NodeNews } from "./messages/control-messages.ts";
import { PeerMessages } from "./peer-messages.ts";
import { PeerNews } from "./peer-news.ts";
import { Measures, timed } from "./measures/measures.ts";
import { Upkeep } from "./upkeep.ts";
import { EventLoop } from "./event-loop.ts";
import type { AppDbReader } from "../app-db/reader.ts";
import { handOverLeadership } from "./members/hand-over.ts";
import { ApplicationSqlite } from "./machine/application-sqlite.ts";
import type { SyncedFile } from "./machine/host.ts";
import { BusyPeers } from "./busy-peers.ts";
import { EpochGuard } from "./epochs/epoch-guard.ts";
import { PeerLives } from "./lives/peer-lives.ts";
import { MemberChanges, REPLACE_AFTER_MS } from "./members/member-changes.ts";
import { Pipeline } from "./pipeline/pipeline.ts";
import { lowestHold } from "./snapshots/log-holds.ts";
import { Readiness } from "./readiness.ts";
import { SnapshotExchange } from "./snapshots/snapshot-exchange.ts";
import { type History, openHistory } from "./node-history.ts";
import { alignLog } from "./lives/align-log.ts";
import { SchemaCoordinator } from "../schema-sync/coordinator.ts";
import type { ReplicatorComponents, ReplicatorOptions } from "./replicator-components.ts";
import { isReaderIn, ownNews, readinessFacts, waitingRows } from "./own-facts.ts";

export class Replicator {
  readonly options: ReplicatorOptions;
  readonly clusterId: string;
  readonly replica: OpenReplica;
  readonly log: SqliteLogStore;
  /** null: it is switched off. */
  readonly history: History | null;
  readonly runtime: ShardRuntime;
  readonly pipeline: Pipeline;
  readonly schema: SchemaCoordinator;
  readonly peers: PeerNews;
  /** The versions of formats that may be written now. */
  readonly formats: ClusterFormats;
  /** Rows of the file that no trigger saw and that `verify` found. */
  readonly unseen = new UnseenRows();
  readonly readiness: Readiness;
  readonly measures: Measures;
  readonly epochs: EpochGuard;
  readonly lives: PeerLives;
  readonly members: MemberChanges;
  readonly loop: EventLoop;
  readonly messages: PeerMessages;
  readonly #components: ReplicatorComponents;
  readonly #appDb: AppDbConnection;
  readonly #watcher: Watcher;
  readonly snapshots: SnapshotExchange;
  readonly #wal: WalUpkeep;
  readonly #appDbFile: SyncedFile;
  readonly #upkeep: Upkeep;
  readonly #busyPeers: BusyPeers;
  readonly application: ApplicationSqlite;
  #closed = false;

  constructor(options: ReplicatorOptions, components: ReplicatorComponents, appDbFile: SyncedFile) {
    this.options = options;
    this.#appDbFile = appDbFile;
    this.#components = components;
    const { db, paths, peerId } = options;
    const { clock, host, onSuperseded } = components;
    this.measures = components.measures ?? new Measures();
    proveTriggers();
    this.replica = openReplica(paths.replica, peerId);
    this.clusterId = this.replica.replica.settings.clusterId;
    this.log = SqliteLogStore.open(paths.log, options.logWalPages);
    alignLog(this.log, this.replica);
    this.replica.replica.completion.mayReceive = () => (this.log.configuration(0)?.members.length ?? 0) > 1;
    this.history = openHistory(options, this.replica, this.log, components.logger);
    this.log.aroundCommit = timed(this.measures.logSync, components.clock);
    this.#appDb = openAppDbConnection(db, []);
    this.application = new ApplicationSqlite(this.replica, appDbFile, options, components);
    this.peers = this.#openPeers();
    this.formats = this.#openFormats();
    this.schema = this.#openSchema();
    const commits = new ForeignCommits(this.#appDb.db);
    this.#watcher = new Watcher(db, {
      clock,
      ...{ moved: () => this.#hasMoved(commits), wake: () => this.#touched() },
      watchFolder: host.watchFolder,
    });
    mkdirSync(paths.incoming, { recursive: true, mode: 0o700 });
    this.pipeline = this.#openPipeline();
    const isUsed = (): boolean => this.pipeline.usesAppDb;
    this.#wal = new WalUpkeep({ db: this.#appDb.db, now: () => clock.now(), isUsed });
    this.loop = this.#openLoop();
    this.runtime = this.#openRuntime();
    this.#busyPeers = new BusyPeers({ ...components, runtime: this.runtime, peers: this.peers });
    for (const { shard, raft } of this.runtime.groups) this.measures.firstTerms[shard] ??= raft.term;
    const { log, peers, runtime, loop, pipeline, replica } = this;
    this.epochs = new EpochGuard({ log, runtime, peers, onSuperseded });
    this.lives = this.#openLives();
    this.members = this.#openMembers();
    this.snapshots = this.#openSnapshots();
    const parts = { runtime, loop, pipeline, replica, appDbFile, members: this.members, role: options.role };
    this.readiness = new Readiness(readinessFacts(parts), clock);
    this.messages = this.#openMessages();
    this.#upkeep = this.#openUpkeep();
  }

  #openPeers(): PeerNews {
    const { transport, router, clock } = this.#components;
    return new PeerNews({
      ...{ self: this.options.peerId, transport, router, clock },
      runtime: () => (this.runtime as ShardRuntime | undefined) ?? null,
    });
  }

  #openFormats(): ClusterFormats {
    const { router } = this.#components;
    const { peers } = this.log;
    return new ClusterFormats({
      self: this.options.peerId,
      members: () => this.log.configuration(0)?.members ?? [],
      known: (peer) => router.formatsOf(peer) ?? readStoredFormats(peers.formats(peer) ?? ""),
    });
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
      withOtherFunctions: () => this.peers.withOtherFunctions(),
      applicationVersion: () => this.application.look(),
      applicationsElsewhere: () => this.peers.applications(),
      unseen: this.unseen,
      isReader: () => this.isReader,
    });
  }

  /** Its file refuses the writes of applications. null: this node is no member any more, or not yet in this configuration. */
  get isReader(): boolean | null {
    const runtime = this.runtime as ShardRuntime | undefined;
    const { members } = runtime?.groups[0]!.configuration ?? this.log.configuration(0)!;
    return isReaderIn(members, this.options.peerId);
  }

  #openPipeline(): Pipeline {
    const { paths, peerId } = this.options;
    const { clock, logger } = this.#components;
    const { replica } = this.replica;
    return new Pipeline(
      {
        ...{ replica, schema: this.schema, measures: this.measures, spool: new Spool(paths.spool) },
        syncAppDb: () => {
          timed(this.measures.appDbSync, clock)(() => this.#appDbFile.sync());
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
      ...{ replica: this.replica, clock, host, logger: logger.child("engine") },
      idle: () => this.log.idle(),
      onFailure: (error) => onFailure(error),
      onSnapshotOffered: (shard, from, { index }) => this.snapshots.receive(from, { shard, index }),
      checkFile: () => this.checkFile(),
      tellBusy: (bytes) => this.#busyPeers.tell(bytes),
      onTicks: (ticks) => this.#upkeep.tick(ticks),
      onLeader: (shard) => this.measures.leaderChanged(shard),
    });
  }

  #openRuntime(): ShardRuntime {
    const { peerId, keepEntries, leaderFollowsWriter } = this.options;
    const { transport, random, logger } = this.#components;
    return new ShardRuntime(
      {
        ...{ logStore: this.log, transport, stateMachine: this.loop, random, logger: logger.child("raft") },
        onLargeWrite: (bytes) => this.#busyPeers.tell(bytes),
        vouchers: this.peers,
        keepFrom: (shard) =>
          lowestHold(shard, this.snapshots.holds, this.peers.received.values(), this.#components.clock.now()),
      },
      {
        shards: this.replica.replica.settings.shards,
        ...{ peerId, member: this.log.member, leaderFollowsWriter },
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
      epochs: this.epochs,
      ...{ member: this.log.member, self: this.options.peerId },
      incarnation: () => this.pipeline.outbox.incarnation,
      nameOf: (peer) => this.peers.nameOf(peer),
    });
  }

  #openMembers(): MemberChanges {
    const { transport, clock, logger, admitted } = this.#components;
    const { runtime, clusterId } = this;
    const { peerId: self, replaceAfterMs = REPLACE_AFTER_MS } = this.options;
    return new MemberChanges({
      ...{ runtime, transport, clock, clusterId, self, admitted, replaceAfterMs },
      logger: logger.child("members"),
    });
  }

  #openSnapshots(): SnapshotExchange {
    const { paths, peerId } = this.options;
    const { transport, clock, logger, onProgress, onReplacement } = this.#components;
    return new SnapshotExchange(
      {
        ...{ replica: this.replica, log: this.log, transport, clock, logger, onProgress, onReplacement },
        nameOf: (peer) => this.peers.nameOf(peer),
        handOver: () => void this.runtime.handOver(),
        nonce: this.#components.router.nonce,
        commit: (shard) => this.runtime.groups[shard]!.raft.commit,
        freeze: (isFrozen) => {
          this.loop.frozen = isFrozen;
          if (!isFrozen) this.loop.wake();
        },
      },
      { paths, peerId },
    );
  }

  #openMessages(): PeerMessages {
    const { replica, runtime, loop, peers, lives, members, epochs } = this;
    const { logger, onRefused } = this.#components;
    return new PeerMessages({
      ...{ replica, runtime, loop, peers, lives, members, epochs, logger, onRefused },
      snapshots: this.snapshots,
      busyPeers: this.#busyPeers,
      ownNews: () => this.#ownNews(),
    });
  }

  #openUpkeep(): Upkeep {
    const { loop, peers, lives, members, readiness, formats } = this;
    const { transport, clock, logger } = this.#components;
    return new Upkeep(
      {
        ...{ loop, peers, lives, members, readiness, formats, transport, clock, logger },
        ...{ wal: this.#wal, log: this.log },
        snapshots: this.snapshots,
        application: this.application,
        triesSchema: () => this.pipeline.triesSchema,
        ownNews: () => this.#ownNews(),
      },
      this.options,
    );
  }

  start(): void {
    this.#components.router.enter(this.messages);
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
    this.snapshots.close();
    storeReplica(this.replica, this.#components.logger);
    this.history?.close();
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

  #hasMoved(commits: ForeignCommits): boolean {
    if (this.#appDbFile.look() === null) return commits.moved(this.reader);
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
    if (this.pipeline.outbox.incarnation > 0) queueMicrotask(() => this.#tellLife());
    return next;
  }

  #tellLife(): void {
    if (!this.#closed) this.lives.tell();
  }

  #ownNews(): NodeNews {
    const { runtime, pipeline, replica, readiness, lives, application } = this;
    const { name, keys = [] } = this.options;
    const [{ transport }, { holds }] = [this.#components, this.snapshots];
    const parts = { runtime, pipeline, replica, readiness, lives, application };
    return ownNews({ name, keys, transport, holds, ...parts });
  }

  /** Rows of other nodes that the file does not show, since this node cannot write their tables. */
  get waiting(): number {
    return waitingRows(this.pipeline);
  }
}

/** A member of a cluster at work: everything opened, wired and answering. */
import { mkdirSync, rmSync } from "node:fs";
import type { Clock } from "../base/clock.ts";
import { errorMessage } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Random } from "../base/random.ts";
import { Spool } from "../capture/spool.ts";
import { WalUpkeep } from "../app-db/wal-upkeep.ts";
import { walResetNote } from "../sqlite/writer-version.ts";
import type { SqliteVersion } from "../sqlite/sqlite-version.ts";
import { Watcher } from "../app-db/watcher.ts";
import type { PendingRows } from "../change/pending-rows.ts";
import { SqliteLogStore } from "../log-store/sqlite-log-store.ts";
import { type AppDbConnection, openAppDbConnection, proveTriggers } from "../reflect/app-db-connection.ts";
import { isWorthTaking, strip } from "../replica/copies/install-snapshot.ts";
import { publish } from "../replica/copies/initial-import.ts";
import { type OpenReplica, openReplica, readLocal } from "../replica/open-replica.ts";
import type { GroupConfiguration, PeerId, ShardId, Transport } from "../shard/seams.ts";
import { ShardRuntime } from "../shard/runtime.ts";
import { slotOf } from "../shard/slots.ts";
import { sendSnapshot } from "../snapshot/stream.ts";
import { SnapshotTaker } from "../snapshot/take.ts";
import { type Control, encodeControl, type NodeNews } from "./control-messages.ts";
import { EventLoop } from "./event-loop.ts";
import { fetchReplica, REPLICA_REQUEST } from "../node/startup/join-cluster.ts";
import type { AppDbReader } from "../app-db/reader.ts";
import type { Host, SyncedFile } from "./host.ts";
import type { DataPaths } from "./data-paths.ts";
import { Pipeline } from "./pipeline/pipeline.ts";
import { Readiness } from "./readiness.ts";
import type { OnProgress } from "../node/handle.ts";
import { SchemaCoordinator } from "../schema-sync/coordinator.ts";
import type { Stage, MessageRouter } from "./message-router.ts";
import { VERSION } from "../base/version.ts";

/** Ticks between two words to all peers about where this node stands. */
const NEWS_TICKS = 10;
/** Ticks after the start in each of which a learner asks to become a voter; then as often as it gives news. */
const EAGER_TICKS = 50;
/** Entries behind a leader's commit below which a learner asks to become a voter. */
const PROMOTE_WITHIN = 200;

export interface MemberOptions {
  readonly db: string;
  readonly paths: DataPaths;
  readonly peerId: PeerId;
  readonly name: string;
  readonly role: "voter" | "learner";
  /** See `NodeOptions.limits`. */
  readonly keepEntries?: number;
  readonly logWalPages?: number;
  /** The SQLite that the application wrote with before this node did; null: unknown. */
  readonly applicationVersion?: SqliteVersion | null;
}

export interface MemberComponents {
  readonly transport: Transport;
  readonly router: MessageRouter;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly host: Host;
  readonly onProgress: OnProgress;
  readonly onFailure: (error: Error) => void;
  /** A newer replica waits in `paths.nextReplica`: the member must be closed and opened again. */
  readonly onReplacement: () => void;
}

/** What a peer last said of itself. */
export interface PeerNews extends NodeNews {
  readonly at: number;
}

export class Member implements Stage {
  readonly options: MemberOptions;
  readonly clusterId: string;
  readonly replica: OpenReplica;
  readonly log: SqliteLogStore;
  readonly runtime: ShardRuntime;
  readonly pipeline: Pipeline;
  readonly schema: SchemaCoordinator;
  readonly news = new Map<PeerId, PeerNews>();
  /** Whether a peer's checksums agreed when they were last compared. */
  readonly agreement = new Map<PeerId, boolean>();
  readonly readiness: Readiness;
  readonly loop: EventLoop;
  /** Set by `verify`: gets answers about checksums. */
  onSums: ((from: PeerId, control: Extract<Control, { kind: "sums" }>) => void) | null = null;
  readonly #components: MemberComponents;
  readonly #appDb: AppDbConnection;
  readonly #watcher: Watcher;
  readonly #taker: SnapshotTaker;
  readonly #wal: WalUpkeep;
  readonly #appDbFile: SyncedFile;
  #applicationVersion: SqliteVersion | null;
  #ticks = 0;
  #fetching: AbortController | null = null;
  #sending = 0;
  #closed = false;

  constructor(options: MemberOptions, components: MemberComponents, appDbFile: SyncedFile) {
    this.options = options;
    this.#components = components;
    this.#appDbFile = appDbFile;
    this.#applicationVersion = options.applicationVersion ?? null;
    const { db, paths, peerId } = options;
    const { clock, logger, random, transport } = components;
    proveTriggers();
    this.replica = openReplica(paths.replica, peerId);
    const { replica } = this.replica;
    const { settings } = replica;
    this.clusterId = settings.clusterId;
    this.log = SqliteLogStore.open(paths.log, options.logWalPages);
    this.#alignLog();
    this.#appDb = openAppDbConnection(db, []);
    const schema = new SchemaCoordinator({
      file: db,
      replicaFile: paths.replica,
      lostFile: paths.lost,
      peerId,
      connection: this.#appDb,
      replica,
      place: () => slotOf(this.runtime.groups[0]!.configuration.members, peerId),
      logger: logger.child("schema"),
    });
    this.schema = schema;
    this.#watcher = new Watcher(db, {
      clock,
      moved: () => this.reader.moved(),
      wake: () => this.#touched(),
      watchFolder: components.host.watchFolder,
    });
    mkdirSync(paths.incoming, { recursive: true, mode: 0o700 });
    this.pipeline = new Pipeline(
      {
        replica,
        schema,
        spool: new Spool(paths.spool),
        syncAppDb: () => appDbFile.sync(),
        onOwnCommit: () => this.#watcher.ownCommit(),
        propose: (shard, data) => this.runtime.propose(shard, data),
        leads: (shard) => this.runtime.groups[shard]!.raft.isLeader,
        nextIncarnation: (atLeast) => this.log.nextIncarnation(atLeast),
        now: () => clock.now(),
        wallTime: () => clock.wallTime(),
        logger: logger.child("pipeline"),
      },
      { peerId, shards: settings.shards },
    );
    this.#wal = new WalUpkeep({
      db: this.#appDb.db,
      now: () => clock.now(),
      isUsed: () => this.pipeline.usesAppDb,
    });
    this.loop = new EventLoop({
      replica: this.replica,
      clock,
      host: components.host,
      logger: logger.child("engine"),
      idle: () => this.log.idle(),
      onFailure: (error) => components.onFailure(error),
      onSnapshotOffered: (shard, from) => this.#onSnapshotOffered(shard, from),
      onTick: () => this.#onTick(),
    });
    const member = this.log.configuration(0)?.members.find((m) => m.peerId === peerId)?.id ?? 0;
    this.runtime = new ShardRuntime(
      { logStore: this.log, transport, stateMachine: this.loop, random, logger: logger.child("raft") },
      {
        shards: settings.shards,
        peerId,
        member: member || Number(readLocal(this.replica.db, "member") ?? 0),
        ...(options.keepEntries === undefined ? {} : { keepEntries: options.keepEntries }),
        // A replica that lost its end in a power cut gets it back from the log before anything else is done with it.
        committed: this.pipeline.session.bases.reflected,
      },
    );
    this.#taker = new SnapshotTaker(paths.replica, {
      checkpoint: () => replica.betweenEntries && this.replica.checkpoint() !== null,
      positions: () => replica.positions().map((index, shard) => ({ index, term: replica.term(shard) })),
    });
    this.readiness = new Readiness({ member: this, clock });
  }

  /** A replica that is ahead of the log, after one was received: the log begins where the replica stands. */
  #alignLog(): void {
    const { replica, db } = this.replica;
    const received = readLocal(db, "configurations");
    const configurations = received === null ? [] : (JSON.parse(received) as GroupConfiguration[]);
    for (let shard = 0; shard < replica.settings.shards; shard++) {
      const log = this.log.group(shard);
      const index = replica.position(shard);
      const term = replica.term(shard);
      const matches = index >= log.firstIndex() - 1 && index <= log.lastIndex() && log.term(index) === term;
      if (matches) continue;
      const configuration = this.log.configurationAt(shard, index);
      const received = configurations[shard];
      const inForce =
        received !== undefined && received.index > (configuration?.index ?? -1) ? received : configuration!;
      const { hardState } = log;
      this.log.write([
        {
          shard,
          snapshot: { index, term, configuration: inForce.configuration },
          hardState: {
            term: Math.max(hardState.term, term),
            vote: hardState.term >= term ? hardState.vote : 0,
            commit: index,
          },
          configuration: inForce,
        },
      ]);
    }
  }

  start(): void {
    this.#components.router.enter(this);
    this.#watcher.start();
    this.loop.start(this.runtime, this.pipeline);
    // A cluster of one need not wait for an election timeout.
    for (const group of this.runtime.groups) {
      const { voters } = group.configuration.configuration;
      if (voters.length === 1 && group.memberOf(this.options.peerId)?.id === voters[0]) group.raft.campaign();
    }
    this.pipeline.openIncarnation();
    this.loop.wake();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.loop.stop();
    this.#watcher.stop();
    this.#fetching?.abort();
    this.pipeline.close();
    this.#appDb.db.close();
    this.replica.close();
    this.log.close();
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

  // ------------------------------------------------------------------------------------------ transport

  onConnect(peerId: PeerId): void {
    this.#components.logger.info("connected", { peer: this.nameOf(peerId) });
    this.#components.transport.send(peerId, encodeControl({ kind: "news", ...this.ownNews() }), "urgent");
    this.loop.wake();
  }

  onDisconnect(peerId: PeerId): void {
    this.#components.logger.info("disconnected", { peer: this.nameOf(peerId) });
  }

  onRaft(peerId: PeerId, body: Uint8Array): void {
    this.runtime.receive(peerId, body);
    this.loop.wake();
  }

  onControl(peerId: PeerId, control: Control): void {
    const answer = (message: Control): void =>
      void this.#components.transport.send(peerId, encodeControl(message), "urgent");
    switch (control.kind) {
      case "join": {
        const admitted = this.runtime.admit({ peerId, name: control.name });
        if (typeof admitted === "object")
          answer({
            kind: "joined",
            member: admitted.id,
            clusterId: this.clusterId,
            shards: this.runtime.groups.length,
          });
        this.loop.wake();
        return;
      }
      case "promote":
        this.runtime.promote(peerId);
        this.loop.wake();
        return;
      case "tell":
        answer({ kind: "news", ...this.ownNews() });
        return;
      case "news":
        this.news.set(peerId, { ...control, at: this.#components.clock.now() });
        return;
      case "sums?":
        answer({ kind: "sums", note: control.note, shards: this.checks(control.note) });
        return;
      case "sums":
        this.onSums?.(peerId, control);
        return;
      case "joined":
        return;
    }
  }

  /** Checksums that a check entry made this node record, per shard. */
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
    };
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
    if (ticks <= EAGER_TICKS || ticks % NEWS_TICKS === 0) this.#askForPromotion();
    if (ticks % NEWS_TICKS !== 0) return;
    this.#lookAtVersion();
    this.tellAll({ kind: "news", ...this.ownNews() });
    const longest = this.loop.takeLongestTurn();
    if (longest > 250) this.#components.logger.debug("a long turn", { ms: Math.round(longest) });
  }

  /** The SQLite that the application writes with, as the file tells it; null: it does not. */
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

  /** A learner that is near the end of every shard asks to become a voter. */
  #askForPromotion(): void {
    if (this.options.role === "learner" || this.runtime.isVoter(this.options.peerId)) return;
    if (this.readiness.behind() > PROMOTE_WITHIN) return;
    this.tellAll({ kind: "promote" });
    this.runtime.promote(this.options.peerId);
  }

  // ------------------------------------------------------------------------------------------ snapshots

  async *onTransfer(peerId: PeerId, request: string): AsyncIterable<Uint8Array> {
    if (request !== REPLICA_REQUEST) throw new Error(`there is no transfer called ${request.slice(0, 100)}`);
    const target = `${this.options.paths.incoming}/sent-${++this.#sending}.db`;
    const { logger } = this.#components;
    try {
      const copy = await this.#taker.take(target);
      const configurations = copy.positions.map(({ index }, shard) =>
        this.log.configurationAt(shard, index)!,
      );
      logger.info("sending the replica", { to: this.nameOf(peerId), bytes: copy.size });
      yield* sendSnapshot(
        { clusterId: this.clusterId, positions: copy.positions, configurations, size: copy.size },
        target,
      );
    } finally {
      rmSync(target, { force: true });
    }
  }

  /** This node's log ends before the leader's begins: receive the leader's replica and start over with it. */
  #onSnapshotOffered(shard: ShardId, from: PeerId): void {
    if (this.#fetching !== null || this.#closed) return;
    const { logger } = this.#components;
    const { paths, peerId } = this.options;
    logger.info("receiving a replica: this node is further behind than the log reaches", {
      shard,
      from: this.nameOf(from),
    });
    const fetching = new AbortController();
    this.#fetching = fetching;
    this.loop.frozen = true;
    const received = `${paths.incoming}/received.db`;
    void (async () => {
      try {
        const header = await fetchReplica(from, received, this.#components, fetching.signal);
        if (this.#closed) return;
        strip(received, this.clusterId, peerId, header);
        const positions = header.positions.map((p) => p.index);
        if (!isWorthTaking(positions, this.replica.replica.positions()))
          throw new Error("the replica received has nothing that this node's has not");
        publish(received, paths.nextReplica);
        this.#components.onReplacement();
      } catch (error) {
        if (this.#closed) return;
        logger.warn("the replica could not be received; it will be offered again", {
          error: errorMessage(error),
        });
        rmSync(received, { force: true });
        this.loop.frozen = false;
        this.loop.wake();
      } finally {
        this.#components.onProgress(null);
        this.#fetching = null;
      }
    })();
  }
}

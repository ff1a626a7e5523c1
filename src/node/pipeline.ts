/**
 * One node's way of a write, without Raft: drain ─▶ outbox ─▶ (the order) ─▶ replica ─▶ reflect. Driven turn by turn by
 * whoever owns time; every step is synchronous and takes a bounded slice.
 */
import type { Logger } from "../base/logger.ts";
import type { BasePositions } from "../change/base-positions.ts";
import type { KeyId } from "../change/key.ts";
import type { PendingRows } from "../change/pending-rows.ts";
import type { ShadowedRows } from "../change/shadowed-rows.ts";
import type { ChangeLogReader } from "../capture/captured-row.ts";
import { Drain } from "../capture/drain.ts";
import { Outbox } from "../capture/outbox.ts";
import type { Spool } from "../capture/spool.ts";
import type { Entry } from "../raft/types.ts";
import type { Acknowledgement, Reflector } from "../reflect/reflector.ts";
import type { Replica } from "../replica/replica.ts";
import { Markers } from "./markers.ts";

/** Milliseconds of work after which a slice ends, so that heartbeats and the application get their turn. */
const SLICE_MS = 5;
/** Changed rows after which applying pauses until they are reflected: the write lock is held for short times. */
const REFLECT_AT_ROWS = 2000;
/** How long acknowledgements and bare positions may wait for a transaction in the application's file. */
const LAZY_MS = 20;
/** How often the next id of AUTOINCREMENT tables is looked at while the application writes. */
const IDS_MS = 5;
/** How often references that the synced file makes needless are dropped. */
const PRUNE_MS = 250;

/** The application's file as a drain reads it. */
export interface LiveReader {
  readonly logs: readonly ChangeLogReader[];
  begin(): void;
  /** Ends the read transaction. */
  end(): void;
  /** Inside the transaction: table ⇒ highest id of its log, in the order of tables; empty logs may be left out. */
  newest(): ReadonlyMap<number, number>;
  /** Inside the transaction: why nothing may be drained (the schema changed), or null. */
  obstacle(): string | null;
}

export interface PipelineComponents {
  readonly live: LiveReader;
  readonly replica: Replica;
  readonly reflector: Reflector;
  readonly pending: PendingRows;
  readonly bases: BasePositions;
  readonly shadows: ShadowedRows;
  readonly spool: Spool;
  /** Makes what was read of the live file durable. */
  readonly syncLive: () => void;
  /** Our own commit in the live file is no news. */
  readonly onOwnCommit: () => void;
  readonly propose: (shard: number, data: Uint8Array) => "accepted" | "forwarded" | "dropped";
  /** This node leads the shard's group. */
  readonly leads: (shard: number) => boolean;
  /** A number above `atLeast` that was never used before, synced when it returns. */
  readonly nextIncarnation: (atLeast: number) => number;
  readonly now: () => number;
  readonly wallTime: () => number;
  readonly logger: Logger;
}

export interface PipelineOptions {
  readonly peerId: string;
  readonly shards: number;
  readonly schemaVersion: number;
  /** Table ⇒ log id up to which the live file says its changes are ordered. */
  readonly acknowledged: ReadonlyMap<number, number>;
}

/** What a turn leaves: call again at once, after some milliseconds, or when something happens. */
export type TurnResult =
  { readonly again: "now" | "never" } | { readonly again: "later"; readonly ms: number };

export class Pipeline {
  readonly outbox: Outbox;
  readonly #components: PipelineComponents;
  readonly #options: PipelineOptions;
  readonly #drain: Drain;
  readonly #markers: Markers;
  readonly #acknowledged: Map<number, number>;
  #dirty = true;
  /** The application may have inserted since its next ids were last looked at. */
  #idsDirty = true;
  #idsAt = Number.NEGATIVE_INFINITY;
  #idsDue = false;
  #draining: Generator<void, void> | null = null;
  #reflecting: Generator<void, boolean> | null = null;
  #unreflectedSince: number | null = null;
  #busySince: number | null = null;
  #prunedAt = 0;
  #reflections = 0;
  #drainedRows = 0;
  #obstacle: string | null = null;

  constructor(components: PipelineComponents, options: PipelineOptions) {
    this.#components = components;
    this.#options = options;
    const { replica, spool, propose, leads, now, wallTime } = components;
    const { live, pending, bases, shadows } = components;
    this.#drain = new Drain({ logs: live.logs, pending, bases, shadows, references: replica });
    this.outbox = new Outbox(
      { propose, shardOfKey: (table, keyId) => replica.shardOfKey(table, keyId), spool, now, wallTime },
      {
        origin: options.peerId,
        shards: options.shards,
        schemaVersion: options.schemaVersion,
        whole: options.shards > 1 && replica.settings.transactions === "whole",
      },
    );
    this.#markers = new Markers(options.shards, { leads, propose, now });
    this.#acknowledged = new Map(options.acknowledged);
    this.#drain.reset(this.#acknowledged);
  }

  /** A transaction in the application's file is open. */
  get reflecting(): boolean {
    return this.#reflecting !== null;
  }

  /** Why the schema keeps this node from draining; null: it does not. */
  get obstacle(): string | null {
    return this.#obstacle;
  }

  /** The application may have committed. */
  touch(): void {
    this.#dirty = true;
    this.#idsDirty = true;
  }

  /** Opens a new incarnation: at start, and when a batch of the last one was refused. */
  openIncarnation(): void {
    const { replica, nextIncarnation } = this.#components;
    if (this.#draining !== null) {
      this.#draining = null;
      this.#components.live.end();
    }
    for (const { shape } of this.#components.live.logs)
      this.#acknowledged.set(shape.id, this.acknowledged(shape.id));
    const seen = Math.max(this.outbox.incarnation, replica.origins.incarnation(this.#options.peerId));
    this.#drain.reset(this.#acknowledged);
    this.outbox.open(nextIncarnation(seen));
    this.#dirty = true;
  }

  /** Committed entries, in the order of their shard. */
  committed(shard: number, entries: readonly Entry[]): void {
    // After a restart, or a snapshot, entries that the replica contains are handed out again.
    const { replica } = this.#components;
    const last = replica.lastQueued(shard);
    const fresh = entries.filter((entry) => entry.index > last);
    if (fresh.length === 0) return;
    this.#markers.committed(shard, fresh);
    for (const { data } of fresh) this.outbox.committed(shard, data);
    replica.enqueue(shard, fresh);
  }

  /** On a timer of some 100 ms. */
  tick(): void {
    this.outbox.tick();
    this.#markers.propose(this.#components.replica.position(0));
    const now = this.#components.now();
    const { replica, syncLive, bases, reflector } = this.#components;
    // Before the first reflection it is not known which keys are pending.
    if (this.#reflections === 0 || this.#reflecting !== null || replica.references.size === 0) return;
    if (now - this.#prunedAt < PRUNE_MS) return;
    this.#prunedAt = now;
    const reflected = bases.reflected;
    syncLive();
    replica.prune(reflected, (table, keyId) => reflector.isHeld(table, keyId));
  }

  /** One slice of everything there is to do. Throws what the databases throw: the node must then stop. */
  turn(): TurnResult {
    this.#markers.propose(this.#components.replica.position(0));
    const applied = this.#apply();
    this.#settleOutcomes();
    const reflected = applied ? this.#reflect() : "waiting";
    const drained = this.#drainSlice();
    this.outbox.propose();
    if (!applied || reflected === "more" || drained === "more") return { again: "now" };
    if (reflected === "busy") return { again: "later", ms: 1 };
    if (reflected === "lazy") return { again: "later", ms: LAZY_MS };
    return { again: "never" };
  }

  /** True: everything that came is in the replica and committed. */
  #apply(): boolean {
    if (this.#reflecting !== null) return true;
    const { replica, now } = this.#components;
    const end = now() + SLICE_MS;
    const done = replica.advance(() => replica.changed.size >= REFLECT_AT_ROWS || now() >= end);
    return done || replica.betweenEntries;
  }

  #settleOutcomes(): void {
    for (const outcome of this.#components.replica.takeOutcomes()) {
      if (outcome.incarnation !== this.outbox.incarnation) continue;
      if (outcome.verdict === "refuse") {
        this.#components.logger.info("a batch was refused; its rows are drained anew", {
          shard: outcome.shard,
        });
        this.openIncarnation();
        return;
      }
      this.outbox.taken(outcome.shard, outcome.csn, outcome.part);
      if (outcome.verdict === "move") {
        this.openIncarnation();
        return;
      }
    }
  }

  /** After a snapshot: what of this incarnation it contains was taken without an outcome of its own. */
  reconcile(): void {
    const { replica } = this.#components;
    for (let shard = 0; shard < this.#options.shards; shard++) {
      const memory = replica.origins.memory(this.#options.peerId, shard);
      if (memory.incarnation !== this.outbox.incarnation) continue;
      this.outbox.taken(shard, memory.csn, Number.MAX_SAFE_INTEGER);
      if (memory.stagedParts > 0) this.outbox.taken(shard, memory.csn + 1, memory.stagedParts);
    }
  }

  #reflect(): "done" | "more" | "busy" | "lazy" | "waiting" {
    const { replica, reflector, bases, now } = this.#components;
    if (this.#reflecting === null) {
      if (this.outbox.fencing().length > 0 || this.outbox.incarnation === 0) return "waiting";
      const position = replica.positions();
      if (position.some((index, shard) => index < (bases.reflected[shard] ?? 0))) return "waiting";
      const moved = position.some((index, shard) => index !== bases.reflected[shard]);
      const urgent = replica.changed.size > 0 || replica.moved.length > 0 || this.#lookAtIds();
      if (!moved && !urgent && !this.outbox.hasAcknowledged && !reflector.unfinished) {
        this.#unreflectedSince = null;
        return this.#idsDirty ? "lazy" : "done";
      }
      this.#unreflectedSince ??= now();
      if (!urgent && now() - this.#unreflectedSince < LAZY_MS) return "lazy";
      this.#reflecting = this.#reflectOnce(position);
    }
    const end = now() + SLICE_MS;
    for (;;) {
      const step = this.#reflecting.next();
      if (step.done) {
        this.#reflecting = null;
        if (!step.value) {
          this.#busySince ??= now();
          return "busy";
        }
        this.#busySince = null;
        this.#unreflectedSince = null;
        this.#reflections++;
        this.#idsDue = false;
        this.#components.onOwnCommit();
        return reflector.unfinished || replica.runnable ? "more" : "done";
      }
      if (now() >= end) return "more";
    }
  }

  /** Whether ids must be led back to this node's block, though there is nothing to reflect (no quorum, say). */
  #lookAtIds(): boolean {
    const now = this.#components.now();
    if (this.#idsDirty && now - this.#idsAt >= IDS_MS) {
      this.#idsDirty = false;
      this.#idsAt = now;
      this.#idsDue = this.#components.reflector.idsDue;
    }
    return this.#idsDue;
  }

  *#reflectOnce(position: number[]): Generator<void, boolean> {
    const acknowledgement: Acknowledgement = this.outbox.peekAcknowledged();
    const done = yield* this.#components.reflector.run(position, acknowledgement);
    if (!done) return false;
    this.#components.replica.births.shown(position);
    for (const [table, id] of acknowledgement.upTo) this.#acknowledged.set(table, id);
    this.outbox.dropAcknowledged(acknowledgement);
    return true;
  }

  #drainSlice(): "done" | "more" {
    const { live, syncLive, replica, now } = this.#components;
    if (this.#draining === null) {
      if (!this.#dirty || !this.outbox.ready) return "done";
      // The change logs still name own rows by rowids that are others' in the replica.
      if (replica.moved.length > 0) return "done";
      this.#draining = this.#drainOnce(live, syncLive, replica);
    }
    const end = now() + SLICE_MS;
    do {
      if (this.#draining.next().done) {
        this.#draining = null;
        return this.#dirty && this.outbox.ready ? "more" : "done";
      }
    } while (now() < end);
    return "more";
  }

  *#drainOnce(live: LiveReader, syncLive: () => void, replica: Replica): Generator<void, void> {
    live.begin();
    this.#obstacle = live.obstacle();
    const news = this.#obstacle === null ? this.#drain.news(live.newest()) : [];
    this.#dirty = false;
    if (news.length === 0) {
      live.end();
      return;
    }
    const sink = this.outbox.collect(news, replica.positions());
    const taken = yield* this.#drain.run(news, sink);
    live.end();
    if (!taken) {
      sink.giveUp();
      this.#dirty = true; // it waits in the change logs, and more may gather there
      return;
    }
    if (sink.found() > 0) syncLive();
    this.#drainedRows += sink.done();
  }

  /** Change-log ids by table up to which everything is ordered and taken here. */
  acknowledged(table: number): number {
    return this.outbox.settled(table) ?? this.#acknowledged.get(table) ?? 0;
  }

  isHeld(table: number, keyId: KeyId): boolean {
    return this.#components.reflector.isHeld(table, keyId);
  }

  /** Counters since the start. */
  counters(): { reflections: number; drainedRows: number; lockWaitMs: number } {
    const lockWaitMs = this.#busySince === null ? 0 : this.#components.now() - this.#busySince;
    return { reflections: this.#reflections, drainedRows: this.#drainedRows, lockWaitMs };
  }
}

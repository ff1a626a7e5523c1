/**
 * One node's way of a write, without Raft: drain ─▶ outbox ─▶ (the order) ─▶ replica ─▶ reflect. Driven turn by turn by
 * whoever owns time; every step is synchronous and takes a bounded slice.
 */
import type { Logger } from "../base/logger.ts";
import type { PositionVector } from "../change/batch.ts";
import type { KeyId } from "../change/key.ts";
import type { ChangeLogReader } from "../capture/captured-row.ts";
import { Drain } from "../capture/drain.ts";
import { type CollectingSink, Outbox } from "../capture/outbox.ts";
import type { Spool } from "../capture/spool.ts";
import type { Entry } from "../raft/types.ts";
import type { Acknowledgement, Reflected } from "../reflect/reflector.ts";
import type { Replica } from "../replica/replica.ts";
import type { LiveSide } from "./live-side.ts";
import { Markers } from "./markers.ts";
import type { SchemaSteps } from "./schema-steps.ts";

/** Milliseconds of work after which a slice ends, so that heartbeats and the application get their turn. */
const SLICE_MS = 5;
/** Changed rows after which applying pauses until they are reflected: the write lock is held for short times. */
const REFLECT_AT_ROWS = 2000;
/** How long acknowledgements and bare positions may wait for a transaction in the application's file. */
const LAZY_MS = 20;
/** How often the next id of AUTOINCREMENT tables is looked at while the application writes. */
const IDS_MS = 5;
/** How often a schema that cannot go on is looked at again. */
const LOOK_AGAIN_MS = 500;
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
  /** Inside the transaction: the schema is not the one that this is for. */
  schemaMoved(): boolean;
}

export interface PipelineComponents {
  readonly replica: Replica;
  readonly schema: SchemaSteps;
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
}

/** What a turn leaves: call again at once, after some milliseconds, or when something happens. */
export type TurnResult =
  { readonly again: "now" | "never" } | { readonly again: "later"; readonly ms: number };

export class Pipeline {
  readonly outbox: Outbox;
  readonly #components: PipelineComponents;
  readonly #options: PipelineOptions;
  readonly #markers: Markers;
  readonly #acknowledged = new Map<number, number>();
  #side: LiveSide;
  #drain: Drain;
  #dirty = true;
  /** The application may have inserted since its next ids were last looked at. */
  #idsDirty = true;
  #idsAt = Number.NEGATIVE_INFINITY;
  #idsDue = false;
  #draining: { readonly steps: Generator<void, void>; sink: CollectingSink | null } | null = null;
  #reflecting: Generator<void, Reflected> | null = null;
  /** The file's schema is not what the side is for. */
  #schemaMoved = false;
  #following: { readonly steps: ReturnType<SchemaSteps["follow"]>; readonly of: Acknowledgement } | null =
    null;
  #comparing: ReturnType<SchemaSteps["compare"]> | null = null;
  /** While it runs the replica takes nothing: it is being tried what it would be. */
  #owning: ReturnType<SchemaSteps["own"]> | null = null;
  /** How many reflections the side has seen: before the first it is not known which keys are pending. */
  #sideReflections = 0;
  #unreflectedSince: number | null = null;
  #busySince: number | null = null;
  #prunedAt = 0;
  #reflections = 0;
  #drainedRows = 0;
  #obstacle: string | null = null;
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor(components: PipelineComponents, options: PipelineOptions) {
    this.#components = components;
    this.#options = options;
    const { replica, schema, spool, propose, leads, now, wallTime } = components;
    this.#side = schema.openSide();
    this.#drain = this.#drainOf(this.#side);
    this.outbox = new Outbox(
      { propose, shardOfKey: (table, keyId) => replica.shardOfKey(table, keyId), spool, now, wallTime },
      {
        origin: options.peerId,
        shards: options.shards,
        schemaVersion: this.#side.remembered.version,
        whole: options.shards > 1 && replica.settings.transactions === "whole",
      },
    );
    this.#markers = new Markers(options.shards, { leads, propose, now });
    for (const [table, id] of this.#side.acknowledged) this.#acknowledged.set(table, id);
    this.#drain.reset(this.#acknowledged);
    replica.recallChanges(this.#side.bases.reflected);
    schema.recall();
  }

  #drainOf({ reader, pending, bases, shadows }: LiveSide): Drain {
    return new Drain({ logs: reader.logs, pending, bases, shadows, references: this.#components.replica });
  }

  /** What reads and writes the application's file; another one after a change of the schema. */
  get side(): LiveSide {
    return this.#side;
  }

  /** The last call: ends what is open in the application's file. */
  close(): void {
    this.#following?.steps.return(null);
    this.#comparing?.return();
    this.#owning?.return(false);
    this.#side.close();
  }

  /** A transaction in the application's file is open. */
  get reflecting(): boolean {
    return this.#reflecting !== null || this.#following !== null;
  }

  /** Why the schema keeps this node from going on; null: it does not. */
  get obstacle(): string | null {
    return this.#obstacle;
  }

  /** The file's schema and the cluster's are not known to be the same, or not all of the file's rows are captured. */
  get schemaDue(): boolean {
    const { replica } = this.#components;
    if (this.#schemaMoved || this.#side.expected === null || this.#following !== null) return true;
    return replica.betweenEntries && replica.settings.schemaVersion !== this.#side.remembered.version;
  }

  /** The application may have committed. */
  touch(): void {
    this.#dirty = true;
    this.#idsDirty = true;
  }

  /** Opens a new incarnation: at start, and when a batch of the last one was refused. */
  openIncarnation(): void {
    const { replica, nextIncarnation } = this.#components;
    this.#abandonDrain();
    for (const id of this.#side.logs.keys()) this.#acknowledged.set(id, this.acknowledged(id));
    const seen = Math.max(this.outbox.incarnation, replica.origins.incarnation(this.#options.peerId));
    // Before the first reflection it is only in the logs which keys are pending, and since when.
    this.#drain.reset(this.#sideReflections === 0 ? this.#side.acknowledged : this.#acknowledged);
    this.outbox.open(nextIncarnation(seen));
    this.#dirty = true;
  }

  #abandonDrain(): void {
    if (this.#draining === null) return;
    this.#draining.sink?.discard();
    this.#draining = null;
    this.#dirty = true;
    this.#side.reader.end();
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
    const { replica, syncLive } = this.#components;
    const { bases, reflector } = this.#side;
    // Before the first reflection it is not known which keys are pending.
    if (
      this.#sideReflections === 0 ||
      this.reflecting ||
      this.#owning !== null ||
      replica.references.size === 0
    )
      return;
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
    if (this.schemaDue && this.#reflecting === null) {
      const result = this.#schemaTurn(applied);
      this.outbox.propose();
      if (result !== null) return result;
    }
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
    if (this.reflecting || this.#owning !== null) return true;
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

  /** Nothing may be written into the file yet. */
  #mustWait(position: PositionVector): boolean {
    if (this.outbox.fencing().length > 0 || this.outbox.incarnation === 0) return true;
    return position.some((index, shard) => index < (this.#side.bases.reflected[shard] ?? 0));
  }

  /**
   * A step towards a file that has the cluster's schema, all captured; see `SchemaSteps`. null: nothing is to be done after
   * all.
   */
  #schemaTurn(applied: boolean): TurnResult | null {
    this.#abandonDrain();
    if (!applied && this.#following === null) return { again: "now" };
    const { replica, schema, syncLive, now, logger } = this.#components;
    const position = replica.positions();
    if (this.#following !== null || this.#comparing !== null || this.#owning !== null)
      return this.#continue();
    // What is in flight is of the older schema: it is taken, or refused, before the file changes.
    if (this.#mustWait(position) || !this.outbox.settledAll) return { again: "never" };
    if (this.#obstacle !== null && now() - this.#lookedAt < LOOK_AGAIN_MS)
      return { again: "later", ms: LOOK_AGAIN_MS };
    this.#lookedAt = now();
    const look = schema.look();
    const obstacle = look.due === "obstacle" ? look.reason : null;
    if (obstacle !== this.#obstacle) {
      if (obstacle !== null)
        logger.warn("nothing is sent or shown until the schema is mended", { reason: obstacle });
      else logger.info("the schema is mended; what waited goes on");
    }
    this.#obstacle = obstacle;
    switch (look.due) {
      case "nothing":
        this.#takeSide(schema.openSide());
        return null;
      case "obstacle":
        return { again: "later", ms: LOOK_AGAIN_MS };
      case "own":
        logger.info("the application changed the schema", { version: replica.settings.schemaVersion + 1 });
        if (replica.moved.length > 0) {
          // While the logs name rows by older rowids: what was written under it follows when it is taken.
          syncLive();
          this.outbox.collect([], position, { entry: look.entry, base: null }).done();
          return { again: "never" };
        }
        this.#owning = schema.own(look.entry, position, {
          whole: this.#options.shards === 1 || replica.settings.transactions === "whole",
          alone: (entry, at) => {
            syncLive();
            this.outbox.collect([], at, { entry, base: this.#side.oldestBase() }).done();
          },
          drain: (side, trial, entry, at, only) => this.#drainWith(side, trial, entry, at, only),
        });
        return this.#continue();
      case "follow": {
        const of = this.outbox.peekAcknowledged();
        this.#following = { steps: schema.follow(position, of), of };
        return this.#continue();
      }
      case "compare":
        this.#comparing = schema.compare();
        return this.#continue();
    }
  }

  #continue(): TurnResult {
    const { now, onOwnCommit, logger } = this.#components;
    const end = now() + SLICE_MS;
    do {
      if (this.#following !== null) {
        const { steps, of } = this.#following;
        const step = steps.next();
        if (!step.done) continue;
        this.#following = null;
        if (step.value === null) return { again: "later", ms: 1 };
        const { side, reflected } = step.value;
        this.#takeSide(side);
        if (reflected) {
          this.#dropAcknowledged(of);
          this.#reflected(side.bases.reflected);
        } else onOwnCommit();
        logger.info("the file's schema is the cluster's", { version: side.remembered.version });
        return { again: "now" };
      }
      const step = (this.#comparing ?? this.#owning!).next();
      if (step.done) {
        this.#comparing = null;
        this.#owning = null;
        onOwnCommit();
        return { again: "now" };
      }
      if (step.value === "busy") return { again: "later", ms: 1 };
    } while (now() < end);
    return { again: "now" };
  }

  /** Collects what was written under a change of the schema behind it. `only`: of these tables, which are drained again. */
  *#drainWith(
    side: LiveSide,
    trial: Replica,
    entry: Uint8Array,
    position: PositionVector,
    only: ReadonlySet<number> | null,
  ): Generator<undefined, boolean> {
    const { reader, pending, bases, shadows } = side;
    const drain = new Drain({ logs: reader.logs, pending, bases, shadows, references: trial });
    // From where the file itself stands: what is ordered and still in the logs dates the keys that are written again.
    drain.reset(side.acknowledged);
    reader.begin();
    if (reader.schemaMoved()) return false;
    const news = drain.news(reader.newest()).filter(({ table }) => only === null || only.has(table));
    const sink = this.outbox.collect(only === null ? news : [], position, { entry, base: side.oldestBase() });
    for (const _ of drain.run(news, sink)) yield;
    this.#components.syncLive();
    this.#drainedRows += sink.done();
    return true;
  }

  /** The file is another one now: everything that knows its shapes is new. */
  #takeSide(side: LiveSide): void {
    this.#side.close();
    this.#side = side;
    this.#sideReflections = 0;
    this.#schemaMoved = false;
    this.outbox.schemaVersion = side.remembered.version;
    for (const [table, id] of side.acknowledged)
      if (id > this.acknowledged(table)) this.#acknowledged.set(table, id);
    this.#drain = this.#drainOf(side);
    this.#drain.reset(side.acknowledged);
    this.#components.replica.recallChanges(side.bases.reflected);
    this.#dirty = true;
  }

  #reflect(): "done" | "more" | "busy" | "lazy" | "waiting" {
    const { replica, now } = this.#components;
    const { reflector, bases } = this.#side;
    if (this.#reflecting === null) {
      const position = replica.positions();
      if (this.#mustWait(position)) return "waiting";
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
        if (step.value === "moved") {
          this.#schemaMoved = true;
          return "more";
        }
        if (step.value === "busy") {
          this.#busySince ??= now();
          return "busy";
        }
        this.#reflected(bases.reflected);
        return reflector.unfinished || replica.runnable ? "more" : "done";
      }
      if (now() >= end) return "more";
    }
  }

  #reflected(position: PositionVector): void {
    this.#components.replica.births.shown(position);
    this.#busySince = null;
    this.#unreflectedSince = null;
    this.#reflections++;
    this.#sideReflections++;
    this.#idsDue = false;
    this.#components.onOwnCommit();
  }

  /** Whether ids must be led back to this node's block, though there is nothing to reflect (no quorum, say). */
  #lookAtIds(): boolean {
    const now = this.#components.now();
    if (this.#idsDirty && now - this.#idsAt >= IDS_MS) {
      this.#idsDirty = false;
      this.#idsAt = now;
      this.#idsDue = this.#side.reflector.idsDue;
    }
    return this.#idsDue;
  }

  *#reflectOnce(position: number[]): Generator<void, Reflected> {
    const acknowledgement: Acknowledgement = this.outbox.peekAcknowledged();
    const done = yield* this.#side.reflector.run(position, acknowledgement);
    if (done === "done") this.#dropAcknowledged(acknowledgement);
    return done;
  }

  #dropAcknowledged(acknowledgement: Acknowledgement): void {
    for (const [table, id] of acknowledgement.upTo) {
      this.#acknowledged.set(table, id);
      this.#drain.ordered(table, id);
    }
    this.outbox.dropAcknowledged(acknowledgement);
  }

  #drainSlice(): "done" | "more" {
    const { now } = this.#components;
    if (this.#draining === null) {
      if (!this.#dirty || !this.outbox.ready || this.schemaDue) return "done";
      // The change logs still name own rows by rowids that are others' in the replica.
      if (this.#components.replica.moved.length > 0) return "done";
      this.#draining = { steps: this.#drainOnce(), sink: null };
    }
    const end = now() + SLICE_MS;
    do {
      if (this.#draining.steps.next().done) {
        this.#draining = null;
        return this.#schemaMoved || (this.#dirty && this.outbox.ready) ? "more" : "done";
      }
    } while (now() < end);
    return "more";
  }

  *#drainOnce(): Generator<void, void> {
    const { syncLive, replica } = this.#components;
    const { reader } = this.#side;
    reader.begin();
    this.#schemaMoved = reader.schemaMoved();
    const news = this.#schemaMoved ? [] : this.#drain.news(reader.newest());
    this.#dirty = false;
    if (news.length === 0) {
      reader.end();
      return;
    }
    const sink = this.outbox.collect(news, replica.positions());
    this.#draining!.sink = sink;
    const taken = yield* this.#drain.run(news, sink);
    reader.end();
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

  /** Log rows of a table up to `id` that are still to be ordered. Those of a table that is gone went with it. */
  unordered(table: number, id: number): number {
    return this.#side.logs.has(table) ? Math.max(0, id - this.acknowledged(table)) : 0;
  }

  isHeld(table: number, keyId: KeyId): boolean {
    return this.#side.reflector.isHeld(table, keyId);
  }

  /** Counters since the start. */
  counters(): { reflections: number; drainedRows: number; lockWaitMs: number } {
    const lockWaitMs = this.#busySince === null ? 0 : this.#components.now() - this.#busySince;
    return { reflections: this.#reflections, drainedRows: this.#drainedRows, lockWaitMs };
  }
}

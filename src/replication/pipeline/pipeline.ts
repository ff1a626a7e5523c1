/**
 * One node's way of a write, without Raft: drain ─▶ outbox ─▶ (the order) ─▶ replica ─▶ reflect. Driven turn by turn by
 * whoever owns time; every step is synchronous and takes a bounded slice.
 */
import type { Logger } from "../../base/logger.ts";
import type { PositionVector } from "../../change/batch.ts";
import type { KeyId } from "../../change/key.ts";
import { Outbox } from "../../capture/outbox.ts";
import type { Spool } from "../../capture/spool.ts";
import type { Entry } from "../../raft/model/types.ts";
import type { Acknowledgement, Reflected } from "../../reflect/reflector.ts";
import type { Replica } from "../../replica/replica.ts";
import { DrainTask } from "./drain-task.ts";
import type { AppDbSession } from "../../app-db/session.ts";
import { MarkerProposer } from "./marker-proposer.ts";
import type { SchemaCoordinator } from "../../schema-sync/coordinator.ts";
import { SchemaTask } from "./schema-task.ts";
import { SLICE_MS, type TurnResult } from "./turn.ts";

/** Changed rows after which applying pauses until they are reflected: the write lock is held for short times. */
const REFLECT_AT_ROWS = 2000;
/** How long acknowledgements and bare positions may wait for a transaction in the application's file. */
const LAZY_MS = 20;
/** How often the next id of AUTOINCREMENT tables is looked at while the application writes. */
const IDS_MS = 5;
/** How often references that the synced file makes needless are dropped. */
const PRUNE_MS = 250;

export interface PipelineComponents {
  readonly replica: Replica;
  readonly schema: SchemaCoordinator;
  readonly spool: Spool;
  /** Makes what was read of the live file durable. */
  readonly syncAppDb: () => void;
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

export class Pipeline {
  readonly outbox: Outbox;
  readonly #components: PipelineComponents;
  readonly #options: PipelineOptions;
  readonly #markers: MarkerProposer;
  readonly #schema: SchemaTask;
  readonly #drains: DrainTask;
  readonly #acknowledged = new Map<number, number>();
  #session: AppDbSession;
  /** The application may have inserted since its next ids were last looked at. */
  #idsDirty = true;
  #idsAt = Number.NEGATIVE_INFINITY;
  #idsDue = false;
  #reflecting: Generator<void, Reflected> | null = null;
  /** The file's schema is not what the side is for. */
  #schemaMoved = false;
  /** How many reflections the side has seen: before the first it is not known which keys are pending. */
  #sessionReflections = 0;
  #unreflectedSince: number | null = null;
  #busySince: number | null = null;
  #prunedAt = 0;
  #reflections = 0;

  constructor(components: PipelineComponents, options: PipelineOptions) {
    this.#components = components;
    this.#options = options;
    const { replica, schema, spool, propose, leads, now, wallTime } = components;
    const { peerId, shards } = options;
    const whole = replica.settings.transactions === "whole";
    this.#session = schema.openSession();
    this.outbox = new Outbox(
      { propose, shardOfKey: (table, keyId) => replica.shardOfKey(table, keyId), spool, now, wallTime },
      {
        origin: peerId,
        shards,
        schemaVersion: this.#session.remembered.version,
        whole: shards > 1 && whole,
      },
    );
    this.#markers = new MarkerProposer(shards, { leads, propose, now });
    this.#schema = new SchemaTask(
      { ...components, outbox: this.outbox },
      {
        whole: shards === 1 || whole,
        owner: {
          oldestBase: () => this.#session.oldestBase(),
          takeSession: (session) => this.#takeSession(session),
          shown: (position, of) => {
            this.#dropAcknowledged(of);
            this.#reflected(position);
          },
          mustWait: (position) => this.#mustWait(position),
        },
      },
    );
    for (const [table, id] of this.#session.acknowledged) this.#acknowledged.set(table, id);
    this.#drains = new DrainTask({ ...components, outbox: this.outbox }, this.#session, this.#acknowledged);
    this.#holdBack();
    replica.recallChanges(this.#session.bases.reflected);
    schema.recall();
  }

  /** What reads and writes the application's file; another one after a change of the schema. */
  get session(): AppDbSession {
    return this.#session;
  }

  /** The last call: ends what is open in the application's file. */
  close(): void {
    this.#schema.close();
    this.#session.close();
  }

  /** A transaction in the application's file is open. */
  get reflecting(): boolean {
    return this.#reflecting !== null || this.#schema.following;
  }

  /** Why the schema keeps this node from going on; null: it does not. */
  get obstacle(): string | null {
    return this.#schema.obstacle;
  }

  /** The file's schema and the cluster's are not known to be the same, or not all of the file's rows are captured. */
  get schemaDue(): boolean {
    const { replica } = this.#components;
    if (this.#schemaMoved || this.#session.expected === null || this.#schema.following) return true;
    return replica.betweenEntries && replica.settings.schemaVersion !== this.#session.remembered.version;
  }

  /** The application may have committed. */
  touch(): void {
    this.#drains.touch();
    this.#idsDirty = true;
  }

  /** Opens a new incarnation: at start, and when a batch of the last one was refused. */
  openIncarnation(): void {
    const { replica, nextIncarnation } = this.#components;
    this.#drains.abandon();
    for (const id of this.#session.logs.keys()) this.#acknowledged.set(id, this.acknowledged(id));
    const seen = Math.max(this.outbox.incarnation, replica.origins.incarnation(this.#options.peerId));
    // Before the first reflection it is only in the logs which keys are pending, and since when.
    this.#drains.restart(this.#sessionReflections === 0 ? this.#session.acknowledged : this.#acknowledged);
    this.outbox.open(nextIncarnation(seen));
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
    const { replica, syncAppDb } = this.#components;
    const { bases, reflector } = this.#session;
    // Before the first reflection it is not known which keys are pending.
    if (
      this.#sessionReflections === 0 ||
      this.reflecting ||
      this.#schema.owning ||
      replica.references.size === 0
    )
      return;
    if (now - this.#prunedAt < PRUNE_MS) return;
    this.#prunedAt = now;
    const reflected = bases.reflected;
    syncAppDb();
    replica.prune(reflected, (table, keyId) => reflector.isHeld(table, keyId));
  }

  /** One slice of everything there is to do. Throws what the databases throw: the node must then stop. */
  turn(): TurnResult {
    this.#markers.propose(this.#components.replica.position(0));
    const applied = this.#apply();
    this.#settleOutcomes();
    if (this.schemaDue && this.#reflecting === null) {
      this.#drains.abandon();
      const result = this.#schema.turn(applied);
      this.outbox.propose();
      if (result !== null) return result;
    }
    const reflected = applied ? this.#reflect() : "waiting";
    const drained = this.#drains.slice(!this.schemaDue);
    if (drained === "moved") this.#schemaMoved = true;
    this.outbox.propose();
    if (!applied || reflected === "more" || drained !== "done") return { again: "now" };
    if (reflected === "busy") return { again: "later", ms: 1 };
    if (reflected === "lazy") return { again: "later", ms: LAZY_MS };
    return { again: "never" };
  }

  /** True: everything that came is in the replica and committed. */
  #apply(): boolean {
    if (this.reflecting || this.#schema.owning) return true;
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
    return position.some((index, shard) => index < (this.#session.bases.reflected[shard] ?? 0));
  }

  /** The file is another one now: everything that knows its shapes is new. */
  #takeSession(session: AppDbSession): void {
    this.#session.close();
    this.#session = session;
    this.#sessionReflections = 0;
    this.#schemaMoved = false;
    this.outbox.schemaVersion = session.remembered.version;
    for (const [table, id] of session.acknowledged)
      if (id > this.acknowledged(table)) this.#acknowledged.set(table, id);
    this.#drains.take(session);
    this.#holdBack();
    this.#components.replica.recallChanges(session.bases.reflected);
  }

  #holdBack(): void {
    const { heldBack, reflector } = this.#session;
    this.#components.replica.heldBack =
      heldBack.size === 0
        ? null
        : { tables: heldBack, has: (table, keyId) => reflector.isHeldBack(table, keyId) };
  }

  #reflect(): "done" | "more" | "busy" | "lazy" | "waiting" {
    const { replica, now } = this.#components;
    const { reflector, bases } = this.#session;
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
    this.#sessionReflections++;
    this.#idsDue = false;
    this.#components.onOwnCommit();
  }

  /** Whether ids must be led back to this node's block, though there is nothing to reflect (no quorum, say). */
  #lookAtIds(): boolean {
    const now = this.#components.now();
    if (this.#idsDirty && now - this.#idsAt >= IDS_MS) {
      this.#idsDirty = false;
      this.#idsAt = now;
      this.#idsDue = this.#session.reflector.idsDue;
    }
    return this.#idsDue;
  }

  *#reflectOnce(position: number[]): Generator<void, Reflected> {
    const acknowledgement: Acknowledgement = this.outbox.peekAcknowledged();
    const done = yield* this.#session.reflector.run(position, acknowledgement);
    if (done === "done") this.#dropAcknowledged(acknowledgement);
    return done;
  }

  #dropAcknowledged(acknowledgement: Acknowledgement): void {
    for (const [table, id] of acknowledgement.upTo) {
      this.#acknowledged.set(table, id);
      this.#drains.ordered(table, id);
    }
    this.outbox.dropAcknowledged(acknowledgement);
  }

  /** Change-log ids by table up to which everything is ordered and taken here. */
  acknowledged(table: number): number {
    return this.outbox.settled(table) ?? this.#acknowledged.get(table) ?? 0;
  }

  /** Log rows of a table up to `id` that are still to be ordered. Those of a table that is gone went with it. */
  unordered(table: number, id: number): number {
    return this.#session.logs.has(table) ? Math.max(0, id - this.acknowledged(table)) : 0;
  }

  isHeld(table: number, keyId: KeyId): boolean {
    return this.#session.reflector.isHeld(table, keyId);
  }

  /** Counters since the start. */
  counters(): { reflections: number; drainedRows: number; lockWaitMs: number } {
    const lockWaitMs = this.#busySince === null ? 0 : this.#components.now() - this.#busySince;
    const drainedRows = this.#drains.rows + this.#schema.drainedRows;
    return { reflections: this.#reflections, drainedRows, lockWaitMs };
  }
}

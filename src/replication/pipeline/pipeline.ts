/**
 * Schedules one node's part in replication, without Raft: drain ─▶ outbox ─▶ (total order) ─▶ replica ─▶ reflect. The owner
 * of time calls it turn by turn. Every step is synchronous and takes a bounded slice.
 */
import type { AppDbSession } from "../../app-db/session.ts";
import { Outbox } from "../../capture/outbox.ts";
import { BatchKind, type PositionVector } from "../../change/batch.ts";
import type { KeyId } from "../../change/key.ts";
import type { HoldBack } from "../../reflect/hold-back.ts";
import type { Entry } from "../../raft/model/types.ts";
import { DrainTask } from "./drain-task.ts";
import { heldReason } from "./held-reason.ts";
import type { CommittedEntry } from "../../replica/order/entry-queue.ts";
import { ShownSamples } from "../measures/measures.ts";
import { MarkerProposer } from "./marker-proposer.ts";
import type { PipelineComponents, PipelineOptions } from "./pipeline-components.ts";
import { LAZY_MS, ReflectTask } from "./reflect-task.ts";
import { SchemaTask } from "./schema-task.ts";
import { SLICE_MS, type TurnResult } from "./turn.ts";

/** Changed rows after which applying pauses until they are reflected: Marmot keeps the write lock only for short times. */
const REFLECT_AT_ROWS = 2000;
const REFLECT_AT_BYTES = 4 << 20;
/** How often before images that the synced file makes needless are dropped. */
const PRUNE_MS = 250;

const heldRows = ({ holdBack }: AppDbSession): HoldBack | null =>
  holdBack.tables.size === 0 ? null : holdBack;

export class Pipeline {
  readonly outbox: Outbox;
  readonly #components: PipelineComponents;
  readonly #options: PipelineOptions;
  readonly #markers: MarkerProposer;
  readonly #schema: SchemaTask;
  readonly #drain: DrainTask;
  readonly #reflect: ReflectTask;
  readonly #shown: ShownSamples;
  #session: AppDbSession;
  /** The file's schema is not the session's. */
  #schemaMoved = false;
  #prunedAt = 0;
  /** The last turn ended when the application's rows were proposed. */
  #sentFirst = false;

  constructor(components: PipelineComponents, options: PipelineOptions) {
    this.#components = components;
    this.#options = options;
    const { replica, schema, spool, propose, leads, now, wallTime, measures } = components;
    const onOrdered = (ms: number): void => measures.commitToOrdered.observe(ms / 1000);
    const { peerId, shards } = options;
    const whole = replica.settings.transactions === "whole";
    this.#session = schema.openSession(null);
    this.outbox = new Outbox(
      {
        propose,
        shardOfKey: (table, keyId) => replica.shardOfKey(table, keyId),
        spool,
        now,
        wallTime,
        onOrdered,
      },
      { origin: peerId, shards, whole: shards > 1 && whole },
      this.#session,
    );
    const shared = { ...components, outbox: this.outbox };
    this.#markers = new MarkerProposer(shards, { leads, propose, now });
    this.#drain = new DrainTask(shared, this.#session);
    this.#reflect = new ReflectTask(shared, this.#session);
    this.#shown = new ShownSamples();
    this.#schema = new SchemaTask(shared, {
      whole: shards === 1 || whole,
      owner: {
        session: () => this.#session,
        use: (session) => this.#use(session),
        shown: () => this.#reflect.done(),
        mayWrite: (position) => this.#mayWrite(position),
        held: (session) => this.#drain.heldIn(session),
      },
    });
    replica.holdBack(heldRows(this.#session));
    replica.recallChanges(this.#session.bases.reflected);
    schema.recall();
  }

  /** Reads and writes the app database; another one after a schema change. */
  get session(): AppDbSession {
    return this.#session;
  }

  /** The last call: ends all transactions in the app database. */
  close(): void {
    this.#schema.close();
    this.#session.close();
  }

  /** A transaction in the app database is open. */
  get reflecting(): boolean {
    return this.#reflect.running || this.#schema.following;
  }

  /** A transaction of this node on the application's file is open, for reading or for writing. */
  get usesAppDb(): boolean {
    return this.reflecting || this.#schema.proposing || this.#drain.running;
  }

  /** A schema change is on trial: a second connection has the replica's write lock, over several turns. */
  get triesSchema(): boolean {
    return this.#schema.proposing;
  }

  /** The reason why the schema keeps this node from replicating; null: there is none. */
  get obstacle(): string | null {
    return this.#schema.obstacle;
  }

  /** Why rows of some tables wait on this node, in a sentence with a hint; null: none do. */
  get held(): string | null {
    const { held, tied } = this.#drain.held;
    const { replica, schema } = this.#components;
    return held.size === 0 ? null : heldReason(replica.shapes, { held, tied, silent: schema.held });
  }

  /** The file's schema and the cluster's are not known to be the same, or not all of the file's rows are captured. */
  get schemaDue(): boolean {
    const { replica } = this.#components;
    if (this.#schemaMoved || this.#session.expected === null || this.#schema.following) return true;
    return replica.betweenEntries && replica.settings.schemaVersion !== this.#session.remembered.version;
  }

  /** The application may have committed. */
  touch(): void {
    this.#drain.touch();
    this.#reflect.touch();
  }

  /** Opens a new incarnation: at start, and when a batch of the last one was refused. */
  openIncarnation(): void {
    const { replica, nextIncarnation } = this.#components;
    this.#drain.abandon();
    const seen = Math.max(this.outbox.incarnation, replica.origins.incarnation(this.#options.peerId));
    // Before the first reflection the pending keys are known from the change logs alone.
    this.#session.cursors.restart(this.#reflect.knowsPending ? "ordered" : "acknowledged");
    this.#drain.restart();
    this.outbox.open(nextIncarnation(seen));
  }

  /** Committed entries, in the order of their shard. */
  committed(shard: number, entries: readonly Entry[]): void {
    const fresh = this.#components.replica.enqueue(shard, entries);
    this.#markers.committed(shard, fresh);
    this.outbox.committed(shard, fresh);
    const last = fresh.at(-1);
    if (last !== undefined && !this.#shown.isWaitingFor(shard)) this.#awaitShown(shard, last);
  }

  #awaitShown(shard: number, entry: CommittedEntry): void {
    const { index } = entry;
    const head = this.#components.replica.headOf(shard, entry);
    const isForeign = head !== null && head.kind === BatchKind.rows && head.origin !== this.#options.peerId;
    this.#shown.await(shard, {
      ...{ index, at: this.#components.now() },
      committedAt: isForeign ? head.time : null,
    });
  }

  /** Bytes of rows that the next turns apply and show. */
  get bytesAhead(): number {
    const { replica } = this.#components;
    return replica.queuedBytes + replica.changed.bytes;
  }

  /** On a timer of some 100 ms. */
  tick(): void {
    this.outbox.propose();
    this.#markers.propose(this.#components.replica.position(0));
    if (this.#components.schema.isOutdated) this.#schemaMoved = true;
    this.#prune();
  }

  #prune(): void {
    const { replica, syncAppDb, now } = this.#components;
    const { bases, reflector } = this.#session;
    if (!this.#reflect.knowsPending || this.reflecting || this.#schema.proposing) return;
    if (replica.beforeImages.size === 0 || now() - this.#prunedAt < PRUNE_MS) return;
    this.#prunedAt = now();
    const { reflected } = bases;
    syncAppDb();
    replica.prune(reflected, (table, keyId) => reflector.isDeferred(table, keyId));
  }

  /** One slice of every task. If a database throws, the node must stop. */
  turn(): TurnResult {
    this.#markers.propose(this.#components.replica.position(0));
    const applied = this.#apply();
    this.#settle();
    if (this.schemaDue && !this.#reflect.running) {
      this.#drain.abandon();
      const result = this.#schema.turn(applied);
      this.outbox.propose();
      if (result !== null) return result;
    }
    const hadMoved = this.#schemaMoved;
    if (this.#sendFirst() || (!hadMoved && this.#schemaMoved)) return { again: "now" };
    const reflected = applied
      ? this.#reflect.slice((position) => this.#mayWrite(position), this.#drain.running)
      : "waiting";
    this.#noteShown();
    if (reflected === "schema-changed") this.#schemaMoved = true;
    const drained = this.#drainSlice();
    if (!applied || reflected === "more" || reflected === "schema-changed" || drained !== "done")
      return { again: "now" };
    if (reflected === "busy") return { again: "later", ms: 1 };
    if (reflected === "lazy") return { again: "later", ms: LAZY_MS };
    return { again: "never" };
  }

  #noteShown(): void {
    const { measures, now, wallTime } = this.#components;
    this.#shown.shown(this.#session.bases.reflected, measures, { now: now(), wallTime: wallTime() });
  }

  #drainSlice(): "done" | "more" | "schema-changed" {
    const drained = this.#drain.slice(!this.schemaDue && !this.#reflect.holdsDrains);
    if (drained === "schema-changed") this.#schemaMoved = true;
    this.outbox.propose();
    return drained;
  }

  /**
   * Rows of the application leave before a reflection that shows no row: no reader waits for it. Never in two turns that
   * follow each other, so an application that writes without a pause does not hold up its acknowledgements. True: the turn
   * is over, and rows were proposed.
   */
  #sendFirst(): boolean {
    const { changed, redirected } = this.#components.replica;
    const first = !this.#sentFirst && !this.reflecting && changed.size === 0 && redirected.length === 0;
    this.#sentFirst = false;
    if (!first) return false;
    const { proposed } = this.outbox;
    this.#drainSlice();
    this.#sentFirst = this.outbox.proposed > proposed;
    return this.#sentFirst;
  }

  /** True: everything that came is in the replica and committed. */
  #apply(): boolean {
    if (this.reflecting || this.#schema.proposing) return true;
    const { replica, now } = this.#components;
    const end = now() + SLICE_MS;
    const { changed } = replica;
    const isMuch = (): boolean => changed.size >= REFLECT_AT_ROWS || changed.bytes >= REFLECT_AT_BYTES;
    const isFull = (): boolean => isMuch() && !this.#reflect.awaitsOwn;
    const done = replica.advance(() => isFull() || now() >= end);
    return done || replica.betweenEntries;
  }

  /** Hands the replica's answers to the outbox. */
  #settle(): void {
    const ended = this.outbox.taken(this.#components.replica.takeOutcomes());
    if (ended === null) return;
    if (ended.verdict === "refuse")
      this.#components.logger.info("a batch was refused; its rows are drained again", { shard: ended.shard });
    this.openIncarnation();
  }

  /** The file may show the replica at the position. */
  #mayWrite(position: PositionVector): boolean {
    if (this.outbox.fencing().length > 0 || this.outbox.incarnation === 0) return false;
    return position.every((index, shard) => index >= (this.#session.bases.reflected[shard] ?? 0));
  }

  /** The file has another schema now: a new session replaces everything that knows its shapes. */
  #use(session: AppDbSession): void {
    this.#session.close();
    this.#session = session;
    this.#schemaMoved = false;
    this.outbox.use(session);
    this.#drain.use(session);
    this.#reflect.use(session);
    this.#components.replica.holdBack(heldRows(session));
    this.#components.replica.recallChanges(session.bases.reflected);
  }

  /** Log rows of a table up to `id` that are still to be ordered. A dropped table has none. */
  unordered(table: number, id: number): number {
    const { logs, cursors, holdBack } = this.#session;
    return logs.has(table) || holdBack.silent.has(table) ? Math.max(0, id - cursors.ordered(table)) : 0;
  }

  /** The row is not shown for now; see `Reflector.isDeferred`. */
  isDeferred(table: number, keyId: KeyId): boolean {
    return this.#session.reflector.isDeferred(table, keyId);
  }

  /** Counters since the start. */
  counters(): { reflections: number; drainedRows: number; lockWaitMs: number } {
    const { reflections, lockWaitMs } = this.#reflect;
    return { reflections, drainedRows: this.#drain.rows + this.#schema.drainedRows, lockWaitMs };
  }
}

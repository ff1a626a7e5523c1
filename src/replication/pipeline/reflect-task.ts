/** Reflects the replica into the app database, in the turns of a pipeline: one write transaction at a time, in slices. */
import type { AppDbSession } from "../../app-db/session.ts";
import type { PositionVector } from "../../change/batch.ts";
import type { Reflected } from "../../reflect/reflector.ts";
import type { TaskComponents } from "./pipeline-components.ts";
import { SLICE_MS } from "./turn.ts";

/** How long acknowledgements and bare positions may wait for a transaction in the app database. */
export const LAZY_MS = 20;
/** How often the next id of AUTOINCREMENT tables is checked while the application writes. */
const IDS_MS = 5;

export class ReflectTask {
  readonly #components: Pick<TaskComponents, "replica" | "onOwnCommit" | "now">;
  #session: AppDbSession;
  #running: Generator<void, Reflected> | null = null;
  #awaitsOrder = false;
  /** The open transaction may give own rows other rowids. */
  #moves = false;
  /** The application may have inserted since its next ids were last checked. */
  #idsDirty = true;
  #idsAt = Number.NEGATIVE_INFINITY;
  #idsDue = false;
  #waitingSince: number | null = null;
  #busySince: number | null = null;
  /** Reflections since the session began, and since the start. */
  #ofSession = 0;
  #total = 0;

  constructor(components: Pick<TaskComponents, "replica" | "onOwnCommit" | "now">, session: AppDbSession) {
    this.#components = components;
    this.#session = session;
  }

  /** A transaction in the app database is open. */
  get running(): boolean {
    return this.#running !== null;
  }

  /**
   * No drain may begin: it would read own rows of tables without a declared key under rowids that they are about to leave,
   * or keep the reflection waiting for rows in flight.
   */
  get holdsDrain(): boolean {
    return this.#awaitsOrder || this.#moves;
  }

  /** A row of another node waits until an own row that is in flight under its rowid is ordered. */
  get awaitsOrder(): boolean {
    return this.#awaitsOrder;
  }

  /** Whether the session knows the pending keys: the first reflection reads them from the change logs. */
  get knowsPending(): boolean {
    return this.#ofSession > 0;
  }

  /** Reflections since the start. */
  get reflections(): number {
    return this.#total;
  }

  /** Milliseconds since the application took the write lock; 0: it does not have it. */
  get lockWaitMs(): number {
    return this.#busySince === null ? 0 : this.#components.now() - this.#busySince;
  }

  /** Another session writes the file from now on. */
  use(session: AppDbSession): void {
    this.#session = session;
    this.#ofSession = 0;
  }

  /** The application may have committed. */
  touch(): void {
    this.#idsDirty = true;
  }

  /**
   * `mayBegin`: a new transaction may begin at the position. `draining`: a drain is running. "schema-changed": the application
   * changed the schema.
   */
  slice(
    mayBegin: (position: PositionVector) => boolean,
    draining: boolean,
  ): "done" | "more" | "busy" | "lazy" | "waiting" | "schema-changed" {
    const { replica } = this.#components;
    if (this.#running === null) {
      const position = replica.positions();
      this.#awaitsOrder = false;
      if (!mayBegin(position)) return "waiting";
      const idle = this.#idle(position);
      if (idle !== null) return idle;
      if (this.#mustWait(draining)) return "waiting";
      this.#running = this.#session.reflector.run(position);
    }
    const running = this.#running;
    return replica.reading(() => this.#continue(running));
  }

  /**
   * A transaction of another node is shown whole. An own row that has left this node under a rowid of it gets its final rowid
   * only when it is ordered; until then nothing is shown.
   */
  #mustWait(draining: boolean): boolean {
    const { reflector } = this.#session;
    this.#moves = reflector.showsRowids;
    if (!this.#moves) return false;
    const { shards, transactions } = this.#components.replica.settings;
    const whole = shards === 1 || transactions === "whole";
    this.#awaitsOrder = draining || (whole && reflector.meetsSentRow);
    if (this.#awaitsOrder) this.#moves = false;
    return this.#awaitsOrder;
  }

  #continue(running: Generator<void, Reflected>): "done" | "more" | "busy" | "schema-changed" {
    const { replica, now } = this.#components;
    const end = now() + SLICE_MS;
    for (;;) {
      const step = running.next();
      if (step.done) {
        this.#running = null;
        this.#moves = false;
        if (step.value === "busy") this.#busySince ??= now();
        if (step.value !== "done") return step.value;
        this.done();
        // They go into the journal as rows that a schema change rejected do.
        const { reflector } = this.#session;
        if (reflector.takeKeptUnseen()) return "schema-changed";
        return reflector.unfinished || replica.runnable ? "more" : "done";
      }
      if (now() >= end) return "more";
    }
  }

  /** Why no transaction is needed now; null: one is. */
  #idle(position: PositionVector): "done" | "lazy" | null {
    const { replica, now } = this.#components;
    const { reflector, bases, cursors } = this.#session;
    const moved = position.some((index, shard) => index !== bases.reflected[shard]);
    const urgent = replica.changed.size > 0 || replica.redirected.length > 0 || this.#areIdsDue();
    if (!moved && !urgent && !cursors.waiting && !reflector.unfinished) {
      this.#waitingSince = null;
      return this.#idsDirty ? "lazy" : "done";
    }
    this.#waitingSince ??= now();
    return !urgent && now() - this.#waitingSince < LAZY_MS ? "lazy" : null;
  }

  /** The file shows the replica: this task or a schema change has committed it. */
  done(): void {
    this.#components.replica.reflected(this.#session.bases.reflected);
    this.#busySince = null;
    this.#waitingSince = null;
    this.#total++;
    this.#ofSession++;
    this.#idsDue = false;
    this.#components.onOwnCommit();
  }

  /** Whether ids must return to this node's block although there may be nothing to reflect (without a quorum, say). */
  #areIdsDue(): boolean {
    const now = this.#components.now();
    if (this.#idsDirty && now - this.#idsAt >= IDS_MS) {
      this.#idsDirty = false;
      this.#idsAt = now;
      this.#idsDue = this.#session.reflector.idsDue;
    }
    return this.#idsDue;
  }
}

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

type ReflectComponents = Pick<TaskComponents, "replica" | "onOwnCommit" | "now" | "measures">;

export class ReflectTask {
  readonly #components: ReflectComponents;
  #session: AppDbSession;
  #running: Generator<void, Reflected> | null = null;
  /** The application may have inserted since its next ids were last checked. */
  #idsDirty = true;
  #idsAt = Number.NEGATIVE_INFINITY;
  #idsDue = false;
  #waitingSince: number | null = null;
  #awaitsOwn = false;
  /** The open transaction may give own rows other rowids. */
  #mayMoveRowids = false;
  #busySince: number | null = null;
  #begunAt = 0;
  /** Reflections since the session began, and since the start. */
  #ofSession = 0;
  #total = 0;

  constructor(components: ReflectComponents, session: AppDbSession) {
    this.#components = components;
    this.#session = session;
  }

  /** A transaction in the app database is open. */
  get running(): boolean {
    return this.#running !== null;
  }

  /** Own rows that are in flight must be ordered before the next transaction. */
  get awaitsOwn(): boolean {
    return this.#awaitsOwn;
  }

  /** No drain may begin: it would send rows under rowids that the file does not show when they are ordered. */
  get holdsDrains(): boolean {
    return this.#awaitsOwn || (this.running && this.#mayMoveRowids);
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
    this.#awaitsOwn = false;
  }

  /** The application may have committed. */
  touch(): void {
    this.#idsDirty = true;
  }

  /**
   * `mayBegin`: a new transaction may begin at the position. `isDraining`: a drain runs. "schema-changed": the application
   * changed the schema. "waiting": also for own rows in flight.
   */
  slice(
    mayBegin: (position: PositionVector) => boolean,
    isDraining: boolean,
  ): "done" | "more" | "busy" | "lazy" | "waiting" | "schema-changed" {
    const { replica } = this.#components;
    if (this.#running === null) {
      const position = replica.positions();
      if (!mayBegin(position)) return "waiting";
      const idle = this.#idle(position);
      if (idle !== null) return idle;
      this.#mayMoveRowids = this.#session.reflector.mayMoveRowids;
      this.#running = this.#session.reflector.run(position, false, isDraining);
      this.#begunAt = this.#components.now();
    }
    const running = this.#running;
    return replica.reading(() => this.#continue(running));
  }

  #continue(running: Generator<void, Reflected>): "done" | "more" | "busy" | "waiting" | "schema-changed" {
    const { replica, now, measures } = this.#components;
    const end = now() + SLICE_MS;
    for (;;) {
      const step = running.next();
      if (step.done) {
        this.#running = null;
        if (step.value === "busy") {
          this.#busySince ??= now();
          measures.busyWaits++;
        }
        this.#awaitsOwn = step.value === "own-first";
        if (step.value === "own-first") return "waiting";
        if (step.value !== "done") return step.value;
        measures.writeLock.observe((now() - this.#begunAt) / 1000);
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
    this.#awaitsOwn = false;
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

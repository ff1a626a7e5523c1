/** Drains the application's writes into the outbox, in the turns of a pipeline: one read transaction at a time, in slices. */
import { Drain } from "../../capture/drain.ts";
import { HeldTables } from "../../capture/held-tables.ts";
import type { CollectingSink } from "../../capture/outbox.ts";
import type { AppDbReader } from "../../app-db/reader.ts";
import type { AppDbSession } from "../../app-db/session.ts";
import type { LogRange } from "../../app-db/wal-commits.ts";
import type { TaskComponents } from "./pipeline-components.ts";
import { SLICE_MS } from "./turn.ts";

type DrainTaskComponents = Pick<TaskComponents, "replica" | "outbox" | "syncAppDb" | "now">;

export class DrainTask {
  readonly #components: DrainTaskComponents;
  #session: AppDbSession;
  #drain: Drain;
  #running: { readonly steps: Generator<void, boolean>; sink: CollectingSink | null } | null = null;
  /** The application may have committed since the last drain began. */
  #dirty = true;
  #rows = 0;
  #held: HeldTables;

  constructor(components: DrainTaskComponents, session: AppDbSession) {
    this.#components = components;
    this.#session = session;
    this.#held = this.#noneHeld();
    this.#drain = this.#drainOf(session);
  }

  get #silent(): ReadonlyMap<number, unknown> {
    return this.#session.holdBack.silent;
  }

  #drainOf({ reader, cursors, pending, bases, withheld }: AppDbSession): Drain {
    const { replica: beforeImages } = this.#components;
    return new Drain({ logs: reader.logs, cursors, pending, bases, withheld, beforeImages });
  }

  #noneHeld(previous?: HeldTables, { cursors, holdBack }: AppDbSession = this.#session): HeldTables {
    const { shards, transactions } = this.#components.replica.settings;
    return new HeldTables({
      whole: shards === 1 || transactions === "whole",
      drained: (table) => cursors.drained(table),
      silent: new Set(holdBack.silent.keys()),
      ...(previous === undefined ? {} : { previous }),
    });
  }

  /** Tables whose rows wait until a row without a key, or the table, is fixed. */
  get held(): HeldTables {
    return this.#held;
  }

  /** The same for a session beside the present one, which may hold back more tables. */
  heldIn(session: AppDbSession): HeldTables {
    const silent = [...session.holdBack.silent.keys()];
    return silent.every((id) => this.#held.held.has(id)) ? this.#held : this.#noneHeld(this.#held, session);
  }

  /** A read transaction of a drain is open. */
  get running(): boolean {
    return this.#running !== null;
  }

  /** Rows collected since the start. */
  get rows(): number {
    return this.#rows;
  }

  /** Another session reads the file from now on. No drain may be running. */
  use(session: AppDbSession): void {
    this.#session = session;
    this.#drain = this.#drainOf(session);
    this.#held = this.#noneHeld(this.#held);
    this.#dirty = true;
  }

  /** The application may have committed, or rows must be drained again. */
  touch(): void {
    this.#dirty = true;
  }

  /** Rows in flight are drained again. */
  restart(): void {
    this.#session.reader.restarted();
    this.#dirty = true;
  }

  /** Ends the running drain; none of its rows is collected. */
  abandon(): void {
    if (this.#running === null) return;
    this.#running.sink?.discard();
    this.#running = null;
    this.#dirty = true;
    this.#session.reader.end();
  }

  /** `mayBegin`: a new drain may begin. "schema-changed": the application changed the schema, and nothing was drained. */
  slice(mayBegin: boolean): "done" | "more" | "schema-changed" {
    const { replica, outbox } = this.#components;
    if (this.#running === null) {
      if (!this.#dirty || !outbox.ready || !mayBegin) return "done";
      // The change logs still name own rows by rowids that rows of other nodes have in the replica.
      if (replica.redirected.length > 0) return "done";
      this.#running = { steps: this.#drainOnce(), sink: null };
    }
    const { steps } = this.#running;
    return replica.reading(() => this.#continue(steps));
  }

  #continue(steps: Generator<void, boolean>): "done" | "more" | "schema-changed" {
    const { now, outbox } = this.#components;
    const end = now() + SLICE_MS;
    do {
      const step = steps.next();
      if (step.done) {
        this.#running = null;
        if (step.value) return "schema-changed";
        return this.#dirty && outbox.ready ? "more" : "done";
      }
    } while (now() < end);
    return "more";
  }

  /** Returns whether the schema is another one, or a change log lost rows. */
  *#drainOnce(): Generator<void, boolean> {
    const { syncAppDb, replica, outbox } = this.#components;
    const { reader } = this.#session;
    reader.begin();
    const newest = reader.schemaMoved() ? null : reader.newest();
    const moved = newest === null || this.#drain.isCut(newest);
    const together = (ranges: readonly LogRange[]): ReturnType<AppDbReader["writtenTogether"]> =>
      reader.writtenTogether(ranges);
    const news = moved
      ? []
      : this.#held.admit(
          this.#drain.news(newest),
          (watermark) => !this.#silent.has(watermark.table) && this.#drain.hasRowWithoutKey(watermark),
          together,
        );
    this.#dirty = false;
    if (news.length === 0) {
      if (!moved) reader.drained();
      reader.end();
      return moved;
    }
    const sink = outbox.collect({ upTo: news, after: replica.positions() });
    this.#running!.sink = sink;
    const drained = yield* this.#drain.run(news, sink);
    if (drained === "done") reader.drained();
    else if (drained !== "refused") this.#held.hold(drained.held, news, together);
    reader.end();
    if (drained !== "done") {
      if (drained === "refused") sink.giveUp();
      else sink.discard();
      this.#dirty = true; // the rows wait in the change logs, where more may come to them
      return false;
    }
    if (sink.found() > 0) syncAppDb();
    this.#rows += sink.done();
    return false;
  }
}

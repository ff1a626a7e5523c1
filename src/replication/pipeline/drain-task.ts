/** Drains the application's writes into the outbox, in the turns of a pipeline: one read transaction at a time, in slices. */
import { Drain } from "../../capture/drain.ts";
import type { CollectingSink } from "../../capture/outbox.ts";
import type { AppDbSession } from "../../app-db/session.ts";
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

  constructor(components: DrainTaskComponents, session: AppDbSession) {
    this.#components = components;
    this.#session = session;
    this.#drain = this.#drainOf(session);
  }

  #drainOf({ reader, cursors, pending, bases, withheld }: AppDbSession): Drain {
    const { replica: beforeImages } = this.#components;
    return new Drain({ logs: reader.logs, cursors, pending, bases, withheld, beforeImages });
  }

  /** Rows collected since the start. */
  get rows(): number {
    return this.#rows;
  }

  /** Another session reads the file from now on. No drain may be running. */
  use(session: AppDbSession): void {
    this.#session = session;
    this.#drain = this.#drainOf(session);
    this.#dirty = true;
  }

  /** The application may have committed, or rows must be drained again. */
  touch(): void {
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
    const { now, outbox } = this.#components;
    if (this.#running === null) {
      if (!this.#dirty || !outbox.ready || !mayBegin) return "done";
      // The change logs still name own rows by rowids that rows of other nodes have in the replica.
      if (this.#components.replica.redirected.length > 0) return "done";
      this.#running = { steps: this.#drainOnce(), sink: null };
    }
    const end = now() + SLICE_MS;
    do {
      const step = this.#running.steps.next();
      if (step.done) {
        this.#running = null;
        if (step.value) return "schema-changed";
        return this.#dirty && outbox.ready ? "more" : "done";
      }
    } while (now() < end);
    return "more";
  }

  /** Returns whether the schema is another one. */
  *#drainOnce(): Generator<void, boolean> {
    const { syncAppDb, replica, outbox } = this.#components;
    const { reader } = this.#session;
    reader.begin();
    const moved = reader.schemaMoved();
    const news = moved ? [] : this.#drain.news(reader.newest());
    this.#dirty = false;
    if (news.length === 0) {
      reader.end();
      return moved;
    }
    const sink = outbox.collect({ upTo: news, after: replica.positions() });
    this.#running!.sink = sink;
    const taken = yield* this.#drain.run(news, sink);
    reader.end();
    if (!taken) {
      sink.giveUp();
      this.#dirty = true; // the rows wait in the change logs, where more may come to them
      return false;
    }
    if (sink.found() > 0) syncAppDb();
    this.#rows += sink.done();
    return false;
  }
}

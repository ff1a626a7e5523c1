/** What the application wrote goes into the outbox, in the turns of a pipeline: one read transaction at a time, in slices. */
import { Drain } from "../../capture/drain.ts";
import type { CollectingSink, Outbox } from "../../capture/outbox.ts";
import type { AppDbSession } from "../../app-db/session.ts";
import type { PipelineComponents } from "./pipeline.ts";
import { SLICE_MS } from "./turn.ts";

export interface DrainTaskComponents extends Pick<PipelineComponents, "replica" | "syncAppDb" | "now"> {
  readonly outbox: Outbox;
}

/** Table id ⇒ log id up to which its rows are ordered. */
type Acknowledged = ReadonlyMap<number, number>;

export class DrainTask {
  readonly #components: DrainTaskComponents;
  #session: AppDbSession;
  #drain: Drain;
  #running: { readonly steps: Generator<void, boolean>; sink: CollectingSink | null } | null = null;
  /** The application may have committed since the last drain began. */
  #dirty = true;
  #rows = 0;

  constructor(components: DrainTaskComponents, session: AppDbSession, acknowledged: Acknowledged) {
    this.#components = components;
    this.#session = session;
    this.#drain = this.#drainOf(session, acknowledged);
  }

  #drainOf({ reader, pending, bases, shadows }: AppDbSession, acknowledged: Acknowledged): Drain {
    const { replica: references } = this.#components;
    const drain = new Drain({ logs: reader.logs, pending, bases, shadows, references });
    drain.reset(acknowledged);
    return drain;
  }

  /** A read transaction of a drain is open. */
  get running(): boolean {
    return this.#running !== null;
  }

  /** Rows collected since the start. */
  get rows(): number {
    return this.#rows;
  }

  /** From now on the file is read by another side. None may be running. */
  take(session: AppDbSession): void {
    this.#session = session;
    this.#drain = this.#drainOf(session, session.acknowledged);
    this.#dirty = true;
  }

  /** The application may have committed. */
  touch(): void {
    this.#dirty = true;
  }

  /** Everything that is not acknowledged is to be drained again. */
  restart(acknowledged: Acknowledged): void {
    this.#drain.reset(acknowledged);
    this.#dirty = true;
  }

  /** Ends what is running; nothing of it is collected. */
  abandon(): void {
    if (this.#running === null) return;
    this.#running.sink?.discard();
    this.#running = null;
    this.#dirty = true;
    this.#session.reader.end();
  }

  /** The file knows that the table's rows are ordered up to the log id. */
  ordered(table: number, id: number): void {
    this.#drain.ordered(table, id);
  }

  /** `mayBegin`: a new one. "moved": the application changed the schema, and nothing was drained. */
  slice(mayBegin: boolean): "done" | "more" | "moved" {
    const { now, outbox } = this.#components;
    if (this.#running === null) {
      if (!this.#dirty || !outbox.ready || !mayBegin) return "done";
      // The change logs still name own rows by rowids that are others' in the replica.
      if (this.#components.replica.moved.length > 0) return "done";
      this.#running = { steps: this.#drainOnce(), sink: null };
    }
    const end = now() + SLICE_MS;
    do {
      const step = this.#running.steps.next();
      if (step.done) {
        this.#running = null;
        if (step.value) return "moved";
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
    const sink = outbox.collect(news, replica.positions());
    this.#running!.sink = sink;
    const taken = yield* this.#drain.run(news, sink);
    reader.end();
    if (!taken) {
      sink.giveUp();
      this.#dirty = true; // it waits in the change logs, and more may gather there
      return false;
    }
    if (sink.found() > 0) syncAppDb();
    this.#rows += sink.done();
    return false;
  }
}

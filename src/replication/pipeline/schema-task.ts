/**
 * The steps towards a file that has the cluster's schema, all captured (`SchemaSteps`), in the turns of a pipeline: one at a
 * time, in slices, and only while nothing else is under way in the file.
 */
import { Drain } from "../../capture/drain.ts";
import type { Outbox } from "../../capture/outbox.ts";
import type { PositionVector } from "../../change/batch.ts";
import type { Acknowledgement } from "../../reflect/reflector.ts";
import type { Replica } from "../../replica/replica.ts";
import type { AppDbSession } from "../../app-db/session.ts";
import type { PipelineComponents } from "./pipeline.ts";
import type { SchemaCoordinator } from "../../schema-sync/coordinator.ts";
import { SLICE_MS, type TurnResult } from "./turn.ts";

/** How often a schema that cannot go on is looked at again. */
const LOOK_AGAIN_MS = 500;

export interface SchemaTaskComponents extends Pick<
  PipelineComponents,
  "replica" | "schema" | "syncAppDb" | "onOwnCommit" | "now" | "logger"
> {
  readonly outbox: Outbox;
}

/** What the steps are taken for. */
export interface SchemaTaskOwner {
  /** What the file showed at least of every row, pending and shadowed ones included. */
  oldestBase(): PositionVector;
  /** The file is another one now. */
  takeSession(session: AppDbSession): void;
  /** The file shows the replica at `position`, and what is acknowledged with `of` is. */
  shown(position: PositionVector, of: Acknowledgement): void;
  /** Nothing may be written into the file yet. */
  mustWait(position: PositionVector): boolean;
}

export class SchemaTask {
  readonly #components: SchemaTaskComponents;
  readonly #owner: SchemaTaskOwner;
  /** Rows that were written under a change of the schema go along with it. */
  readonly #whole: boolean;
  #following: {
    readonly steps: ReturnType<SchemaCoordinator["follow"]>;
    readonly of: Acknowledgement;
  } | null = null;
  #comparing: ReturnType<SchemaCoordinator["compare"]> | null = null;
  /** While it runs the replica takes nothing: it is being tried what it would be. */
  #owning: ReturnType<SchemaCoordinator["own"]> | null = null;
  #obstacle: string | null = null;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #drainedRows = 0;

  constructor(
    components: SchemaTaskComponents,
    { whole, owner }: { readonly whole: boolean; readonly owner: SchemaTaskOwner },
  ) {
    this.#components = components;
    this.#whole = whole;
    this.#owner = owner;
  }

  /** A transaction in the application's file is open. */
  get following(): boolean {
    return this.#following !== null;
  }

  /** The replica must take nothing. */
  get owning(): boolean {
    return this.#owning !== null;
  }

  /** Why the schema keeps this node from going on; null: it does not. */
  get obstacle(): string | null {
    return this.#obstacle;
  }

  /** Rows that went along with changes of the schema, since the start. */
  get drainedRows(): number {
    return this.#drainedRows;
  }

  /** The last call: ends what is open in the application's file. */
  close(): void {
    this.#following?.steps.return(null);
    this.#comparing?.return();
    this.#owning?.return(false);
  }

  /** A slice. `applied`: the replica has all that came. null: nothing is to be done after all. */
  turn(applied: boolean): TurnResult | null {
    if (!applied && this.#following === null) return { again: "now" };
    const { replica, schema, outbox, now } = this.#components;
    const position = replica.positions();
    if (this.#following !== null || this.#comparing !== null || this.#owning !== null)
      return this.#continue();
    // What is in flight is of the older schema: it is taken, or refused, before the file changes.
    if (this.#owner.mustWait(position) || !outbox.settledAll) return { again: "never" };
    if (this.#obstacle !== null && now() - this.#lookedAt < LOOK_AGAIN_MS)
      return { again: "later", ms: LOOK_AGAIN_MS };
    this.#lookedAt = now();
    const look = schema.look();
    this.#meet(look.due === "obstacle" ? look.reason : null);
    switch (look.due) {
      case "nothing":
        this.#owner.takeSession(schema.openSession());
        return null;
      case "obstacle":
        return { again: "later", ms: LOOK_AGAIN_MS };
      case "own":
        return this.#beginOwn(look.entry, position);
      case "follow": {
        const of = outbox.peekAcknowledged();
        this.#following = { steps: schema.follow(position, of), of };
        return this.#continue();
      }
      case "compare":
        this.#comparing = schema.compare();
        return this.#continue();
    }
  }

  #meet(obstacle: string | null): void {
    const { logger } = this.#components;
    if (obstacle !== this.#obstacle) {
      if (obstacle !== null)
        logger.warn("nothing is sent or shown until the schema is mended", { reason: obstacle });
      else logger.info("the schema is mended; what waited goes on");
    }
    this.#obstacle = obstacle;
  }

  #beginOwn(change: Uint8Array, position: PositionVector): TurnResult {
    const { replica, schema, outbox, syncAppDb, logger } = this.#components;
    logger.info("the application changed the schema", { version: replica.settings.schemaVersion + 1 });
    if (replica.moved.length > 0) {
      // While the logs name rows by older rowids: what was written under it follows when it is taken.
      syncAppDb();
      outbox.collect([], position, { entry: change, base: null }).done();
      return { again: "never" };
    }
    this.#owning = schema.own(change, position, {
      whole: this.#whole,
      alone: (entry, at) => {
        syncAppDb();
        outbox.collect([], at, { entry, base: this.#owner.oldestBase() }).done();
      },
      drain: (session, { replica: trial, entry, position: at, only }) =>
        this.#drainWith(session, trial, entry, at, only),
    });
    return this.#continue();
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
        const { session, reflected } = step.value;
        this.#owner.takeSession(session);
        if (reflected) this.#owner.shown(session.bases.reflected, of);
        else onOwnCommit();
        logger.info("the file's schema is the cluster's", { version: session.remembered.version });
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
    session: AppDbSession,
    trial: Replica,
    entry: Uint8Array,
    position: PositionVector,
    only: ReadonlySet<number> | null,
  ): Generator<undefined, boolean> {
    const { outbox, syncAppDb } = this.#components;
    const { reader, pending, bases, shadows } = session;
    const drain = new Drain({ logs: reader.logs, pending, bases, shadows, references: trial });
    // From where the file itself stands: what is ordered and still in the logs dates the keys that are written again.
    drain.reset(session.acknowledged);
    reader.begin();
    if (reader.schemaMoved()) return false;
    const news = drain.news(reader.newest()).filter(({ table }) => only === null || only.has(table));
    const sink = outbox.collect(only === null ? news : [], position, { entry, base: session.oldestBase() });
    for (const _ of drain.run(news, sink)) yield;
    syncAppDb();
    this.#drainedRows += sink.done();
    return true;
  }
}

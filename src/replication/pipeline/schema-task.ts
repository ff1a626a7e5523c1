/**
 * Brings the file to the cluster's schema with all of its tables captured (`SchemaCoordinator`), in the turns of a pipeline:
 * one step at a time, in slices, and only while no other transaction is open in the file.
 */
import type { AppDbSession } from "../../app-db/session.ts";
import { Drain } from "../../capture/drain.ts";
import type { HeldTables } from "../../capture/held-tables.ts";
import type { PositionVector, Watermark } from "../../change/batch.ts";
import type { SchemaCoordinator } from "../../schema-sync/coordinator.ts";
import type { OwnRows } from "../../schema-sync/propose-local-change.ts";
import type { TaskComponents } from "./pipeline-components.ts";
import { SLICE_MS, type TurnResult } from "./turn.ts";

/** How often a schema with an obstacle is checked again. */
const LOOK_AGAIN_MS = 500;

/** The pipeline, as its schema task sees it. */
export interface SchemaTaskOwner {
  /** The session in use. */
  session(): AppDbSession;
  /** Another session replaces it. */
  use(session: AppDbSession): void;
  /** The file shows the replica at the position of the session. */
  shown(): void;
  /** The file may show the replica at the position. */
  mayWrite(position: PositionVector): boolean;
  /** Tables whose rows wait in this session. */
  held(session: AppDbSession): HeldTables;
}

export class SchemaTask {
  readonly #components: TaskComponents;
  readonly #owner: SchemaTaskOwner;
  /** Rows that were written under a schema change go along with it. */
  readonly #whole: boolean;
  #following: ReturnType<SchemaCoordinator["follow"]> | null = null;
  #comparing: ReturnType<SchemaCoordinator["compare"]> | null = null;
  /** While it runs the replica takes nothing: the change is tried on it and rolled back. */
  #proposing: ReturnType<SchemaCoordinator["own"]> | null = null;
  #obstacle: string | null = null;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #drainedRows = 0;

  constructor(
    components: TaskComponents,
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
  get proposing(): boolean {
    return this.#proposing !== null;
  }

  /** The reason why the schema keeps this node from replicating; null: there is none. */
  get obstacle(): string | null {
    return this.#obstacle;
  }

  /** Rows that went along with schema changes, since the start. */
  get drainedRows(): number {
    return this.#drainedRows;
  }

  /** The last call: ends all transactions in the app database. */
  close(): void {
    this.#following?.return(null);
    this.#comparing?.return();
    this.#proposing?.return(false);
  }

  /** A slice. `applied`: the replica has all that came. null: there is nothing to do after all. */
  turn(applied: boolean): TurnResult | null {
    if (!applied && this.#following === null) return { again: "now" };
    const { replica, schema, outbox, now } = this.#components;
    const position = replica.positions();
    if (this.#following !== null || this.#comparing !== null || this.#proposing !== null)
      return this.#continue();
    // Batches in flight are of the older schema: they are taken, or refused, before the file changes.
    if (!this.#owner.mayWrite(position) || !outbox.settledAll) return { again: "never" };
    if (this.#obstacle !== null && now() - this.#lookedAt < LOOK_AGAIN_MS)
      return { again: "later", ms: LOOK_AGAIN_MS };
    this.#lookedAt = now();
    const look = schema.look();
    this.#meet(look.due === "obstacle" ? look.reason : null);
    switch (look.due) {
      case "nothing":
        this.#owner.use(schema.openSession(this.#owner.session().cursors));
        return null;
      case "obstacle":
        return { again: "later", ms: LOOK_AGAIN_MS };
      case "own":
        return this.#beginOwn(look.entry, position);
      case "follow":
        this.#following = schema.follow(position, this.#owner.session().cursors);
        return this.#continue();
      case "compare":
        this.#comparing = schema.compare();
        return this.#continue();
    }
  }

  #meet(obstacle: string | null): void {
    const { logger } = this.#components;
    if (obstacle !== this.#obstacle) {
      if (obstacle !== null)
        logger.event(
          "schema",
          "replication is paused on this node until its schema is fixed",
          { reason: obstacle },
          "warn",
        );
      else logger.event("schema", "the schema is fixed; replication goes on");
    }
    this.#obstacle = obstacle;
  }

  #beginOwn(change: Uint8Array, position: PositionVector): TurnResult {
    const { replica, schema, outbox, syncAppDb, logger } = this.#components;
    logger.info("the application changed the schema", { version: replica.settings.schemaVersion + 1 });
    if (replica.redirected.length > 0) {
      // The logs name rows by older rowids: rows that were written under the change follow when it is taken.
      syncAppDb();
      outbox.collect({ upTo: [], after: position, schema: { entry: change, base: null } }).done();
      return { again: "never" };
    }
    this.#proposing = schema.own(change, position, {
      whole: this.#whole,
      alone: (entry, at) => {
        syncAppDb();
        const base = this.#owner.session().oldestBase();
        outbox.collect({ upTo: [], after: at, schema: { entry, base } }).done();
      },
      drain: (rows) => this.#drainWith(rows),
    });
    return this.#continue();
  }

  #continue(): TurnResult {
    const { now } = this.#components;
    const end = now() + SLICE_MS;
    do {
      const result = this.#following !== null ? this.#follow(this.#following) : this.#comparedOrProposed();
      if (result !== null) return result;
    } while (now() < end);
    return { again: "now" };
  }

  /** One step; null: another may follow in this slice. */
  #follow(steps: ReturnType<SchemaCoordinator["follow"]>): TurnResult | null {
    const { onOwnCommit, logger } = this.#components;
    const step = steps.next();
    if (!step.done) return null;
    this.#following = null;
    if (step.value === null) return { again: "later", ms: 1 };
    const { session, reflected } = step.value;
    this.#owner.use(session);
    if (reflected) this.#owner.shown();
    else onOwnCommit();
    logger.info("the file's schema is the cluster's", { version: session.remembered.version });
    return { again: "now" };
  }

  /** One step; null: another may follow in this slice. */
  #comparedOrProposed(): TurnResult | null {
    const step = (this.#comparing ?? this.#proposing!).next();
    if (step.done) {
      this.#comparing = null;
      this.#proposing = null;
      this.#components.onOwnCommit();
      return { again: "now" };
    }
    return step.value === "busy" ? { again: "later", ms: 1 } : null;
  }

  /** Collects the rows that were written under a schema change behind it. */
  *#drainWith({ session, replica, entry, position, only }: OwnRows): Generator<undefined, boolean> {
    const { outbox, syncAppDb } = this.#components;
    const { reader, cursors, pending, bases, withheld } = session;
    // From the file's acknowledged ids: ordered rows that are still in the logs give base positions to keys written again.
    const drain = new Drain({ logs: reader.logs, cursors, pending, bases, withheld, beforeImages: replica });
    reader.begin();
    if (reader.schemaMoved()) return false;
    const held = this.#owner.held(session);
    // The WAL is not asked: tables that were written since the last drain count as written together.
    const unknown = (): null => null;
    const isHeld = (w: Watermark): boolean =>
      !session.holdBack.silent.has(w.table) && drain.hasRowWithoutKey(w);
    const news = held
      .admit(drain.news(reader.newest()), isHeld, unknown)
      .filter(({ table }) => only === null || only.has(table));
    const sink = outbox.collect({
      upTo: only === null ? news : [],
      after: position,
      schema: { entry, base: session.oldestBase() },
    });
    const steps = drain.run(news, sink);
    let step = steps.next();
    for (; !step.done; step = steps.next()) yield;
    if (step.value !== "done") {
      sink.discard(); // the change is proposed again, without the rows that wait
      if (step.value !== "refused") held.hold(step.value.held, news, unknown);
      return false;
    }
    syncAppDb();
    this.#drainedRows += sink.done();
    return true;
  }
}

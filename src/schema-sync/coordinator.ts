/**
 * What is done to the application's file when its schema or the cluster's changed. Each step leaves the file whole, so
 * that a crash after any of them goes on with the next:
 *
 * 1. The application's own change is proposed with the rows that were written under it (`own`), alone in flight.
 * 2. When the replica's schema is another than the file last reflected, the file's is brought to it, with what the
 *    application changed beyond it on top; capture follows; all in one transaction (`follow`).
 * 3. Tables that were written while nothing captured them are compared with the replica; what differs gets log rows
 *    (`compare`).
 *
 * In between nothing is drained and nothing reflected.
 */
import type { PositionVector } from "../change/batch.ts";
import { foldName } from "../base/names.ts";
import { isBusy } from "../sqlite/locked.ts";
import type { Acknowledgement } from "../reflect/reflector.ts";
import { knowSchema } from "../schema/catalogue.ts";
import { encodeSchemaEntry } from "../schema/diff/schema-entry.ts";
import { queryOf } from "../sqlite/query.ts";
import { type AppDbSchema, type HeldTable, type LocalTable, shapeInFile } from "./detect-change.ts";
import type { AppDbSession } from "../app-db/session.ts";
import { nextLost } from "./keep-rejects.ts";
import { compareUncaptured } from "./compare-uncaptured.ts";
import { SchemaFile, type SchemaStepsComponents } from "./workspace.ts";
import { type Followed, followSchema } from "./apply-cluster-schema.ts";
import { collectOwn, type OwnOutbox } from "./propose-local-change.ts";
import type { Waits } from "./log-differences.ts";

/** What has to be done before anything is drained or reflected. */
export type SchemaLook =
  | { readonly due: "nothing" | "follow" | "compare" }
  | { readonly due: "own"; readonly entry: Uint8Array }
  | { readonly due: "obstacle"; readonly reason: string };

export class SchemaCoordinator {
  readonly #file: SchemaFile;
  /** Tables that the application made and that cannot be replicated: they stay here. */
  local: readonly LocalTable[] = [];
  /** Tables that replicate and that this node cannot write as they are. */
  held: readonly HeldTable[] = [];

  constructor(components: SchemaStepsComponents) {
    this.#file = new SchemaFile(components);
  }

  /** After a start: notes for the reflector what an earlier change of the schema took out of the file. */
  recall(): void {
    this.#file.awaited.recall();
  }

  /** Opens what reads and writes the file as it is now. */
  openSession(): AppDbSession {
    const { db } = this.#file.components.connection;
    db.exec("BEGIN");
    try {
      const appDb = this.#file.read();
      const isSettled = this.#lookAt(appDb).due === "nothing";
      return this.#file.openSession(isSettled ? knowSchema(queryOf(db)) : null, appDb.held);
    } finally {
      db.exec("COMMIT");
    }
  }

  look(): SchemaLook {
    const { db } = this.#file.components.connection;
    db.exec("BEGIN");
    try {
      return this.#lookAt(this.#file.read());
    } finally {
      db.exec("COMMIT");
    }
  }

  #lookAt(appDb: AppDbSchema): SchemaLook {
    const { remembered, whole, changes, local, keptByAll } = appDb;
    const { replica } = this.#file.components;
    const held = appDb.held.map((table) => ({ ...table, sends: table.sends && this.#hasColumns(table) }));
    this.local = local;
    this.held = held;
    if (remembered.version !== replica.settings.schemaVersion) return { due: "follow" };
    const silent = held.filter((t) => !t.sends);
    if (silent.length > 0) {
      const names = silent.map(({ name, reason, hint }) => `${name} (${reason}; hint: ${hint})`).join(", ");
      const reason = `the application changed its schema, and cannot be replicated any more: ${names}`;
      return { due: "obstacle", reason };
    }
    const lost = nextLost(this.#file.components.connection.db);
    if (changes.length > 0 || lost !== null)
      return { due: "own", entry: encodeSchemaEntry({ changes, local: keptByAll, lost }) };
    if ([...remembered.tables.values()].some((id) => !whole.has(id))) return { due: "follow" };
    return { due: remembered.unreconciled.length > 0 ? "compare" : "nothing" };
  }

  /** The file's table has every column that the cluster's has by now. */
  #hasColumns({ id, name }: HeldTable): boolean {
    const { connection, replica } = this.#file.components;
    const shape = replica.shapes.get(id);
    const here = shape === undefined ? null : shapeInFile(connection.db, name, id);
    const columns = new Set(here?.columns.map((c) => foldName(c.name)));
    return shape === undefined || shape.columns.every((c) => columns.has(foldName(c.name)));
  }

  /**
   * One transaction; yields now and then while it is open. The side that is opened is for the file as it is afterwards.
   * Where nothing else is due then, the file also shows what the replica holds, `position`. null: the application holds
   * the write lock, nothing happened.
   */
  *follow(position: PositionVector, acknowledgement: Acknowledgement): Generator<void, Followed | null> {
    const { db } = this.#file.components.connection;
    try {
      db.exec("BEGIN IMMEDIATE");
    } catch (error) {
      if (isBusy(error)) return null;
      throw error;
    }
    try {
      return yield* followSchema(this.#file, position, acknowledgement);
    } catch (error) {
      if (db.isTransaction) db.exec("ROLLBACK");
      throw error;
    }
  }

  /** Gives log rows to what tables that nothing captured for a while have otherwise than the replica. */
  compare(): Waits {
    return compareUncaptured(this.#file);
  }

  /** See `collectOwn`. */
  own(
    entry: Uint8Array,
    position: PositionVector,
    outbox: OwnOutbox,
  ): Generator<"busy" | undefined, boolean> {
    return collectOwn(this.#file, entry, position, outbox);
  }
}

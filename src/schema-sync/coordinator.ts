/**
 * The steps after a change of the file's schema or the cluster's. Each step leaves the file consistent, so that after a crash
 * the next step continues:
 *
 * 1. The application's own change is proposed with the rows that were written under it (`own`), alone in flight.
 * 2. If the schema of the replica is not the one that the file last reflected, it is applied to the file, with the pending
 *    changes of the application on top, and capture is adapted, all in one transaction (`follow`).
 * 3. Unreconciled tables are compared with the replica; rows that differ get log rows (`compare`).
 *
 * Between these steps no row is drained or reflected.
 */
import type { PositionVector } from "../change/batch.ts";
import { requireSameFile } from "../reflect/app-db-connection.ts";
import type { ChangeLogCursors } from "../change/change-log-cursor.ts";
import { isBusy } from "../sqlite/locked.ts";
import { beginWriting } from "../sqlite/open-app-db.ts";
import { knowSchema } from "../schema/catalogue.ts";
import { encodeSchemaEntry } from "../schema/diff/schema-entry.ts";
import { formatsAlike } from "../sqlite/versions/real-format.ts";
import { extensions } from "../sqlite/functions/extensions.ts";
import { queryOf } from "../sqlite/query.ts";
import type { AppDbSchema, LocalTable } from "./detect-change.ts";
import { type HeldTable, heldUnder, silentIds } from "./tables-held-back.ts";
import type { AppDbSession } from "../app-db/session.ts";
import { hasReaderTriggers } from "../capture/reader-triggers.ts";
import type { SchemaChange } from "../schema/diff/change.ts";
import { nextRejects } from "./keep-rejects.ts";
import { compareUncaptured } from "./compare-uncaptured.ts";
import { SchemaWorkspace, type SchemaSyncComponents } from "./workspace.ts";
import { type AppliedSchema, applyClusterSchema, isBehind } from "./apply-cluster-schema.ts";
import { proposeLocalChange, type OwnOutbox } from "./propose-local-change.ts";
import type { Waits } from "./log-differences.ts";

/** The next step that must precede draining and reflecting. */
type SchemaLook =
  | { readonly due: "nothing" | "follow" | "compare" }
  | { readonly due: "own"; readonly entry: Uint8Array }
  | { readonly due: "obstacle"; readonly reason: string };

const isReaderNow = ({ isReader }: SchemaSyncComponents): boolean | null => isReader?.() ?? null;

const ofReader = (changes: readonly SchemaChange[]): string =>
  `an application changed the schema of this node (${changes.map(({ op }) => op).join(", ")}), which is a reader and sends no changes ` +
  "(hint: make the same change on another node of the cluster; then this node goes on)";

export class SchemaCoordinator {
  readonly #workspace: SchemaWorkspace;
  /** Tables of the application that cannot be replicated: they stay on this node. */
  local: readonly LocalTable[] = [];
  /** Replicated tables that this node cannot write as they are. */
  held: readonly HeldTable[] = [];

  /** This node was a reader when its triggers were last looked at. */
  #isReader: boolean | null = null;
  /** Nodes with other functions of the application, when the schema was last looked at. */
  #lacking = "";
  /** The application's SQLite formatted as Marmot's then. */
  #alike = true;

  constructor(components: SchemaSyncComponents) {
    this.#workspace = new SchemaWorkspace(components);
  }

  /**
   * This node became a reader or was one; the application has another SQLite; or other nodes have other functions than when
   * the schema was last looked at, and a table may wait for them.
   */
  get isOutdated(): boolean {
    const { withOtherFunctions, applicationVersion } = this.#workspace.components;
    if (isReaderNow(this.#workspace.components) !== this.#isReader) return true;
    if (formatsAlike(applicationVersion?.() ?? null) !== this.#alike) return true;
    return (
      this.#lacking !== "" &&
      withOtherFunctions !== undefined &&
      withOtherFunctions().join() !== this.#lacking
    );
  }

  /** After a start: tells the reflector which rows to restore after an earlier schema change. */
  recall(): void {
    this.#workspace.toRestore.recall();
  }

  /** Opens a session for the current schema of the file. `previous`: the cursors of the session before. */
  openSession(previous: ChangeLogCursors | null): AppDbSession {
    const { db } = this.#workspace.components.connection;
    db.exec("BEGIN");
    try {
      const appDb = this.#workspace.read();
      const isSettled = this.#lookAt(appDb).due === "nothing";
      return this.#workspace.openSession(isSettled ? knowSchema(queryOf(db)) : null, previous, appDb.held);
    } finally {
      db.exec("COMMIT");
    }
  }

  look(): SchemaLook {
    const { db } = this.#workspace.components.connection;
    db.exec("BEGIN");
    try {
      return this.#lookAt(this.#workspace.read());
    } finally {
      db.exec("COMMIT");
    }
  }

  #lookAt(appDb: AppDbSchema): SchemaLook {
    const { remembered, whole, changes, local, keptByAll } = appDb;
    const { connection, replica, withOtherFunctions, applicationVersion } = this.#workspace.components;
    this.#alike = formatsAlike(applicationVersion?.() ?? null);
    this.#lacking = extensions().digest === "" ? "" : (withOtherFunctions?.() ?? []).join();
    const isReader = isReaderNow(this.#workspace.components);
    this.#isReader = isReader;
    this.local = local;
    this.#holdBack(appDb.held);
    if (remembered.version !== replica.settings.schemaVersion) return { due: "follow" };
    const silent = silentIds(this.held);
    const rekeyed = new Set(this.held.flatMap(({ id, isRekeyed }) => (isRekeyed ? [id] : [])));
    if (isReader === true && changes.length > 0) return { due: "obstacle", reason: ofReader(changes) };
    // Before the application's own changes: their rows are read with the cluster's columns.
    if (isBehind(this.#workspace.components, appDb)) return { due: "follow" };
    const lost = nextRejects(this.#workspace.components.connection.db);
    if (changes.length > 0 || lost !== null)
      return { due: "own", entry: encodeSchemaEntry({ changes, local: keptByAll, lost }) };
    const captured = [...remembered.tables.values()].filter((id) => !rekeyed.has(id));
    if (captured.some((id) => !whole.has(id))) return { due: "follow" };
    if (isReader !== null && !hasReaderTriggers(connection.db, isReader)) return { due: "follow" };
    return { due: remembered.unreconciled.some((id) => !silent.has(id)) ? "compare" : "nothing" };
  }

  #holdBack(held: readonly HeldTable[]): void {
    const { connection, replica } = this.#workspace.components;
    this.held = heldUnder(connection.db, replica, held);
  }

  /**
   * One transaction; yields between steps while it is open. The returned session is for the new schema of the file. If no
   * further step is due, the file also reflects the replica at `position`. null: an application holds the write lock, and
   * nothing was changed.
   */
  *follow(position: PositionVector, previous: ChangeLogCursors): Generator<void, AppliedSchema | null> {
    const { db } = this.#workspace.components.connection;
    try {
      beginWriting(db);
    } catch (error) {
      if (isBusy(error)) return null;
      throw error;
    }
    try {
      requireSameFile(this.#workspace.components.connection);
      const applied = yield* applyClusterSchema(this.#workspace, position, previous);
      this.#holdBack(applied.held);
      return applied;
    } catch (error) {
      if (db.isTransaction) db.exec("ROLLBACK");
      throw error;
    }
  }

  /** See `compareUncaptured`. */
  compare(): Waits {
    return compareUncaptured(this.#workspace, silentIds(this.held));
  }

  /** See `proposeLocalChange`. */
  own(
    entry: Uint8Array,
    position: PositionVector,
    outbox: OwnOutbox,
  ): Generator<"busy" | undefined, boolean> {
    return proposeLocalChange(this.#workspace, entry, position, outbox);
  }
}

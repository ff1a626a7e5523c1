/**
 * The one place that opens the application's file. Each connection to it is told never to checkpoint by itself, and each
 * write transaction on it begins here. The reason is the WAL-reset bug of SQLite up to 3.51.2, which the application's
 * library may have: a commit that restarts the WAL while another connection is in a checkpoint loses later commits.
 * docs/protocol.md, "The WAL of the application's file", has the argument.
 */
import { Database, type Statement } from "bun:sqlite";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { extend, extendReader } from "./functions/extensions.ts";
import { type OpenOptions, sqliteOptions } from "./open.ts";

const NO_CHECKPOINTS = "PRAGMA wal_autocheckpoint = 0";
/** Times that a write transaction is refused as busy because it would restart the WAL; afterwards it begins all the same. */
const REFUSALS = 50;
/** The same for callers that wait for locks, milliseconds. */
const PATIENCE_MS = 100;

/** What a checkpoint says: frames in the WAL, and how many of them are in the file as well. */
export interface WalState {
  readonly busy: boolean;
  readonly frames: number;
  readonly backfilled: number;
}

/** A connection for checkpoints: none can run inside its own connection's transaction. */
interface Checkpoints {
  readonly db: DatabaseSync;
  readonly look: StatementSync;
  readonly truncate: StatementSync;
}

/** SQLITE_BUSY, as SQLite itself says it: the caller tries again on a later turn. */
class WalRestartError extends Error {
  override name = "WalRestartError";
  readonly code = "ERR_SQLITE_ERROR";
  readonly errcode = 5;
  constructor() {
    super(
      "database is locked: its WAL must be restarted by a checkpoint first, and readers or a checkpoint prevent that",
    );
  }
}

export class AppDatabase extends DatabaseSync {
  readonly #path: string;
  #beside: Checkpoints | null = null;
  #refusals = 0;

  constructor(path: string, options: OpenOptions = {}) {
    super(path, sqliteOptions(options));
    extend(this);
    this.#path = path;
    this.exec(NO_CHECKPOINTS);
  }

  /**
   * `BEGIN IMMEDIATE`, but never a transaction whose commit restarts the WAL. Such a commit holds no lock against a
   * checkpoint that is running in the application; a TRUNCATE checkpoint does, so that restarts the WAL instead.
   */
  beginWriting(): void {
    this.exec("BEGIN IMMEDIATE");
    if (!this.#wouldRestart()) {
      this.#refusals = 0;
      return;
    }
    this.exec("ROLLBACK");
    const waits = this.#waits();
    const { busy } = this.truncateWal(waits ? PATIENCE_MS : 0);
    if (busy && !waits && ++this.#refusals <= REFUSALS) throw new WalRestartError();
    this.#refusals = 0;
    this.exec("BEGIN IMMEDIATE");
  }

  /** Takes no lock and changes nothing. */
  walState(): WalState {
    return stateOf(this.#checkpoints().look);
  }

  /** A TRUNCATE checkpoint: the WAL is restarted under the locks for writing and for checkpoints. `waitMs`: for locks. */
  truncateWal(waitMs = 0): WalState {
    const { db, truncate } = this.#checkpoints();
    db.exec(`PRAGMA busy_timeout = ${waitMs}`);
    return stateOf(truncate);
  }

  override close(): void {
    this.#beside?.db.close();
    this.#beside = null;
    super.close();
  }

  /** Everything of the WAL is in the file, so that the next commit begins it again from its start. */
  #wouldRestart(): boolean {
    const { frames, backfilled } = this.walState();
    return frames > 0 && frames === backfilled;
  }

  #waits(): boolean {
    const { timeout } = this.prepare("PRAGMA busy_timeout").get() as { timeout: number };
    return timeout > 0;
  }

  #checkpoints(): Checkpoints {
    if (this.#beside !== null) return this.#beside;
    const db = new DatabaseSync(this.#path, { timeout: 0 });
    db.exec(`${NO_CHECKPOINTS}; PRAGMA cache_size = -100`);
    const look = db.prepare("PRAGMA wal_checkpoint(NOOP)");
    const truncate = db.prepare("PRAGMA wal_checkpoint(TRUNCATE)");
    for (const statement of [look, truncate]) statement.setReturnArrays(true);
    this.#beside = { db, look, truncate };
    return this.#beside;
  }
}

function stateOf(statement: StatementSync): WalState {
  const [busy, frames, backfilled] = statement.get() as unknown as [number, number, number];
  return { busy: busy !== 0, frames, backfilled };
}

export const openAppDb = (path: string, options: OpenOptions = {}): AppDatabase =>
  new AppDatabase(path, options);

/** Bun's own module: integers as bigint, for reading only. `cacheKb`: of pages. */
export function openAppDbReader(path: string, cacheKb: number): Database {
  const db = new Database(path, { readwrite: true, create: false, safeIntegers: true });
  extendReader(db);
  db.exec(
    `${NO_CHECKPOINTS}; PRAGMA cache_size = -${cacheKb}; PRAGMA busy_timeout = 1000; PRAGMA query_only = ON`,
  );
  return db;
}

/**
 * A statement that was not finalized keeps its connection, with the files and locks, until the garbage collector finds it.
 * Notes the statements that are prepared from now on. The result finalizes them and closes the connection.
 */
export function closingFully(db: Database): () => void {
  const statements: Statement[] = [];
  const prepare = db.prepare.bind(db);
  db.prepare = ((sql: string) => {
    const statement = prepare(sql);
    statements.push(statement);
    return statement;
  }) as typeof db.prepare;
  return () => {
    for (const statement of statements.splice(0)) statement.finalize();
    db.close();
  };
}

/** Begins a write transaction, on the application's file or on one that is still this node's alone. */
export function beginWriting(db: DatabaseSync): void {
  if (db instanceof AppDatabase) db.beginWriting();
  else db.exec("BEGIN IMMEDIATE");
}

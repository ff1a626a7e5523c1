/**
 * Keeps the WAL of the application's file bounded, also where the application only reads and so never checkpoints. It
 * waits for no lock. A checkpoint that readers stop halfway leaves a WAL that is wholly in the file and that the next
 * commit may restart; so it runs while no connection of the application is between a commit and its own checkpoint.
 */
import type { AppDatabase } from "../sqlite/open-app-db.ts";

/** SQLite's own limit for an application, 1,000 pages of 4 KiB. */
const DUE_BYTES = 4 << 20;
/** Above this the application is not waited for: it commits all the time and never checkpoints. */
const OVERDUE_BYTES = 64 << 20;
/** Milliseconds without a commit of the application. */
const QUIET_MS = 1000;
/** After an attempt that readers or a writer prevented. */
const RETRY_MS = 2000;
/** Of a frame, beside its page. */
const FRAME_HEAD = 24;

export interface WalUpkeepComponents {
  readonly db: AppDatabase;
  readonly now: () => number;
  /** A read or write transaction of this node on the file is open. */
  readonly isUsed: () => boolean;
}

export class WalUpkeep {
  readonly #components: WalUpkeepComponents;
  readonly #frameBytes: number;
  readonly #dataVersion: () => unknown;
  #version: unknown;
  #committedAt: number;
  #retryAt = 0;

  constructor(components: WalUpkeepComponents) {
    this.#components = components;
    const { db, now } = components;
    const { page_size: pageSize } = db.prepare("PRAGMA page_size").get() as { page_size: number };
    this.#frameBytes = pageSize + FRAME_HEAD;
    const statement = db.prepare("PRAGMA data_version");
    statement.setReturnArrays(true);
    this.#dataVersion = () => (statement.get() as unknown as unknown[])[0];
    this.#version = this.#dataVersion();
    this.#committedAt = now();
  }

  /** Between turns, every 100 ms. */
  tick(): void {
    const { db, now, isUsed } = this.#components;
    const time = now();
    if (isUsed()) return;
    const version = this.#dataVersion();
    if (version !== this.#version) {
      this.#version = version;
      this.#committedAt = time;
    }
    if (time < this.#retryAt) return;
    const { frames } = db.walState();
    const bytes = frames * this.#frameBytes;
    if (bytes < DUE_BYTES) return;
    if (bytes < OVERDUE_BYTES && time - this.#committedAt < QUIET_MS) return;
    if (db.truncateWal().busy) this.#retryAt = time + RETRY_MS;
    this.#version = this.#dataVersion(); // the checkpoint itself is no commit
  }
}

/**
 * Whether another connection committed to the app database: the application's, or one of Marmot besides its writing one. SQLite's
 * `data_version` of a connection does not move with its own commits, so the writing connection is asked. While it is in a
 * transaction it sees no commit of others; then the reader's connection is asked, for which Marmot's own commits count, too.
 */
import type { AppDatabase } from "../sqlite/open-app-db.ts";

export class ForeignCommits {
  readonly #db: AppDatabase;
  readonly #dataVersion: () => unknown;
  #version: unknown = null;

  constructor(db: AppDatabase) {
    const statement = db.prepare("PRAGMA data_version");
    statement.setReturnArrays(true);
    this.#db = db;
    this.#dataVersion = () => (statement.get() as unknown as unknown[])[0];
  }

  /** Another connection committed since the last call. */
  moved(reader: { moved(): boolean }): boolean {
    if (this.#db.isTransaction) return reader.moved();
    const version = this.#dataVersion();
    if (version === this.#version) return false;
    this.#version = version;
    return true;
  }
}

/** The SQLite that the application writes with, as its file shows. Kept in the replica: Marmot's own writes hide it. */
import type { Logger } from "../../base/logger.ts";
import type { OpenReplica } from "../../replica/open-replica.ts";
import { readLocal, writeLocal } from "../../replica/store/local.ts";
import type { SqliteVersion } from "../../sqlite/versions/sqlite-version.ts";
import { walResetNote } from "../../sqlite/versions/writer-version.ts";
import type { SyncedFile } from "./host.ts";

const FACT = "application_sqlite";

export class ApplicationSqlite {
  #version: SqliteVersion | null;
  readonly #replica: OpenReplica;
  readonly #file: SyncedFile;
  readonly #logger: Logger;
  #stored: SqliteVersion | null;

  /** `applicationVersion`: as the file showed it before this start; null: it did not. */
  constructor(
    replica: OpenReplica,
    file: SyncedFile,
    { applicationVersion }: { readonly applicationVersion?: SqliteVersion | null },
    { logger }: { readonly logger: Logger },
  ) {
    const stored = readLocal(replica.db, FACT);
    this.#replica = replica;
    this.#file = file;
    this.#logger = logger;
    this.#stored = stored === null ? null : Number(stored);
    this.#version = applicationVersion ?? this.#stored;
  }

  /** null: unknown. */
  get version(): SqliteVersion | null {
    return this.#version;
  }

  /** Of the newest pages of the file. */
  look(): SqliteVersion | null {
    const version = this.#file.writerVersion?.() ?? null;
    if (version !== null && version !== this.#version) {
      this.#version = version;
      const note = walResetNote(version);
      if (note !== null) this.#logger.warn(note.message, { hint: note.hint });
    }
    return this.#version;
  }

  /** Now and then. `mayStore`: no other connection of this node writes the replica. */
  tick(mayStore: boolean): void {
    this.look();
    if (mayStore) this.#store();
  }

  #store(): void {
    const { db, replica } = this.#replica;
    if (this.#version === null || this.#version === this.#stored) return;
    if (!replica.betweenEntries || db.isTransaction) return;
    writeLocal(db, FACT, String(this.#version));
    this.#stored = this.#version;
  }
}

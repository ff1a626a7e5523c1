/** The SQLite that the application writes with, as its file shows. Kept in the replica: Marmot's own writes hide it. */
import type { Logger } from "../../base/logger.ts";
import type { OpenReplica } from "../../replica/open-replica.ts";
import { readLocal, writeLocal } from "../../replica/store/local.ts";
import type { SqliteVersion } from "../../sqlite/sqlite-version.ts";
import { walResetNote } from "../../sqlite/writer-version.ts";
import type { SyncedFile } from "./host.ts";

const FACT = "application_sqlite";

interface ApplicationSqliteComponents {
  readonly open: OpenReplica;
  readonly file: SyncedFile;
  readonly logger: Logger;
}

export class ApplicationSqlite {
  #version: SqliteVersion | null;
  readonly #components: ApplicationSqliteComponents;
  #stored: SqliteVersion | null;

  /** `before`: as the file showed it before this start; null: it did not. */
  constructor(components: ApplicationSqliteComponents, before: SqliteVersion | null) {
    const stored = readLocal(components.open.db, FACT);
    this.#components = components;
    this.#stored = stored === null ? null : Number(stored);
    this.#version = before ?? this.#stored;
  }

  /** null: unknown. */
  get version(): SqliteVersion | null {
    return this.#version;
  }

  /** Of the newest pages of the file. */
  look(): SqliteVersion | null {
    const { file, logger } = this.#components;
    const version = file.writerVersion?.() ?? null;
    if (version !== null && version !== this.#version) {
      this.#version = version;
      const note = walResetNote(version);
      if (note !== null) logger.warn(note.message, { hint: note.hint });
    }
    return this.#version;
  }

  /** Now and then. */
  tick(): void {
    this.look();
    this.#store();
  }

  #store(): void {
    const { db, replica } = this.#components.open;
    if (this.#version === null || this.#version === this.#stored) return;
    if (!replica.betweenEntries || db.isTransaction) return;
    writeLocal(db, FACT, String(this.#version));
    this.#stored = this.#version;
  }
}

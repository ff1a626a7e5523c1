/**
 * The replica's note about the app database beside it: the life that the file had when it was last synced before a batch of
 * this node was taken. A file with a lower life, or of another epoch, is an older copy. Node-local.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { type FileLife, isSameLife, lifeOf } from "../../rows/file-life.ts";

const NAMES = { epoch: "file_epoch", life: "file_life" } as const;

const READ = `SELECT "value" FROM "__marmot__local_node" WHERE "name" = ?`;
const WRITE = `INSERT OR REPLACE INTO "__marmot__local_node" VALUES(?, ?)`;

function read(db: DatabaseSync, name: string): unknown {
  return (db.prepare(READ).get(name) as { value: unknown } | undefined)?.value ?? null;
}

/** null: no batch was taken since capture was installed in the file. */
export const readFileNote = (db: DatabaseSync): FileLife | null =>
  lifeOf(read(db, NAMES.epoch), read(db, NAMES.life));

/** In a transaction, or alone. */
export function writeFileNote(db: DatabaseSync, { epoch, life }: FileLife): void {
  const put = db.prepare(WRITE);
  put.run(NAMES.epoch, epoch);
  put.run(NAMES.life, String(life));
}

/** Stores the note in the transactions of the replica. */
export class FileNote {
  readonly #db: DatabaseSync;
  #stored: FileLife | null;
  #put: StatementSync | null = null;
  /** The life of the file when it was last synced. */
  synced: FileLife | null = null;

  constructor(db: DatabaseSync) {
    this.#db = db;
    this.#stored = readFileNote(db);
  }

  /** In the transaction that takes an own batch. */
  flush(): void {
    const { synced } = this;
    if (synced === null || isSameLife(synced, this.#stored)) return;
    this.#put ??= this.#db.prepare(WRITE);
    if (synced.epoch !== this.#stored?.epoch) this.#put.run(NAMES.epoch, synced.epoch);
    this.#put.run(NAMES.life, String(synced.life));
    this.#stored = synced;
  }
}

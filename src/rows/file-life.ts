/**
 * The life of an app database: a random epoch of its installation, and a counter that each transaction of Marmot in it
 * raises. The pair tells whether the file went back in time or was replaced; change-log ids are compared within one epoch.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { LogId } from "../base/ids.ts";

export interface FileLife {
  /** 16 random bytes as hex digits. */
  readonly epoch: string;
  readonly life: number;
}

const VALUE = (name: string): string =>
  `(SELECT "value" FROM "__marmot__status" WHERE "item" = 'node' AND "name" = '${name}')`;

/** One row: epoch and life; NULL in a file of an older build. */
export const LIFE_SQL = `SELECT ${VALUE("epoch")} AS epoch, ${VALUE("life")} AS life`;

export const lifeOf = (epoch: unknown, life: unknown): FileLife | null =>
  typeof epoch === "string" && life !== null ? { epoch, life: Number(life) } : null;

export const isSameLife = (a: FileLife | null, b: FileLife | null): boolean =>
  a?.epoch === b?.epoch && a?.life === b?.life;

/** The status table must exist. null: an older build installed capture. */
export function readFileLife(db: DatabaseSync): FileLife | null {
  const row = db.prepare(LIFE_SQL).get() as { epoch: unknown; life: unknown };
  return lifeOf(row.epoch, row.life);
}

/** In a write transaction. */
export function storeFileLife(db: DatabaseSync, { epoch, life }: FileLife): void {
  const put = db.prepare(`INSERT OR REPLACE INTO "__marmot__status" VALUES('node', ?, ?)`);
  put.run("epoch", epoch);
  put.run("life", BigInt(life));
}

/** Raises the life of the file that one connection writes, and knows the last committed one. */
export class LifeCounter {
  readonly #db: DatabaseSync;
  #current: FileLife | null | undefined;
  #raise: StatementSync | null = null;

  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  /** As of the last commit of this connection; null: the file has none. */
  get current(): FileLife | null {
    this.#current ??= readFileLife(this.#db);
    return this.#current;
  }

  /** Inside a write transaction, once in it. Call the result after the commit. */
  raise(): () => void {
    const { current } = this;
    if (current === null) return () => {};
    const life = current.life + 1;
    this.#raise ??= this.#db.prepare(
      `UPDATE "__marmot__status" SET "value" = ? WHERE "item" = 'node' AND "name" = 'life'`,
    );
    this.#raise.run(BigInt(life));
    return () => {
      this.#current = { epoch: current.epoch, life };
    };
  }
}

/** How the app database is another one than this process left. */
export type FileChange =
  "restored" | "stripped" | "missing" | "replaced" | "truncated" | "wal-removed" | "shm-removed";

/** The part of the file that was removed; null: none was. Other processes may see different contents from then on. */
export const removedPart = (change: FileChange | null): "-wal" | "-shm" | null =>
  change === "wal-removed" ? "-wal" : change === "shm-removed" ? "-shm" : null;

/** The file is not as this process left it: everything that is open on it must be closed, and the file inspected. */
export class FileChangedError extends Error {
  override name = "FileChangedError";
  readonly change: FileChange;

  constructor(change: FileChange, options?: ErrorOptions) {
    super(`the application's file was ${change}`, options);
    this.change = change;
  }
}

/**
 * A change log has no row of an id that was read, and still has its mark: the file went back within its life, or an application
 * deleted the newest rows of the log. The inspection of the file tells which. `newest`: negative for a log without its mark.
 */
export function requireNotFallen(newest: LogId, read: LogId): void {
  if (newest >= 0 && newest < read) throw new FileChangedError("restored");
}

/** `row`: of `LIFE_SQL`. Throws unless it is the expected life. */
export function requireLife(expected: FileLife | null, [epoch, life]: readonly unknown[]): void {
  if (expected !== null && !isSameLife(lifeOf(epoch, life), expected)) throw new FileChangedError("restored");
}

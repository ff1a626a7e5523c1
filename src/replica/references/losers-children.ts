/**
 * Children of a losing row: the writer meant a parent that had lost its key to another row, in a conflict that the writer
 * had not seen. Such a row is later in the log than the conflict, but it is a child of the losing row. Replicated state,
 * as long as the journal keeps the conflict.
 */
import type { DatabaseSync } from "node:sqlite";
import type { KeyId } from "../../change/key.ts";
import type { StoredConflict } from "../conflicts/journal.ts";
import { lazily, type LazyStatement } from "../../sqlite/lazy.ts";

export class LosersChildren {
  readonly #insert: LazyStatement;
  readonly #drop: LazyStatement;
  readonly #select: LazyStatement;
  #any: boolean;

  constructor(db: DatabaseSync) {
    this.#insert = lazily(db, `INSERT OR REPLACE INTO "__marmot__stray" VALUES(?, ?, ?, ?, ?)`);
    this.#drop = lazily(db, `DELETE FROM "__marmot__stray" WHERE "tbl" = ? AND "key" = ?`);
    this.#select = lazily(
      db,
      `SELECT 1 FROM "__marmot__stray" WHERE "tbl" = ? AND "key" = ? AND "shard" = ? AND "idx" = ? AND "ordinal" = ?`,
    );
    this.#any = db.prepare(`SELECT 1 FROM "__marmot__stray"`).get() !== undefined;
  }

  note(table: number, keyId: KeyId, { shard, index, ordinal }: StoredConflict): void {
    this.#any = true;
    this.#insert.run(table, keyId, shard, index, ordinal);
  }

  /** The row was written again by a node that had seen the conflict, or it was deleted. */
  forget(table: number, keyId: KeyId): void {
    if (this.#any) this.#drop.run(table, keyId);
  }

  /** The row was written as a child of the conflict's losing row. */
  isOf(table: number, keyId: KeyId, { shard, index, ordinal }: StoredConflict): boolean {
    return this.#select.get(table, keyId, shard, index, ordinal) !== undefined;
  }
}

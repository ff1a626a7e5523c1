/**
 * Rows whose writer referred to a parent that had lost its key meanwhile, unknown to that writer: they stand after the
 * conflict in the order and belong to the loser all the same. Replicated state, as long as the journal keeps the conflict.
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

  /** The row was written by somebody who knows better, or is gone. */
  forget(table: number, keyId: KeyId): void {
    if (this.#any) this.#drop.run(table, keyId);
  }

  /** The row was written as a child of the conflict's loser. */
  isOf(table: number, keyId: KeyId, { shard, index, ordinal }: StoredConflict): boolean {
    return this.#select.get(table, keyId, shard, index, ordinal) !== undefined;
  }
}

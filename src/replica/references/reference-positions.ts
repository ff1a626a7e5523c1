/** Where a row's reference was written: a later write that leaves it as it is does not count. Replicated state. */
import type { DatabaseSync } from "node:sqlite";
import type { KeyId } from "../../change/key.ts";
import type { ForeignKey } from "../../schema/foreign-keys.ts";
import type { ChangesetContext, LastWrite, RowApplier } from "../apply/row-applier.ts";
import { arraysLazily, type LazyStatement, lazily } from "../../sqlite/lazy.ts";

export class ReferencePositions {
  readonly #applier: RowApplier;
  readonly #select: LazyStatement;
  readonly #insert: LazyStatement;
  readonly #delete: LazyStatement;

  constructor(db: DatabaseSync, applier: RowApplier) {
    this.#applier = applier;
    const where = `WHERE "tbl" = ? AND "key" = ? AND "number" = ?`;
    this.#select = arraysLazily(db, `SELECT "shard", "idx", "origin" FROM "__marmot__attached" ${where}`);
    this.#insert = lazily(db, `INSERT OR IGNORE INTO "__marmot__attached" VALUES(?, ?, ?, ?, ?, ?)`);
    this.#delete = lazily(db, `DELETE FROM "__marmot__attached" ${where}`);
  }

  /** The row is written without changing the reference. `last`: its last write before; null: before the replica's beginning. */
  keep(table: number, keyId: KeyId, number: number, last: LastWrite | null, context: ChangesetContext): void {
    const { shard, index, origin } = last ?? { shard: context.shard, index: 0, origin: 0 };
    this.#insert.run(table, keyId, number, shard, index, origin);
  }

  /** The reference is written anew, or the row is gone. */
  forget(table: number, keyId: KeyId, number: number): void {
    this.#delete.run(table, keyId, number);
  }

  /** null: before the replica's beginning. */
  at({ child, number }: ForeignKey, keyId: KeyId): LastWrite | null {
    const row = this.#select.get(child.id, keyId, number) as unknown as [number, number, number] | undefined;
    if (row === undefined) return this.#applier.last(child.id, keyId);
    return { shard: row[0], index: row[1], origin: row[2] };
  }
}

/** The reference position of a row: the last write that changed its reference. Replicated state. */
import type { DatabaseSync } from "node:sqlite";
import type { KeyId } from "../../change/key.ts";
import type { ForeignKey } from "../../schema/foreign-keys.ts";
import { arraysLazily, type LazyStatement, lazily } from "../../sqlite/lazy.ts";
import type { LastWrite } from "../apply/changeset.ts";
import type { KeyPositions } from "../apply/key-positions.ts";
import { trusted } from "../../sqlite/typed-rows.ts";

export class ReferencePositions {
  readonly #keyPositions: KeyPositions;
  readonly #select: LazyStatement;
  readonly #insert: LazyStatement;
  readonly #delete: LazyStatement;

  constructor(db: DatabaseSync, keyPositions: KeyPositions) {
    this.#keyPositions = keyPositions;
    const where = `WHERE "tbl" = ? AND "key" = ? AND "number" = ?`;
    this.#select = arraysLazily(db, `SELECT "shard", "idx", "origin" FROM "__marmot__attached" ${where}`);
    this.#insert = lazily(db, `INSERT OR IGNORE INTO "__marmot__attached" VALUES(?, ?, ?, ?, ?, ?)`);
    this.#delete = lazily(db, `DELETE FROM "__marmot__attached" ${where}`);
  }

  /** The row is written without a change of the reference. `last`: its last write before this one. */
  keep(table: number, keyId: KeyId, number: number, last: LastWrite): void {
    const { shard, index, origin } = last;
    this.#insert.run(table, keyId, number, shard, index, origin);
  }

  /** The reference was changed, or the row was deleted. */
  forget(table: number, keyId: KeyId, number: number): void {
    this.#delete.run(table, keyId, number);
  }

  /** null: the reference is older than the replica. */
  at({ child, number }: ForeignKey, keyId: KeyId): LastWrite | null {
    const row = trusted<[number, number, number] | undefined>(this.#select.get(child.id, keyId, number));
    if (row === undefined) return this.#keyPositions.last(child.id, keyId);
    return { shard: row[0], index: row[1], origin: row[2] };
  }
}

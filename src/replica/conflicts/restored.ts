/** Losing rows that this node restored under a new key. Node-local: it stops `conflicts restore` from restoring one twice. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { KeyId } from "../../change/key.ts";
import type { StoredConflict } from "./journal.ts";
import { readTuple } from "../../sqlite/typed-rows.ts";
import { keyCell } from "../store/key-cell.ts";

export class RestoredHere {
  readonly #insert: StatementSync;
  readonly #select: StatementSync;

  constructor(db: DatabaseSync) {
    this.#insert = db.prepare(`INSERT OR REPLACE INTO "__marmot__local_restored" VALUES(?, ?, ?, ?, ?)`);
    this.#select = db.prepare(
      `SELECT "key" FROM "__marmot__local_restored" WHERE "shard" = ? AND "idx" = ? AND "ordinal" = ?`,
    );
    this.#select.setReturnArrays(true);
  }

  note({ shard, index, ordinal, table }: StoredConflict, key: KeyId): void {
    this.#insert.run(shard, index, ordinal, table, key);
  }

  /** The new key of the conflict's losing row; null: it is not restored. */
  keyOf({ shard, index, ordinal }: StoredConflict): KeyId | null {
    const row = this.#select.get(shard, index, ordinal);
    return row === undefined ? null : readTuple(row, keyCell)[0];
  }
}

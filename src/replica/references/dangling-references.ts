/**
 * Rows whose declared reference leads nowhere because of writes that did not know of each other: how many there are now.
 * With several shards and rows ordered one by one this is a node's own view.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { KeyId } from "../../change/key.ts";
import { lazily, type LazyStatement } from "../../sqlite/lazy.ts";

export class DanglingReferences {
  readonly #insert: LazyStatement;
  readonly #delete: LazyStatement;
  readonly #deleteOne: LazyStatement;
  readonly #count: StatementSync;
  #total = 0;

  constructor(db: DatabaseSync) {
    this.#insert = lazily(db, `INSERT OR IGNORE INTO "__marmot__orphan" VALUES(?, ?, ?)`);
    this.#delete = lazily(db, `DELETE FROM "__marmot__orphan" WHERE "tbl" = ? AND "key" = ?`);
    this.#deleteOne = lazily(
      db,
      `DELETE FROM "__marmot__orphan" WHERE "tbl" = ? AND "key" = ? AND "number" = ?`,
    );
    this.#count = db.prepare(`SELECT count(*) AS n FROM "__marmot__orphan"`);
    this.recount();
  }

  /** Counts anew, after the table was written from outside. */
  recount(): void {
    this.#total = Number(this.#count.get()!.n);
  }

  /** References that dangle now. */
  get total(): number {
    return this.#total;
  }

  /** `number`: the foreign key's place among its table's. False: it is noted already. */
  note(table: number, keyId: KeyId, number: number): boolean {
    const fresh = Number(this.#insert.run(table, keyId, number).changes) > 0;
    if (fresh) this.#total++;
    return fresh;
  }

  /** The row's reference leads somewhere again; without a number: all of them, or the row is gone. */
  forget(table: number, keyId: KeyId, number?: number): void {
    if (this.#total === 0) return;
    const { changes } =
      number === undefined ? this.#delete.run(table, keyId) : this.#deleteOne.run(table, keyId, number);
    this.#total -= Number(changes);
  }
}

/**
 * Dangling references: rows whose declared reference has no parent because of concurrent writes. With several shards and
 * `transactions: row`, they depend on the order in which a node applies its shards.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { KeyId } from "../../change/key.ts";
import { lazily, type LazyStatement } from "../../sqlite/lazy.ts";

export class DanglingReferences {
  readonly #insert: LazyStatement;
  readonly #delete: LazyStatement;
  readonly #count: StatementSync;
  #total = 0;

  constructor(db: DatabaseSync) {
    this.#insert = lazily(db, `INSERT OR IGNORE INTO "__marmot__orphan" VALUES(?, ?, ?)`);
    this.#delete = lazily(
      db,
      `DELETE FROM "__marmot__orphan" WHERE "tbl" = ? AND "key" = ? AND "number" = ?`,
    );
    this.#count = db.prepare(`SELECT count(*) AS n FROM "__marmot__orphan"`);
    this.recount();
  }

  /** Counts the records again, after other code wrote the table. */
  recount(): void {
    this.#total = Number(this.#count.get()!.n);
  }

  /** Number of references that dangle now. */
  get total(): number {
    return this.#total;
  }

  /** `number`: place of the foreign key among those of its table. False: it is recorded already. */
  note(table: number, keyId: KeyId, number: number): boolean {
    const fresh = Number(this.#insert.run(table, keyId, number).changes) > 0;
    if (fresh) this.#total++;
    return fresh;
  }

  /** The row's reference has a parent again, or the row was deleted. */
  forget(table: number, keyId: KeyId, number: number): void {
    if (this.#total === 0) return;
    this.#total -= Number(this.#delete.run(table, keyId, number).changes);
  }
}

/** Finds unused rowids of tables without a declared key. The highest rowid ever used is replicated state. */
import type { DatabaseSync } from "node:sqlite";
import { type KeyId, keyIdOf } from "../../change/key.ts";
import { prepareExact } from "../../rows/exact-values.ts";
import type { RowAccess } from "../../rows/row-access.ts";
import { lazily, type LazyStatement } from "../../sqlite/lazy.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { bigInteger, integer, nullable, readTuple, readTuples } from "../../sqlite/typed-rows.ts";

const MAX_ROWID = 2n ** 63n - 1n;

export class RowidAllocator {
  readonly #db: DatabaseSync;
  readonly #store: LazyStatement;
  readonly #highest = new Map<number, bigint>();
  readonly #dirty = new Set<number>();
  readonly #wasUsed: (table: number, keyId: KeyId) => boolean;

  /** `wasUsed`: a row of the key was written since the replica was created. */
  constructor(db: DatabaseSync, wasUsed: (table: number, keyId: KeyId) => boolean) {
    this.#db = db;
    this.#wasUsed = wasUsed;
    this.#store = lazily(db, `INSERT OR REPLACE INTO "__marmot__rowid" VALUES(?, ?)`);
    const highest = prepareExact(db, `SELECT "tbl", "highest" FROM "__marmot__rowid"`);
    for (const [table, rowid] of readTuples(highest.all(), integer, bigInteger))
      this.#highest.set(table, rowid);
  }

  /** The highest rowid that a row of the table ever had. Its first call must precede the first delete in the table. */
  highest(access: RowAccess): bigint {
    const { id, name, columns } = access.shape;
    let highest = this.#highest.get(id);
    if (highest === undefined) {
      const sql = `SELECT max(${quoteIdentifier(columns[0]!.name)}) FROM main.${quoteIdentifier(name)}`;
      const [top] = readTuple(prepareExact(this.#db, sql).get(), nullable(bigInteger));
      highest = top ?? 0n;
      this.#raise(id, highest);
    }
    return highest;
  }

  #raise(table: number, rowid: bigint): void {
    this.#highest.set(table, rowid);
    this.#dirty.add(table);
  }

  /** A row is written under the rowid. */
  use(access: RowAccess, rowid: bigint): void {
    if (rowid > this.highest(access)) this.#raise(access.shape.id, rowid);
  }

  /**
   * A rowid above all that rows of the table ever had, and above `above`. If there is none, because an application used
   * the highest possible rowid: one that no row ever had and that `used` does not name.
   */
  free(access: RowAccess, used: (rowid: bigint) => boolean, above = 0n): bigint {
    const highest = this.highest(access);
    const top = highest > above ? highest : above;
    if (top < 0n) return 1n;
    if (top < MAX_ROWID) return top + 1n;
    const { id, name } = access.shape;
    for (let attempt = 0n; ; attempt++) {
      const rowid = (Bun.hash.xxHash64(`${id}/${name}`, attempt) & (MAX_ROWID >> 1n)) + 1n;
      if (this.#wasUsed(id, keyIdOf(access.shape, [rowid]))) continue;
      if (!used(rowid) && access.get([rowid]) === null) return rowid;
    }
  }

  /** The table was dropped. */
  forgetTable(table: number): void {
    this.#highest.delete(table);
    this.#dirty.delete(table);
  }

  /** Stores the changed values, in the transaction of the rows. */
  flush(): void {
    for (const table of this.#dirty) this.#store.run(table, this.#highest.get(table)!);
    this.#dirty.clear();
  }
}

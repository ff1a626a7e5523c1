/**
 * A rolling checksum per table and shard: the sum, modulo 2^64, of the hashes of the rows' images. The order of rows does
 * not matter: a write adds the hash of the new image and subtracts that of the old one.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { imageHash } from "../../change/codec.ts";
import { prepareExact } from "../../rows/exact-values.ts";
import { bigInteger, integer, readTuples } from "../../sqlite/typed-rows.ts";

export class Checksums {
  readonly #store: StatementSync;
  /** "table/shard" ⇒ sum. */
  readonly #sums = new Map<string, bigint>();
  readonly #dirty = new Set<string>();

  constructor(db: DatabaseSync) {
    this.#store = db.prepare(
      `INSERT INTO "__marmot__checksum" VALUES(?, ?, ?) ON CONFLICT("tbl", "shard") DO UPDATE SET "sum" = excluded."sum"`,
    );
    const all = prepareExact(db, `SELECT "tbl", "shard", "sum" FROM "__marmot__checksum"`);
    for (const [table, shard, sum] of readTuples(all.all(), integer, integer, bigInteger))
      this.#sums.set(`${table}/${shard}`, BigInt.asUintN(64, sum));
  }

  add(table: number, shard: number, hash: bigint): void {
    const name = `${table}/${shard}`;
    this.#sums.set(name, BigInt.asUintN(64, (this.#sums.get(name) ?? 0n) + hash));
    this.#dirty.add(name);
  }

  /** An encoded image takes the place of another; null: there is none. */
  replace(table: number, shard: number, before: Uint8Array | null, after: Uint8Array | null): void {
    if (before === null && after === null) return;
    const removed = before === null ? 0n : imageHash(before);
    this.add(table, shard, (after === null ? 0n : imageHash(after)) - removed);
  }

  /** Sets the checksums of a table to zero. */
  forget(table: number): void {
    for (const [name, sum] of this.#sums)
      if (sum !== 0n && name.startsWith(`${table}/`)) {
        this.#sums.set(name, 0n);
        this.#dirty.add(name);
      }
  }

  /** Sums of a shard's tables as [table, decimal digits], sorted by table, without sums of zero. */
  ofShard(shard: number): [number, string][] {
    const out: [number, string][] = [];
    for (const [name, sum] of this.#sums) {
      const [table, of] = name.split("/").map(Number);
      if (of === shard && sum !== 0n) out.push([table!, sum.toString()]);
    }
    return out.sort((a, b) => a[0] - b[0]);
  }

  /** Stores the changed sums, in the transaction of the rows. */
  flush(): void {
    for (const name of this.#dirty) {
      const [table, shard] = name.split("/").map(Number);
      this.#store.run(table!, shard!, BigInt.asIntN(64, this.#sums.get(name)!));
    }
    this.#dirty.clear();
  }
}

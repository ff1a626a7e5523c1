/** Position and origin of the last write of every key. Replicated state. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { KeyId } from "../../change/key.ts";
import { arraysLazily, lazily, type LazyStatement } from "../../sqlite/lazy.ts";
import { areNearKeys } from "../../rows/near-rows.ts";
import { readPositions } from "../store/positions.ts";
import type { LastWrite } from "./changeset.ts";
import { RecentWriters } from "./recent-writers.ts";
import { integer, readTuples, trusted } from "../../sqlite/typed-rows.ts";

/** Fewer keys are written one by one. */
const SET_FROM = 4;
/** Keys looked up in one statement. */
const LOOKED_UP = 64;

export class KeyPositions {
  readonly writers: RecentWriters;
  readonly #select: StatementSync;
  readonly #selectMany: LazyStatement;
  readonly #upsert: StatementSync;
  readonly #upsertMany: LazyStatement;
  readonly #highest: LazyStatement;
  readonly #newest: LazyStatement;
  readonly #since: LazyStatement;

  constructor(db: DatabaseSync) {
    this.writers = new RecentWriters(readPositions(db));
    this.#select = db.prepare(
      `SELECT "shard", "idx", "origin" FROM "__marmot__key" WHERE "tbl" = ? AND "key" = ?`,
    );
    this.#select.setReturnArrays(true);
    const keys = Array.from({ length: LOOKED_UP }, (_, i) => `(${i}, ?)`).join(", ");
    this.#selectMany = arraysLazily(
      db,
      `WITH wanted(n, k) AS (VALUES ${keys}) SELECT n, "shard", "idx", "origin"
        FROM wanted CROSS JOIN "__marmot__key" WHERE "tbl" = ? AND "key" = k`,
    );
    const replace = `ON CONFLICT("tbl", "key")
      DO UPDATE SET "shard" = excluded."shard", "idx" = excluded."idx", "origin" = excluded."origin"`;
    this.#upsert = db.prepare(`INSERT INTO "__marmot__key" VALUES(?, ?, ?, ?, ?) ${replace}`);
    this.#upsertMany = lazily(
      db,
      `INSERT INTO "__marmot__key" SELECT ?1, k."value", ?2, ?3, ?4 FROM json_each(?5) k WHERE true ${replace}`,
    );
    // Texts sort after all numbers.
    this.#highest = arraysLazily(
      db,
      `SELECT max("key") FROM "__marmot__key" WHERE "tbl" = ? AND "key" < ${Number.MAX_SAFE_INTEGER + 1}`,
    );
    this.#newest = arraysLazily(
      db,
      `SELECT "shard", max("idx"), "origin" FROM "__marmot__key" WHERE "tbl" = ? GROUP BY "shard", "origin"`,
    );
    this.#since = arraysLazily(
      db,
      `SELECT "tbl", "key", "origin" FROM "__marmot__key" WHERE "shard" = ? AND "idx" > ?`,
    );
  }

  /** The last write of a key; null: the key was not written since the replica was created. */
  last(table: number, keyId: KeyId): LastWrite | null {
    const row = trusted<[number, number, number] | undefined>(this.#select.get(table, keyId));
    return row === undefined ? null : { shard: row[0], index: row[1], origin: row[2] };
  }

  /** The same for many keys. */
  lastMany(table: number, keyIds: readonly KeyId[]): (LastWrite | null)[] {
    const found: (LastWrite | null)[] = Array<null>(keyIds.length).fill(null);
    const whole = keyIds.length - (keyIds.length % LOOKED_UP);
    for (let from = 0; from < whole; from += LOOKED_UP) {
      const rows = this.#selectMany.all(...keyIds.slice(from, from + LOOKED_UP), table);
      for (const [n, shard, index, origin] of trusted<[number, number, number, number][]>(rows))
        found[from + n] = { shard, index, origin };
    }
    for (let i = whole; i < keyIds.length; i++) found[i] = this.last(table, keyIds[i]!);
    return found;
  }

  set(table: number, keyId: KeyId, write: LastWrite): void {
    const { shard, index, origin } = write;
    this.writers.note(write);
    this.#upsert.run(table, keyId, shard, index, origin);
  }

  /** The same write to many keys, in one statement where they lie near each other. */
  setMany(table: number, keyIds: readonly KeyId[], write: LastWrite): void {
    const { shard, index, origin } = write;
    if (keyIds.length > 0) this.writers.note(write);
    if (keyIds.length < SET_FROM || !areNearKeys(keyIds))
      for (const keyId of keyIds) this.#upsert.run(table, keyId, shard, index, origin);
    else this.#upsertMany.run(table, shard, index, origin, JSON.stringify(keyIds));
  }

  /** No key that is a number and higher was ever written. */
  highest(table: number): number {
    const [highest] = trusted<[number | null]>(this.#highest.get(table));
    return highest ?? Number.NEGATIVE_INFINITY;
  }

  /** The newest write to the table in each shard by each origin. */
  newest(table: number): LastWrite[] {
    const rows = readTuples(this.#newest.all(table), integer, integer, integer);
    return rows.map(([shard, index, origin]) => ({ shard, index, origin }));
  }

  /** Keys whose last write is in the shard, after `index`. */
  since(shard: number, index: number): { table: number; keyId: KeyId; origin: number }[] {
    const rows = trusted<[number, KeyId, number][]>(this.#since.all(shard, index));
    return rows.map(([table, keyId, origin]) => ({ table, keyId, origin }));
  }
}

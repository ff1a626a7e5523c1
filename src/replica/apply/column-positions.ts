/**
 * Where each column of a row was last written, for tables whose concurrent updates are merged: only so can the journal
 * name what was truly lost. Replicated state. A row that no update has touched since it was written whole has no entry.
 */
import type { DatabaseSync } from "node:sqlite";
import type { KeyId } from "../../change/key.ts";
import type { LastWrite } from "./row-applier.ts";
import { arraysLazily, type LazyStatement, lazily } from "../../sqlite/lazy.ts";

type Packed = readonly [shard: number, index: number, origin: number];

interface Entry {
  /** The last write of the whole row; null: before the replica's beginning. */
  readonly whole: Packed | null;
  readonly columns: Record<string, Packed>;
}

const unpack = (packed: Packed | null | undefined): LastWrite | null =>
  packed === null || packed === undefined ? null : { shard: packed[0], index: packed[1], origin: packed[2] };

export class ColumnWrites {
  readonly #select: LazyStatement;
  readonly #upsert: LazyStatement;
  readonly #delete: LazyStatement;

  constructor(db: DatabaseSync) {
    this.#select = arraysLazily(db, `SELECT "writes" FROM "__marmot__column" WHERE "tbl" = ? AND "key" = ?`);
    this.#upsert = lazily(
      db,
      `INSERT INTO "__marmot__column" VALUES(?, ?, ?) ON CONFLICT("tbl", "key") DO UPDATE SET "writes" = excluded."writes"`,
    );
    this.#delete = lazily(db, `DELETE FROM "__marmot__column" WHERE "tbl" = ? AND "key" = ?`);
  }

  /** Last writes by column; `last`: of the row. */
  of(table: number, keyId: KeyId, last: LastWrite | null): (column: number) => LastWrite | null {
    const entry = this.#read(table, keyId);
    if (entry === null) return () => last;
    return (column) => unpack(entry.columns[column] ?? entry.whole);
  }

  #read(table: number, keyId: KeyId): Entry | null {
    const row = this.#select.get(table, keyId) as unknown as [string] | undefined;
    return row === undefined ? null : (JSON.parse(row[0]) as Entry);
  }

  /** The row was written whole, or is gone. */
  forget(table: number, keyId: KeyId): void {
    this.#delete.run(table, keyId);
  }

  /** `columns` were written by `now`; `last`: the row's last write before. */
  note(
    table: number,
    keyId: KeyId,
    columns: readonly number[],
    now: LastWrite,
    last: LastWrite | null,
  ): void {
    const pack = (write: LastWrite): Packed => [write.shard, write.index, write.origin];
    const entry = this.#read(table, keyId) ?? { whole: last === null ? null : pack(last), columns: {} };
    for (const column of columns) entry.columns[column] = pack(now);
    this.#upsert.run(table, keyId, JSON.stringify(entry));
  }
}

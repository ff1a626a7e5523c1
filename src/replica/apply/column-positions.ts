/**
 * Last write per column, for tables that merge concurrent updates by column. The journal needs it to name the writes that
 * are truly lost. Replicated state. A row that no update changed since it was last written whole has no record.
 */
import type { DatabaseSync } from "node:sqlite";
import type { KeyId } from "../../change/key.ts";
import { arraysLazily, type LazyStatement, lazily } from "../../sqlite/lazy.ts";
import type { LastWrite } from "./changeset.ts";
import { trusted } from "../../sqlite/typed-rows.ts";

type Packed = readonly [shard: number, index: number, origin: number];

interface ColumnRecord {
  /** The last write of the whole row; null: the row is older than the replica. */
  readonly whole: Packed | null;
  readonly columns: Record<string, Packed>;
}

const pack = ({ shard, index, origin }: LastWrite): Packed => [shard, index, origin];

const unpack = (packed: Packed | null | undefined): LastWrite | null =>
  packed === null || packed === undefined ? null : { shard: packed[0], index: packed[1], origin: packed[2] };

export class ColumnPositions {
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

  /** Last writes by column. `last`: the last write of the row. */
  of(table: number, keyId: KeyId, last: LastWrite | null): (column: number) => LastWrite | null {
    const record = this.#read(table, keyId);
    if (record === null) return () => last;
    return (column) => unpack(record.columns[column] ?? record.whole);
  }

  #read(table: number, keyId: KeyId): ColumnRecord | null {
    const row = trusted<[string] | undefined>(this.#select.get(table, keyId));
    return row === undefined ? null : (JSON.parse(row[0]) as ColumnRecord);
  }

  /** The row was written whole or deleted. */
  forget(table: number, keyId: KeyId): void {
    this.#delete.run(table, keyId);
  }

  /** `write` changed the columns. `last`: the last write of the row before. */
  note(
    table: number,
    keyId: KeyId,
    columns: readonly number[],
    { write, last }: { readonly write: LastWrite; readonly last: LastWrite | null },
  ): void {
    const record = this.#read(table, keyId) ?? { whole: last === null ? null : pack(last), columns: {} };
    for (const column of columns) record.columns[column] = pack(write);
    this.#upsert.run(table, keyId, JSON.stringify(record));
  }
}

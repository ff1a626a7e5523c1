/** What `conflicts restore` asks of the replica beside the journal: who refers to a row, and what was put back already. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { KeyId } from "../../change/key.ts";
import { TextBytes, type Value } from "../../change/value.ts";
import type { ForeignKey } from "../../schema/foreign-keys.ts";
import { prepareExact } from "../../rows/row-access.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import type { StoredConflict } from "./journal.ts";

/** The SQL that finds a child's keys by the values of its reference: one parameter a column of the foreign key. */
export function referringSql({ child, columns, collations }: ForeignKey): string {
  const keys = child.key.map((k) => quoteIdentifier(child.columns[k]!.name)).join(", ");
  const where = columns.map(
    (c, i) => `${quoteIdentifier(child.columns[c]!.name)} COLLATE ${collations[i]!} = ?`,
  );
  return `SELECT ${keys} FROM main.${quoteIdentifier(child.name)} WHERE ${where.join(" AND ")}`;
}

export const bound = (value: Value): Exclude<Value, TextBytes> =>
  value instanceof TextBytes ? value.bytes : value;

/** Keys of the rows that refer to a parent by these values, in the order of the foreign key's columns. */
export const rowsReferring = (
  db: DatabaseSync,
  foreignKey: ForeignKey,
  values: readonly Value[],
): Value[][] => prepareExact(db, referringSql(foreignKey)).all(...values.map(bound)) as unknown as Value[][];

/** Rows of conflicts that this node put back under fresh keys. Node-local. */
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

  /** The key under which the row came back; null: it did not. */
  keyOf({ shard, index, ordinal }: StoredConflict): KeyId | null {
    const row = this.#select.get(shard, index, ordinal) as unknown as [KeyId] | undefined;
    return row === undefined ? null : row[0];
  }
}

/** Finds the rows that refer to a parent. */
import type { DatabaseSync } from "node:sqlite";
import { TextBytes, type Value } from "../../change/value.ts";
import { type ExactStatement, prepareExact } from "../../rows/exact-values.ts";
import type { ForeignKey } from "../../schema/foreign-keys.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";

export const bound = (value: Value): Exclude<Value, TextBytes> =>
  value instanceof TextBytes ? value.bytes : value;

/** Selects the keys of child rows. It has one parameter per column of the foreign key. */
export function prepareReferring(
  db: DatabaseSync,
  { child, columns, collations }: ForeignKey,
): ExactStatement {
  const keys = child.key.map((k) => quoteIdentifier(child.columns[k]!.name)).join(", ");
  const where = columns.map(
    (c, i) => `${quoteIdentifier(child.columns[c]!.name)} COLLATE ${collations[i]!} = ?`,
  );
  return prepareExact(
    db,
    `SELECT ${keys} FROM main.${quoteIdentifier(child.name)} WHERE ${where.join(" AND ")}`,
  );
}

/** Keys of the rows that refer to a parent by these values, in the order of the foreign key's columns. */
export const rowsReferring = (
  db: DatabaseSync,
  foreignKey: ForeignKey,
  values: readonly Value[],
): Value[][] => prepareReferring(db, foreignKey).all(...values.map(bound));

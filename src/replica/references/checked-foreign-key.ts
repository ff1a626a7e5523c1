/** One declared foreign key in the replica: finds parents and children, and the replacement that its action writes. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { type KeyId, keyIdOf } from "../../change/key.ts";
import { type Image, TextBytes, type Value, valueEqual } from "../../change/value.ts";
import { type ExactStatement, prepareExact } from "../../rows/exact-values.ts";
import type { ForeignKey } from "../../schema/foreign-keys.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { bound, prepareReferring } from "./referring-rows.ts";

/** A default that has the same value on every node: a literal. */
const LITERAL = /^\s*(?:NULL|[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?|'(?:[^']|'')*'|x'(?:[0-9a-f]{2})*')\s*$/i;

export class CheckedForeignKey {
  readonly key: ForeignKey;
  readonly #parent: StatementSync;
  readonly #children: ExactStatement;
  /** The values that SET NULL or SET DEFAULT writes; null: the action is impossible for this table. */
  readonly replacement: readonly Value[] | null;

  constructor(db: DatabaseSync, key: ForeignKey) {
    this.key = key;
    const where = key.parentColumns.map(
      (c, i) => `${quoteIdentifier(key.parent.columns[c]!.name)} COLLATE ${key.collations[i]!} = ?`,
    );
    this.#parent = db.prepare(
      `SELECT 1 FROM main.${quoteIdentifier(key.parent.name)} WHERE ${where.join(" AND ")}`,
    );
    this.#children = prepareReferring(db, key);
    this.replacement = this.#replacementOf(db);
  }

  #replacementOf(db: DatabaseSync): Value[] | null {
    const { child, columns, onDelete, nullable, defaults } = this.key;
    if (columns.some((c) => child.key.includes(c))) return null;
    if (onDelete === "SET NULL") return nullable ? columns.map(() => null) : null;
    if (onDelete !== "SET DEFAULT" || !defaults.every((d) => LITERAL.test(d))) return null;
    return prepareExact(db, `SELECT ${defaults.join(", ")}`).get() ?? null;
  }

  /** The values of the reference; null: a column is NULL, so the row refers to no parent. */
  valuesOf(child: Image): Value[] | null {
    const values = this.key.columns.map((c) => child[c]!);
    return values.some((v) => v === null) ? null : values;
  }

  /** The values by which children refer to this parent; null: a column is NULL, so no child can. */
  referencedBy(parent: Image): Value[] | null {
    const values = this.key.parentColumns.map((c) => parent[c]!);
    return values.some((v) => v === null) ? null : values;
  }

  same(a: readonly Value[] | null, b: readonly Value[] | null): boolean {
    if (a === null || b === null) return a === b;
    return a.every((v, i) => valueEqual(v, b[i]!));
  }

  hasParent(values: readonly Value[]): boolean {
    return this.#parent.get(...values.map(bound)) !== undefined;
  }

  /** Keys of the rows that refer by these values. */
  children(values: readonly Value[]): Value[][] {
    // Broken text is bound as a blob, and no text equals a blob.
    if (values.some((v) => v instanceof TextBytes)) return [];
    return this.#children.all(...values.map(bound));
  }

  /** The parent's key; null: the foreign key refers to a UNIQUE constraint instead of the parent's key. */
  parentKeyId(values: readonly Value[]): KeyId | null {
    const { keyOrder, parent } = this.key;
    if (keyOrder === null) return null;
    // The parent's affinity applies: text of digits refers to the integer.
    const key = keyOrder.map((place, i) => {
      const value = values[place]!;
      const { affinity } = parent.columns[parent.key[i]!]!;
      const integral = typeof value === "string" && /^\s*[+-]?\d{1,15}\s*$/.test(value);
      if (integral && (affinity === "INTEGER" || affinity === "NUMERIC" || affinity === "REAL"))
        return BigInt(Number(value));
      return affinity === "TEXT" && typeof value === "bigint" ? String(value) : value;
    });
    return keyIdOf(parent, key);
  }
}

/** One declared foreign key in the replica: looking along it in both directions, and what its action comes to. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { type KeyId, keyIdOf } from "../../change/key.ts";
import { type Image, TextBytes, type Value, valueEqual } from "../../change/value.ts";
import type { TableShape } from "../../change/shape.ts";
import { type ForeignKey, readForeignKeys } from "../../schema/foreign-keys.ts";
import { prepareExact } from "../../rows/row-access.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { bound, referringSql } from "../conflicts/restored.ts";

/** Defaults that are the same on every node: literals. */
const LITERAL = /^\s*(?:NULL|[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?|'(?:[^']|'')*'|x'(?:[0-9a-f]{2})*')\s*$/i;

const indexName = ({ child, number }: ForeignKey): string => `__marmot__fk_${child.id}_${number}`;

/** Makes the indexes by which children are found. Cheap when they are there. */
export function indexForeignKeys(db: DatabaseSync, foreignKeys: readonly ForeignKey[]): void {
  for (const foreignKey of foreignKeys) {
    const { child, columns, collations } = foreignKey;
    const terms = columns.map(
      (c, i) => `${quoteIdentifier(child.columns[c]!.name)} COLLATE ${collations[i]!}`,
    );
    db.exec(
      `CREATE INDEX IF NOT EXISTS ${quoteIdentifier(indexName(foreignKey))} ON ${quoteIdentifier(child.name)}(${terms.join(", ")})`,
    );
  }
}

/** Table id ⇒ its declared foreign keys, as a text. */
export function foreignKeyTexts(db: DatabaseSync, shapes: readonly TableShape[]): Map<number, string> {
  const texts = new Map<number, string>();
  for (const { child, parent, number, columns, parentColumns } of readForeignKeys(queryOf(db), shapes)) {
    const text = JSON.stringify([
      number,
      columns.map((c) => child.columns[c]!.name),
      parent.id,
      parentColumns.map((c) => parent.columns[c]!.name),
    ]);
    texts.set(child.id, `${texts.get(child.id) ?? ""}${text}`);
  }
  return texts;
}

/** What is known of references by their numbers: they are other references now. */
export function forgetForeignKeys(db: DatabaseSync, table: number): void {
  for (const name of ["attached", "orphan"])
    db.prepare(`DELETE FROM "__marmot__${name}" WHERE "tbl" = ?`).run(table);
  const indexes = db
    .prepare(`SELECT name FROM main.sqlite_schema WHERE type = 'index' AND name LIKE ? ESCAPE '\\'`)
    .all(`\\_\\_marmot\\_\\_fk\\_${table}\\_%`) as { name: string }[];
  for (const { name } of indexes) db.exec(`DROP INDEX ${quoteIdentifier(name)}`);
}

export class CheckedForeignKey {
  readonly key: ForeignKey;
  readonly #parent: StatementSync;
  readonly #children: StatementSync;
  /** What SET NULL or SET DEFAULT writes; null: the action cannot be done to a row of this table. */
  readonly replacement: readonly Value[] | null;

  constructor(db: DatabaseSync, key: ForeignKey) {
    this.key = key;
    const where = key.parentColumns.map(
      (c, i) => `${quoteIdentifier(key.parent.columns[c]!.name)} COLLATE ${key.collations[i]!} = ?`,
    );
    this.#parent = db.prepare(
      `SELECT 1 FROM main.${quoteIdentifier(key.parent.name)} WHERE ${where.join(" AND ")}`,
    );
    this.#children = prepareExact(db, referringSql(key));
    this.replacement = this.#replacementOf(db);
  }

  #replacementOf(db: DatabaseSync): Value[] | null {
    const { child, columns, onDelete, nullable, defaults } = this.key;
    if (columns.some((c) => child.key.includes(c))) return null;
    if (onDelete === "SET NULL") return nullable ? columns.map(() => null) : null;
    if (onDelete !== "SET DEFAULT" || !defaults.every((d) => LITERAL.test(d))) return null;
    return prepareExact(db, `SELECT ${defaults.join(", ")}`).get() as unknown as Value[];
  }

  /** The reference's values; null: it refers to nothing. */
  valuesOf(child: Image): Value[] | null {
    const values = this.key.columns.map((c) => child[c]!);
    return values.some((v) => v === null) ? null : values;
  }

  /** What children refer to this parent by; null: nobody can. */
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
    // A broken text is compared as bytes, and no text equals bytes.
    if (values.some((v) => v instanceof TextBytes)) return [];
    return this.#children.all(...values.map(bound)) as unknown as Value[][];
  }

  /** The parent's identity; null: the reference is to another UNIQUE constraint than its key. */
  parentKeyId(values: readonly Value[]): KeyId | null {
    const { keyOrder, parent } = this.key;
    if (keyOrder === null) return null;
    // The parent's affinity applies: a text of digits refers to the integer.
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

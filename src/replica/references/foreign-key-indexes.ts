/** Indexes on foreign keys in the replica, and the change of a table's foreign keys by a schema change. */
import type { DatabaseSync } from "node:sqlite";
import type { TableShape } from "../../change/shape.ts";
import { type ForeignKey, readForeignKeys } from "../../schema/foreign-keys.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { readRows, text } from "../../sqlite/typed-rows.ts";

const indexName = ({ child, number }: ForeignKey): string => `__marmot__fk_${child.id}_${number}`;

/** Creates the indexes that find the children of a row. Cheap if they exist. */
export function indexForeignKeys(db: DatabaseSync, shapes: readonly TableShape[]): void {
  for (const foreignKey of readForeignKeys(queryOf(db), shapes)) {
    const { child, columns, collations } = foreignKey;
    const terms = columns.map(
      (c, i) => `${quoteIdentifier(child.columns[c]!.name)} COLLATE ${collations[i]!}`,
    );
    db.exec(
      `CREATE INDEX IF NOT EXISTS ${quoteIdentifier(indexName(foreignKey))} ON ${quoteIdentifier(child.name)}(${terms.join(", ")})`,
    );
  }
}

/** Table id ⇒ a text that describes its declared foreign keys. */
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

/** The foreign keys of a table changed: drops the records that name them by number, and their indexes. */
export function forgetForeignKeys(db: DatabaseSync, table: number): void {
  for (const name of ["attached", "orphan"])
    db.prepare(`DELETE FROM "__marmot__${name}" WHERE "tbl" = ?`).run(table);
  const indexes = db
    .prepare(`SELECT name FROM main.sqlite_schema WHERE type = 'index' AND name LIKE ? ESCAPE '\\'`)
    .all(`\\_\\_marmot\\_\\_fk\\_${table}\\_%`);
  for (const { name } of readRows(indexes, { name: text })) db.exec(`DROP INDEX ${quoteIdentifier(name)}`);
}

/** Indexes beside a migration: unwanted ones are dropped before tables are altered, missing ones are created afterwards. */
import { foldName } from "../../base/names.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { sameTokens } from "../../sqlite/ddl-text/table-text.ts";
import type { RejectedRows } from "./constraint-rejects.ts";
import type { Migration } from "./migration.ts";
import { createUniqueIndex } from "./unique-index.ts";

const isUnique = (sql: string): boolean => /^\s*CREATE\s+UNIQUE\b/i.test(sql);

export class Indexes {
  readonly #migration: Migration;

  constructor(migration: Migration) {
    this.#migration = migration;
  }

  #isWanted({ kind, sql }: SchemaObject): boolean {
    return kind === "index" && (this.#migration.isAppDb || isUnique(sql));
  }

  dropUnwanted(): void {
    const { before, after, file } = this.#migration;
    const wanted = new Set(after.objects.flatMap((o) => (this.#isWanted(o) ? [o.name] : [])));
    for (const { kind, name } of before.objects)
      if (kind === "index" && !wanted.has(name) && file.text("index", name) !== null)
        file.drop("index", name);
  }

  /** SQLite drops no column that an index names. */
  dropChangedOf(table: string): void {
    const { isAppDb, after, file } = this.#migration;
    if (!isAppDb) this.#migration.dropOwnOf(table);
    for (const { kind, name, tableName, sql } of after.objects) {
      if (kind !== "index" || foldName(tableName) !== foldName(table)) continue;
      const text = file.text("index", name);
      if (text !== null && text !== sql) file.drop("index", name);
    }
  }

  create(): void {
    for (const object of this.#migration.after.objects) if (this.#isWanted(object)) this.#create(object);
  }

  #create(object: SchemaObject): void {
    const { isAppDb, file } = this.#migration;
    const { name, tableName, sql } = object;
    const text = file.text("index", name);
    if (!isAppDb && file.text("table", tableName) === null) {
      // It is now the index of a table that does not replicate.
      if (text !== null) file.drop("index", name);
      return;
    }
    if (text === sql) return;
    if (text !== null && sameTokens(text, sql)) {
      file.setText("index", name, sql);
      return;
    }
    if (text !== null) file.drop("index", name);
    // A replica keeps a table without rows if it lacks a function or a collation that the index needs.
    const isPlain = !isUnique(sql) || (!isAppDb && this.#isEmpty(tableName));
    if (!isPlain) this.#createUnique(object);
    else file.create(object);
  }

  #isEmpty(table: string): boolean {
    return queryOf(this.#migration.db)(`SELECT 1 FROM main.${quoteIdentifier(table)} LIMIT 1`).length === 0;
  }

  #createUnique(object: SchemaObject): void {
    const { db, file, lineages } = this.#migration;
    const { tableName, sql } = object;
    let rows: RejectedRows | null = null;
    const from =
      lineages.find((l) => l.to !== null && foldName(l.to) === foldName(tableName))?.from ?? tableName;
    try {
      createUniqueIndex(
        db,
        sql,
        () => (rows = this.#migration.rowsOf(tableName, from, tableName)),
        () => this.#dropTriggersOf(tableName),
      );
    } catch (error) {
      throw file.failed(sql, error);
    }
    file.note(object);
    if (rows !== null) this.#migration.countRejects(tableName, rows);
  }

  /** The application's triggers are created again at the end of the migration. */
  #dropTriggersOf(table: string): void {
    const { db, file } = this.#migration;
    this.#migration.dropOwn(
      (t) => foldName(t) === foldName(table),
      (t) => t,
    );
    const sql = "SELECT name FROM main.sqlite_schema WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE";
    for (const [name] of queryOf(db)(sql, table)) file.drop("trigger", String(name));
  }
}

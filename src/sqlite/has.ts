/** Tests whether the main schema, not an attached one, has an object of that name. */
import type { DatabaseSync } from "node:sqlite";
import { queryOf } from "./query.ts";
import { readRows, text } from "./typed-rows.ts";

const has = (db: DatabaseSync, type: "table" | "index", name: string): boolean =>
  queryOf(db)(`SELECT 1 FROM main.sqlite_schema WHERE type = ? AND name = ?`, type, name).length > 0;

export const hasTable = (db: DatabaseSync, name: string): boolean => has(db, "table", name);
export const hasIndex = (db: DatabaseSync, name: string): boolean => has(db, "index", name);

/** Names of all tables of the main schema. */
export const tableNames = (db: DatabaseSync): Set<string> => {
  const rows = db.prepare(`SELECT name FROM main.sqlite_schema WHERE type = 'table'`).all();
  return new Set(readRows(rows, { name: text }).map(({ name }) => name));
};

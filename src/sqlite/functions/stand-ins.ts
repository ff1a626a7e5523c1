/**
 * Functions that a schema calls and this SQLite does not have. Where a statement of Marmot compiles such a call but its result
 * is stored nowhere (a CHECK, a virtual generated column), a function that returns 0 takes its place.
 * `schema/classify/writable.ts` refuses a table of which a result would be stored.
 */
import type { DatabaseSync } from "node:sqlite";
import { errorMessage } from "../../base/errors.ts";
import { foldName } from "../../base/names.ts";
import { BUILT_IN_COLLATIONS, collationsIn } from "../ddl-text/collations.ts";

const standIns = new WeakMap<DatabaseSync, Set<string>>();

/** Folded names of the functions of this connection that take the place of missing ones. */
export const standInsOf = (db: DatabaseSync): ReadonlySet<string> => standIns.get(db) ?? new Set();

/** The name in SQLite's message; null: another error. */
export const missingFunction = (error: unknown): string | null =>
  /^(?:no such function: |unknown function: )([^]+?)(?:\(\))?$/.exec(errorMessage(error))?.[1] ?? null;

export const missingCollation = (error: unknown): string | null =>
  /^no such collation sequence: ([^]+)$/.exec(errorMessage(error))?.[1] ?? null;

export function standIn(db: DatabaseSync, name: string): void {
  let names = standIns.get(db);
  if (names === undefined) standIns.set(db, (names = new Set()));
  if (names.has(foldName(name))) return;
  names.add(foldName(name));
  db.function(name, { varargs: true, deterministic: true, useBigIntArguments: true }, () => 0);
}

/** Runs `work` again for each function that it lacks, with one in its place. */
export function withStandIns<T>(db: DatabaseSync, work: () => T): T {
  for (;;)
    try {
      return work();
    } catch (error) {
      const name = missingFunction(error);
      if (name === null || standInsOf(db).has(foldName(name))) throw error;
      standIn(db, name);
    }
}

/** The statement with BINARY in place of collations that SQLite does not include. */
export function withoutCollations(sql: string): string {
  let text = sql;
  for (const { name, start, end } of collationsIn(sql).reverse())
    if (!BUILT_IN_COLLATIONS.has(name.toUpperCase()))
      text = `${text.slice(0, start)}BINARY${text.slice(end)}`;
  return text;
}

/**
 * Runs a CREATE TABLE or CREATE INDEX of an application. False: a collation is missing, and the object was created with
 * BINARY in its place; the caller writes the text.
 */
export function createAsWritten(db: DatabaseSync, sql: string): boolean {
  try {
    withStandIns(db, () => db.exec(sql));
    return true;
  } catch (error) {
    if (missingCollation(error) === null) throw error;
  }
  withStandIns(db, () => db.exec(withoutCollations(sql)));
  return false;
}

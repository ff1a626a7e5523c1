/** Rows as arrays from either of Bun's SQLite modules. */
import type { Database } from "bun:sqlite";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { trusted } from "./typed-rows.ts";

export type Cell = null | number | bigint | string | Uint8Array;

/** Runs a statement and gives its rows as arrays. Integers may come as `number` or `bigint`. */
export type Query = (sql: string, ...parameters: (string | number)[]) => Cell[][];

/** Statements kept per connection. The number is bounded: some statements name a table, and tables come and go. */
const KEPT = 64;

const queries = new WeakMap<DatabaseSync, Query>();

/**
 * Reading a schema runs the same queries for every table, and again after each change: statements are kept per
 * connection.
 */
export function queryOf(db: DatabaseSync): Query {
  let query = queries.get(db);
  if (query === undefined) queries.set(db, (query = keeping(db)));
  return query;
}

function keeping(db: DatabaseSync): Query {
  const kept = new Map<string, StatementSync>();
  return (sql, ...parameters) => {
    let statement = kept.get(sql);
    if (statement === undefined) {
      statement = db.prepare(sql);
      statement.setReturnArrays(true);
      if (kept.size === KEPT) kept.delete(kept.keys().next().value!);
      kept.set(sql, statement);
    }
    return trusted<Cell[][]>(statement.all(...parameters));
  };
}

export function queryOfBun(db: Database): Query {
  return (sql, ...parameters) => trusted<Cell[][]>(db.query(sql).values(...parameters));
}

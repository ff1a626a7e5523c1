/** Rows as arrays from either of Bun's SQLite modules. */
import type { Database } from "bun:sqlite";
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";

export type Cell = null | number | bigint | string | Uint8Array;

/** Runs a statement and gives its rows as arrays. Integers may come as `number` or `bigint`. */
export type Query = (sql: string, ...parameters: (string | number)[]) => Cell[][];

/** Reading a schema asks the same of every table: statements are kept as long as the function is. */
export function queryOf(db: DatabaseSync): Query {
  const prepared = new Map<string, StatementSync>();
  return (sql, ...parameters) => {
    let statement = prepared.get(sql);
    if (statement === undefined) {
      statement = db.prepare(sql);
      statement.setReturnArrays(true);
      prepared.set(sql, statement);
    }
    return statement.all(...(parameters as SQLInputValue[])) as unknown as Cell[][];
  };
}

export function queryOfBun(db: Database): Query {
  return (sql, ...parameters) => db.query(sql).values(...parameters) as unknown as Cell[][];
}

/** Statements that are compiled at their first use: most statements of an opened database never run. */
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";

export class LazyStatement {
  readonly #prepare: () => StatementSync;
  #statement: StatementSync | null = null;

  constructor(prepare: () => StatementSync) {
    this.#prepare = prepare;
  }

  get #made(): StatementSync {
    this.#statement ??= this.#prepare();
    return this.#statement;
  }

  get(...values: SQLInputValue[]): ReturnType<StatementSync["get"]> {
    return this.#made.get(...values);
  }

  all(...values: SQLInputValue[]): ReturnType<StatementSync["all"]> {
    return this.#made.all(...values);
  }

  run(...values: SQLInputValue[]): ReturnType<StatementSync["run"]> {
    return this.#made.run(...values);
  }
}

export const lazily = (db: DatabaseSync, sql: string): LazyStatement =>
  new LazyStatement(() => db.prepare(sql));

/** Rows are arrays. */
export const arraysLazily = (db: DatabaseSync, sql: string): LazyStatement =>
  new LazyStatement(() => {
    const statement = db.prepare(sql);
    statement.setReturnArrays(true);
    return statement;
  });

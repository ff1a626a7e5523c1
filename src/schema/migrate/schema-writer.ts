/** The schema of the file that is changed: statements, texts, and what is there now. Used within `alone`. */
import type { DatabaseSync } from "node:sqlite";
import { errorMessage, isDiskFull, UserError } from "../../base/errors.ts";
import { foldName } from "../../base/names.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { reload, reorder, setText } from "./sqlite-schema-rows.ts";

type Kind = SchemaObject["kind"];

const keyOf = (kind: string, name: string): string => `${kind} ${foldName(name)}`;

export class SchemaWriter {
  readonly #db: DatabaseSync;
  /** Texts were written behind the connection's back. */
  #stale = false;
  /** Texts of what there is, by kind and name; null: read it again. */
  #present: Map<string, string> | null = null;

  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  /** Throws `UserError` for a statement that this file cannot take. */
  exec(sql: string): void {
    this.forget();
    this.#run(sql);
  }

  create(object: SchemaObject): void {
    this.#run(object.sql);
    this.note(object);
  }

  drop(kind: "index" | "view" | "trigger", name: string): void {
    this.#run(`DROP ${kind.toUpperCase()} main.${quoteIdentifier(name)}`);
    // The triggers of a view go with it.
    if (kind === "view") this.forget();
    else this.#present?.delete(keyOf(kind, name));
  }

  #run(sql: string): void {
    try {
      this.#db.exec(sql);
    } catch (error) {
      throw this.failed(sql, error);
    }
  }

  failed(sql: string, error: unknown): unknown {
    if (isDiskFull(error)) return error;
    return new UserError(
      `this file cannot take a schema change of the cluster: ${errorMessage(error)}, in: ${sql}`,
      "make what the statement needs available here (a module or function of the application), or undo the change on the node it came from",
      { cause: error },
    );
  }

  /** Of an object as the file has it now; null: it has none. */
  text(kind: Kind, name: string): string | null {
    this.#present ??= new Map(
      queryOf(this.#db)("SELECT type, name, sql FROM main.sqlite_schema").map(([type, of, sql]) => [
        keyOf(String(type), String(of)),
        String(sql ?? ""),
      ]),
    );
    return this.#present.get(keyOf(kind, name)) ?? null;
  }

  /** An object was created by another hand. */
  note({ kind, name, sql }: SchemaObject): void {
    this.#present?.set(keyOf(kind, name), sql);
  }

  /** The schema was changed by another hand. */
  forget(): void {
    this.#present = null;
  }

  /** Takes the place of a text that stores alike. */
  setText(kind: "table" | "index", name: string, sql: string): void {
    setText(this.#db, kind, name, sql);
    this.#present?.set(keyOf(kind, name), sql);
    this.#stale = true;
  }

  reorder(objects: readonly SchemaObject[]): void {
    if (reorder(this.#db, objects)) this.#stale = true;
  }

  /** Makes written texts be the schema. */
  reload(): void {
    if (this.#stale) reload(this.#db);
    this.#stale = false;
  }

  /** For a table that steps aside. */
  freeName(): string {
    for (let i = 1; ; i++) {
      const name = `__marmot__aside_${i}`;
      if (this.text("table", name) === null) return name;
    }
  }
}

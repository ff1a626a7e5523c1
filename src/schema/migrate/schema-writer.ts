/** Writes the schema of a file, by statements and by texts, and knows the present texts. Used within `alone`. */
import type { DatabaseSync } from "node:sqlite";
import { errorMessage, isDiskFull, UserError } from "../../base/errors.ts";
import { foldName } from "../../base/names.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { reload, setText } from "../../sqlite/schema-texts.ts";
import { createAsWritten } from "../../sqlite/functions/stand-ins.ts";
import { reorder } from "./sqlite-schema-rows.ts";

type Kind = SchemaObject["kind"];

const keyOf = (kind: string, name: string): string => `${kind} ${foldName(name)}`;

export class SchemaWriter {
  readonly #db: DatabaseSync;
  /** Texts were written of which the connection does not know yet. */
  #stale = false;
  /** Present texts by kind and name; null: they must be read again. */
  #present: Map<string, string> | null = null;

  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  /** Throws `UserError` for a statement that this file cannot take. */
  exec(sql: string): void {
    this.forget();
    this.#run(sql);
  }

  /** A table or an index may name functions and collations that SQLite lacks: its text is as written all the same. */
  create(object: SchemaObject): void {
    const { kind, name, sql } = object;
    this.#trying(sql, () => {
      if (kind !== "table" && kind !== "index") this.#db.exec(sql);
      else if (!createAsWritten(this.#db, sql)) this.setText(kind, name, sql);
    });
    this.note(object);
  }

  drop(kind: "index" | "view" | "trigger", name: string): void {
    this.#run(`DROP ${kind.toUpperCase()} main.${quoteIdentifier(name)}`);
    // SQLite drops the triggers of a view with it.
    if (kind === "view") this.forget();
    else this.#present?.delete(keyOf(kind, name));
  }

  #run(sql: string): void {
    this.#trying(sql, () => this.#db.exec(sql));
  }

  #trying(sql: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      throw this.failed(sql, error);
    }
  }

  failed(sql: string, error: unknown): unknown {
    if (isDiskFull(error)) return error;
    return new UserError(
      `this file cannot take a schema change of the cluster: ${errorMessage(error)}, in: ${sql}`,
      "make the module or function that the statement needs available to marmot, or undo the change on the node that made it",
      { cause: error },
    );
  }

  /** The present text of an object; null: the file has no such object. */
  text(kind: Kind, name: string): string | null {
    this.#present ??= new Map(
      queryOf(this.#db)("SELECT type, name, sql FROM main.sqlite_schema").map(([type, of, sql]) => [
        keyOf(String(type), String(of)),
        String(sql ?? ""),
      ]),
    );
    return this.#present.get(keyOf(kind, name)) ?? null;
  }

  /** The caller created an object itself. */
  note({ kind, name, sql }: SchemaObject): void {
    this.#present?.set(keyOf(kind, name), sql);
  }

  /** The caller changed the schema itself. */
  forget(): void {
    this.#present = null;
  }

  /** Replaces a text by one with the same structure. */
  setText(kind: "table" | "index", name: string, sql: string): void {
    setText(this.#db, kind, name, sql);
    this.#present?.set(keyOf(kind, name), sql);
    this.#stale = true;
  }

  reorder(objects: readonly SchemaObject[]): void {
    if (reorder(this.#db, objects)) this.#stale = true;
  }

  /** Lets the connection read the written texts. */
  reload(): void {
    if (this.#stale) reload(this.#db);
    this.#stale = false;
  }

  /** A name for a table during the migration. */
  freeName(): string {
    for (let i = 1; ; i++) {
      const name = `__marmot__aside_${i}`;
      if (this.text("table", name) === null) return name;
    }
  }
}

/**
 * One connection to a plain file, with the answers of its statements. A replicated file and a plain file must answer
 * alike.
 */
import { Database } from "bun:sqlite";
import type { Case, Step } from "./case.ts";
import { partOf } from "./functions.ts";
import { NODE_FUNCTION, OWN_FUNCTION } from "./draw-table.ts";

/** Settings of a connection that a step begins with. */
const DEFAULTS = `
  PRAGMA recursive_triggers = OFF; PRAGMA foreign_keys = OFF; PRAGMA trusted_schema = ON; PRAGMA ignore_check_constraints = OFF;
  PRAGMA legacy_alter_table = OFF;
`;

const FORGET = "REPLACE INTO temp.forget VALUES(-7)";

/** What only applications have: see `OWN_FUNCTION`. */
export function giveFunctions(db: Database): void {
  const functions = db as unknown as {
    function(name: string, options: object, run: (value: unknown) => unknown): void;
  };
  functions.function(OWN_FUNCTION, { deterministic: true, useBigIntArguments: true }, (value) => value);
  functions.function(NODE_FUNCTION, { deterministic: true, useBigIntArguments: true }, partOf);
}

export class PlainApplication {
  readonly db: Database;
  readonly #rowids: boolean;

  constructor(file: string, { rowids }: Pick<Case, "rowids">, busyMs = 0) {
    this.db = new Database(file, { readwrite: true, create: false, safeIntegers: true });
    this.db.exec(`PRAGMA busy_timeout = ${busyMs}; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY`);
    giveFunctions(this.db);
    if (rowids) this.db.exec("CREATE TEMP TABLE forget(id INTEGER PRIMARY KEY)");
    this.#rowids = rowids;
  }

  /** What each statement of a step answered; a transaction that it leaves open is rolled back. */
  run({ sql }: Pick<Step, "sql">): string[] {
    this.db.exec(DEFAULTS);
    const answers = sql.map((text) => this.#answer(text));
    if (this.db.inTransaction) this.db.exec("ROLLBACK");
    return answers;
  }

  #answer(text: string): string {
    try {
      // After a failed INSERT, the value of last_insert_rowid() depends on whether the table has triggers at all.
      const inserts = this.#rowids && /^\s*(?:INSERT|REPLACE)\b/i.test(text);
      if (inserts) this.db.exec(FORGET);
      const statement = this.db.prepare(text);
      let rows: unknown[][];
      try {
        rows = statement.values();
      } finally {
        statement.finalize();
      }
      if (/^\s*PRAGMA\b/i.test(text)) return "";
      if (!/^\s*(?:INSERT|REPLACE|UPDATE|DELETE|SELECT)\b/i.test(text)) return "done";
      const [changes, rowid] = this.db.query("SELECT changes(), last_insert_rowid()").values()[0]!;
      const shown = rows.map((row) => row.map((v) => (typeof v === "bigint" ? `${v}` : Bun.inspect(v))));
      const counted = /^\s*SELECT\b/i.test(text) ? "read" : `${String(changes)} changed`;
      return `${counted}${inserts ? `, last rowid ${String(rowid)}` : ""}${shown.length > 0 ? `: ${JSON.stringify(shown)}` : ""}`;
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      // Which of two is found first in a STRICT table depends on whether it has BEFORE triggers at all.
      return /^(?:NOT NULL constraint failed|cannot store)/.test(said) ? "a value does not fit" : said;
    }
  }

  /** What `PRAGMA integrity_check` finds: also rows that were written with checks ignored. */
  integrity(): string {
    this.db.exec(DEFAULTS);
    return this.db.query("PRAGMA integrity_check").values().map(String).sort().join("; ");
  }

  close(): void {
    this.db.close();
  }
}

/** Makes a case's file: schema and first rows, as far as SQLite takes them. */
export function makeFile(file: string, { encoding, schema }: Pick<Case, "encoding" | "schema">): void {
  const db = new Database(file, { create: true });
  try {
    giveFunctions(db);
    db.exec(`PRAGMA encoding = '${encoding}'; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF`);
    applySchema(db, schema);
  } finally {
    db.close();
  }
}

export function applySchema(db: Database, schema: readonly string[]): void {
  for (const text of schema)
    try {
      db.exec(text);
    } catch {
      // A row that a constraint forbids; in a reduced case also a statement that names missing objects.
    }
}

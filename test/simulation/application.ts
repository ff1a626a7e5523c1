/**
 * The application of one node: plain transactions on the plain file, with the clauses that are hard to replicate.
 * Each written row has a unique tag, and each transaction records which rows it found and left. So the order of reads
 * and writes can be checked afterwards.
 */
import { Database } from "bun:sqlite";
import type { Random } from "../../src/base/random.ts";
import type { Work } from "../differential/traffic.ts";
import {
  changesOf,
  COUNTER_TAGS,
  perform,
  prepareConnection,
  type Rows,
  RowReader,
  type RowWrite,
} from "./generated.ts";
import { KEYLESS_TAGS, writeNote } from "./keyless.ts";
import type { Generated, Migration } from "./plan.ts";

const ACCOUNTS = 4;
const LISTS = 2;
const MONEY = 100;

export const SCHEMA = `
  CREATE TABLE kv(k INTEGER PRIMARY KEY, v TEXT);
  CREATE TABLE u(id INTEGER PRIMARY KEY, name TEXT UNIQUE, tag TEXT);
  CREATE TABLE w(word TEXT NOT NULL COLLATE NOCASE, n INT NOT NULL, v, tag TEXT, PRIMARY KEY(word, n)) WITHOUT ROWID;
  CREATE TABLE p(id INTEGER PRIMARY KEY, tag TEXT);
  CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES p(id) ON DELETE CASCADE, tag TEXT);
  CREATE TABLE list(id INTEGER PRIMARY KEY, items TEXT NOT NULL);
  CREATE TABLE bank(id INTEGER PRIMARY KEY, owner INT NOT NULL, amount INT NOT NULL);
  CREATE TABLE bulk(id INTEGER PRIMARY KEY, data BLOB);
  CREATE TABLE counter(owner INTEGER PRIMARY KEY, seq INT NOT NULL);
`;

/** The rows that a node's application starts with. */
export const rowsOf = (owner: number): string =>
  [
    ...rowsBesideOf(owner),
    ...Array.from({ length: LISTS }, (_, i) => `INSERT INTO list VALUES(${owner * 10 + i}, '')`),
  ].join(";");

/** Those of them that are there beside a generated schema, too. */
export const rowsBesideOf = (owner: number): string[] => [
  ...Array.from(
    { length: ACCOUNTS },
    (_, i) => `INSERT INTO bank VALUES(${owner * 10 + i}, ${owner}, ${MONEY})`,
  ),
  `INSERT INTO counter VALUES(${owner}, 0)`,
];

/** Tables keep their columns: the onlookers know them. */
function migrationSql(
  what: Migration,
  table: string,
  number: number,
  textOf: (table: string) => string,
): string {
  switch (what) {
    case "create":
      return `CREATE TABLE extra${number}(id INTEGER PRIMARY KEY, v)`;
    case "drop":
      return `DROP TABLE extra${number}`;
    case "index":
      return `CREATE INDEX "of_${table}" ON ${table}((${number}))`;
    case "unindex":
      return `DROP INDEX "of_${table}"`;
    case "view":
      return `DROP VIEW IF EXISTS seen; CREATE VIEW seen AS SELECT ${number} FROM ${table}`;
    case "trigger":
      return `DROP TRIGGER IF EXISTS fired; CREATE TRIGGER fired AFTER UPDATE ON ${table} BEGIN SELECT ${number}; END`;
    case "version":
      return `PRAGMA user_version = ${number + 1}`;
    case "rebuild": {
      const text = textOf(table);
      return `CREATE TABLE rebuilt${text.slice(text.indexOf("("))}; INSERT INTO rebuilt SELECT * FROM ${table};
        DROP TABLE ${table}; ALTER TABLE rebuilt RENAME TO ${table}`;
    }
    case "untrigger":
      return "";
  }
}

export const TOTAL_OF_OWNER = ACCOUNTS * MONEY;

/** A row of a tagged table that a transaction changed: the tag it found and the tag it left; null: no row. */
export interface Change {
  /** "table/key". */
  readonly row: string;
  readonly before: string | null;
  readonly after: string | null;
}

export interface Transaction {
  readonly node: number;
  readonly seq: number;
  readonly changes: readonly Change[];
  /** Elements appended to own lists. */
  readonly appended: readonly { readonly list: number; readonly item: string }[];
  /** Under a generated schema that stays as it is: all rows that it changed. */
  readonly rows?: readonly RowWrite[];
}

const DUMP = `
  SELECT 'kv/' || k, v FROM kv UNION ALL SELECT 'u/' || id, tag FROM u UNION ALL
  SELECT 'w/' || lower(word) || '/' || n, tag FROM w UNION ALL SELECT 'p/' || id, tag FROM p UNION ALL
  SELECT 'c/' || id, tag FROM c`;

/** "table/key" ⇒ its tag; several tags for a row without a declared key of which the file has several copies. */
export type Tags = Map<string, string>;

/** Tags of all copies of a row. */
export const tagsIn = (tags: string | undefined): string[] => tags?.split(" ") ?? [];

/** What a transaction did to a row, of which it found and left these tags: each write once. */
export function changesOfRow(row: string, found: string | undefined, left: string | undefined): Change[] {
  const [before, after] = [tagsIn(found), tagsIn(left)];
  const gone = before.filter((tag) => !after.includes(tag));
  const come = after.filter((tag) => !before.includes(tag));
  return Array.from({ length: Math.max(gone.length, come.length) }, (_, i) => ({
    ...{ row, before: gone[i] ?? null, after: come[i] ?? null },
  }));
}

interface Open {
  readonly seq: number;
  readonly before: Tags;
  readonly rows: Rows | null;
  readonly appended: { list: number; item: string }[];
  statements: number;
}

export class Application {
  readonly #file: string;
  readonly #number: number;
  readonly #synchronous: string;
  #db: Database | null = null;
  #seq = 0;
  #open: Open | null = null;
  /** A setting of the application of this node, drawn from the seed. */
  recursiveTriggers = false;
  foreignKeys = true;
  /** There is a table without a declared key. */
  keyless = false;
  /** The schema is the generator's. */
  generated: Generated | null = null;
  #reader: RowReader | null = null;

  constructor(file: string, number: number, synchronous: "NORMAL" | "FULL") {
    this.#file = file;
    this.#number = number;
    this.#synchronous = synchronous;
  }

  open(): void {
    try {
      this.#db = new Database(this.#file, { readwrite: true, create: false });
    } catch {
      this.#db = null; // the node has not received the file yet
      return;
    }
    this.#db.exec(
      `PRAGMA synchronous = ${this.#synchronous}; PRAGMA busy_timeout = 0; PRAGMA foreign_keys = ${this.foreignKeys}`,
    );
    this.#db.exec(`PRAGMA recursive_triggers = ${this.recursiveTriggers}; PRAGMA cache_size = -1000`);
    this.#db.query("SELECT count(*) FROM sqlite_schema").get(); // recovers an existing WAL
    // After a schema change of another node the shape of a row is not known here.
    if (this.generated !== null && !this.generated.migrations)
      this.#reader = new RowReader(this.#file, this.generated.encoding);
  }

  /** Reads the tags of all tagged rows. */
  get tagsSql(): string {
    if (this.generated !== null) return COUNTER_TAGS;
    return this.keyless ? DUMP + KEYLESS_TAGS : DUMP;
  }

  /** False: another connection holds the write lock, or SQLite refuses the transaction; nothing happened. */
  migrate(what: Migration, random: Random): boolean {
    const db = this.#db!;
    const table = random.pick(["kv", "u", "w", "p", "c", "list", "bank", "counter"]);
    const number = random.below(3);
    const sql = migrationSql(what, table, number, (name) =>
      String(
        (db.query("SELECT sql FROM sqlite_schema WHERE name = ?").values(name) as [string][])[0]?.[0] ?? "",
      ),
    );
    const triggers = db
      .query(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ? AND name LIKE '%marmot%'",
      )
      .values(table) as [string][];
    try {
      // As ORMs do it: else dropping the older table would delete what refers to it.
      db.exec("PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE");
      if (what === "untrigger") for (const [name] of triggers) db.exec(`DROP TRIGGER "${name}"`);
      else db.exec(sql);
      db.exec("COMMIT");
      return true;
    } catch {
      if (db.inTransaction) db.exec("ROLLBACK");
      return false;
    } finally {
      db.exec(`PRAGMA foreign_keys = ${this.foreignKeys}`);
    }
  }

  close(): void {
    this.#open = null;
    this.#reader?.close();
    this.#reader = null;
    this.#db?.close();
    this.#db = null;
  }

  get isOpen(): boolean {
    return this.#db !== null;
  }

  /** In the middle of a transaction. */
  get holds(): boolean {
    return this.#open !== null;
  }

  /** The newest own transaction that the file holds; null: it has no such row. */
  survived(): number | null {
    const row = this.#db!.query(`SELECT seq FROM counter WHERE owner = ?`).get(this.#number);
    return (row as { seq: number } | null)?.seq ?? null;
  }

  tags(): Tags {
    return new Map(this.#db!.query(this.tagsSql).values() as [string, string][]);
  }

  /** False: another connection has the write lock. */
  begin(work?: Work): boolean {
    const db = this.#db;
    if (db === null || this.#open !== null) return false;
    try {
      if (work !== undefined) prepareConnection(db, work);
      db.exec("BEGIN IMMEDIATE");
    } catch (error) {
      if (/locked|busy/i.test(String(error))) return false;
      throw error;
    }
    if (this.survived() === null) {
      db.exec("ROLLBACK"); // a node whose application has no rows yet
      return false;
    }
    const seq = ++this.#seq;
    const rows = this.#reader?.rows() ?? null;
    this.#open = { seq, before: this.tags(), rows, appended: [], statements: 0 };
    return true;
  }

  /** What the transaction changed; null: it was rolled back. */
  finish(commit: boolean): Transaction | null {
    const open = this.#open!;
    const db = this.#db!;
    this.#open = null;
    if (!db.inTransaction) return null; // a statement ended it
    if (!commit) {
      db.exec("ROLLBACK");
      return null;
    }
    if (this.generated !== null) this.#move(open.seq);
    db.query("UPDATE counter SET seq = ? WHERE owner = ?").run(open.seq, this.#number);
    const after = this.tags();
    try {
      db.exec("COMMIT");
    } catch (error) {
      if (this.generated === null) throw error;
      db.exec("ROLLBACK"); // a deferred reference dangles
      return null;
    }
    const changes: Change[] = [];
    for (const row of new Set([...open.before.keys(), ...after.keys()]))
      changes.push(...changesOfRow(row, open.before.get(row), after.get(row)));
    const rows = open.rows === null ? {} : { rows: changesOf(open.rows, this.#reader!.rows()) };
    return { node: this.#number, seq: open.seq, changes, appended: open.appended, ...rows };
  }

  /** Some money to another own row. */
  #move(seq: number): void {
    const account = (i: number): number => this.#number * 10 + (i % ACCOUNTS);
    const add = this.#db!.query("UPDATE bank SET amount = amount + ? WHERE id = ?");
    add.run(-(seq % 20), account(seq));
    add.run(seq % 20, account(seq + 1));
  }

  /** A generated transaction's statements. Returns what SQLite must not say of them. */
  perform(work: Work): string[] {
    return perform(this.#db!, work);
  }

  /** One statement of the open transaction; one that a constraint forbids does nothing. */
  statement(random: Random): void {
    const open = this.#open!;
    const tag = `${this.#number}.${open.seq}.${open.statements++}`;
    try {
      if (this.keyless && random.chance(0.4)) writeNote(this.#db!, random, this.#number, tag);
      else this.#draw(random, open, tag);
    } catch (error) {
      if (!/constraint/i.test(String(error))) throw error;
    }
  }

  #draw(random: Random, open: Open, tag: string): void {
    const db = this.#db!;
    const run = (sql: string, ...values: (string | number | null | Uint8Array)[]): void =>
      void db.query(sql).run(...values);
    const k = random.below(8);
    const other = random.below(8);
    const name = random.pick(["p", "q", "r", "s", "t"]);
    const word = random.pick(["a", "A", "b", "B c", "ü"]);
    switch (random.below(28)) {
      case 0:
      case 1:
        return run("INSERT OR REPLACE INTO kv VALUES(?, ?)", k, tag);
      case 2:
      case 3:
        return run("UPDATE kv SET v = ? WHERE k = ?", tag, k);
      case 4:
        return run("UPDATE kv SET v = v WHERE k <> ?", k);
      case 5:
        return run("DELETE FROM kv WHERE k = ?", k);
      case 6:
        return run("UPDATE OR REPLACE kv SET k = ?, v = ? WHERE k = ?", other, tag, k);
      case 7:
        return run("UPDATE kv SET v = ? WHERE k IN (?, ?, ?)", tag, k, other, 3);
      case 8: {
        // Two keys are swapped, by way of a third.
        run("UPDATE kv SET k = 1000, v = ? WHERE k = ?", tag, k);
        run("UPDATE kv SET k = ?, v = ? WHERE k = ?", k, tag, other);
        return run("UPDATE OR REPLACE kv SET k = ? WHERE k = 1000", other);
      }
      case 9:
      case 10:
        return run("INSERT OR REPLACE INTO u VALUES(?, ?, ?)", k, name, tag);
      case 11:
        return run("INSERT OR IGNORE INTO u VALUES(?, ?, ?)", k, name, tag);
      case 12:
        return run("UPDATE OR REPLACE u SET name = ?, tag = ? WHERE id = ?", name, tag, k);
      case 13:
        return run("UPDATE OR IGNORE u SET name = ?, tag = ? WHERE id < ?", name, tag, k);
      case 14:
        return run("DELETE FROM u WHERE name = ?", name);
      case 15: {
        const names = db
          .query("SELECT id, name FROM u ORDER BY id LIMIT 2 OFFSET ?")
          .values(random.below(3)) as [number, string | null][];
        const [one, two] = names;
        if (one === undefined || two === undefined) return;
        run("UPDATE u SET name = NULL, tag = ? WHERE id = ?", tag, one[0]);
        run("UPDATE u SET name = ?, tag = ? WHERE id = ?", one[1], tag, two[0]);
        return run("UPDATE u SET name = ? WHERE id = ?", two[1], one[0]);
      }
      case 16:
      case 17: {
        const value = random.pick([1, 1.5, null, "text", new Uint8Array([0, 255]), -0, 2 ** 40, 1e308]);
        return run("INSERT OR REPLACE INTO w VALUES(?, ?, ?, ?)", word, k % 3, value, tag);
      }
      case 18:
        return run("UPDATE OR REPLACE w SET word = ?, tag = ? WHERE n = ?", word, tag, k % 3);
      case 19:
        return run("DELETE FROM w WHERE word = ?", word);
      case 20:
        return run("INSERT INTO p VALUES(?, ?) ON CONFLICT(id) DO UPDATE SET tag = excluded.tag", k, tag);
      case 21:
      case 22:
        return run("INSERT OR REPLACE INTO c VALUES(?, ?, ?)", other, k, tag);
      case 23:
        return run("DELETE FROM p WHERE id = ?", k);
      case 24:
      case 25: {
        const list = this.#number * 10 + random.below(LISTS);
        run("UPDATE list SET items = items || ? WHERE id = ?", `${tag},`, list);
        open.appended.push({ list, item: tag });
        return;
      }
      default: {
        const from = this.#number * 10 + random.below(ACCOUNTS);
        const to = this.#number * 10 + random.below(ACCOUNTS);
        const amount = random.below(20);
        run("UPDATE bank SET amount = amount - ? WHERE id = ?", amount, from);
        return run("UPDATE bank SET amount = amount + ? WHERE id = ?", amount, to);
      }
    }
  }

  /** Outside of a transaction, and only while no other connection has the write lock. */
  maintain(sql: string): void {
    try {
      this.#db?.exec(sql);
    } catch (error) {
      // A change log is absent until the node beside the file has installed it.
      if (!/locked|busy|full|in progress|no such table: __marmot__/i.test(String(error))) throw error;
    }
  }

  /** Many rows, or few and large ones, in the open transaction. */
  bulk(random: Random): void {
    const db = this.#db!;
    const first = this.#number * 100_000 + random.below(50) * 20;
    if (random.chance(0.5)) {
      const insert = db.query("INSERT OR REPLACE INTO bulk VALUES(?, ?)");
      for (let i = 0; i < 3; i++) insert.run(first + i, new Uint8Array(600_000).fill(random.below(256)));
      return;
    }
    if (random.chance(0.3)) return void db.query("DELETE FROM bulk WHERE id % 3 = 0").run();
    const insert = db.query("INSERT OR REPLACE INTO bulk VALUES(?, ?)");
    for (let i = 0; i < 2500; i++) insert.run(first + i, new Uint8Array([random.below(256)]));
  }
}

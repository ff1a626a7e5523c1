/** Files and options for which `marmot doctor` and `marmot run` are compared. */
import { Database } from "bun:sqlite";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BINARY } from "./lab.ts";

const T = "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT); INSERT INTO t(v) VALUES('a');";
const MANY = `${T} CREATE INDEX i ON t(v);
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO t(v) SELECT hex(randomblob(20)) FROM n;`;
const CHECKS = `CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v INT CHECK(v > 0), w TEXT CHECK(twice(w) <> ''));
  PRAGMA ignore_check_constraints = ON; INSERT INTO t(v, w) VALUES(-1, 'a')`;
const PAGE = 4096;

/** A file in a folder of its own. */
export class Place {
  readonly folder = mkdtempSync(join(tmpdir(), "marmot-agree-"));
  readonly db = join(this.folder, "app.db");
  readonly #children: Bun.Subprocess[] = [];

  fill(sql: string, path = this.db): this {
    const db = new Database(path, { create: true });
    const functions = db as unknown as {
      function(name: string, o: object, run: (v: unknown) => unknown): void;
    };
    functions.function("twice", { deterministic: true }, (v) => v);
    db.exec(sql);
    db.close();
    return this;
  }

  overwrite(at: number, bytes: Uint8Array): this {
    const file = openSync(this.db, "r+");
    writeSync(file, bytes, 0, bytes.length, at);
    closeSync(file);
    return this;
  }

  /** In the pages of the file. */
  replace(before: string, after: string): this {
    const at = readFileSync(this.db).indexOf(before);
    return this.overwrite(at, Buffer.from(after));
  }

  write(name: string, text: string): string {
    writeFileSync(join(this.folder, name), text);
    return join(this.folder, name);
  }

  verb(...args: string[]): Promise<{ code: number; out: string; err: string }> {
    return outcome(Bun.spawn([BINARY, ...args], { stdout: "pipe", stderr: "pipe", cwd: this.folder }));
  }

  run(...options: string[]): Bun.Subprocess<"ignore", "ignore", "pipe"> {
    const usual = ["--db", this.db, "--listen", "/ip4/127.0.0.1/tcp/0", "--admin", "off"];
    const child = Bun.spawn([BINARY, "run", ...usual, ...options], {
      ...{ stdin: "ignore", stdout: "ignore", stderr: "pipe", cwd: this.folder },
    });
    this.#children.push(child);
    return child;
  }

  /** A stopped member with the file. */
  async member(...options: string[]): Promise<this> {
    const child = this.run(...options);
    const { code, err } = await this.verb("status", "--db", this.db, "--wait-ready", "60s");
    child.kill("SIGTERM");
    await child.exited;
    if (code !== 0) throw new Error(`the node did not become ready: ${err}`);
    return this;
  }

  async close(): Promise<void> {
    for (const child of this.#children) child.kill("SIGKILL");
    await Promise.all(this.#children.map(({ exited }) => exited));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function outcome(child: Bun.Subprocess<"ignore", "pipe", "pipe">) {
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code: await child.exited, out, err };
}

/** The page of an index's root. */
function rootOf(path: string, name: string): number {
  const db = new Database(path, { readonly: true });
  const { rootpage } = db.query("SELECT rootpage FROM sqlite_schema WHERE name = ?").get(name) as {
    rootpage: number;
  };
  db.close();
  return (rootpage - 1) * PAGE;
}

const junk = (pages: number): Uint8Array => new Uint8Array(pages * PAGE).fill(0xff);

export interface Case {
  readonly name: string;
  /** The options; none where it returns nothing. */
  readonly make: (place: Place) => unknown;
  readonly verdict: "runs" | "refused" | "halted" | "usage";
  /** In the output of both. */
  readonly says?: string;
}

export const CASES: readonly Case[] = [
  { name: "an ordinary file", make: (p) => void p.fill(T), verdict: "runs" },
  {
    name: "a table that is not there",
    make: (p) => (p.fill(T), ["--tables", "nope"]),
    verdict: "refused",
    says: "it has no nope",
  },
  {
    name: "an excluded table that is not there",
    make: (p) => (p.fill(T), ["--exclude", "nope"]),
    verdict: "refused",
    says: "it has no nope",
  },
  {
    name: "a table that is chosen and excluded",
    make: (p) => (p.fill(T), ["--tables", "t", "--exclude", "T"]),
    verdict: "usage",
    says: "both name t",
  },
  {
    name: "a merge of a table that is not there",
    make: (p) => (p.fill(T), ["--merge", "nope=column"]),
    verdict: "refused",
    says: "nope is not replicated",
  },
  {
    name: "ids of a table that is left out",
    make: (p) => (
      p.fill(`${T} CREATE TABLE u(id INTEGER PRIMARY KEY)`),
      ["--exclude", "u", "--id-block", "u=5"]
    ),
    verdict: "refused",
    says: "u is not replicated",
  },
  { name: "no file", make: () => {}, verdict: "refused", says: "does not exist" },
  { name: "no file, to be made", make: () => ["--create"], verdict: "runs" },
  {
    name: "no folder",
    make: (p) => ["--data-dir", join(p.folder, "no/such")],
    verdict: "refused",
    says: "should be a folder",
  },
  {
    name: "a data directory that is a file",
    make: (p) => ["--data-dir", p.fill(T).write("d", "")],
    verdict: "refused",
    says: "is a file",
  },
  { name: "a folder", make: (p) => mkdirSync(p.db), verdict: "refused", says: "is a folder" },
  {
    name: "another kind of file",
    make: (p) => void p.write("app.db", "text ".repeat(200)),
    verdict: "refused",
    says: "cannot be read as one",
  },
  {
    name: "damaged pages of a table",
    make: (p) => void p.fill(MANY).overwrite(PAGE * 12, junk(2)),
    verdict: "refused",
    says: "is damaged",
  },
  {
    name: "a damaged index",
    make: (p) => void p.fill(MANY).overwrite(rootOf(p.db, "i"), new Uint8Array(PAGE)),
    verdict: "refused",
    says: "is damaged",
  },
  {
    name: "a truncated file",
    make: (p) => truncateSync(p.fill(MANY).db, PAGE * 5),
    verdict: "refused",
    says: "is damaged",
  },
  {
    name: "a damaged schema",
    make: (p) => void p.fill(T).replace("CREATE TABLE t(", "CREATE TABL  t("),
    verdict: "refused",
    says: "is damaged: malformed database schema",
  },
  {
    name: "change logs of HarmonyLite",
    make: (p) =>
      void p.fill(`${T} CREATE TABLE __harmonylite__t_change_log(id INTEGER PRIMARY KEY AUTOINCREMENT, val_id TEXT, type TEXT, created_at INTEGER, state INTEGER);
    CREATE TABLE __harmonylite___change_log_global(id INTEGER PRIMARY KEY AUTOINCREMENT, change_table_id INTEGER, table_name TEXT);`),
    verdict: "refused",
    says: "HarmonyLite left",
  },
  {
    name: "REAL values as text, of an older SQLite",
    make: (p) =>
      void p
        .fill(
          "CREATE TABLE t(id INTEGER PRIMARY KEY, r REAL, g TEXT AS (r || '') STORED); INSERT INTO t(id, r) VALUES(1, 1.5)",
        )
        .overwrite(96, Buffer.from([0, 0x2e, 0x5f, 0xe1])),
    verdict: "refused",
    says: "REAL values of r as text",
  },
  {
    name: "an older SQLite with the WAL-reset bug",
    make: (p) => void p.fill(T).overwrite(96, Buffer.from([0, 0x2e, 0x5f, 0xe1])),
    verdict: "runs",
  },
  {
    name: "a function that only the application has",
    make: (p) => void p.fill(`${T} CREATE UNIQUE INDEX i ON t(twice(v))`),
    verdict: "refused",
    says: "calls twice",
  },
  {
    name: "the function is given",
    make: (p) => [
      "--functions",
      p.fill(`${T} CREATE UNIQUE INDEX i ON t(twice(v))`).write("f.mjs", "export const twice = (v) => v;"),
    ],
    verdict: "runs",
  },
  {
    name: "functions that cannot be loaded",
    make: (p) => ["--functions", p.fill(T).write("f.mjs", "no module")],
    verdict: "refused",
    says: "cannot be loaded",
  },
  {
    name: "a library that cannot be loaded",
    make: (p) => ["--load-extension", p.fill(T).write("f.so", "no library")],
    verdict: "refused",
    says: "SQLite cannot load",
  },
  {
    name: "a CHECK with a function of the application, and a row against a CHECK",
    make: (p) => void p.fill(CHECKS),
    verdict: "runs",
  },
  { name: "a member with such CHECKs", make: (p) => p.fill(CHECKS).member(), verdict: "runs" },
  {
    name: "a key of NULL",
    make: (p) => void p.fill("CREATE TABLE t(k TEXT PRIMARY KEY); INSERT INTO t VALUES(NULL)"),
    verdict: "refused",
    says: "NULL in the key column k",
  },
  {
    name: "a full-text index with its own content",
    make: (p) => void p.fill(`${T} CREATE VIRTUAL TABLE f USING fts5(v)`),
    verdict: "refused",
    says: "full-text index without external content",
  },
  {
    name: "peers without the key",
    make: () => ["--peers", "/ip4/127.0.0.1/tcp/1"],
    verdict: "refused",
    says: "the cluster's key is needed",
  },
  {
    name: "a key file that is not there",
    make: (p) => (p.fill(T), ["--cluster-key", "no.key"]),
    verdict: "refused",
    says: "no.key",
  },
  {
    name: "a reader without a cluster",
    make: (p) => (p.fill(T), ["--role", "reader"]),
    verdict: "refused",
    says: "--role reader has no vote",
  },
  {
    name: "a group that is not there",
    make: (p) => (p.fill(T), ["--group", "no-such-group"]),
    verdict: "refused",
    says: "is no group of this machine",
  },
  { name: "a member", make: (p) => p.fill(T).member(), verdict: "runs" },
  {
    name: "a member with tables that it cannot replicate, made later",
    make: async (p) =>
      void (await p.fill(T).member()).fill(
        "CREATE VIRTUAL TABLE f USING fts5(v); CREATE TABLE later(rowid, _rowid_, oid)",
      ),
    verdict: "runs",
    says: "it stays on this node",
  },
  {
    name: "a member with an index of a function, made later",
    make: async (p) => void (await p.fill(T).member()).fill("CREATE INDEX i ON t(twice(v))"),
    verdict: "runs",
    says: "its index i calls twice",
  },
  {
    name: "a member with another selection",
    make: async (p) => (await p.fill(T).member(), ["--exclude", "t"]),
    verdict: "refused",
    says: "--exclude t was given",
  },
  {
    name: "a member with its selection",
    make: async (p) => (await p.fill(`${T} CREATE TABLE u(x)`).member("--exclude", "u"), ["--exclude", "U"]),
    verdict: "runs",
  },
  {
    name: "a member with another number of shards",
    make: async (p) => (await p.fill(T).member(), ["--shards", "3"]),
    verdict: "refused",
    says: "--shards 3 was given",
  },
  {
    name: "a member with another name",
    make: async (p) => (await p.fill(T).member("--name", "a"), ["--name", "b"]),
    verdict: "refused",
    says: "this member has the name a",
  },
  {
    name: "a member's file that is missing",
    make: async (p) => rmSync((await p.fill(T).member()).db),
    verdict: "refused",
    says: "is missing",
  },
  {
    name: "a member with another file",
    make: async (p) => {
      rmSync((await p.fill(T).member()).db);
      p.fill("CREATE TABLE z(id INTEGER PRIMARY KEY)");
    },
    verdict: "halted",
    says: "file-replaced",
  },
  {
    name: "a member's file with damaged pages",
    make: async (p) => void (await p.fill(MANY).member()).overwrite(rootOf(p.db, "i"), new Uint8Array(PAGE)),
    verdict: "halted",
    says: "is damaged",
  },
  {
    name: "a member's file with damaged tables of Marmot",
    make: async (p) => void (await p.fill(T).member()).overwrite(rootOf(p.db, "__marmot__meta"), junk(1)),
    verdict: "halted",
    says: "is damaged",
  },
  {
    name: "a member's file without its data directory",
    make: async (p) => renameSync(`${(await p.fill(T).member()).db}.marmot`, join(p.folder, "moved")),
    verdict: "refused",
    says: "belongs to node",
  },
  {
    name: "a member's data directory without its log",
    make: async (p) => rmSync(`${(await p.fill(T).member()).db}.marmot/log.db`),
    verdict: "refused",
    says: "the votes of this node are lost",
  },
];

/** Backups and restores of real nodes, read with plain SQLite. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { freePorts } from "../../src/cli/free-ports.ts";
import { dump, marmot, TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA = `
  CREATE TABLE account(id INTEGER PRIMARY KEY, balance INT NOT NULL);
  CREATE TABLE person(id INTEGER PRIMARY KEY AUTOINCREMENT, mail TEXT UNIQUE, name TEXT, upper TEXT GENERATED ALWAYS AS (upper(name)) STORED);
  CREATE INDEX person_name ON person(name);
  CREATE VIEW named AS SELECT name FROM person WHERE name IS NOT NULL;
  CREATE TABLE journal(id INTEGER PRIMARY KEY, body TEXT);
  CREATE TRIGGER person_added AFTER INSERT ON person BEGIN INSERT INTO journal(body) VALUES('added ' || new.name); END;
  CREATE TABLE keyless(x, y);
  CREATE TABLE word(word TEXT NOT NULL PRIMARY KEY COLLATE NOCASE, n) WITHOUT ROWID;
  CREATE VIRTUAL TABLE search USING fts5(name, content = 'person', content_rowid = 'id');
  CREATE TRIGGER search_insert AFTER INSERT ON person BEGIN INSERT INTO search(rowid, name) VALUES(new.id, new.name); END;
  CREATE TRIGGER search_update AFTER UPDATE ON person BEGIN INSERT INTO search(search, rowid, name) VALUES('delete', old.id, old.name); INSERT INTO search(rowid, name) VALUES(new.id, new.name); END;
  CREATE TRIGGER search_delete AFTER DELETE ON person BEGIN INSERT INTO search(search, rowid, name) VALUES('delete', old.id, old.name); END;
  PRAGMA user_version = 42; PRAGMA application_id = 77;
  INSERT INTO account VALUES(1, 1000), (2, 1000), (3, 1000), (4, 1000), (5, 1000), (6, 1000);
  INSERT INTO person(mail, name) VALUES('a@x', 'Ann'), ('b@x', 'Bob'), (NULL, NULL);
  INSERT INTO keyless VALUES(1.0, x'00'), (NULL, 'n');
  INSERT INTO word VALUES('One', 1);`;

let cluster: TestCluster;
let nodes: [TestNode, TestNode, TestNode];
beforeAll(async () => {
  cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, quiet: true });
  nodes = cluster.nodes as typeof nodes;
}, 120_000);
afterAll(() => cluster?.stop());

const at = (...path: string[]): string => join(cluster.folder, ...path);

/** Everything that plain SQLite says of a file. */
function content(file: string): Record<string, unknown> {
  const db = new Database(file, { readonly: true });
  try {
    const one = (sql: string): unknown => db.query(sql).values()[0]![0];
    return {
      // In the order in which dumps have it.
      schema: db.query("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid").values(),
      versions: [one("PRAGMA user_version"), one("PRAGMA application_id"), one("PRAGMA integrity_check")],
      found: db.query("SELECT rowid FROM search WHERE search MATCH 'ann'").values(),
    };
  } finally {
    db.close();
  }
}

test("a backup is the application's database, without a trace of Marmot, and makes a new cluster's file", async () => {
  const plain = at("plain.db");
  const db = new Database(plain, { create: true });
  db.exec(SCHEMA);
  db.close();
  await cluster.settle();
  const copy = at("copy.db");
  const made = nodes[1].marmot("backup", copy, "--json");
  expect([made.code, made.stderr]).toEqual([0, ""]);
  const sidecar = JSON.parse(made.stdout) as Record<string, unknown>;
  expect(content(copy)).toEqual(content(plain));
  expect(dump(copy)).toEqual(dump(plain));
  expect(sidecar).toMatchObject({
    at: copy,
    rows: { account: 6, person: 3, journal: 3, keyless: 2, word: 1 },
    withoutRows: [],
    sha256: new Bun.CryptoHasher("sha256").update(readFileSync(copy)).digest("hex"),
  });
  expect(JSON.parse(readFileSync(`${copy}.json`, "utf8"))).toMatchObject({ position: sidecar.position });
  expect(nodes[1].marmot("wait", "--position", String(sidecar.position)).code).toBe(0);

  const fresh = at("fresh.db");
  expect(marmot(["restore", copy, "--db", fresh]).code).toBe(0);
  const [port, admin] = await freePorts(2);
  const addresses = ["--listen", `/ip4/127.0.0.1/tcp/${port}`, "--admin", `127.0.0.1:${admin}`];
  const process = Bun.spawn(
    [join(import.meta.dir, "../../dist/marmot"), "run", "--db", fresh, ...addresses],
    {
      ...{ stdout: "ignore", stderr: "ignore" },
    },
  );
  try {
    await until(async () => {
      try {
        return (await fetch(`http://127.0.0.1:${admin}/readyz`)).ok;
      } catch {
        return "no answer";
      }
    }, "a node on the restored file is ready");
    expect(dump(fresh)).toEqual(dump(plain));
  } finally {
    process.kill("SIGKILL");
    await process.exited;
  }
}, 120_000);

test("backups under load are one moment each: money that moves between rows is never missing", async () => {
  const folder = `${at("backups")}/`;
  let stopped = false;
  const writers = nodes.map(async (node, n) => {
    const db = node.open();
    for (let i = 0; !stopped; i++) {
      // Each node has two accounts of its own: concurrent writes to one row would be conflicts.
      const [from, to] = [1 + 2 * n + (i % 2), 2 + 2 * n - (i % 2)];
      db.exec(
        `BEGIN IMMEDIATE; UPDATE account SET balance = balance - 7 WHERE id = ${from}; UPDATE account SET balance = balance + 7 WHERE id = ${to}; COMMIT`,
      );
      await Bun.sleep(2);
    }
    db.close();
  });
  try {
    for (let i = 0; i < 4; i++) expect((await nodes[i % 3]!.verb("backup", folder)).code).toBe(0);
  } finally {
    stopped = true;
    await Promise.all(writers);
  }
  const files = readdirSync(folder).filter((name) => name.endsWith(".db"));
  expect(files.length).toBe(4);
  expect(readdirSync(folder).length).toBe(8);
  for (const file of files) {
    const db = new Database(join(folder, file), { readonly: true });
    expect(db.query("SELECT count(*), sum(balance) FROM account").values()).toEqual([[6, 6000]]);
    db.close();
  }
}, 120_000);

test("restore --into-cluster writes the rows that differ, on all nodes, and only those", async () => {
  await cluster.settle();
  const copy = at("into.db");
  expect(nodes[0].marmot("backup", copy).code).toBe(0);
  const before = dump(copy);
  nodes[1].run(
    "UPDATE person SET mail = NULL WHERE mail = 'a@x'; UPDATE person SET mail = 'a@x' WHERE mail = 'b@x'",
    "DELETE FROM word; INSERT INTO keyless VALUES(9, 9); INSERT INTO person(mail, name) VALUES('c@x', 'Cid')",
  );
  await cluster.settle();
  const planned = nodes[2].marmot("restore", copy, "--into-cluster", "--dry-run", "--json");
  expect([planned.code, planned.stderr]).toEqual([0, ""]);
  expect((JSON.parse(planned.stdout) as { changes: unknown }).changes).toEqual([
    { table: "person", insert: 0, update: 2, delete: 1 },
    { table: "journal", insert: 0, update: 0, delete: 1 },
    { table: "keyless", insert: 0, update: 0, delete: 1 },
    { table: "word", insert: 1, update: 0, delete: 0 },
  ]);
  const asked = nodes[2].marmot("restore", copy, "--into-cluster");
  expect([asked.code, asked.stderr]).toEqual([1, expect.stringContaining("give --yes")]);
  const written = nodes[2].marmot("restore", copy, "--into-cluster", "--yes", "--json");
  expect([written.code, written.stderr]).toEqual([0, ""]);
  expect(await cluster.settle()).toEqual(before);
  const again = nodes[1].marmot("restore", copy, "--into-cluster", "--yes");
  expect([again.code, again.stdout]).toEqual([0, expect.stringContaining("no row differs")]);
}, 120_000);

test("sources and places that cannot be right are refused with a hint, and nothing is written", () => {
  const copy = at("right.db");
  expect(nodes[0].marmot("backup", copy).code).toBe(0);
  const changed = at("changed.db");
  copyFileSync(copy, changed);
  copyFileSync(`${copy}.json`, `${changed}.json`);
  appendFileSync(changed, "x");
  const own = at("own.db");
  copyFileSync(nodes[0].db, own);
  writeFileSync(at("text.db"), "no database at all, but long enough to be read as one");
  mkdirSync(at("empty"));
  writeFileSync(at("future.db.json"), JSON.stringify({ format: 99 }));
  copyFileSync(copy, at("future.db"));
  const other = new Database(at("other.db"), { create: true });
  other.exec("CREATE TABLE account(id INTEGER PRIMARY KEY, amount INT)");
  other.close();
  writeFileSync(at("nothing.db"), "");
  writeFileSync(at("described.db.json"), "{}");
  const target = at("target.db");
  for (const [args, reason] of [
    [["restore", at("nothing.db"), "--db", target], "is empty"],
    [["backup", at("described.db"), "--db", nodes[0].db], "described.db.json exists"],
    [["backup", at("text.db", "copy.db"), "--db", nodes[0].db], "is no folder"],
    [["backup", join(nodes[0].dataDir, "copy.db"), "--db", nodes[0].db], "the node's own folder"],
    [["backup", at("copy.db-wal"), "--db", nodes[0].db], "SQLite keeps beside"],
    [["backup", "https://example.com/copy.db", "--db", nodes[0].db], "is none of them"],
    [["restore", at("missing.db"), "--db", target], "there is no"],
    [["restore", at("empty"), "--db", target], "holds no complete backup"],
    [["restore", changed, "--db", target], "is not the file that its document describes"],
    [["restore", own, "--db", target], "has tables of Marmot"],
    [["restore", at("text.db"), "--db", target], "is no SQLite file"],
    [["restore", at("future.db"), "--db", target], "is of format 99"],
    [["restore", copy, "--db", nodes[0].db], "exists"],
    [["restore", at("other.db"), "--into-cluster", "--yes", "--db", nodes[0].db], "has other columns"],
    [["restore", copy, "--into-cluster", "--yes", "--db", at("none.db")], "no node runs"],
    [["backup", copy, "--db", nodes[0].db], "exists"],
    [["backup", target, "--db", at("none.db")], "holds no replica"],
  ] as const) {
    const { code, stderr } = marmot([...args]);
    expect([args[1], code, stderr]).toEqual([args[1], 1, expect.stringContaining(reason)]);
    expect(stderr).toContain("\nhint: ");
    expect(existsSync(target)).toBe(false);
  }
  for (const args of [["restore"], ["restore", copy], ["backup"], ["restore", copy, "--db", target, "--yes"]])
    expect([args, marmot(args).code]).toEqual([args, 2]);
}, 60_000);

test("commits that a plain source has only in its WAL are restored; of a folder the newest backup is taken, whatever its name is", () => {
  const source = at("in-wal.db");
  const db = new Database(source, { create: true });
  db.exec(
    "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(x); INSERT INTO t VALUES(1)",
  );
  try {
    expect(marmot(["restore", source, "--db", at("from-wal.db")]).code).toBe(0);
  } finally {
    db.close();
  }
  const restored = new Database(at("from-wal.db"), { readonly: true });
  expect(restored.query("SELECT x FROM t").values()).toEqual([[1]]);
  restored.close();
  expect(nodes[0].marmot("backup", at("named", "by-hand.db")).code).toBe(0);
  const { code, stdout } = marmot(["restore", `${at("named")}/`, "--db", at("from-named.db")]);
  expect([code, stdout]).toEqual([0, expect.stringContaining("by-hand.db")]);
});

const moto = Bun.spawnSync(["python3", "-c", "import moto.server"], { stderr: "ignore" }).exitCode === 0;

test.skipIf(!moto)(
  "s3 (moto): a backup is sent, listed and restored; a store that refuses is named",
  async () => {
    const [port] = await freePorts(1);
    const endpoint = `http://127.0.0.1:${port}`;
    const server = Bun.spawn(["python3", "-m", "moto.server", "-p", String(port)], {
      stdout: "ignore",
      stderr: "ignore",
    });
    const environment = {
      ...{
        S3_ENDPOINT: endpoint,
        S3_ACCESS_KEY_ID: "testing",
        S3_SECRET_ACCESS_KEY: "a-secret",
        S3_REGION: "us-east-1",
      },
    };
    try {
      await until(async () => {
        try {
          return (await fetch(`${endpoint}/box`, { method: "PUT" })).ok;
        } catch {
          return "no answer";
        }
      }, "the store answers");
      const node = ["--db", nodes[0].db];
      const sent = marmot(["backup", "s3://box/app/", ...node, "--json"], environment);
      expect([sent.code, sent.stderr]).toEqual([0, ""]);
      expect(marmot(["backup", "s3://box/one.db", ...node], environment).code).toBe(0);
      const again = marmot(["backup", "s3://box/one.db", ...node], environment);
      expect([again.code, again.stderr]).toEqual([1, expect.stringContaining("s3://box/one.db exists")]);
      const target = at("from-s3.db");
      const { code, stderr } = marmot(["restore", "s3://box/app/", "--db", target], environment);
      expect([code, stderr]).toEqual([0, ""]);
      expect(content(target).versions).toEqual([42, 77, "ok"]);
      expect(existsSync(join(nodes[0].dataDir, "backups", "one.db.partial"))).toBe(false);
      const refused = marmot(["backup", "s3://no-such-box/app/", ...node], environment);
      expect([refused.code, refused.stderr]).toEqual([
        1,
        expect.stringContaining("the store s3://no-such-box/app/"),
      ]);
      expect(refused.stderr).not.toContain("a-secret");
    } finally {
      server.kill("SIGKILL");
      await server.exited;
    }
  },
  120_000,
);

test("a node makes backups at regular times, removes old ones, and says when one fails", async () => {
  const [, , node] = nodes;
  const folder = at("regular");
  const restart = async (to: string): Promise<void> => {
    await node.kill("SIGTERM");
    await node.startAlone(["--backup-to", to, "--backup-every", "1s", "--backup-keep", "1s"]);
    await node.ready();
  };
  await restart(`${folder}/`);
  const seen = new Set<string>();
  await until(async () => {
    for (const name of existsSync(folder) ? readdirSync(folder) : [])
      if (name.endsWith(".db")) seen.add(name);
    const { backups } = await node.status();
    return seen.size >= 3 && (backups?.lastPosition ?? null) !== null && backups!.error === "";
  }, "three backups were made");
  await until(
    () => !existsSync(join(folder, [...seen].sort()[0]!)) || `${readdirSync(folder).length} files`,
    "the oldest is removed",
  );
  expect((await node.http("/metrics")).text).toMatch(/^marmot_backup_last_seconds 1\d{9}/m);
  writeFileSync(at("occupied"), "a file");
  await restart(`${at("occupied")}/`);
  await until(async () => ((await node.status()).backups?.failures ?? 0) > 0, "a failure is counted");
  const status = await node.verb("status");
  expect(status.stdout).toContain("The last backup to ");
  expect(marmot(["run", "--db", node.db, "--backup-every", "1h"]).code).toBe(2);
}, 60_000);

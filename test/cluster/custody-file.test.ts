/** The file of a node is changed from outside: older copies, other files at the path, emptied logs, damage. Hints are run as printed. */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { ConflictSummary } from "../../src/operations/api.ts";
import { BINARY, TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA = `CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);
  INSERT INTO t VALUES(1, 'first'), (2, 'first'), (3, 'first')`;
const SUFFIXES = ["", "-wal", "-shm"];

let cluster: TestCluster;
let node: TestNode;
beforeEach(async () => {
  cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, quiet: true });
  node = cluster.nodes[2]!;
});
afterEach(() => cluster.stop());

const remove = (file: string): void => {
  for (const suffix of SUFFIXES) rmSync(file + suffix, { force: true });
};

/** A copy as backup tools make it. */
function copyOf(db: string): string {
  const to = `${db}.copy`;
  const source = new Database(db);
  source.exec(`VACUUM INTO '${to}'`);
  source.close();
  const copy = new Database(to);
  copy.exec("PRAGMA journal_mode = WAL");
  copy.close();
  return to;
}

/** The sentence of `/readyz` when the node is halted under this name. */
async function halted(name: string): Promise<string> {
  let text = "";
  await until(
    async () => {
      try {
        ({ text } = await node.http("/readyz"));
      } catch {
        return "no answer"; // it is starting
      }
      return text.startsWith(`${name}: `) || text;
    },
    `${node.name} is halted: ${name}`,
    20_000,
  );
  const { node: shown } = await node.status();
  expect([shown.state, shown.ready, shown.waitingFor]).toEqual([name, false, text.trim()]);
  const waited = await node.verb("wait", "--timeout", "2s");
  expect([waited.code, waited.stderr.includes(name)]).toEqual([1, true]);
  return text;
}

/** Runs the first `marmot …` of a hint as it is printed. */
function runHint(text: string): { code: number; stdout: string; stderr: string } {
  const command = /marmot (repair --db \S+)/.exec(text)![1]!.split(" ");
  const done = Bun.spawnSync([BINARY, ...command], { stdout: "pipe", stderr: "pipe" });
  return { code: done.exitCode, stdout: done.stdout.toString(), stderr: done.stderr.toString() };
}

/** Of the stopped node's file. */
function damageRootOf(table: string): void {
  const db = new Database(node.db);
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  const [[root]] = db.query("SELECT rootpage FROM sqlite_schema WHERE name = ?").values(table) as [[number]];
  db.close();
  const file = openSync(node.db, "r+");
  writeSync(file, new Uint8Array(4096).fill(0xa5), 0, 4096, (root - 1) * 4096);
  closeSync(file);
}

const conflicts = async (): Promise<ConflictSummary[]> =>
  JSON.parse((await node.http("/api/v1/conflicts")).text) as ConflictSummary[];

async function confirmed(of: TestNode, ...statements: string[]): Promise<void> {
  of.run(...statements);
  expect(await of.wait({ all: true })).toBe(true);
}

test("an older copy that was written since halts the node; repair keeps the file, and its rows come back", async () => {
  const copy = copyOf(node.db);
  await confirmed(node, "INSERT INTO t VALUES(10, 'own, after the copy')");
  await node.kill("SIGTERM");
  remove(node.db);
  renameSync(copy, node.db);
  node.run(
    "INSERT INTO t VALUES(20, 'into the copy')",
    "UPDATE t SET v = 'changed in the copy' WHERE id = 3",
  );
  await node.start();
  const text = await halted("file-older");
  await until(async () => {
    const { quorum } = await cluster.nodes[0]!.status();
    return (quorum.inTouch === 2 && quorum.mayLose === 0) || JSON.stringify(quorum);
  }, "a halted voter does not count as in touch");
  const done = runHint(text);
  expect([done.code, done.stderr]).toEqual([0, ""]);
  expect(done.stdout).toContain("t: 2 rows only in the old file");
  await node.ready();
  await cluster.settle();
  expect(node.query("SELECT id FROM t ORDER BY id")).toEqual([[1n], [2n], [3n], [10n]]);
  const kept = readdirSync(dirname(node.db)).find((name) => /^app\.db\.before-\d{8}T\d{6}Z$/.test(name))!;
  expect(new Database(join(dirname(node.db), kept)).query("SELECT count(*) FROM t").values()).toEqual([[4]]);
  await until(async () => (await conflicts()).length === 2, "the rows are in the journal");
  for (const { id } of await conflicts())
    expect((await node.verb("conflicts", "restore", id, "--overwrite")).code).toBe(0);
  await cluster.settle();
  expect(cluster.nodes[0]!.query("SELECT v FROM t WHERE id IN (3, 20) ORDER BY id")).toEqual([
    ["changed in the copy"],
    ["into the copy"],
  ]);
  expect(node.marmot("repair").stderr).toContain("needs no repair");
});

test("an older copy that no one wrote to is brought up to date, and its next write gets a new log id", async () => {
  const copy = copyOf(node.db);
  await confirmed(node, "INSERT INTO t VALUES(10, 'own, after the copy')", "DELETE FROM t WHERE id = 1");
  await confirmed(cluster.nodes[0]!, "INSERT INTO t VALUES(11, 'other')");
  await node.kill("SIGTERM");
  remove(node.db);
  renameSync(copy, node.db);
  await node.start();
  await node.ready();
  node.run("INSERT INTO t VALUES(20, 'later')");
  const { t } = await cluster.settle();
  expect(t!.length).toBe(5);
});

test("a copy restored into the open file by the backup API or VACUUM is found at the next look", async () => {
  const copy = copyOf(node.db);
  await confirmed(node, "INSERT INTO t VALUES(10, 'own, after the copy')");
  const script = `import sqlite3, sys
s = sqlite3.connect(sys.argv[1]); t = sqlite3.connect(sys.argv[2], timeout=20); s.backup(t)
t.execute("insert into t values(20, 'into the restored file')"); t.commit(); t.close(); s.close()`;
  const python = Bun.which("python3");
  if (python === null) return console.log("skipped: no python3 here to be the application");
  expect(Bun.spawnSync([python, "-c", script, copy, node.db]).exitCode).toBe(0);
  expect(await halted("file-older")).toContain(node.db);
  expect(cluster.nodes[0]!.query("SELECT count(*) FROM t")).toEqual([[4n]]);
});

test("a file compacted by VACUUM INTO and a rename is taken up while the node runs", async () => {
  const fresh = copyOf(node.db);
  renameSync(fresh, node.db);
  for (const suffix of ["-wal", "-shm"]) rmSync(node.db + suffix, { force: true });
  node.run("INSERT INTO t VALUES(10, 'into the new file')");
  await confirmed(cluster.nodes[0]!, "INSERT INTO t VALUES(11, 'other')");
  await node.ready();
  await cluster.settle();
});

test("a missing file halts the node, and one that comes back goes on; a new one needs the choice", async () => {
  for (const suffix of SUFFIXES)
    if (existsSync(node.db + suffix)) renameSync(node.db + suffix, `${node.db}.away${suffix}`);
  expect(await halted("file-replaced")).toContain("is missing");
  for (const suffix of ["-wal", "-shm", ""])
    if (existsSync(`${node.db}.away${suffix}`)) renameSync(`${node.db}.away${suffix}`, node.db + suffix);
  await node.ready();
  await confirmed(node, "INSERT INTO t VALUES(10, 'back')");
  remove(node.db);
  node.run(
    "PRAGMA journal_mode = WAL",
    "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)",
    "INSERT INTO t VALUES(30, 'fresh')",
  );
  const text = await halted("file-replaced");
  expect(text).toContain("has no tables of Marmot");
  expect(runHint(text).code).toBe(0);
  await node.ready();
  const { t } = await cluster.settle();
  expect(t!.length).toBe(4);
  await until(async () => (await conflicts()).length === 1, "the row is in the journal");
});

test("an emptied change log is compared: its writes travel, and ids go on, at run time and after a stop", async () => {
  await confirmed(node, "INSERT INTO t VALUES(10, 'a'), (11, 'a'), (12, 'a')");
  node.run(
    `BEGIN; INSERT INTO t VALUES(13, 'its log row is deleted'); DELETE FROM __marmot__t_change_log;
     INSERT INTO t VALUES(14, 'b'); DELETE FROM t WHERE id = 2; COMMIT`,
    "INSERT INTO t VALUES(15, 'c')",
  );
  await cluster.settle();
  await node.kill("SIGTERM");
  node.run(
    "INSERT INTO t VALUES(16, 'stopped')",
    "DELETE FROM __marmot__t_change_log",
    ...Array.from({ length: 30 }, (_, i) => `INSERT INTO t VALUES(${100 + i}, 'more than the log ever had')`),
  );
  await node.start();
  await node.ready();
  const { t } = await cluster.settle();
  expect(t!.length).toBe(39);
});

test("Marmot's own tables are dropped: capture is installed again, and the rows beyond the replica's travel", async () => {
  const db = node.open();
  const names = db.query(
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '\\_\\_marmot%' ESCAPE '\\'",
  );
  db.exec("BEGIN");
  for (const [name] of names.values()) db.exec(`DROP TABLE "${String(name)}"`);
  for (const [name] of db.query("SELECT name FROM sqlite_schema WHERE type = 'trigger'").values())
    db.exec(`DROP TRIGGER "${String(name)}"`);
  db.exec("INSERT INTO t VALUES(10, 'not captured'); COMMIT");
  db.close();
  await until(() => cluster.nodes[0]!.query("SELECT 1 FROM t WHERE id = 10").length > 0, "the row travels");
  await node.ready();
  await confirmed(node, "INSERT INTO t VALUES(11, 'captured')");
  // Only some of them, while the node runs and while it is stopped.
  const some = ["status", "base", "awaited"].map((name) => `DROP TABLE __marmot__${name}`).join("; ");
  node.run(`${some}; INSERT INTO t VALUES(12, 'beside it')`);
  await until(() => cluster.nodes[0]!.query("SELECT 1 FROM t WHERE id = 12").length > 0, "the row travels");
  await node.ready();
  await node.kill("SIGTERM");
  node.run(`${some}; INSERT INTO t VALUES(13, 'stopped')`);
  await node.start();
  await node.ready();
  await cluster.settle();
  expect(cluster.nodes[0]!.query("SELECT count(*) FROM t WHERE id > 9")).toEqual([[4n]]);
});

test("a damaged page of the file halts the node with its path, and the hint builds the file again", async () => {
  await confirmed(
    node,
    "INSERT INTO t SELECT value + 100, hex(randomblob(400)) FROM (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 500) SELECT value FROM n)",
  );
  await node.kill("SIGTERM");
  damageRootOf("t");
  await node.start();
  cluster.nodes[0]!.run("UPDATE t SET v = 'new' WHERE id > 100");
  const text = await halted("damaged");
  expect(text).toContain(node.db);
  expect(node.log()).not.toMatch(/^\s+at /m);
  expect(runHint(text).code).toBe(0);
  await node.ready();
  await cluster.settle();
  // Without its bookkeeping the file does not tell its unsent rows: those with unknown keys are kept.
  await node.kill("SIGTERM");
  node.run("INSERT INTO t VALUES(70, 'not sent')");
  damageRootOf("__marmot__meta");
  await node.start();
  const repaired = runHint(await halted("damaged"));
  expect([repaired.code, repaired.stdout]).toEqual([
    0,
    expect.stringContaining("t: 1 rows only in the old file"),
  ]);
  await node.ready();
  await until(async () => (await conflicts()).some((c) => c.key === "70"), "the row is in the journal");
});

test("a file overwritten in place is not written any more; the rows in it survive the stop of the node", async () => {
  const copy = copyOf(node.db);
  await confirmed(node, "INSERT INTO t VALUES(10, 'own')");
  copyFileSync(copy, node.db);
  for (const suffix of ["-wal", "-shm"]) rmSync(node.db + suffix, { force: true });
  node.run("INSERT INTO t VALUES(20, 'into the overwritten file')");
  await until(
    async () => !(await node.status()).node.ready || node.query("SELECT 1 FROM t WHERE id = 10").length > 0,
    "noticed",
  );
  await node.kill("SIGTERM");
  expect(node.query("SELECT v FROM t WHERE id = 20")).toEqual([["into the overwritten file"]]);
});

test("a WAL index that is removed: what is written with a new one is not confirmed before the node sees it", async () => {
  await confirmed(node, "INSERT INTO t VALUES(10, 'own')");
  rmSync(`${node.db}-shm`);
  node.run("INSERT INTO t VALUES(11, 'with another index')");
  await until(
    async () => (await node.http("/readyz")).text.includes("-shm was removed") || isThere(11),
    "it is named, or the row is seen",
  );
  expect((await node.wait({ timeout: "3s" })) && !isThere(11)).toBe(false);
  if (!isThere(11)) {
    // The hint: stop the node and start it.
    await node.kill("SIGTERM");
    await node.start();
  }
  await node.ready();
  await cluster.settle();
  expect(isThere(11)).toBe(true);
});

const isThere = (id: number): boolean =>
  cluster.nodes[0]!.query(`SELECT 1 FROM t WHERE id = ${id}`).length > 0;

test("a removed log halts the node, which votes no more; started with --peers it becomes a new member", async () => {
  const before = (await node.status()).node.id;
  rmSync(join(node.dataDir, "log.db"));
  const text = await halted("log-lost");
  expect(text).toContain("log.db was removed while this node had it open");
  await confirmed(cluster.nodes[0]!, "INSERT INTO t VALUES(10, 'goes on')");
  await node.kill("SIGTERM");
  renameSync(node.dataDir, `${node.dataDir}.away`);
  remove(node.db);
  await node.start();
  await node.ready();
  expect((await node.status()).node.id).not.toBe(before);
  await cluster.settle();
});

test("a folder exchanged for a copy of itself halts the node: the log in the copy lacks its last promises", async () => {
  await confirmed(node, "INSERT INTO t VALUES(10, 'before the copy')");
  const copy = `${node.folder}.copy`;
  cpSync(node.folder, copy, { recursive: true, filter: (path) => !path.endsWith(".sock") });
  await confirmed(cluster.nodes[0]!, "INSERT INTO t VALUES(11, 'after the copy')");
  renameSync(node.folder, `${node.folder}.moved`);
  renameSync(copy, node.folder);
  node.run("INSERT INTO t VALUES(12, 'into the copy')");
  await until(
    async () => {
      const { text } = await node.http("/readyz");
      return text.startsWith("log-lost: ") || text;
    },
    `${node.name} is halted: log-lost`,
    20_000,
  );
  await confirmed(cluster.nodes[1]!, "INSERT INTO t VALUES(13, 'the others go on')");
  await cluster.settle(cluster.nodes.slice(0, 2));
});

test("files of two nodes that were exchanged are named, and go on when they are back", async () => {
  const other = cluster.nodes[1]!;
  for (const stopped of [node, other]) {
    await stopped.kill("SIGTERM");
    stopped.run("PRAGMA wal_checkpoint(TRUNCATE)");
    for (const suffix of ["-wal", "-shm"]) rmSync(stopped.db + suffix, { force: true });
  }
  const exchange = (): void => {
    for (const [from, to] of [
      [node.db, `${node.db}.x`],
      [other.db, node.db],
      [`${node.db}.x`, other.db],
    ] as const)
      renameSync(from, to);
  };
  exchange();
  await node.start();
  expect(await halted("file-replaced")).toContain("belongs to node");
  exchange();
  await node.ready();
  await other.start();
  await other.ready();
  await confirmed(node, "INSERT INTO t VALUES(10, 'own')");
  await cluster.settle();
});

test("a file that lost its second half halts the node, and the hint builds it again", async () => {
  await confirmed(
    node,
    "INSERT INTO t SELECT value + 100, hex(randomblob(400)) FROM (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 500) SELECT value FROM n)",
  );
  await node.kill("SIGTERM");
  node.run("PRAGMA wal_checkpoint(TRUNCATE)");
  for (const suffix of ["-wal", "-shm"]) rmSync(node.db + suffix, { force: true });
  truncateSync(node.db, Math.floor(statSync(node.db).size / 8192) * 4096);
  expect(node.marmot("doctor").stderr).toContain("app.db is damaged");
  await node.start();
  expect(runHint(await halted("damaged")).code).toBe(0);
  await node.ready();
  await cluster.settle();
});

/** Rows that no trigger saw: found on every node, published or repaired, and never replaced without a trace. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import type { ConflictSummary, RestoreResult, VerifyResult } from "../../src/operations/api.ts";
import { dump, type Result, TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA = `
  CREATE TABLE plain(id INTEGER PRIMARY KEY, v, w);
  CREATE TABLE words(word TEXT NOT NULL COLLATE NOCASE, n REAL NOT NULL, v BLOB, PRIMARY KEY(word, n)) WITHOUT ROWID;
  CREATE TABLE bare(v);
  CREATE TABLE mails(id INTEGER PRIMARY KEY, mail TEXT UNIQUE, name TEXT);
  CREATE TABLE summed(id INTEGER PRIMARY KEY, v TEXT, twice TEXT AS (v || v) STORED);
  INSERT INTO plain SELECT value, 'old ' || value, 0 FROM generate_series(1, 300);
  INSERT INTO words SELECT 'w' || value, value / 2.0, x'00' FROM generate_series(1, 300);
  INSERT INTO bare SELECT value FROM generate_series(1, 300);
  INSERT INTO mails SELECT value, 'm' || value, 'n' FROM generate_series(1, 50);
  INSERT INTO summed(id, v) SELECT value, 'v' || value || '.' FROM generate_series(1, 50);`.replaceAll(
  /SELECT (.*?) FROM generate_series\(1, (\d+)\)/g,
  "WITH RECURSIVE s(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM s WHERE value < $2) SELECT $1 FROM s",
);

/** As with triggers switched off: they are dropped and made again in the transaction that writes. */
function writeUnseen(node: TestNode, ...statements: readonly string[]): void {
  const db = node.open();
  try {
    db.exec("BEGIN IMMEDIATE");
    const triggers = db
      .query("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY rowid")
      .values() as [string, string][];
    for (const [name] of triggers) db.exec(`DROP TRIGGER "${name}"`);
    for (const sql of statements) db.exec(sql);
    for (const [, sql] of triggers) db.exec(sql);
    db.exec("COMMIT");
  } finally {
    db.close();
  }
}

const EVERYWHERE = [
  "INSERT INTO plain VALUES(900, 'unseen', 1)",
  "UPDATE plain SET v = 'unseen' WHERE id = 4",
  "DELETE FROM plain WHERE id = 5",
  "INSERT INTO words VALUES('Neu', -1.5, x'ff')",
  "UPDATE words SET v = x'01' WHERE word = 'W7'",
  "DELETE FROM words WHERE word = 'w8'",
  "INSERT INTO bare VALUES('unseen')",
  "UPDATE bare SET v = 'unseen' WHERE rowid = 3",
  "UPDATE mails SET mail = 'unseen' WHERE id = 2",
];

let cluster: TestCluster;
let nodes: [TestNode, TestNode, TestNode];

const conflicts = async (node: TestNode): Promise<ConflictSummary[]> =>
  JSON.parse((await node.http("/api/v1/conflicts?limit=1000")).text) as ConflictSummary[];
const isEqual = (): boolean => new Set(nodes.map((n) => JSON.stringify(dump(n.db)))).size === 1;
/** Runs the command of the hint that begins with these words, as it was printed. */
function runHint(node: TestNode, { stderr }: Result, option: string): Result {
  const command = new RegExp(`marmot verify (--db \\S+ ${option})`).exec(stderr)![1]!.split(" ");
  expect(command[1]).toBe(node.db);
  return node.marmot("verify", ...command.slice(2));
}

for (const shards of [1, 16])
  describe(`${shards} ${shards === 1 ? "shard" : "shards"}`, () => {
    beforeAll(async () => {
      cluster = await TestCluster.start({ shards, schema: SCHEMA });
      nodes = cluster.nodes as [TestNode, TestNode, TestNode];
      await cluster.settle();
    });
    afterAll(() => cluster?.stop());

    test("verify names them on every node, and its hint publishes them", async () => {
      const [a, b] = nodes;
      writeUnseen(b, ...EVERYWHERE);
      const there = a.marmot("verify");
      expect([there.code, there.stdout]).toEqual([1, expect.stringContaining("DIFFERENT")]);
      for (const table of ["plain", "words", "bare", "mails"])
        expect(there.stdout).toMatch(new RegExp(`file +n1 +${table} `));
      expect(there.stderr).toContain("run marmot verify on n1");
      const here = b.marmot("verify");
      expect(here.code).toBe(1);
      const one = b.marmot("verify", "--publish", "PLAIN", "--json");
      expect(JSON.parse(one.stdout) as VerifyResult).toMatchObject({ equal: false, published: 3 });
      expect(runHint(b, here, "--publish").code).toBe(0);
      const rows = await cluster.settle();
      expect(JSON.stringify(rows)).toContain(Buffer.from("unseen").toString("hex").toUpperCase());
      expect(a.query("SELECT count(*) FROM plain WHERE id IN (4, 5, 900) AND v = 'unseen'")).toEqual([[2n]]);
      for (const node of nodes) expect(node.marmot("verify").code).toBe(0);
      expect(await conflicts(a)).toEqual([]);
      expect(b.marmot("verify", "--publish", "nowhere").stderr).toContain("no table nowhere replicates");
    });

    test("the other hint takes the cluster's rows, and the discarded ones can be restored from the journal", async () => {
      const [a, b] = nodes;
      const before = await cluster.settle();
      writeUnseen(
        b,
        "UPDATE plain SET v = 'discarded' WHERE id = 10",
        "INSERT INTO plain VALUES(901, 'discarded', 2)",
        "DELETE FROM plain WHERE id = 11",
        "UPDATE mails SET mail = 'discarded' WHERE id = 9",
        "UPDATE words SET v = x'AB' WHERE word = 'w9'",
      );
      const { code, stdout } = runHint(b, b.marmot("verify"), "--repair");
      expect([code, stdout]).toEqual([0, expect.stringContaining("5 rows repaired")]);
      expect(await cluster.settle()).toEqual(before);
      await until(async () => (await conflicts(a)).length === 4, "the journal has the discarded rows");
      const found = await conflicts(a);
      expect(await conflicts(b)).toEqual(found);
      expect(new Set(found.map((c) => c.kind))).toEqual(new Set(["unseen write"]));
      expect(found.map(({ table, key }) => `${table} ${key}`).sort()).toEqual([
        "mails 9",
        "plain 10",
        "plain 901",
        "words 'w9', 4.5",
      ]);
      for (const { id } of found.filter((c) => c.table === "plain")) {
        const restored = JSON.parse(
          a.marmot("conflicts", "restore", id, "--overwrite", "--json").stdout,
        ) as RestoreResult;
        expect(restored.done).toBe("restored");
      }
      await cluster.settle();
      expect(b.query("SELECT v FROM plain WHERE id IN (10, 901)")).toEqual([["discarded"], ["discarded"]]);
    });

    test("a row that verify found and another node then writes goes to the journal before it is replaced", async () => {
      const [a, b] = nodes;
      const known = (await conflicts(a)).length;
      writeUnseen(
        b,
        "UPDATE plain SET v = 'bytes' WHERE id = 20",
        "UPDATE mails SET name = 'bytes' WHERE id = 30",
      );
      expect(b.marmot("verify").code).toBe(1);
      a.run("UPDATE plain SET w = 7 WHERE id = 20", "DELETE FROM mails WHERE id = 30");
      await cluster.settle();
      expect((await conflicts(b)).length).toBe(known + 2);
      expect(b.marmot("verify").code).toBe(0);
    });

    test("a stored generated column with another value is found, and repaired", async () => {
      const [a, b] = nodes;
      await b.kill("SIGTERM");
      b.run("PRAGMA wal_checkpoint(TRUNCATE)");
      const bytes = readFileSync(b.db);
      // The row is as old as the file: it is not shown again at the start. Pages may hold copies of it.
      for (let at = 0; (at = bytes.indexOf("v7.v7.v7.", at)) !== -1; at++) bytes.write("v7.v7.V7.", at);
      writeFileSync(b.db, bytes);
      await b.start();
      await b.ready();
      const { code, stdout } = a.marmot("verify");
      expect([code, stdout]).toEqual([
        1,
        expect.stringMatching(/n1 +summed +7 +the stored generated column twice differs/),
      ]);
      expect(b.marmot("verify", "--repair").code).toBe(0);
      expect(b.query("SELECT twice FROM summed WHERE id = 7")).toEqual([["v7.v7."]]);
    });

    test("a scanned table publishes them, also those of the time while the node was stopped", async () => {
      const [, b] = nodes;
      await b.kill("SIGTERM");
      writeUnseen(b, "UPDATE plain SET v = 'scanned' WHERE id = 200");
      await b.start(["--scan", "plain=1s,WORDS=1s,bare=1s,none=1s"]);
      await b.ready();
      await until(isEqual, "the row of the stopped time is published");
      writeUnseen(
        b,
        "DELETE FROM words WHERE word = 'w250'",
        "INSERT INTO words VALUES('scanned', 3, NULL)",
        "UPDATE bare SET v = 'scanned' WHERE rowid = 260",
      );
      await until(isEqual, "the other rows are published");
      expect(nodes[0].query("SELECT v FROM plain WHERE id = 200")).toEqual([["scanned"]]);
      expect(nodes[0].query("SELECT v FROM bare WHERE rowid = 260")).toEqual([["scanned"]]);
      expect(b.log()).toContain("--scan names a table that does not replicate");
      expect(b.marmot("verify").code).toBe(0);
    });

    test("a voter that does not answer is named, and the exit code is 1", async () => {
      const [a, , c] = nodes;
      await c.kill();
      const { code, stdout, stderr } = a.marmot("verify", "--timeout", "5s");
      expect([code, stderr]).toEqual([1, "not compared: n2 (no answer)\n"]);
      expect(stdout).toContain("equal, but NOT ALL VOTERS answered");
      await c.start();
      await c.ready();
      expect(a.marmot("verify").code).toBe(0);
    });
  });

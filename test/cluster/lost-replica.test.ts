/** A replica that is damaged or missing is received again from another member; the node stays the member that it is. */
import { closeSync, openSync, readdirSync, rmSync, writeSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, expect, test } from "bun:test";
import { marmot, TestCluster, type TestNode, until } from "./lab.ts";

let cluster: TestCluster | null = null;
afterEach(async () => {
  await cluster?.stop();
  cluster = null;
});

const ROWS = 2000;
const SCHEMA = `CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES(1, 'first'), (2, 'gone');
  CREATE TABLE big(id INTEGER PRIMARY KEY, v TEXT);
  WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS}) INSERT INTO big SELECT i, hex(randomblob(100)) FROM n`;

function overwritePage(path: string, page: number): void {
  const file = openSync(path, "r+");
  writeSync(file, randomBytes(4096), 0, 4096, (page - 1) * 4096);
  closeSync(file);
}

/** How the replica is lost while the node is stopped. */
const LOSSES: Record<string, (replica: string) => void> = {
  "its first page": (replica) => overwritePage(replica, 1),
  "the file": (replica) => {
    for (const end of ["", "-wal", "-shm"]) rmSync(replica + end, { force: true });
  },
  // It is found when the page is read.
  "a page of a table": (replica) => {
    const db = new DatabaseSync(replica);
    db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    const { page } = db.prepare("SELECT rootpage AS page FROM sqlite_schema WHERE name = 'big'").get()!;
    db.close();
    overwritePage(replica, Number(page));
  },
};

test("a lost replica is received again, and unsent rows of the file leave afterwards", async () => {
  cluster = await TestCluster.start({ shards: 1, schema: SCHEMA });
  const { nodes } = cluster;
  const [a, , c] = nodes as [TestNode, TestNode, TestNode];
  const memberOf = async (): Promise<string> => (await c.status()).node.peerId;
  const before = await memberOf();
  const rows = (node: TestNode): string => {
    const db = node.open();
    try {
      const sql = `SELECT (SELECT group_concat(id || v, ' ') FROM (SELECT * FROM t ORDER BY id)), (SELECT count(DISTINCT v) FROM big)`;
      return db.query(sql).values().flat().join(" / ");
    } finally {
      db.close();
    }
  };
  let round = 0;
  for (const [what, lose] of Object.entries(LOSSES)) {
    const id = 10 * ++round;
    await c.kill(round === 2 ? "SIGKILL" : "SIGTERM");
    c.run(
      `INSERT INTO t VALUES(${id}, 'unsent')`,
      `UPDATE t SET v = 'own ${round}' WHERE id = 1`,
      `DELETE FROM t WHERE id = 2`,
    );
    lose(join(c.dataDir, "replica.db"));
    a.run(`INSERT INTO t VALUES(${id + 1}, 'other')`, `UPDATE big SET v = ${round}`);
    await c.start();
    // The damaged page is read at the latest with this row.
    a.run("UPDATE big SET v = v || '!'");
    const received = (): boolean => c.log().split("the replica was received from").length > round;
    await until(received, `${what}: received again`);
    await c.ready();
    await until(() => nodes.every((n) => rows(n) === rows(a)), `${what}: all files agree`);
    expect(rows(c)).toContain(`${id}unsent ${id + 1}other`);
    expect(marmot(["wait", "--data-dir", c.dataDir, "--timeout", "20s"]).code).toBe(0);
  }
  expect(rows(a)).toBe("1own 3 10unsent 11other 20unsent 21other 30unsent 31other / 1");
  expect(await memberOf()).toBe(before);
  expect((await a.status()).conflicts.total).toBe(0);
  expect(marmot(["verify", "--data-dir", a.dataDir]).code).toBe(0);
  // The damaged files are kept.
  expect(readdirSync(c.dataDir).filter((n) => /^replica\.db\.damaged-\w+$/.test(n))).toHaveLength(2);
});

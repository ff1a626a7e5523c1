/** References that concurrent writes leave dangling, with processes: counted, or resolved alike on all nodes. */
import { expect, test } from "bun:test";
import type { ConflictSummary } from "../../src/operations/api.ts";
import { TestCluster, type TestNode } from "./lab.ts";

const SCHEMA = `
  CREATE TABLE parent(id INTEGER PRIMARY KEY, v TEXT);
  CREATE TABLE cascades(id INTEGER PRIMARY KEY, parent INTEGER NOT NULL REFERENCES parent(id) ON DELETE CASCADE, v TEXT);
  CREATE TABLE nulls(id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent(id) ON DELETE SET NULL, v TEXT);
  CREATE TABLE refuses(id INTEGER PRIMARY KEY, parent INTEGER NOT NULL REFERENCES parent(id), v TEXT);
  INSERT INTO parent VALUES(1, 'one'), (2, 'two'), (3, 'three'), (4, 'four');`;

/** The first two write without knowing of each other. */
async function atOnce(cluster: TestCluster, first: string[], second: string[]): Promise<void> {
  await cluster.settle();
  const [a, b] = cluster.nodes as [TestNode, TestNode];
  for (const n of cluster.nodes) await n.pause();
  a.run("PRAGMA foreign_keys = ON", ...first);
  b.run("PRAGMA foreign_keys = ON", ...second);
  for (const n of cluster.nodes) n.signal("SIGCONT");
  await cluster.settle();
}

const kinds = (node: TestNode): string[] =>
  (JSON.parse(node.marmot("conflicts", "list", "--json").stdout) as ConflictSummary[])
    .map((c) => c.kind)
    .sort();

const ids = (node: TestNode, table: string): unknown[] =>
  node.query(`SELECT id FROM ${table} ORDER BY id`).map(([id]) => Number(id));

const WRITES = {
  remove: [
    "DELETE FROM parent WHERE id = 1",
    "DELETE FROM parent WHERE id = 2",
    "DELETE FROM parent WHERE id = 3",
  ],
  refer: [
    "INSERT INTO cascades VALUES(10, 1, 'new')",
    "INSERT INTO nulls VALUES(20, 2, 'new')",
    "INSERT INTO refuses VALUES(30, 3, 'new')",
  ],
};

for (const shards of [1, 16])
  test(`resolve, ${shards} ${shards === 1 ? "shard" : "shards"}: a dangling reference gets its declared action on all nodes, not where the application enforces none`, async () => {
    const cluster = await TestCluster.start({
      shards,
      schema: SCHEMA,
      first: ["--foreign-keys", "resolve"],
    });
    try {
      const [a, , c] = cluster.nodes as [TestNode, TestNode, TestNode];
      await atOnce(cluster, WRITES.refer, WRITES.remove);
      expect(ids(c, "cascades")).toEqual([]);
      expect(c.query("SELECT id, parent FROM nulls")).toEqual([[20n, null]]);
      // The later one would have been refused: either both are there or neither.
      expect(ids(c, "refuses").length).toBe(ids(c, "parent").includes(3) ? 1 : 0);
      expect(kinds(a)).toEqual(["cascaded", "refused", "set null"]);
      expect((await a.status()).conflicts).toMatchObject({ total: 3, orphans: 0 });
      expect((await a.status()).cluster.foreignKeys).toBe("resolve");
      a.run("INSERT INTO refuses VALUES(31, 777, 'by an application that does not enforce')");
      await cluster.settle();
      expect(ids(c, "refuses")).toContain(31);
      expect((await c.status()).conflicts).toMatchObject({ total: 3, orphans: 0 });
      expect(c.marmot("verify", "--deep").code).toBe(0);
      // A cascaded row can be restored.
      const list = JSON.parse(c.marmot("conflicts", "list", "--json").stdout) as ConflictSummary[];
      c.run("INSERT INTO parent VALUES(1, 'again')");
      expect(c.marmot("conflicts", "restore", list.find((x) => x.kind === "cascaded")!.id).code).toBe(0);
      await cluster.settle();
      expect(ids(a, "cascades")).toEqual([10]);
    } finally {
      await cluster.stop();
    }
  }, 120_000);

for (const [shards, transactions] of [
  [1, "whole"],
  [16, "whole"],
  [16, "row"],
] as const)
  test(`keep, ${shards} ${shards === 1 ? "shard" : "shards"}, ${transactions}: a dangling reference stays and is counted until its parent is back or its child is deleted`, async () => {
    const cluster = await TestCluster.start({
      shards,
      schema: SCHEMA,
      first: ["--transactions", transactions],
    });
    try {
      const [a, b, c] = cluster.nodes as [TestNode, TestNode, TestNode];
      await atOnce(cluster, WRITES.refer, WRITES.remove);
      expect(["cascades", "nulls", "refuses"].map((t) => ids(c, t))).toEqual([[10], [20], [30]]);
      expect(ids(b, "parent")).toEqual([4]);
      if (transactions === "whole") {
        expect(kinds(a)).toEqual(["orphan", "orphan", "orphan"]);
        for (const n of cluster.nodes)
          expect((await n.status()).conflicts).toMatchObject({ total: 3, orphans: 3 });
        expect(a.marmot("status").stdout).toContain("dangling references 3");
      } else {
        // Rows are ordered one by one: each node counts what it met, nothing is journalled.
        const counted = await Promise.all(
          cluster.nodes.map(async (n) => (await n.status()).conflicts.orphans),
        );
        expect(counted.some((n) => n > 0)).toBe(true);
        expect(kinds(a)).toEqual([]);
      }
      a.run("DELETE FROM cascades", "INSERT INTO parent VALUES(2, 'again'), (3, 'again')");
      await cluster.settle();
      for (const n of cluster.nodes) expect((await n.status()).conflicts.orphans).toBe(0);
    } finally {
      await cluster.stop();
    }
  }, 120_000);

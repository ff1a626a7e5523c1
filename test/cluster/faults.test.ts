/** Nodes that are killed, paused, stopped for long or isolated: the guarantees that must hold. */
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA =
  "CREATE TABLE kv(k INTEGER PRIMARY KEY, v TEXT); CREATE TABLE words(word TEXT NOT NULL PRIMARY KEY, n INT)";

let cluster: TestCluster | null = null;
afterEach(async () => {
  await cluster?.stop();
  cluster = null;
});

const insert = (node: TestNode, from: number, count: number, value: string): void => {
  const db = node.open();
  db.exec("BEGIN IMMEDIATE");
  const statement = db.query("INSERT INTO kv VALUES(?, ?)");
  for (let i = 0; i < count; i++) statement.run(from + i, value);
  db.exec("COMMIT");
  db.close();
};

const count = (node: TestNode): number => Number(node.query("SELECT count(*) FROM kv")[0]![0]);

for (const shards of [1, 16])
  describe(`${shards} ${shards === 1 ? "shard" : "shards"}`, () => {
    test("a node killed at any moment ends equal to the others, with each acknowledged write once", async () => {
      cluster = await TestCluster.start({ shards, schema: SCHEMA });
      const { nodes } = cluster;
      let rows = 0;
      for (const victim of nodes) {
        for (const node of nodes) {
          insert(node, rows, 200, "up");
          rows += 200;
          if (node === victim) await victim.kill();
        }
        insert(victim, rows, 100, "down");
        rows += 100;
        const others = nodes.filter((n) => n !== victim);
        expect(await others[0]!.wait({ timeout: "60s" })).toBe(true);
        await victim.start();
        // Once more in the middle of catching up.
        await Bun.sleep(150);
        await victim.kill();
        await victim.start();
        await victim.ready();
        await cluster.settle();
        expect(nodes.map(count)).toEqual([rows, rows, rows]);
      }
      const { equal } = JSON.parse(nodes[0]!.marmot("verify", "--json").stdout) as { equal: boolean };
      expect(equal).toBe(true);
      expect((await nodes[0]!.status()).conflicts.total).toBe(0);
    });

    test("a restarted node is not ready while its file shows own writes that other nodes overwrote", async () => {
      cluster = await TestCluster.start({ shards, schema: SCHEMA });
      const [first, , victim] = cluster.nodes as [TestNode, TestNode, TestNode];
      const rows = 5000;
      insert(first, 0, rows, "first");
      await cluster.settle();
      const set = (node: TestNode, v: string): void => node.run(`UPDATE kv SET v = '${v}'`);
      const left = (node: TestNode, v: string): number =>
        Number(node.query(`SELECT count(*) FROM kv WHERE v <> '${v}'`)[0]![0]);
      set(victim, "own");
      // With its write lock held the file cannot learn that its rows are ordered.
      const holder = victim.open();
      holder.exec("BEGIN IMMEDIATE");
      await until(() => left(first, "own") === 0, "the others have it");
      set(first, "later");
      expect(await first.wait()).toBe(true);
      await victim.kill();
      holder.exec("ROLLBACK");
      holder.close();
      const own = rows - left(victim, "own");
      await victim.start();
      await until(async () => {
        try {
          return (await victim.http("/readyz")).status === 200;
        } catch {
          return false; // it is starting
        }
      }, "ready");
      expect(left(victim, "later")).toBe(0);
      expect(own).toBeGreaterThan(0);
    });

    test("nodes that are all killed at once restart with every acknowledged write", async () => {
      cluster = await TestCluster.start({ shards, schema: SCHEMA });
      const { nodes } = cluster;
      insert(nodes[0]!, 0, 500, "a");
      expect(await nodes[0]!.wait()).toBe(true);
      insert(nodes[1]!, 1000, 500, "b");
      await Promise.all(nodes.map((n) => n.kill()));
      insert(nodes[2]!, 2000, 500, "c");
      for (const n of nodes) await n.start();
      for (const n of nodes) await n.ready();
      await cluster.settle();
      expect(nodes.map(count)).toEqual([1500, 1500, 1500]);
    });

    test("without a quorum local writes succeed and are not confirmed; with it again none is lost", async () => {
      cluster = await TestCluster.start({ shards, schema: SCHEMA });
      const { nodes } = cluster;
      await nodes[1]!.kill();
      await nodes[2]!.kill();
      insert(nodes[0]!, 0, 100, "alone");
      expect(await nodes[0]!.wait({ timeout: "2s" })).toBe(false);
      await until(
        async () => (await nodes[0]!.http("/readyz")).status === 503,
        "the node reports that it is not ready",
      );
      expect((await nodes[0]!.status()).pending.changes).toBe(100);
      await nodes[1]!.start();
      await nodes[2]!.start();
      await cluster.settle();
      expect(nodes.map(count)).toEqual([100, 100, 100]);
    });

    test("a node that was paused by SIGSTOP during an election catches up", async () => {
      cluster = await TestCluster.start({ shards, schema: SCHEMA });
      const { nodes } = cluster;
      const leader = await cluster.leader();
      await leader.pause();
      insert(leader, 0, 50, "from a stopped node's file");
      const others = nodes.filter((n) => n !== leader);
      insert(others[0]!, 1000, 50, "meanwhile");
      expect(await others[0]!.wait({ timeout: "60s" })).toBe(true);
      expect(await others[1]!.wait({ timeout: "60s" })).toBe(true);
      leader.signal("SIGCONT");
      await cluster.settle();
      expect(nodes.map(count)).toEqual([100, 100, 100]);
    });

    test("a node that was stopped until the log was compacted installs a snapshot and keeps its own writes", async () => {
      cluster = await TestCluster.start({ shards, schema: SCHEMA });
      const { nodes } = cluster;
      const away = nodes[2]!;
      insert(away, 0, 10, "before");
      await cluster.settle();
      await away.kill();
      insert(away, 100, 10, "while away");
      away.run("UPDATE kv SET v = 'edited away' WHERE k = 3", "DELETE FROM kv WHERE k = 4");
      // More entries than a log keeps: each small transaction is an entry.
      const db = nodes[0]!.open();
      const statement = db.query("INSERT INTO kv VALUES(?, 'x') ON CONFLICT(k) DO UPDATE SET v = v || 'x'");
      const bulk = db.query("INSERT INTO kv VALUES(?, ?)");
      const first = async (): Promise<number[]> =>
        (await nodes[0]!.status()).shards.map((s) => s.appliedIndex);
      db.exec("BEGIN");
      for (let i = 0; i < 100_000; i++) bulk.run(1_000_000 + i, `row ${i}`);
      db.exec("COMMIT");
      let k = 0;
      const start = await first();
      const enough = 13_000;
      for (;;) {
        for (let i = 0; i < 500; i++) {
          statement.run(10_000 + (k++ % 4000));
          if (i % 4 === 3) await Bun.sleep(0);
        }
        const now = await first();
        if (shards > 1 || now[0]! - start[0]! > enough || k > 60_000) break;
      }
      db.close();
      expect(await nodes[0]!.wait({ timeout: "60s" })).toBe(true);
      await away.start();
      await away.ready(120_000);
      await cluster.settle();
      expect(away.query("SELECT v FROM kv WHERE k = 3")).toEqual([["edited away"]]);
      expect(away.query("SELECT count(*) FROM kv WHERE k = 4")).toEqual([[0n]]);
      expect(away.query("SELECT count(*) FROM kv WHERE k BETWEEN 100 AND 109")).toEqual([[10n]]);
      expect(nodes[0]!.query("SELECT v FROM kv WHERE k = 105")).toEqual([["while away"]]);
      const { equal } = JSON.parse(nodes[0]!.marmot("verify", "--json").stdout) as { equal: boolean };
      expect(equal).toBe(true);
    }, 240_000);
  });

test("a joiner that is killed after it received the replica continues to join when it is started again", async () => {
  cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, count: 1 });
  const { nodes } = cluster;
  insert(nodes[0]!, 0, 500_000, "a value that makes building the file take a while");
  expect(await nodes[0]!.wait()).toBe(true);
  const joiner = cluster.add();
  await joiner.start();
  const log = join(joiner.dataDir, "log.db");
  const end = performance.now() + 60_000;
  while (!existsSync(log) && performance.now() < end) await Bun.sleep(1);
  await joiner.kill();
  expect([existsSync(log), existsSync(joiner.db)]).toEqual([true, false]);
  await joiner.start();
  await joiner.ready();
  await cluster.settle();
  expect(count(joiner)).toBe(500_000);
}, 180_000);

test("a transaction of an application that is killed halfway leaves no change on any node", async () => {
  cluster = await TestCluster.start({ shards: 1, schema: SCHEMA });
  const { nodes } = cluster;
  const script = `
    import { Database } from "bun:sqlite";
    const db = new Database(${JSON.stringify(nodes[0]!.db)});
    db.exec("BEGIN IMMEDIATE");
    for (let i = 0; i < 5000; i++) db.query("INSERT INTO kv VALUES(?, 'torn')").run(i);
    console.log("open");
    await Bun.sleep(60000);
  `;
  const app = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
  const reader = app.stdout.getReader();
  await reader.read();
  app.kill("SIGKILL");
  await app.exited;
  nodes[0]!.run("INSERT INTO kv VALUES(1, 'after')");
  await cluster.settle();
  expect(nodes.map(count)).toEqual([1, 1, 1]);
});

test("a restarted node is not ready while it lacks an acknowledged write", async () => {
  cluster = await TestCluster.start({ shards: 1, schema: SCHEMA });
  const { nodes } = cluster;
  for (let round = 0; round < 5; round++) {
    await nodes[2]!.kill();
    insert(nodes[0]!, round * 1000, 300, "acknowledged");
    expect(await nodes[0]!.wait()).toBe(true);
    await nodes[2]!.start();
    await nodes[2]!.ready();
    expect(count(nodes[2]!)).toBe((round + 1) * 300);
  }
});

test("a fourth node joins under load, and a learner remains a learner", async () => {
  cluster = await TestCluster.start({ shards: 1, schema: SCHEMA });
  const { nodes } = cluster;
  insert(nodes[0]!, 0, 1000, "before");
  const fourth = cluster.add();
  await fourth.start(["--role", "learner"]);
  for (let i = 0; i < 20; i++) {
    insert(nodes[i % 3]!, 10_000 + i * 100, 100, "during");
    await Bun.sleep(20);
  }
  await fourth.ready();
  await cluster.settle();
  expect(count(fourth)).toBe(3000);
  fourth.run("INSERT INTO kv VALUES(-1, 'from a learner')");
  await cluster.settle();
  const { members } = await nodes[0]!.status();
  expect(members.find((m) => m.name === "n3")?.role).toBe("learner");
});

/** What an operator sees of real processes: status, events and metrics, from the first second and while a node dies. */
import { expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { offencesIn } from "../deploy/metrics-text.ts";
import { TestCluster, type TestNode, until } from "./lab.ts";
import type { NodeEvent } from "../../src/operations/api.ts";

const events = async (node: TestNode): Promise<NodeEvent[]> =>
  JSON.parse((await node.http("/api/v1/events")).text) as NodeEvent[];
const told = async (node: TestNode): Promise<string> => (await events(node)).map((e) => e.message).join("\n");
const metric = async (node: TestNode, name: string): Promise<number> =>
  Number(
    new RegExp(`^${name.replace(/[{}]/g, "\\$&")} (\\S+)$`, "m").exec(
      (await node.http("/metrics")).text,
    )?.[1],
  );

test("while a node imports, status, metrics and probes answer; --wait-ready waits for its end", async () => {
  const cluster = new TestCluster(1, 1);
  try {
    const [node] = cluster.nodes as [TestNode];
    const db = new Database(node.db);
    db.run("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)");
    db.run(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000) INSERT INTO t SELECT i, hex(randomblob(16)) FROM n",
    );
    db.close();
    await node.start();
    await node.answers();
    const waiting = node.verb("status", "--wait-ready", "60s");
    await until(async () => {
      const { code, stdout } = await node.verb("status");
      if (code === 0) throw new Error("it was ready before it was asked");
      return stdout.includes("import: ") ? true : stdout;
    }, "the status shows the import");
    const during = await node.status();
    expect([during.node.ready, during.verdict.level]).toEqual([false, "warn"]);
    expect(during.verdict.findings[0]!.text).toStartWith("This node is not ready: import");
    expect((await node.verb("status", "--alive")).code).toBe(0);
    expect((await node.http("/healthz")).status).toBe(200);
    expect((await node.http("/readyz")).status).toBe(503);
    expect(await metric(node, "marmot_ready")).toBe(0);
    expect((await waiting).code).toBe(0);
    expect((await node.status()).verdict.level).toBe("ok");
  } finally {
    await cluster.stop();
  }
}, 120_000);

test("three nodes: verdict, lag, events and metrics follow a node that dies and returns, a conflict and a verify", async () => {
  const cluster = await TestCluster.start({
    ...{ shards: 2, quiet: true },
    schema: "CREATE TABLE kv(k INTEGER PRIMARY KEY, v TEXT); INSERT INTO kv VALUES(1, 'a')",
  });
  try {
    const [a, b, c] = cluster.nodes as [TestNode, TestNode, TestNode];
    const { stdout } = a.marmot("status");
    expect(stdout).toStartWith("app.db on n0: ready · 3 of 3 voters in touch · may lose 1 · pending 0\n");
    for (const line of stdout.split("\n")) expect([line, Bun.stringWidth(line) <= 80]).toEqual([line, true]);
    expect(stdout).toContain("\n*n0 ");
    await until(
      async () => ((await a.status()).members.every((m) => m.lagEntries === 0) ? true : "a lag"),
      "no lag",
    );
    await until(
      async () =>
        (await a.status()).members.filter((m) => m.roundTripMs !== null).length === 2 ? true : "no ping",
      "each peer was pinged",
    );

    // A peer dies: silent, behind, and how to remove it.
    await c.kill();
    await until(
      async () => ((await told(a)).includes("n2 is silent: 2 of 3 voters in touch") ? true : told(a)),
      "silent",
    );
    for (let i = 2; i < 30; i++) a.run(`INSERT INTO kv VALUES(${i}, 'x')`);
    expect(await a.wait()).toBe(true);
    const lagOf = async (): Promise<number | null> =>
      (await a.status()).members.find((m) => m.name === "n2")!.lagMs;
    // The age counts from the first status or news that saw the commit.
    await until(async () => (((await lagOf()) ?? 0) > 0 ? true : "no lag yet"), "n2 is behind for some time");
    const lost = await a.status();
    expect(lost.quorum).toEqual({ voters: 3, inTouch: 2, mayLose: 0 });
    const silent = lost.members.find((m) => m.name === "n2")!;
    expect(silent.connected).toBe(false);
    expect(silent.lagEntries).toBeGreaterThan(0);
    expect(silent.lagMs).toBeGreaterThan(0);
    expect(silent.lastSeenMs).toBeGreaterThan(0);
    expect(lost.verdict.findings.map((f) => f.command).join()).toContain("marmot members remove n2 --db ");
    expect(await metric(a, "marmot_quorum_margin")).toBe(0);
    expect(await metric(a, 'marmot_peer_connected{peer="n2"}')).toBe(0);
    await c.start();
    await c.ready();
    await until(async () => ((await told(a)).includes("n2 is back after") ? true : told(a)), "back");

    // A conflict, a schema change, a verify.
    await b.pause();
    a.run("UPDATE kv SET v = 'from a' WHERE k = 1");
    b.run("UPDATE kv SET v = 'from b' WHERE k = 1");
    b.signal("SIGCONT");
    await until(
      async () => ((await told(a)).includes("concurrent write in kv 1") ? true : told(a)),
      "the conflict",
    );
    expect(a.marmot("status").stdout).toContain("1 conflict open (marmot conflicts)");
    a.run("CREATE TABLE more(id INTEGER PRIMARY KEY)");
    await until(
      async () => ((await told(b)).includes("schema version 2 from n0") ? true : told(b)),
      "the schema",
    );
    expect(a.marmot("verify").code).toBe(0);
    const { verified } = await a.status();
    expect(verified).toMatchObject({ equal: true, complete: true, nodes: 3 });
    await until(async () => {
      const kinds = new Set((await events(a)).map((e) => e.kind));
      const all = ["ready", "leader", "peer", "member", "conflict", "schema", "verify"];
      return all.every((kind) => kinds.has(kind)) ? true : [...kinds].join();
    }, "an event of each kind");

    const { text } = await a.http("/metrics");
    expect(offencesIn(text)).toEqual([]);
    for (const name of ["commit_to_ordered", "ordered_to_shown", "log_sync", "app_db_sync", "write_lock"])
      expect([name, (await metric(a, `marmot_${name}_seconds_count`)) > 0]).toEqual([name, true]);
    expect(await metric(b, "marmot_commit_to_shown_seconds_count")).toBeGreaterThan(0);
    expect(await metric(a, 'marmot_peer_sent_bytes_total{peer="n1"}')).toBeGreaterThan(1000);
    expect(await metric(a, "marmot_verify_equal")).toBe(1);
    const promtool = Bun.which("promtool");
    if (promtool !== null) {
      const checked = Bun.spawnSync([promtool, "check", "metrics"], {
        stdin: Buffer.from(text),
        stderr: "pipe",
      });
      expect([checked.exitCode, checked.stderr.toString()]).toEqual([0, ""]);
    }
  } finally {
    await cluster.stop();
  }
}, 120_000);

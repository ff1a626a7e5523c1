/** Clusters are formed and joined: what a node waits for is said, and a join ends. Real processes on loopback. */
import { afterEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestCluster, type TestNode, until } from "./lab.ts";
import { freePorts } from "../../src/cli/free-ports.ts";

const SCHEMA = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)";
const MS = 120_000;

let cluster: TestCluster;
afterEach(() => cluster.stop());

const empty = (count: number): TestNode[] => {
  cluster = new TestCluster(count, 1);
  cluster.logLevel = "info";
  return cluster.nodes;
};

/** Starts all with the same line, apart from their own addresses. */
async function startTogether(nodes: readonly TestNode[], ...extra: string[]): Promise<void> {
  for (const node of nodes)
    if (node.port === 0) [node.port, node.admin] = (await freePorts(2)) as [number, number];
  for (const node of nodes) {
    const others = nodes.filter((n) => n !== node).map((n) => n.address);
    await node.start(["--peers", others.join(","), ...extra]);
  }
}

const says = (node: TestNode, text: string): Promise<void> =>
  until(
    async () => {
      const ready = await node.http("/readyz").catch(() => ({ text: "" }));
      return `${node.log()}${ready.text}`.includes(text) || node.log().slice(-500);
    },
    `${node.name} says ${text}`,
    30_000,
  );

test(
  "three nodes with --bootstrap-expect form one cluster around the data of one, and the same line goes on",
  async () => {
    const nodes = empty(3);
    nodes[1]!.run(SCHEMA, "INSERT INTO t VALUES(1, 'mine')");
    await startTogether(nodes, "--bootstrap-expect", "3");
    for (const node of nodes) await node.ready();
    expect(new Set(await Promise.all(nodes.map(async (n) => (await n.status()).cluster.id))).size).toBe(1);
    expect(nodes[2]!.query("SELECT v FROM t")).toEqual([["mine"]]);
    for (const node of nodes) await node.kill("SIGTERM");
    await startTogether(nodes, "--bootstrap-expect", "3");
    for (const node of nodes) await node.ready();
    nodes[0]!.run("INSERT INTO t VALUES(2, 'again')");
    expect(await nodes[0]!.wait({ all: true })).toBeTrue();
  },
  MS,
);

test(
  "two nodes with different data refuse to form a cluster, and neither file is touched",
  async () => {
    const nodes = empty(2);
    nodes[0]!.run(SCHEMA, "INSERT INTO t VALUES(1, 'one')");
    nodes[1]!.run(SCHEMA, "INSERT INTO t VALUES(1, 'two')");
    await startTogether(nodes, "--bootstrap-expect", "2");
    for (const node of nodes) {
      expect(await node.process!.exited).toBe(1);
      expect(node.log()).toContain("the files of n0, n1 hold different data");
      expect(node.log()).toContain("hint: move all files but the right one to another place");
    }
    // As the hint says.
    const [keeps, moves] = nodes as [TestNode, TestNode];
    for (const name of readdirSync(moves.folder))
      if (/^app\.db(?:-wal|-shm)?$/.test(name))
        renameSync(join(moves.folder, name), join(cluster.folder, name));
    await startTogether(nodes, "--bootstrap-expect", "2");
    for (const node of nodes) await node.ready();
    expect(moves.query("SELECT v FROM t")).toEqual(keeps.query("SELECT v FROM t"));
  },
  MS,
);

test(
  "nodes that only meet joining nodes say so, and how to form a cluster",
  async () => {
    const nodes = empty(4);
    await startTogether(nodes.slice(0, 2));
    await says(nodes[0]!, "the node that answers is joining, too (n1)");
    await says(nodes[1]!, "give all 2 nodes --bootstrap-expect 2");
    for (const node of nodes.slice(0, 2)) await node.kill("SIGTERM");
    await startTogether(nodes);
    await says(nodes[0]!, "all 3 that answer are joining, too (n1, n2, n3)");
    await says(nodes[3]!, "give all 4 nodes --bootstrap-expect 4");
  },
  MS,
);

test(
  "another cluster key is named on both sides, and all keys of a file are accepted",
  async () => {
    cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, quiet: true, count: 1 });
    const [member] = cluster.nodes as [TestNode];
    const [stranger, both] = [cluster.add(), cluster.add()];
    const other = join(cluster.folder, "other.key");
    member.marmot("key", "generate", "--cluster-key", other);
    await stranger.start(["--cluster-key", other]);
    await says(stranger, "another cluster key");
    await says(member, "a connection was refused: it has another cluster key");
    const keys = join(cluster.folder, "both.key");
    writeFileSync(keys, readFileSync(other, "utf8") + readFileSync(cluster.key, "utf8"), { mode: 0o600 });
    await both.start(["--cluster-key", cluster.key]);
    await both.ready();
    await both.kill("SIGTERM");
    await both.start(["--cluster-key", keys]);
    await both.ready();
  },
  MS,
);

test(
  "an address with the id of another node leads to no join, and the id that answers is said",
  async () => {
    cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, quiet: true, count: 2 });
    const [a, b] = cluster.nodes as [TestNode, TestNode];
    const wrong = cluster.add();
    const { peerId } = (await b.status()).node;
    await wrong.start(["--peers", `${a.address}/p2p/${peerId}`]);
    await says(wrong, `node ${(await a.status()).node.peerId} answers, and --peers says ${peerId}`);
    expect((await a.status()).members).toHaveLength(2);
  },
  MS,
);

test(
  "a transfer that is cut is continued, progress is said, and no copy is left",
  async () => {
    cluster = await TestCluster.start({
      shards: 1,
      schema: null,
      quiet: true,
      count: 1,
      prepare: ({ nodes }) => {
        nodes[0]!.run(
          "PRAGMA journal_mode = WAL",
          "CREATE TABLE big(id INTEGER PRIMARY KEY, x BLOB)",
          "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) INSERT INTO big SELECT i, randomblob(32000) FROM n",
        );
      },
    });
    const donor = cluster.nodes[0]!;
    const joiner = cluster.add();
    await joiner.start();
    await until(
      async () =>
        /receiving the replica from n0: .*\((?:[5-9]|[1-4]\d) %\)/.test(
          (await joiner.http("/readyz").catch(() => ({ text: "" }))).text,
        ) || "no progress",
      "the joiner says how far it is",
      30_000,
    );
    await joiner.kill();
    await joiner.start();
    await joiner.ready();
    expect(donor.log()).toMatch(/sending the replica to n1 from byte \d+ on/);
    await until(
      () => /ready after [\d.]+ s/.test(joiner.log()) || joiner.log(),
      "it says that it is ready",
      5000,
    );
    const left = (node: TestNode): string[] => readdirSync(join(node.dataDir, "incoming"));
    await until(
      () => (left(donor).length + left(joiner).length === 0 ? true : left(donor).join()),
      "no copy is left",
      20_000,
    );
    await cluster.settle();
  },
  MS,
);

test(
  "a node that stops hands leadership over: a confirmation waits for no election timeout",
  async () => {
    cluster = await TestCluster.start({ shards: 4, schema: SCHEMA, quiet: true });
    const [a, b, c] = cluster.nodes as [TestNode, TestNode, TestNode];
    const stops = (await a.status()).shards.some((s) => s.leader === "n2") ? c : a;
    const other = stops === c ? b : c;
    await stops.kill("SIGTERM");
    expect(stops.log()).toContain("handed leadership over");
    await until(async () => {
      const leaders = (await other.status()).shards.map((s) => s.leader);
      return leaders.every((name) => name !== stops.name && name !== "") || `leaders: ${leaders.join()}`;
    }, "the other nodes lead every shard");
    other.run("INSERT INTO t VALUES(1, 'x')");
    expect(await other.wait()).toBeTrue();
  },
  MS,
);

test(
  "files are the owner's alone whatever the umask, and --group lets a group in",
  async () => {
    const [node] = empty(1) as [TestNode];
    const group = 4242;
    [node.port, node.admin] = (await freePorts(2)) as [number, number];
    const token = join(cluster.folder, "token");
    writeFileSync(token, "a-long-secret-token\n", { mode: 0o600 });
    const run = async (...extra: string[]): Promise<void> => {
      const umask = process.umask(0);
      try {
        await node.start(["--create", ...extra]);
      } finally {
        process.umask(umask);
      }
      await node.ready();
    };
    await run("--admin-token-file", token, "--admin-public", "ready");
    const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);
    expect([mode(node.dataDir), mode(node.db), mode(join(node.dataDir, "control.sock"))]).toEqual([
      "700",
      "600",
      "600",
    ]);
    for (const name of readdirSync(node.dataDir)) {
      const path = join(node.dataDir, name);
      expect([name, mode(path)]).toEqual([name, statSync(path).isDirectory() ? "700" : "600"]);
    }
    await node.ready();
    expect((await node.http("/metrics")).status).toBe(401);
    await node.kill("SIGTERM");
    if (process.getuid!() !== 0) return;
    await run("--group", String(group));
    expect([mode(node.dataDir), mode(join(node.dataDir, "control.sock"))]).toEqual(["750", "660"]);
    expect(statSync(join(node.dataDir, "control.sock")).gid).toBe(group);
    const received = cluster.add();
    await received.start(["--group", String(group)]);
    await received.ready();
    expect([mode(received.db), statSync(received.db).gid]).toEqual(["660", group]);
  },
  MS,
);

/** Members come, go and keep their key, name and role; each printed hint is carried out. */
import { afterEach, describe, expect, test } from "bun:test";
import { chmodSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)";
const MS = 120_000;

let cluster: TestCluster;
afterEach(() => cluster.stop());

const start = async (shards: number, count = 3): Promise<[TestNode, TestNode, TestNode]> => {
  cluster = await TestCluster.start({ shards, schema: SCHEMA, quiet: true, count });
  return cluster.nodes as [TestNode, TestNode, TestNode];
};

const rolesOf = async (node: TestNode): Promise<Record<string, string>> =>
  Object.fromEntries((await node.status()).members.map((m) => [m.name, m.role]));

const roles = (node: TestNode, wanted: Record<string, string>): Promise<void> =>
  until(
    async () => {
      const now = await rolesOf(node);
      return Bun.deepEquals(now, wanted) ? true : JSON.stringify(now);
    },
    `members ${JSON.stringify(wanted)}`,
  );

const removed = (node: TestNode): Promise<void> =>
  until(
    async () => {
      const { text } = await node.http("/readyz").catch(() => ({ text: node.log().slice(-300) }));
      return text.startsWith("removed: ") ? true : text;
    },
    `${node.name} is halted`,
    20_000,
  );

/** A row that the nodes confirm. */
async function goesOn(nodes: readonly TestNode[], id: number): Promise<void> {
  nodes[0]!.run(`INSERT INTO t VALUES(${id}, 'goes on')`);
  expect(await nodes[0]!.wait()).toBeTrue();
  await cluster.settle(nodes);
}

const members = (node: TestNode, ...words: string[]) => node.marmot("members", ...words);

describe.each([1, 4])("with %p shards", (shards) => {
  test(
    "members are demoted, promoted, renamed, led by and removed by command",
    async () => {
      const [a, b, v] = await start(shards);
      expect(JSON.parse(members(a, "list", "--json").stdout)).toHaveLength(3);
      expect(members(b, "demote", "n2").code).toBe(0);
      await roles(a, { n0: "voter", n1: "voter", n2: "learner" });
      await goesOn(cluster.nodes, 1);
      expect((await rolesOf(a)).n2).toBe("learner"); // it does not ask for its vote again
      expect(members(v, "promote", "n2").code).toBe(0);
      await roles(a, { n0: "voter", n1: "voter", n2: "voter" });
      expect(members(a, "rename", "n2", "third").code).toBe(0);
      await roles(b, { n0: "voter", n1: "voter", third: "voter" });
      expect((await v.status()).node.name).toBe("third");
      expect(members(a, "rename", "third", "n1").stderr).toContain("another member has the name n1");
      expect(members(a, "transfer", "n1").code).toBe(0);
      await until(async () => (await b.status()).shards.some((s) => s.role === "leader"), "n1 leads");
      expect((await a.http("/api/v1/members/third/remove", "POST")).status).toBe(200);
      await roles(a, { n0: "voter", n1: "voter" });
      await goesOn([a, b], 2);
      await removed(v);
      // It cannot come back by itself, only as a new member.
      await v.kill("SIGTERM");
      await v.start(["--name", "third"]);
      await removed(v);
      expect(Object.keys(await rolesOf(a))).toHaveLength(2);
      // The printed command, with its ports: no --peers, no key.
      await v.kill("SIGTERM");
      const next = v.marmot("rejoin");
      expect(next).toMatchObject({
        code: 0,
        stderr: expect.stringContaining(`next: marmot run --db ${v.db} --name third rec`),
      });
      await v.startAlone(["--name", "third"]);
      await v.ready();
      await goesOn(cluster.nodes, 3);
      // The leader demotes itself, and the next one has just begun.
      const led = cluster.nodes.find((n) => n.name === "n1")!;
      for (const action of ["demote", "promote"]) expect(members(led, action, "n1").stderr).toBe("");
      // Of two voters one leaves: the other needs its votes in each group until then.
      expect(members(a, "remove", "third").stderr).toBe("");
      expect(members(b, "remove", "n0").code).toBe(0);
      await removed(a);
      await goesOn([b], 4);
      // The first node dialled no other: it knows the addresses that the others told.
      await a.kill("SIGTERM");
      const told = JSON.parse(a.marmot("rejoin", "--json").stdout) as { next: string };
      expect(told.next).toBe(`marmot run --db ${a.db} --name n0`);
      await a.startAlone(["--name", "n0"]);
      await a.ready();
      await goesOn([a, b], 5);
      expect(members(b, "remove", "n0").code).toBe(0);
      await removed(a);
      // A halted node gives the hint that helps, whatever is asked.
      const asked = members(a, "promote", "n1");
      expect([asked.code, asked.stderr]).toEqual([1, expect.stringContaining("marmot rejoin --db")]);
      expect(members(a, "recover", "--yes").stderr).toContain("recover on a member");
      expect(members(a, "list").stderr).toContain("knows no members now: removed: ");
    },
    MS,
  );

  test(
    "a machine that returns under its name with an empty disk replaces its old self",
    async () => {
      const [a, , v] = await start(shards);
      await v.kill("SIGKILL");
      rmSync(v.folder, { recursive: true });
      Bun.spawnSync(["mkdir", v.folder]);
      await v.start();
      await v.ready();
      await roles(a, { n0: "voter", n1: "voter", n2: "voter" });
      await goesOn(cluster.nodes, 1);
    },
    MS,
  );
});

test(
  "a dead voter is removed by command, and another machine takes its place",
  async () => {
    const [a, b, dead] = await start(1);
    await dead.kill("SIGKILL");
    expect(members(a, "remove", "n2").code).toBe(0);
    await roles(b, { n0: "voter", n1: "voter" });
    const next = cluster.add();
    await next.start();
    await next.ready();
    await roles(a, { n0: "voter", n1: "voter", n3: "voter" });
    await b.kill("SIGKILL"); // one of three may fail
    await goesOn([a, next], 1);
  },
  MS,
);

test(
  "the only voter is not removed, and a change without a majority names the silent voter",
  async () => {
    const [a, b] = await start(1, 2);
    await b.kill("SIGKILL");
    const done = members(a, "remove", "n1");
    expect(done.code).toBe(1);
    expect(done.stderr).toContain("was not confirmed by a majority of the 2 voters");
    expect(done.stderr).toContain("it was not made");
    await b.start(); // the hint: start n1
    await b.ready();
    await roles(a, { n0: "voter", n1: "voter" });
    expect(members(a, "remove", "n1").code).toBe(0);
    await roles(a, { n0: "voter" });
    expect(members(a, "remove", "n0").stderr).toContain("n0 is the only voter");
    expect(members(a, "remove", "nobody").stderr).toContain("there is no member nobody");
  },
  MS,
);

test(
  "a member keeps its key, name and role when it is started with --db alone",
  async () => {
    const [a, , v] = await start(1);
    const key = join(v.dataDir, "cluster.key");
    expect(readFileSync(key, "utf8").trim()).toBe(readFileSync(cluster.key, "utf8").trim());
    expect(statSync(key).mode & 0o777).toBe(0o600);
    const fingerprint = (await a.status()).cluster.keyFingerprint;
    expect(fingerprint).toMatch(/^[0-9a-f]{16}$/);
    expect(members(a, "demote", "n2").code).toBe(0);
    await v.kill("SIGTERM");
    await v.startAlone();
    await v.ready();
    const { node, cluster: of } = await v.status();
    expect([node.name, of.keyFingerprint]).toEqual(["n2", fingerprint]);
    await goesOn(cluster.nodes, 1);
    expect((await rolesOf(a)).n2).toBe("learner");
    rmSync(key);
    await v.kill("SIGTERM");
    await v.startAlone();
    await v.process!.exited;
    expect(v.log()).toContain("the cluster's key is needed");
    await v.start(); // the hint: --cluster-key
    await v.ready();
    // A wrong file is named, and does not take the place of the right one.
    await v.kill("SIGTERM");
    const other = join(v.folder, "other.key");
    expect(v.marmot("key", "generate", "--cluster-key", other).code).toBe(0);
    await v.start(["--cluster-key", other]);
    await until(async () => {
      const { text } = await v.http("/readyz").catch(() => ({ text: v.log().slice(-300) }));
      return text.includes("another cluster key") || text;
    }, "the other key is named");
    await v.kill("SIGTERM");
    await v.startAlone();
    await v.ready();
  },
  MS,
);

test(
  "name and role of a member are changed by command, not by options",
  async () => {
    const [a, , v] = await start(1);
    await v.kill("SIGTERM");
    await v.startAlone(["--name", "other"]);
    await v.process!.exited;
    expect(v.log()).toContain("start it without --name, then run marmot members rename n2 other");
    await v.startAlone(["--role", "learner"]);
    await v.process!.exited;
    expect(v.log()).toContain("start it without --role, then run marmot members demote n2");
    await v.startAlone();
    await v.ready();
    expect(members(v, "rename", "n2", "other").code).toBe(0);
    expect(members(v, "demote", "other").code).toBe(0);
    await roles(a, { n0: "voter", n1: "voter", other: "learner" });
    // A dead voter would count for majorities without helping.
    await v.kill("SIGKILL");
    expect(members(a, "promote", "other").stderr).toContain("other is not connected\nhint: start other");
  },
  MS,
);

test(
  "the name of a living member, other rows, and the file of a running node are refused, and nothing is left behind",
  async () => {
    const [a, b] = await start(1, 2);
    const wanted = { n0: "voter", n1: "voter" };
    await roles(a, wanted);
    const x = cluster.add();
    await x.start(["--name", "n1"]);
    await x.process!.exited;
    expect(x.log()).toContain("choose another name with --name");
    await roles(a, wanted);
    x.run(SCHEMA, "INSERT INTO t VALUES(5, 'mine')");
    await x.start();
    await x.process!.exited;
    expect(x.log()).toContain("holds other data than the cluster it joins");
    await roles(a, wanted);
    await roles(b, wanted);
    expect(x.query("SELECT * FROM t")).toEqual([[5n, "mine"]]);
    await x.start(["--db", b.db, "--data-dir", `${x.dataDir}2`]);
    await x.process!.exited;
    expect(x.log()).toContain(`another marmot runs on ${b.db}`);
    await goesOn([a, b], 1);
    // The hint: the file is moved to another place, with the data directory.
    rmSync(x.folder, { recursive: true });
    Bun.spawnSync(["mkdir", x.folder]);
    chmodSync(cluster.key, 0o644);
    await x.start();
    await x.ready();
    expect(x.log()).toContain(`chmod 600 ${cluster.key}`);
  },
  MS,
);

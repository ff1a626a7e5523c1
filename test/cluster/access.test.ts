/** Who may join and who may write: admitted nodes, readers, and another cluster key without downtime. Real processes. */
import { afterEach, expect, test } from "bun:test";
import { appendFileSync, copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT UNIQUE); CREATE TABLE notes(text TEXT)";
const MS = 120_000;

let cluster: TestCluster;
afterEach(() => cluster.stop());

const roleOf = async (asked: TestNode, name: string): Promise<string> =>
  (await asked.status()).members.find((m) => m.name === name)?.role ?? "none";

const schemaOf = (node: TestNode): unknown[][] =>
  node.query(
    "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid",
  );

const refusal = (work: () => void): string => {
  try {
    work();
  } catch (error) {
    return (error as Error).message;
  }
  return "nothing was refused";
};

const WRITES = [
  "INSERT INTO t VALUES(90, 'own')",
  "INSERT OR IGNORE INTO t VALUES(1, 'own')",
  "REPLACE INTO t VALUES(1, 'own')",
  "INSERT INTO t VALUES(1, 'own') ON CONFLICT DO UPDATE SET v = 'own'",
  "UPDATE OR FAIL t SET v = 'own'",
  "DELETE FROM t",
  "INSERT INTO notes VALUES('own')",
];

async function peerIdInLog(member: TestNode): Promise<string> {
  let peer = "";
  await until(() => {
    peer = /its peer id (12D3KooW\w+) is not in the list of --admit/.exec(member.log())?.[1] ?? "";
    return peer !== "" || member.log().slice(-400);
  }, "the member names the peer that it refuses");
  return peer;
}

test(
  "only listed nodes join, with the role of the list; a reader shows everything and refuses writes of its applications",
  async () => {
    cluster = new TestCluster(1, 2);
    cluster.logLevel = "info";
    const [first] = cluster.nodes as [TestNode];
    const list = join(cluster.folder, "admitted");
    writeFileSync(list, "# none yet\n");
    first.run("PRAGMA journal_mode = WAL", SCHEMA, "INSERT INTO t VALUES(1, 'one')");
    await first.start(["--admit", list]);
    await first.ready();

    const reader = cluster.add();
    await reader.start();
    const peer = await peerIdInLog(first);
    await until(async () => {
      const { text } = await reader.http("/readyz").catch(() => ({ text: "" }));
      return text.includes(`add the line "${peer} voter" to that file`) || text;
    }, "the refused node says why it waits");
    expect((await first.status()).members).toHaveLength(1);
    // The hint, with another role: the running member reads the file again.
    appendFileSync(list, `${peer} reader # reports\n`);
    await reader.ready();
    expect(await roleOf(first, reader.name)).toBe("reader");
    for (const sql of WRITES)
      expect(`${sql}: ${refusal(() => reader.run(sql))}`).toContain(
        "this node is a reader and refuses writes",
      );
    expect(reader.marmot("verify", "--publish").stderr).toContain(
      "is a reader, and sends no rows of its own",
    );
    first.run("INSERT INTO t VALUES(2, 'two')", "ALTER TABLE t ADD COLUMN w", "UPDATE t SET w = id");
    first.run("CREATE TABLE later(id INTEGER PRIMARY KEY); INSERT INTO later VALUES(1)");
    await cluster.settle();
    expect(refusal(() => reader.run("DELETE FROM later"))).toContain("this node is a reader");

    // A schema change of its own is not sent; made on another node as well, it is done.
    reader.run("CREATE TABLE report(id INTEGER PRIMARY KEY)");
    await until(
      async () => (await reader.http("/readyz")).text.includes("make the same change on another node"),
      "the reader says that its schema change is not sent",
    );
    first.run("CREATE TABLE report(id INTEGER PRIMARY KEY)");
    await reader.ready();
    await cluster.settle();

    // The list limits promotions, too.
    expect(first.marmot("members", "promote", reader.name).stderr).toContain(
      "--admit gives it the role reader",
    );
    await reader.kill();
    expect(schemaOf(reader).filter(([, name]) => String(name).includes("_reader_"))).toHaveLength(12);
    await reader.start(["--role", "reader"]);
    await reader.ready();
    writeFileSync(list, `${peer} learner\n`);
    await until(
      () => first.marmot("members", "demote", reader.name).code === 0 || "refused",
      "the list is read again",
    );
    await until(
      () => refusal(() => reader.run("INSERT INTO t(id) VALUES(7)")) === "nothing was refused",
      "it may write",
    );
    await cluster.settle();
    expect(schemaOf(reader).filter(([, name]) => String(name).includes("_reader_"))).toEqual([]);
    expect(first.marmot("members", "demote", reader.name, "--reader").stdout).toContain("is a reader");
    await until(
      () => refusal(() => reader.run("DELETE FROM t")).includes("a reader"),
      "it refuses again",
      20_000,
    );
    await reader.kill("SIGTERM");
    expect(reader.marmot("cleanup").code).toBe(0);
    await first.kill("SIGTERM");
    first.marmot("cleanup");
    expect(schemaOf(reader)).toEqual(schemaOf(first));
  },
  MS,
);

test(
  "a chosen role beyond the list is refused with the reason, and a list with a bad line stays without effect",
  async () => {
    cluster = new TestCluster(1, 1);
    cluster.logLevel = "info";
    const [first] = cluster.nodes as [TestNode];
    const list = join(cluster.folder, "admitted");
    writeFileSync(list, "nobody king\n");
    first.run("PRAGMA journal_mode = WAL", SCHEMA);
    await first.start(["--admit", list]);
    expect(await first.process!.exited).toBe(1);
    expect(first.log()).toContain("line 1 should read PEER-ID ROLE, with voter, learner or reader");
    writeFileSync(list, "");
    await first.start(["--admit", list]);
    await first.ready();
    const node = cluster.add();
    await node.start(["--role", "voter"]);
    const peer = await peerIdInLog(first);
    writeFileSync(list, `${peer} learner\n`);
    await until(async () => {
      const { text } = await node.http("/readyz").catch(() => ({ text: "" }));
      return (
        text.includes(`gives ${peer} the role learner, and it has --role voter: start it without --role`) ||
        text
      );
    }, "the node says that its role is refused");
    await node.kill("SIGTERM");
    await node.start();
    await node.ready();
    expect(await roleOf(first, node.name)).toBe("learner");
    appendFileSync(list, "and more\n");
    await until(() => first.log().includes("the list before stays in force"), "the bad line is named");
    expect((await first.status()).members).toHaveLength(2);
  },
  MS,
);

test(
  "the cluster key is changed as marmot key rotate says, while all nodes write and a majority confirms",
  async () => {
    cluster = new TestCluster(3, 1);
    cluster.logLevel = "info";
    const { nodes } = cluster;
    const keyOf = (node: TestNode): string => join(node.folder, "secret.key");
    nodes[0]!.run("PRAGMA journal_mode = WAL", SCHEMA);
    for (const node of nodes) {
      copyFileSync(cluster.key, keyOf(node));
      await node.start(["--cluster-key", keyOf(node)]);
      await node.ready();
    }
    await cluster.voters();
    const fresh = join(cluster.folder, "new.key");
    expect(nodes[0]!.marmot("key", "rotate").stdout).toContain("all nodes use the same key alone");
    nodes[0]!.marmot("key", "generate", "--cluster-key", fresh);
    let id = 100;
    const restarted = async (node: TestNode, step: "add" | "remove"): Promise<void> => {
      const { commands, keyFile } = JSON.parse(node.marmot("key", "rotate", "--json").stdout) as {
        readonly commands: Readonly<Record<"add" | "remove", string>>;
        readonly keyFile: string;
      };
      expect(keyFile).toBe(keyOf(node));
      const done = Bun.spawnSync(["sh", "-c", commands[step]], { cwd: cluster.folder });
      expect(done.stderr.toString()).toBe("");
      await node.kill("SIGTERM");
      // The others go on without it.
      for (const other of nodes)
        other.run(`INSERT INTO t VALUES(${++id}, 'while ${node.name} is restarted: ${id}')`);
      const up = nodes.find((n) => n !== node)!;
      expect(await up.wait()).toBeTrue();
      await node.start(["--cluster-key", keyOf(node)]);
      await node.ready();
    };
    for (const node of nodes) {
      await restarted(node, "add");
      await until(() => {
        const { stdout } = nodes[0]!.marmot("key", "rotate");
        const at = nodes.indexOf(node);
        const left = nodes.slice(at + 1).map((n) => n.name);
        return (
          stdout.includes(
            left.length > 0
              ? `step 2 is to be done on ${left.join(", ")}:`
              : "step 3 is to be done on n0, n1, n2:",
          ) || stdout
        );
      }, `key rotate knows that ${node.name} has both keys`);
    }
    for (const node of nodes) await restarted(node, "remove");
    await until(() => {
      const { stdout } = nodes[1]!.marmot("key", "rotate");
      return stdout.includes("all nodes use the same key alone") || stdout;
    }, "key rotate says that it is done");
    await cluster.settle();
    expect(readFileSync(join(nodes[2]!.dataDir, "cluster.key"), "utf8")).toBe(readFileSync(fresh, "utf8"));
  },
  MS,
);

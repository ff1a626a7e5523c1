/** Machines that lose their past, as processes: they stop before they vote, say why, and the printed hint works. */
import { afterEach, describe, expect, test } from "bun:test";
import { cpSync, existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)";
const MS = 120_000;
/** 2,000 pages. */
const FILLED_BYTES = 2000 * 4096;

let cluster: TestCluster;
afterEach(() => cluster.stop());

const start = async (): Promise<[TestNode, TestNode, TestNode]> => {
  cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, quiet: true });
  return cluster.nodes as [TestNode, TestNode, TestNode];
};

/** Copies file and data directory of a stopped node. */
function imageOf(node: TestNode): string {
  const image = `${node.folder}.image`;
  cpSync(node.folder, image, { recursive: true, filter: (path) => !path.endsWith(".sock") });
  return image;
}

function put(node: TestNode, image: string): void {
  rmSync(node.folder, { recursive: true });
  cpSync(image, node.folder, { recursive: true });
}

/** The reason for which the node is not ready begins with the name of a state. */
const halted = (node: TestNode, name: string): Promise<void> =>
  until(
    async () => {
      const { text } = await node.http("/readyz").catch(() => ({ text: node.log().slice(-300) }));
      return text.startsWith(`${name}: `) ? true : text;
    },
    `${node.name} is halted: ${name}`,
    30_000,
  );

/** The command that a hint names, without its verb's options. */
const hintOf = async (node: TestNode): Promise<string> =>
  (await node.status()).node.waitingFor.split("hint: ")[1] ?? "";

/** Carries out the hint of a halted node as it is printed. */
async function rejoin(node: TestNode): Promise<string> {
  expect(await hintOf(node)).toContain(`marmot rejoin --db ${node.db}`);
  expect(node.marmot("rejoin").code).toBe(1); // it still runs
  await node.kill("SIGTERM");
  const done = node.marmot("rejoin");
  expect([done.code, done.stderr]).toEqual([0, expect.stringContaining("receives the cluster's data")]);
  await node.start();
  await node.ready();
  await cluster.settle();
  return done.stdout;
}

const memberIds = async (node: TestNode): Promise<number> => (await node.status()).node.id;

describe("a voter that was rolled back to an older image", () => {
  test(
    "is refused, keeps its unsent row, and joins as a new member by its hint",
    async () => {
      const [a, b, v] = await start();
      await v.kill("SIGTERM");
      const image = imageOf(v);
      await v.start();
      await v.ready();
      const before = await memberIds(v);
      v.run("INSERT INTO t VALUES(1, 'after the image')");
      expect(await v.wait()).toBeTrue();
      await v.kill("SIGTERM");
      put(v, image);
      await v.start();
      await halted(v, "went-back");
      v.run("INSERT INTO t VALUES(2, 'not sent')");
      expect(await v.wait({ timeout: "1s" })).toBeFalse();
      a.run("INSERT INTO t VALUES(3, 'the others go on')");
      expect(await a.wait()).toBeTrue();
      expect(b.query("SELECT v FROM t WHERE id = 1")).toEqual([["after the image"]]);
      expect(await rejoin(v)).toContain("not sent to other nodes: 1 rows of t, with the keys 2");
      expect(await memberIds(v)).toBeGreaterThan(before);
      expect(v.query("SELECT id FROM t ORDER BY id")).toEqual([[1n], [3n]]);
      const [kept] = readdirSync(v.folder).filter((name) => name.startsWith("app.db.before-"));
      expect(kept).toBeDefined();
      const [saved] = readdirSync(v.folder).filter((name) => name.startsWith("app.db.unsent-"));
      v.run(
        `ATTACH '${join(v.folder, saved!)}' AS unsent; INSERT OR REPLACE INTO t SELECT * FROM unsent.t; DETACH unsent`,
      );
      await cluster.settle();
      expect(a.query("SELECT v FROM t WHERE id = 2")).toEqual([["not sent"]]);
      await until(async () => (await a.status()).members.every((m) => m.role === "voter"), "three voters");
      expect((await a.status()).members).toHaveLength(3);
    },
    MS,
  );

  test(
    "does not vote for a log without a confirmed row while the node that holds it is down",
    async () => {
      const [a, b, v] = await start();
      await v.kill("SIGTERM");
      const image = imageOf(v);
      await v.start();
      await v.ready();
      await b.kill("SIGTERM");
      a.run("INSERT INTO t VALUES(1, 'confirmed by two')");
      expect(await a.wait()).toBeTrue();
      await a.kill("SIGTERM");
      await v.kill("SIGTERM");
      put(v, image);
      await Promise.all([b.start(), v.start()]);
      await halted(v, "went-back");
      expect(await b.wait({ timeout: "3s" })).toBeFalse();
      await a.start();
      await a.ready();
      await b.ready();
      expect(await a.wait({ all: true })).toBeTrue();
      expect(b.query("SELECT v FROM t WHERE id = 1")).toEqual([["confirmed by two"]]);
    },
    MS,
  );
});

test(
  "a node that has only its key left gets a new member id, and its old one leaves",
  async () => {
    const [a, , v] = await start();
    const before = await memberIds(v);
    await v.kill("SIGKILL");
    for (const name of readdirSync(v.dataDir))
      if (name.includes(".db")) rmSync(join(v.dataDir, name), { recursive: true });
    for (const name of readdirSync(v.folder)) if (/^app\.db(-|$)/.test(name)) rmSync(join(v.folder, name));
    await v.start();
    await v.ready();
    await cluster.settle();
    expect(await memberIds(v)).toBeGreaterThan(before);
    expect((await a.status()).members).toHaveLength(3);
  },
  MS,
);

test(
  "a clone is refused while its original runs, and both say so",
  async () => {
    const [a, , v] = await start();
    await v.kill("SIGTERM");
    const image = imageOf(v);
    await v.start();
    await v.ready();
    const clone = cluster.add();
    put(clone, image);
    await clone.start(["--name", v.name]);
    await halted(clone, "twice");
    await until(
      () => v.log().includes("another process has the identity of this node") || v.log(),
      "the original says it, too",
    );
    clone.run("INSERT INTO t VALUES(1, 'of the clone')");
    expect(await clone.wait({ timeout: "1s" })).toBeFalse();
    v.run("INSERT INTO t VALUES(2, 'of the original')");
    expect(await v.wait()).toBeTrue();
    await until(() => a.query("SELECT id FROM t").length > 0, "the row is shown");
    expect(a.query("SELECT id FROM t")).toEqual([[2n]]);
    // The hint: one of the two is stopped. The clone is older than the last start of the original.
    await v.kill("SIGTERM");
    await halted(clone, "went-back");
  },
  MS,
);

test(
  "a log whose WAL is gone after a kill is not voted with, and the hint works",
  async () => {
    const [a, , v] = await start();
    // A moment after the start the WAL is filled and its content goes into log.db: the rows come later.
    const filled = (): boolean => statSync(join(v.dataDir, "log.db-wal")).size >= FILLED_BYTES;
    await until(() => filled() || "not yet", "the WAL of the log is filled");
    for (let i = 0; i < 20; i++) v.run(`INSERT INTO t VALUES(${i}, 'x')`);
    expect(await v.wait({ all: true })).toBeTrue();
    await v.kill("SIGKILL");
    for (const end of ["-wal", "-shm"]) rmSync(join(v.dataDir, `log.db${end}`), { force: true });
    await v.start();
    await halted(v, "log-lost");
    a.run("INSERT INTO t VALUES(100, 'the others go on')");
    expect(await a.wait()).toBeTrue();
    await rejoin(v);
    expect(v.query("SELECT count(*) FROM t")).toEqual([[21n]]);
    expect(existsSync(`${v.dataDir}/cluster.key`)).toBeTrue();
  },
  MS,
);

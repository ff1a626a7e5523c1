/** Files that a node cannot use as they are: named with their hint, which works; journal modes; formats of received files. */
import { Database } from "bun:sqlite";
import { afterEach, describe, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BINARY, TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA = "CREATE TABLE kv(k INTEGER PRIMARY KEY, v TEXT)";

let cluster: TestCluster | null = null;
afterEach(async () => {
  await cluster?.stop();
  cluster = null;
});

async function exits(node: TestNode): Promise<string> {
  await until(() => node.process?.exitCode !== null, `${node.name} exits`);
  const said = node.log();
  expect(said).not.toMatch(/^\s+at .+[(:]/m);
  return said;
}

test("a file that another connection holds exclusively is named, and the node starts when it is free", async () => {
  cluster = new TestCluster(1, 1);
  const node = cluster.nodes[0]!;
  node.run("PRAGMA journal_mode = WAL", SCHEMA);
  const holder = new Database(node.db);
  holder.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; INSERT INTO kv VALUES(1, 'held'); COMMIT");
  await node.start();
  const said = await exits(node);
  expect(said).toContain(`${node.db} is locked`);
  expect(said).toContain("hint: let the application end the transaction or leave that mode");
  holder.close();
  await node.start();
  await node.ready();
}, 120_000);

test("a file in rollback-journal mode waits for the application's transaction, says so, and is switched", async () => {
  cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, count: 1 });
  const node = cluster.nodes[0]!;
  await node.kill("SIGTERM");
  node.run("PRAGMA journal_mode = DELETE");
  const reader = node.open();
  reader.exec("BEGIN");
  reader.query("SELECT count(*) FROM kv").values();
  await node.start();
  await until(async () => {
    const { text } = await node.http("/readyz").catch(() => ({ text: "no answer" }));
    return text.includes("is not in WAL mode") || text;
  }, "the state is named");
  reader.exec("COMMIT");
  await node.ready();
  expect(node.query("PRAGMA journal_mode")).toEqual([["wal"]]);
  reader.close();
}, 120_000);

test("a received file and the replica have the first file's page size and auto_vacuum", async () => {
  for (const [size, vacuum] of [
    [1024, 1],
    [8192, 2],
  ]) {
    cluster = await TestCluster.start({
      ...{ shards: 1, schema: null, count: 2 },
      prepare: ({ nodes }) =>
        nodes[0]!.run(
          `PRAGMA page_size = ${size}`,
          `PRAGMA auto_vacuum = ${vacuum}; ${SCHEMA}; PRAGMA user_version = 9`,
        ),
    });
    const [, second] = cluster.nodes as [TestNode, TestNode];
    for (const path of [second.db, join(second.dataDir, "replica.db")]) {
      const db = new Database(path, { readwrite: true, create: false });
      const read = (name: string): unknown => db.query(`PRAGMA ${name}`).values()[0]![0];
      expect([read("page_size"), read("auto_vacuum")]).toEqual([size, vacuum]);
      if (path === second.db) expect(read("user_version")).toBe(9);
      db.close();
    }
    await cluster.stop();
  }
}, 120_000);

const setpriv = Bun.which("setpriv");
const isRoot = process.getuid?.() === 0;

describe.skipIf(!isRoot || setpriv === null)("without permission (needs root and setpriv)", () => {
  const USER = 65_534;
  /** Runs a node as another user in a folder that belongs to root. */
  async function refusedAt(prepare: (node: TestNode) => void): Promise<string> {
    cluster = new TestCluster(1, 1);
    const node = cluster.nodes[0]!;
    chmodSync(cluster.folder, 0o755);
    chownSync(cluster.key, USER, USER);
    node.run(SCHEMA);
    prepare(node);
    const child = Bun.spawn(
      [
        setpriv!,
        "--reuid",
        String(USER),
        "--clear-groups",
        BINARY,
        "run",
        "--db",
        node.db,
        "--cluster-key",
        cluster.key,
        "--listen",
        "/ip4/127.0.0.1/tcp/0",
        "--admin",
        "off",
      ],
      { cwd: "/", stdout: "pipe", stderr: "pipe" },
    );
    const said = await new Response(child.stderr).text();
    expect(await child.exited).toBe(1);
    expect(said).not.toMatch(/^\s+at .+[(:]/m);
    return said;
  }

  test("a file that cannot be written is named with the hint", async () => {
    const said = await refusedAt(({ folder, db }) => {
      chmodSync(folder, 0o777);
      chmodSync(db, 0o444);
    });
    expect(said).toMatch(/app\.db should be writable .* this user has no permission to write it/);
    expect(said).toContain("chown -R USER");
    expect(said).not.toContain("SQLite format 3");
  });

  test("a folder that cannot be written is named with the hint", async () => {
    const said = await refusedAt(({ folder, db }) => {
      chmodSync(folder, 0o555);
      chmodSync(db, 0o666);
    });
    expect(said).toMatch(/n0 should be writable \(SQLite makes files beside the database\)/);
  });

  test("a data directory of another user is named with the hint", async () => {
    const said = await refusedAt(({ folder, db, dataDir }) => {
      chmodSync(folder, 0o777);
      chmodSync(db, 0o666);
      mkdirSync(dataDir, { mode: 0o755 });
      writeFileSync(join(dataDir, "node.key"), "");
    });
    expect(said).toMatch(/app\.db\.marmot should be writable \(the data directory\)/);
  });

  test("a file system that is mounted read-only is named, and no owner is blamed", () => {
    cluster = new TestCluster(1, 1);
    const node = cluster.nodes[0]!;
    const mount = (...options: string[]): boolean =>
      Bun.spawnSync(["mount", ...options, node.folder], { stderr: "ignore" }).exitCode === 0;
    if (!mount("-t", "tmpfs", "-o", "size=1m", "tmpfs")) return; // a container may not mount
    try {
      node.run(SCHEMA);
      expect(mount("-o", "remount,ro")).toBe(true);
      for (const verb of ["doctor", "run"]) {
        const { code, stdout, stderr } = node.marmot(verb);
        const said = stdout + stderr; // doctor reports on standard output
        expect([verb, code, said]).toEqual([verb, 1, expect.stringContaining("is mounted read-only")]);
        expect(said).toContain("mount it for writing");
        expect(said).not.toContain("chown");
      }
    } finally {
      Bun.spawnSync(["umount", node.folder]);
    }
  });

  test("a log and a key of another user are no damaged ones, and nothing is to be removed", async () => {
    const said = await refusedAt(({ folder, db, dataDir }) => {
      chmodSync(folder, 0o777);
      chmodSync(db, 0o666);
      mkdirSync(dataDir, { mode: 0o755 });
      chownSync(dataDir, USER, USER);
      for (const name of ["log.db", "node.key"]) writeFileSync(join(dataDir, name), "", { mode: 0o600 });
    });
    expect(said).toMatch(/log\.db should be writable .* no permission to write it/);
    expect(said).toMatch(/node\.key should be readable .* no permission to read it/);
    expect(said).not.toMatch(/damaged|remove|content/);
  });
});

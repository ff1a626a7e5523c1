/**
 * Rolling upgrades with real processes: the previous release, built from the history of the repository, and this build in
 * one cluster, in both orders; and this build beside a later one that raises a format.
 */
import { Database } from "bun:sqlite";
import { afterEach, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import type { VerifyResult } from "../../src/operations/api.ts";
import { BINARY, TestCluster, type TestNode, until } from "./lab.ts";
import { hasPrevious, laterRelease, PREVIOUS, previousRelease } from "./releases.ts";

const MS = 180_000;
const SCHEMA = `CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, n INTEGER);
  CREATE TABLE u(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, t INTEGER REFERENCES t(id) ON DELETE SET NULL);
  CREATE TABLE keyless(x, y)`;

let cluster: TestCluster;
afterEach(() => cluster.stop());

/** Rows from all nodes until `stop`, with conflicts; each table is written. Resolves with the ids of `t` that were committed. */
function writeAll(nodes: readonly TestNode[]): { readonly stop: () => Promise<number[]> } {
  let isStopping = false;
  const done = Promise.all(
    nodes.map(async (node, i) => {
      const written: number[] = [];
      for (let round = 1; !isStopping; round++) {
        const id = round * 10 + i;
        const db = node.open();
        try {
          db.exec(`BEGIN IMMEDIATE; INSERT INTO t(id, v, n) VALUES(${id}, 'by ${node.name}', ${round});
            UPDATE t SET n = n + 1, v = 'touched by ${node.name}' WHERE id = 1;
            INSERT OR REPLACE INTO u(name, t) VALUES('name ${round % 7}', ${id});
            INSERT INTO keyless VALUES(${id}, 'k'); DELETE FROM t WHERE id = ${id - 200}; COMMIT`);
          written.push(id);
        } finally {
          db.close();
        }
        await Bun.sleep(10);
      }
      return written;
    }),
  );
  return {
    stop: async () => {
      isStopping = true;
      return (await done).flat();
    },
  };
}

async function start(
  nodes: readonly TestNode[],
  binaries: readonly string[],
  options: readonly string[],
): Promise<void> {
  cluster.nodes[0]!.run("PRAGMA journal_mode = WAL", SCHEMA, "INSERT INTO t VALUES(1, 'hot', 0)");
  for (const [i, node] of nodes.entries()) {
    node.binary = binaries[i]!;
    await node.start(i === 0 ? options : []);
    await node.ready();
  }
  await cluster.voters();
}

const rows = (node: TestNode): number => Number(node.query("SELECT count(*) FROM keyless").flat()[0]);

/** One after the other, as an operator does it. */
async function roll(nodes: readonly TestNode[], binary: string): Promise<void> {
  for (const node of nodes) {
    await node.kill("SIGTERM");
    node.binary = binary;
    await node.start();
    await node.ready();
  }
}

async function verify(node: TestNode): Promise<VerifyResult> {
  return JSON.parse((await node.http("/api/v1/verify?deep=true&timeout=30s", "POST")).text) as VerifyResult;
}

/** No committed row is lost, and the replicas are equal. */
async function expectWhole(written: readonly number[]): Promise<void> {
  await cluster.settle();
  const asked = cluster.nodes.find((node) => node.binary === BINARY)!;
  expect((await verify(asked)).differences).toEqual([]);
  const kept = new Set(asked.query("SELECT x FROM keyless").map(([x]) => Number(x)));
  expect(written.filter((id) => !kept.has(id))).toEqual([]);
  expect(written.length).toBeGreaterThan(0);
}

const three = (): [TestNode, TestNode, TestNode] => {
  cluster = new TestCluster(3, 1);
  cluster.logLevel = "info";
  return cluster.nodes as [TestNode, TestNode, TestNode];
};

const missing = !hasPrevious();
const why = missing ? `, skipped: the history has no commit ${PREVIOUS.commit.slice(0, 12)}` : "";
let previous = "";
beforeAll(() => {
  if (!missing) previous = previousRelease();
}, MS);

test.skipIf(missing)(
  `a cluster of ${PREVIOUS.version} is upgraded node by node under load, and one node goes back${why}`,
  async () => {
    const nodes = three();
    const [a, b, c] = nodes;
    // The newer one joins by the older ones, and an older one by the newer one.
    await start(nodes, [previous, BINARY, previous], []);
    const load = writeAll(nodes);
    await until(() => rows(a) > 60, "rows are written");
    b.run(
      "CREATE TABLE made(id INTEGER PRIMARY KEY, v TEXT)",
      "ALTER TABLE t ADD COLUMN more TEXT DEFAULT 'x'",
    );
    await until(
      () => a.query("SELECT count(*) FROM sqlite_schema WHERE name = 'made'").flat()[0] === 1n,
      "the schema change is on the older node",
    );
    a.run("INSERT INTO made VALUES(1, 'by the older one')");
    const refused = b.marmot("members", "demote", "n2");
    expect(refused.stderr).toContain(
      `the leader n0 runs marmot ${PREVIOUS.version}, which cannot change members`,
    );
    expect(refused.stderr).toContain("first run marmot members transfer n1");
    expect(b.marmot("members", "transfer", "n1").code).toBe(0);
    for (const [verb, role] of [
      ["demote", "learner"],
      ["promote", "voter"],
    ] as const) {
      expect(b.marmot("members", verb, "n2").stderr).toBe("");
      await until(async () => (await b.status()).members[2]!.role === role, `n2 is a ${role}`);
    }
    await roll([a, c], BINARY);
    await roll([b], previous);
    await roll([b], BINARY);
    await expectWhole(await load.stop());
    for (const node of nodes) {
      expect(node.query("SELECT * FROM made")).toEqual([[1n, "by the older one"]]);
      expect((await node.status()).members.map((m) => m.version.split(" ")[0])).not.toContain(
        PREVIOUS.version,
      );
    }
  },
  MS,
);

test.skipIf(missing)(
  `nodes of ${PREVIOUS.version} join a cluster of this build with several shards, and are upgraded under load${why}`,
  async () => {
    const nodes = three();
    const settings = ["--shards", "4", "--merge", "column", "--foreign-keys", "resolve"];
    await start(nodes, [BINARY, previous, previous], settings);
    const load = writeAll(nodes);
    await until(() => rows(nodes[2]) > 60, "rows are written");
    const result = await verify(nodes[0]);
    expect(result.differences).toEqual([]);
    expect(result.notCompared.map(({ reason }) => reason)).toEqual(
      nodes.slice(1).map(() => `it runs marmot ${PREVIOUS.version}, which does not compare its file`),
    );
    await roll(nodes.slice(1), BINARY);
    await expectWhole(await load.stop());
  },
  MS,
);

/** A release that writes entries of format 3 as soon as all members read them. */
const LATER = [
  [
    "src/base/versions/formats.ts",
    "  entry: { min: 1, max: 2 },\n  /** Changes",
    "  entry: { min: 1, max: 3 },\n  /** Changes",
  ],
  [
    "src/change/codec.ts",
    "schema === undefined ? ROWS_FORMAT : SCHEMA_FORMAT,",
    "schema === undefined ? (globalThis as { entryFormat?: number }).entryFormat ?? 1 : SCHEMA_FORMAT,",
  ],
  [
    "src/replication/upkeep.ts",
    "    const held = formats.held();\n",
    "    const held = formats.held();\n    (globalThis as { entryFormat?: number }).entryFormat = formats.mayWrite('entry') >= 3 ? 3 : 1;\n",
  ],
  ["package.json", '"version": "', '"version": "9.'],
] as const;

test(
  "a later release writes the older format until all members read the newer one; then an older node halts with update",
  async () => {
    const nodes = three();
    const later = laterRelease(LATER);
    const [a, b, c] = nodes;
    await start(nodes, [later, BINARY, later], []);
    for (const node of nodes) node.run(`INSERT INTO keyless VALUES('${node.name}', 1)`);
    await cluster.settle();
    expect((await a.status()).formats).toEqual([{ name: "entry", writes: 2, newest: 3, heldBackBy: ["n1"] }]);
    expect((await b.status()).formats).toEqual([]);
    await roll([b], later);
    await until(() => a.log().includes("all members read the newest formats"), "n0 writes the newer format");
    a.run("INSERT INTO keyless VALUES('newest', 1)");
    await cluster.settle();
    // Back: the entry is in its log, and the members refuse it.
    await b.kill("SIGTERM");
    b.binary = BINARY;
    await b.start();
    await b.answers();
    await until(
      async () => (await b.status()).node.state === "update" || (await b.http("/readyz")).text,
      "n1 halts",
    );
    expect((await b.http("/readyz")).text).toContain("hint: update marmot on this machine");
    const joiner = cluster.add();
    await joiner.start();
    await joiner.answers();
    await until(
      async () =>
        (await joiner.status()).refusals.some(
          ({ by, reason }) => by === "peer" && reason.includes("format 3 is needed"),
        ) || joiner.log(),
      "the joining node says who refuses it",
    );
    expect((await joiner.http("/readyz")).text).toContain("update n3");
    expect((await a.status()).refusals).toContainEqual(
      expect.objectContaining({ name: "n3", by: "this node", reason: expect.stringContaining("update n3") }),
    );
    for (const node of [b, joiner]) {
      await node.kill("SIGTERM");
      node.binary = later;
      await node.start();
      await node.ready();
    }
    c.run("INSERT INTO keyless VALUES('after', 1)");
    await cluster.settle();
  },
  MS,
);

test(
  "a file of a newer build halts the node with update, in status and wait, and it goes on with the file as it was",
  async () => {
    cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, quiet: true, count: 1 });
    const [node] = cluster.nodes as [TestNode];
    for (const [file, table] of [
      [join(node.dataDir, "replica.db"), "__marmot__setting"],
      [join(node.dataDir, "log.db"), "meta"],
      [node.db, "__marmot__meta"],
    ] as const) {
      await node.kill("SIGTERM");
      const setFormat = (version: number): number => {
        const db = new Database(file);
        const { value } = db.query(`SELECT value FROM ${table} WHERE name = 'format'`).get() as {
          value: number;
        };
        db.query(`UPDATE ${table} SET value = ? WHERE name = 'format'`).run(version);
        db.close();
        return value;
      };
      const before = setFormat(99);
      await node.start();
      await node.answers();
      expect((await node.status()).node.state).toBe("update");
      const waited = await node.verb("wait", "--timeout", "1s");
      expect(waited.code).toBe(1);
      expect(waited.stderr).toContain(`${file} has `);
      expect(waited.stderr).toContain("of format 99, and this build reads format");
      await node.kill("SIGTERM");
      setFormat(before);
      await node.start();
      await node.ready();
    }
    node.run("INSERT INTO t VALUES(1, 'again', 0)");
    expect(await node.wait()).toBeTrue();
  },
  MS,
);

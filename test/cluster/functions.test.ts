/** Functions of the application on real processes: `--functions`, and what a node does without them. Each hint is followed. */
import { Database } from "bun:sqlite";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "bun:test";
import { marmot, TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA = `CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE o(id INTEGER PRIMARY KEY, v TEXT);
  INSERT INTO t VALUES(1, 'x')`;
const FUNCTIONS = `export const twice = (value) => (value === null ? null : String(value).repeat(2));
export default { REGEXP: (pattern, text) => new RegExp(pattern).test(text) };`;

let cluster: TestCluster | null = null;
afterEach(async () => {
  await cluster?.stop();
  cluster = null;
});

/** The application's connection, with its functions. */
function application(node: TestNode): Database {
  const db = node.open();
  const functions = db as unknown as {
    function(name: string, options: object, run: (...values: unknown[]) => unknown): void;
  };
  functions.function("twice", { deterministic: true }, (value) =>
    value === null ? null : String(value).repeat(2),
  );
  return db;
}

const skipped = async (node: TestNode): Promise<string> =>
  JSON.stringify((await node.status()).tables.skipped);
const indexes = (node: TestNode): string => {
  const db = node.open();
  try {
    return JSON.stringify(
      db
        .query(
          "SELECT name FROM sqlite_schema WHERE type = 'index' AND name NOT LIKE '\\_\\_marmot%' ESCAPE '\\'",
        )
        .values()
        .flat(),
    );
  } finally {
    db.close();
  }
};

async function restart(node: TestNode, extra: readonly string[]): Promise<void> {
  await node.kill("SIGTERM");
  await node.start(extra);
  await node.ready();
}

test("an index with a function waits for --functions on its node, and a unique one for all nodes", async () => {
  cluster = await TestCluster.start({ shards: 1, schema: SCHEMA });
  const { nodes } = cluster;
  const [a, b] = nodes as [TestNode, TestNode];
  const file = join(cluster.folder, "functions.js");
  writeFileSync(file, FUNCTIONS);
  const app = application(b);
  app.exec("CREATE INDEX i ON t(twice(v))");
  app.exec("INSERT INTO t VALUES(2, 'own')");
  await until(
    async () => (await skipped(b)).includes("its index i calls twice"),
    "b says why it holds t back",
  );
  const other = a.open();
  other.exec("INSERT INTO t VALUES(3, 'waits')");
  // Otherwise both rows may go in one changeset, and so wait together.
  expect(marmot(["wait", "--data-dir", a.dataDir, "--timeout", "20s"]).code).toBe(0);
  other.exec("INSERT INTO o VALUES(1, 'goes')");
  other.close();
  await until(() => app.query("SELECT id FROM o").values().length === 1, "another table goes on");
  const wait = marmot(["wait", "--data-dir", a.dataDir, "--all", "--timeout", "2s"]);
  expect([wait.code, wait.stderr]).toEqual([
    1,
    expect.stringContaining("n1 to write tables that it holds back"),
  ]);
  // The hint: --functions. The index then travels, and where a node lacks the function it is left out.
  await restart(b, ["--functions", file]);
  await until(
    () => app.query("SELECT id FROM t NOT INDEXED").values().length === 3,
    "the row that waited is shown",
  );
  await cluster.settle();
  expect(marmot(["wait", "--data-dir", a.dataDir, "--all", "--timeout", "20s"]).code).toBe(0);
  expect([indexes(b), indexes(a)]).toEqual(['["i"]', "[]"]);
  expect(app.query("PRAGMA integrity_check").values()).toEqual([["ok"]]);
  // A UNIQUE index constrains every replica: it waits until all nodes have the function.
  app.exec("CREATE UNIQUE INDEX u ON o(twice(v))");
  app.exec("INSERT INTO o VALUES(2, 'own')");
  await until(
    async () => (await skipped(b)).includes("of --functions, and n0"),
    "b says which nodes lack the function",
  );
  for (const node of nodes) if (node !== b) await restart(node, ["--functions", file]);
  await until(() => nodes.every((n) => indexes(n) === '["i","u"]'), "both indexes are everywhere");
  const c = application(nodes[2]!);
  c.exec("INSERT INTO o VALUES(3, 'third')");
  expect(() => c.exec("INSERT INTO o VALUES(4, 'own')")).toThrow("UNIQUE");
  c.close();
  app.close();
  await cluster.settle();
  for (const node of nodes) {
    const db = application(node);
    expect(db.query("PRAGMA integrity_check").values()).toEqual([["ok"]]);
    db.close();
  }
  // Without it a node must not guess: it refuses by name, and its hint works.
  await a.kill("SIGTERM");
  const refused = marmot(["run", "--db", a.db, "--admin", "off", "--listen", "/ip4/127.0.0.1/tcp/0"]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("o (its unique index u calls twice, which only the application has)");
  expect(refused.stderr).toContain("hint: start it with the --functions FILE.js");
  await a.start(["--functions", file]);
  await a.ready();
  await cluster.settle();
}, 120_000);

test.each([1, 16])(
  "with %i shards a table whose schema change needs a function waits alone where that is missing, and each hint works",
  async (shards) => {
    cluster = await TestCluster.start({ shards, schema: SCHEMA });
    const { nodes } = cluster;
    const [a, b, c] = nodes as [TestNode, TestNode, TestNode];
    const file = join(cluster.folder, "functions.js");
    writeFileSync(file, FUNCTIONS);
    await c.kill("SIGTERM");
    for (const node of [a, b]) await restart(node, ["--functions", file]);
    const app = application(a);
    // A member that is down may lack them: the change waits, and all else goes on.
    app.exec(
      "CREATE UNIQUE INDEX u ON t(twice(v)); INSERT INTO t VALUES(2, 'y'); INSERT INTO o VALUES(1, 'on')",
    );
    await until(async () => (await skipped(a)).includes("n2 has other functions or does not"), "a says so");
    await until(() => b.query("SELECT id FROM o").length === 1, "another table goes on");
    await c.start(["--functions", file]);
    await c.ready();
    await until(() => indexes(b) === '["u"]' && indexes(c) === '["u"]', "the index is everywhere");
    app.exec("DROP INDEX u");
    await until(() => indexes(b) === "[]" && indexes(c) === "[]", "the index is nowhere");
    await c.kill("SIGTERM");
    app.exec("CREATE UNIQUE INDEX u ON t(twice(v)); INSERT INTO t VALUES(3, 'z')");
    await until(() => indexes(b) === '["u"]', "the index is on b");
    const ready = async (): Promise<string> => (await c.http("/readyz")).text;
    const held = async (reason: string): Promise<void> => {
      await c.answers();
      await until(
        async () => (await ready()).includes(`rows of t wait on this node, as ${reason}`),
        "c says so",
      );
    };
    await c.start();
    await held("its unique index u calls twice");
    // Its second hint: the index is dropped on another node. No restart is needed.
    expect(await ready()).toContain('or on another node drop the index: DROP INDEX "u")');
    app.exec("DROP INDEX u");
    await c.ready();
    expect(c.query("SELECT id FROM t").flat()).toEqual([1n, 2n, 3n]);
    await restart(c, ["--functions", file]);
    await cluster.settle();
    await c.kill("SIGTERM");
    app.exec(`BEGIN; CREATE UNIQUE INDEX u ON t(twice(v));
      CREATE TABLE n(id INTEGER PRIMARY KEY, v, g AS (twice(v)) STORED);
      CREATE TRIGGER copies AFTER INSERT ON o BEGIN INSERT INTO n VALUES(new.id, new.v); END;
      COMMIT; INSERT INTO o VALUES(2, 'copied')`);
    await until(
      () => indexes(b) === '["u"]' && b.query("SELECT id FROM o WHERE id = 2").length === 1,
      "all of it is on b",
    );
    expect(b.query("SELECT id FROM n")).toEqual([[2n]]);
    for (let starts = 0; starts < (shards === 1 ? 2 : 1); starts++) {
      if (starts === 1) await c.kill();
      await c.start();
      await held("its unique index u calls twice");
    }
    expect(await ready()).toContain(
      "rows of n wait on this node, as its stored generated column g calls twice",
    );
    // The row that it cannot show there takes the value of another one. Row 3 of the file is no row of the cluster any more.
    app.exec("REPLACE INTO t VALUES(9, 'z'); UPDATE t SET v = 'a' WHERE id = 1");
    // From the first drain of a process on, the WAL tells the tables of each transaction.
    c.run("INSERT INTO o VALUES(6, 'first')");
    await until(() => a.query("SELECT id FROM o WHERE id = 6").length === 1, "the first rows leave");
    c.run("INSERT INTO t VALUES(5, 'own')", "UPDATE t SET v = 'later' WHERE id = 1");
    c.run("INSERT INTO o VALUES(7, 'meanwhile')");
    await until(() => a.query("SELECT id FROM o WHERE id = 7").length === 1, "another table goes on");
    expect(await c.wait({ timeout: "1s" })).toBe(false);
    expect(await a.wait({ timeout: "20s" })).toBe(true);
    const verified = marmot(["verify", "--data-dir", c.dataDir]);
    expect([verified.code, verified.stderr]).toEqual([
      1,
      expect.stringContaining("this node's replica lacks the rows of a table: its "),
    ]);
    expect((await c.status()).tables.held.map(({ name }) => name).sort()).toEqual(["n", "t"]);
    await restart(c, ["--functions", file]);
    await cluster.settle();
    expect(indexes(c)).toBe('["u"]');
    for (const node of nodes) {
      const db = application(node);
      expect(db.query("SELECT id, v FROM t ORDER BY id").values()).toEqual([
        [1n, "later"],
        [2n, "y"],
        [5n, "own"],
        [9n, "z"],
      ]);
      expect(db.query("SELECT id, g FROM n").values()).toEqual([[2n, "copiedcopied"]]);
      expect(db.query("PRAGMA integrity_check").values()).toEqual([["ok"]]);
      db.close();
    }
    expect(marmot(["verify", "--data-dir", a.dataDir]).code).toBe(0);
    app.close();
  },
  120_000,
);

test("a held table that the cluster changes waits alone, and both ways to give it what it needs work", async () => {
  cluster = await TestCluster.start({ shards: 1, schema: SCHEMA });
  const [a, b] = cluster.nodes as [TestNode, TestNode];
  const app = application(b);
  app.exec("CREATE INDEX i ON t(twice(v))");
  await until(async () => (await skipped(b)).includes("its index i calls twice"), "b holds t back");
  a.run("ALTER TABLE t ADD COLUMN w DEFAULT 7", "CREATE TABLE n(id INTEGER PRIMARY KEY)");
  await until(
    () => app.query("SELECT name FROM sqlite_schema WHERE name = 'n'").values().length > 0,
    "n is there",
  );
  await until(
    async () => (await b.http("/readyz")).text.includes("rows of t wait on this node"),
    "b says so",
  );
  const ready = (await b.http("/readyz")).text;
  expect(ready).toContain("other tables go on (hint: give it to marmot with --functions FILE.js");
  app.exec("INSERT INTO t(id, v) VALUES(2, 'own')");
  app.exec("INSERT INTO n VALUES(1)");
  a.run("INSERT INTO n VALUES(2)");
  await until(
    () => a.query("SELECT id FROM n").length === 2 && app.query("SELECT id FROM n").values().length === 2,
    "another table goes on, both ways",
  );
  const wait = await b.verb("wait", "--timeout", "1s");
  expect([wait.code, wait.stderr]).toEqual([1, expect.stringContaining("rows of t wait on this node")]);
  expect(await a.wait({ timeout: "20s" })).toBe(true);
  const file = join(cluster.folder, "functions.js");
  writeFileSync(file, FUNCTIONS);
  await restart(b, ["--functions", file]);
  await cluster.settle();
  expect(a.query("SELECT id, v, w FROM t ORDER BY id")).toEqual([
    [1n, "x", 7n],
    [2n, "own", 7n],
  ]);
  // The same for a table that is renamed, and a column, under such an index. Here the other hint.
  a.run("INSERT INTO o VALUES(1, 'old')");
  await cluster.settle();
  const c = cluster.nodes[2]!;
  const third = application(c);
  third.exec("CREATE INDEX j ON o(twice(v)); INSERT INTO o VALUES(2, 'before')");
  await until(async () => (await skipped(c)).includes("its index j calls twice"), "n2 holds o back");
  third.exec("ALTER TABLE o RENAME COLUMN v TO w; INSERT INTO o(id, w) VALUES(3, 'after')");
  await until(async () => (await c.http("/readyz")).text.includes("rows of o wait"), "n2 says so");
  third.exec(`BEGIN; ALTER TABLE o RENAME TO p; INSERT INTO p(id, w) VALUES(4, 'last'); INSERT INTO n VALUES(3);
    CREATE TABLE q(id INTEGER PRIMARY KEY); INSERT INTO q VALUES(1); PRAGMA user_version = 23; COMMIT`);
  a.run("UPDATE o SET v = 'new' WHERE id = 1");
  await until(async () => (await c.http("/readyz")).text.includes("rows of p wait"), "n2 says so again");
  expect((await c.http("/readyz")).text).toContain('drop the index: DROP INDEX "j"');
  third.exec('DROP INDEX "j"');
  third.close();
  await c.ready();
  await cluster.settle();
  for (const node of cluster.nodes)
    expect(node.query("SELECT id, w FROM p ORDER BY id")).toEqual([
      [1n, "new"],
      [2n, "before"],
      [3n, "after"],
      [4n, "last"],
    ]);
  expect([a.query("SELECT id FROM n"), a.query("SELECT id FROM q")]).toEqual([[[1n], [2n], [3n]], [[1n]]]);
  app.close();
}, 120_000);

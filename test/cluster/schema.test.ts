/** Changes of the schema while Marmot runs, seen from outside: same rows and the same text of the schema on every node. */
import { Database } from "bun:sqlite";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { CLEAR } from "../faults/links.ts";
import { TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA = `CREATE TABLE people(id INTEGER PRIMARY KEY, name TEXT, age INT);
  CREATE TABLE pets(id TEXT PRIMARY KEY, owner INT REFERENCES people(id), kind TEXT);
  CREATE TABLE load(id INTEGER PRIMARY KEY, node INT, v INT);
  INSERT INTO people VALUES(1, 'Ann', 30), (2, 'Bob', 40), (3, 'Cid', 50);
  INSERT INTO pets VALUES('a', 1, 'cat'), ('b', 2, 'dog');`;

/** The application's schema as text: everything but Marmot's own. */
function schemaText(file: string): string[] {
  const db = new Database(file, { readonly: true });
  try {
    return db
      .query(
        `SELECT type || ' ' || name || ' ' || tbl_name || ' ' || coalesce(sql, '') FROM sqlite_schema
           WHERE name NOT LIKE '\\_\\_marmot\\_\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1`,
      )
      .values()
      .map(([text]) => String(text));
  } finally {
    db.close();
  }
}

async function settleSchema(cluster: TestCluster, nodes = cluster.nodes): Promise<Record<string, string[]>> {
  const rows = await cluster.settle(nodes);
  await until(
    () => {
      const texts = nodes.map((n) => JSON.stringify(schemaText(n.db)));
      return texts.every((t) => t === texts[0]) ? true : texts.join("\n");
    },
    "all schemas are equal",
    20_000,
  );
  return rows;
}

let ids = 0;

/** Applications that write all the time, until they are told to stop. Returns how many transactions each committed. */
function load(nodes: readonly TestNode[]): () => Promise<number[]> {
  let ended = false;
  const writers = nodes.map(async (node, number) => {
    const db = node.open();
    let written = 0;
    try {
      while (!ended) {
        const id = ++ids;
        written++;
        db.run("INSERT INTO load VALUES(?, ?, ?)", [id, number, 0]);
        db.run("UPDATE load SET v = v + 1 WHERE node = ? AND id > ?", [number, id - 9]);
        await Bun.sleep(5);
      }
    } finally {
      db.close();
    }
    return written;
  });
  return () => {
    ended = true;
    return Promise.all(writers);
  };
}

describe.each([1, 16])("%d shards", (shards) => {
  let cluster: TestCluster;
  beforeAll(async () => {
    cluster = await TestCluster.start({ shards, schema: SCHEMA });
  }, 60_000);
  afterAll(() => cluster.stop());

  /** Runs on one node while the others write, then everything is compared. */
  async function change(node: TestNode, ...statements: string[]): Promise<Record<string, string[]>> {
    const stop = load(cluster.nodes.filter((n) => n !== node));
    try {
      for (const sql of statements) node.run(sql);
      expect(await node.wait({ all: true })).toBe(true);
    } finally {
      for (const written of await stop()) expect(written).toBeGreaterThan(0);
    }
    return settleSchema(cluster);
  }

  test("CREATE TABLE, ADD COLUMN and CREATE INDEX of one node reach the other nodes while they write", async () => {
    const [a, b, c] = cluster.nodes as [TestNode, TestNode, TestNode];
    await change(
      a,
      "CREATE TABLE things(id INTEGER PRIMARY KEY, v TEXT)",
      "INSERT INTO things VALUES(1, 'x')",
    );
    c.run("INSERT INTO things VALUES(2, 'from c')");
    await change(
      b,
      "ALTER TABLE people ADD COLUMN town TEXT DEFAULT 'Rome'",
      "UPDATE people SET town = 'Oslo' WHERE id = 2",
    );
    a.run("INSERT INTO people(id, name) VALUES(4, 'Dee')");
    const rows = await change(c, "CREATE INDEX people_town ON people(town)");
    expect(rows.things).toHaveLength(2);
    expect(c.query("SELECT id, town FROM people ORDER BY id")).toEqual([
      [1n, "Rome"],
      [2n, "Oslo"],
      [3n, "Rome"],
      [4n, "Rome"],
    ]);
    const versions = await Promise.all(
      cluster.nodes.map(async (n) => (await n.status()).cluster.schemaVersion),
    );
    expect(new Set(versions).size).toBe(1);
    expect(versions[0]).toBeGreaterThanOrEqual(4);
  }, 90_000);

  test("renamed, dropped and rebuilt tables, columns, views and triggers reach the other nodes while they write", async () => {
    const [a, b, c] = cluster.nodes as [TestNode, TestNode, TestNode];
    await change(
      b,
      "CREATE TABLE log(id INTEGER PRIMARY KEY, what TEXT)",
      "CREATE TRIGGER people_log AFTER UPDATE OF name ON people BEGIN INSERT INTO log(what) VALUES(OLD.name || '>' || NEW.name); END",
      "CREATE VIEW old_people AS SELECT name FROM people WHERE age > 35",
    );
    c.run("UPDATE people SET name = 'Anna' WHERE id = 1");
    await change(
      a,
      "ALTER TABLE people RENAME COLUMN name TO full_name",
      "ALTER TABLE pets RENAME TO animals",
    );
    expect(a.query("SELECT what FROM log")).toEqual([["Ann>Anna"]]);
    b.run("INSERT INTO animals VALUES('c', 3, 'owl')");
    await change(
      c,
      "ALTER TABLE animals DROP COLUMN kind",
      "DROP VIEW old_people",
      "DROP TRIGGER people_log",
    );
    await change(
      b,
      `BEGIN; CREATE TABLE people_new(id INTEGER PRIMARY KEY, full_name TEXT NOT NULL DEFAULT '', grown INT, town TEXT);
       INSERT INTO people_new SELECT id, upper(full_name), age >= 18, town FROM people; DROP TABLE people;
       ALTER TABLE people_new RENAME TO people; CREATE INDEX people_town2 ON people(town); COMMIT`,
    );
    await change(a, "CREATE UNIQUE INDEX people_names ON people(full_name)", "PRAGMA user_version = 7");
    const rows = await change(c, "DROP TABLE log", "DROP INDEX people_town2");
    expect(rows.log).toBeUndefined();
    expect(c.query("PRAGMA user_version")).toEqual([[7n]]);
    expect(a.query("SELECT full_name, grown FROM people WHERE id = 1")).toEqual([["ANNA", 1n]]);
    for (const node of cluster.nodes) {
      const { equal } = JSON.parse((await node.verb("verify", "--deep", "--json")).stdout) as {
        equal: boolean;
      };
      expect(equal).toBe(true);
    }
  }, 90_000);

  test("a migration while Marmot is stopped, and one while another node is stopped, reach all nodes", async () => {
    const [a, b, c] = cluster.nodes as [TestNode, TestNode, TestNode];
    await b.kill("SIGTERM");
    b.run(
      "CREATE TABLE stopped(id INTEGER PRIMARY KEY, v)",
      "INSERT INTO stopped VALUES(1, 'b')",
      "ALTER TABLE load ADD COLUMN w",
    );
    await c.kill();
    c.run("INSERT INTO load VALUES(-1, 9, 9)");
    await b.start();
    await b.ready();
    await settleSchema(cluster, [a, b]);
    a.run("ALTER TABLE load RENAME COLUMN v TO vv", "UPDATE load SET w = 1 WHERE id = 1");
    await settleSchema(cluster, [a, b]);
    await c.start();
    await c.ready();
    await settleSchema(cluster);
    expect(a.query("SELECT vv FROM load WHERE id = -1")).toEqual([[9n]]);
    expect(c.query("SELECT v FROM stopped")).toEqual([["b"]]);
    a.run("ALTER TABLE load RENAME COLUMN vv TO v");
    await settleSchema(cluster);
    const late = cluster.add();
    await late.start();
    await late.ready();
    await cluster.voters();
    late.run(
      "ALTER TABLE stopped ADD COLUMN late DEFAULT 'l'",
      "UPDATE stopped SET late = 'by the newcomer'",
    );
    await settleSchema(cluster);
    expect(b.query("SELECT v, late FROM stopped")).toEqual([["b", "by the newcomer"]]);
  }, 90_000);

  test("the same migration on all nodes at once, and different migrations at once, end in one schema", async () => {
    const [a, b, c] = cluster.nodes as [TestNode, TestNode, TestNode];
    for (const node of cluster.nodes)
      node.run(
        "CREATE TABLE IF NOT EXISTS same(id INTEGER PRIMARY KEY, v)",
        "CREATE INDEX IF NOT EXISTS same_v ON same(v)",
      );
    await settleSchema(cluster);
    a.run("ALTER TABLE same ADD COLUMN a DEFAULT 1");
    b.run("ALTER TABLE same ADD COLUMN b DEFAULT 2");
    c.run("INSERT INTO same(id, v) VALUES(1, 'c')");
    await settleSchema(cluster);
    expect(c.query("SELECT v, a, b FROM same")).toEqual([["c", 1n, 2n]]);
  }, 90_000);
});

describe("schema changes with a cluster for each test", () => {
  let cluster: TestCluster | null = null;
  afterEach(async () => {
    await cluster?.stop();
    cluster = null;
  });

  test.each([1, 16])(
    "migrations on both sides of a partition are combined after healing, %d shards",
    async (shards) => {
      cluster = await TestCluster.start({ shards, schema: SCHEMA, linked: new Random(1) });
      const [a, b, c] = cluster.nodes as [TestNode, TestNode, TestNode];
      const HELD = { ...CLEAR, held: true };
      cluster.links!.between([c.name], [a.name, b.name], HELD);
      a.run(
        "ALTER TABLE people ADD COLUMN majority DEFAULT 1",
        "CREATE TABLE m(id INTEGER PRIMARY KEY)",
        "INSERT INTO m VALUES(1)",
      );
      c.run(
        "ALTER TABLE people RENAME COLUMN name TO called",
        "ALTER TABLE people ADD COLUMN minority DEFAULT 2",
        "UPDATE people SET minority = 3 WHERE id = 1",
        "CREATE TABLE m(id INTEGER PRIMARY KEY)",
        "INSERT INTO m VALUES(2)",
      );
      expect((await a.verb("wait", "--timeout", "30s")).code).toBe(0);
      expect((await c.verb("wait", "--timeout", "1s")).code).not.toBe(0);
      b.run("UPDATE people SET majority = 5 WHERE id = 2");
      cluster.links!.between([c.name], [a.name, b.name], CLEAR);
      await settleSchema(cluster);
      expect(a.query("SELECT called, majority, minority FROM people ORDER BY id")).toEqual([
        ["Ann", 1n, 3n],
        ["Bob", 5n, 2n],
        ["Cid", 1n, 2n],
      ]);
      expect(b.query("SELECT id FROM m ORDER BY id")).toEqual([[1n], [2n]]);
    },
    90_000,
  );

  test.each([1, 16])(
    "a schema change that makes a table unsupported holds that table back with a hint; other tables go on both ways, %d shards",
    async (shards) => {
      cluster = await TestCluster.start({ shards, schema: SCHEMA });
      const [a, b, c] = cluster.nodes as [TestNode, TestNode, TestNode];
      await cluster.settle();
      a.run(
        "CREATE TRIGGER odd AFTER INSERT ON pets BEGIN UPDATE people SET age = 1 WHERE name = NEW.kind COLLATE no_such_collation; END",
        "INSERT INTO people VALUES(4, 'Dan', 60)",
      );
      await until(async () => {
        const { skipped } = (await a.status()).tables;
        return /no_such_collation.*hint: .*odd/.test(skipped[0]?.reason ?? "") || JSON.stringify(skipped);
      }, "the table is held back, with the reason");
      const { tables } = await a.status();
      expect(tables.replicated.toSorted()).toEqual(["load", "people"]);
      expect(tables.skipped.map(({ name }) => name)).toEqual(["pets"]);
      await a.ready();
      // The node goes on: that is no refusal.
      const { code, stdout } = a.marmot("doctor");
      expect(code).toBe(0);
      expect(stdout).toContain("no_such_collation");
      // One after the other: rows that are ordered together are shown together.
      for (const statement of [
        "INSERT INTO people VALUES(5, 'Eve', 70)",
        "INSERT INTO pets VALUES('c', 5, 'fish')",
      ]) {
        b.run(statement);
        expect((await b.verb("wait", "--timeout", "30s")).code).toBe(0);
      }
      const shown = (node: TestNode): string =>
        JSON.stringify(node.query("SELECT id FROM people").map(([id]) => Number(id)));
      for (const node of [a, c])
        await until(() => shown(node) === "[1,2,3,4,5]" || shown(node), "another table goes on");
      expect(a.query("SELECT count(*) FROM pets WHERE id = 'c'")).toEqual([[0n]]);
      a.run("INSERT INTO load VALUES(1, 1, 1)", "DROP TRIGGER odd");
      const rows = await settleSchema(cluster);
      expect([rows.people, rows.pets, rows.load].map((r) => r?.length)).toEqual([5, 3, 1]);
      await until(async () => (await a.http("/readyz")).status === 200, "it is ready again");
      expect((await a.status()).tables.skipped).toEqual([]);
      expect((await a.status()).conflicts.total).toBe(0);
    },
    90_000,
  );

  test("a cluster that orders row by row takes a schema change, repairs dropped triggers, and cleanup restores the file", async () => {
    cluster = await TestCluster.start({ shards: 4, schema: SCHEMA, first: ["--transactions", "row"] });
    const [a, b, c] = cluster.nodes as [TestNode, TestNode, TestNode];
    const stop = load([b, c]);
    a.run(
      "ALTER TABLE people ADD COLUMN z DEFAULT 1",
      "UPDATE people SET z = 2 WHERE id = 1",
      "ALTER TABLE pets DROP COLUMN kind",
    );
    b.run("CREATE TABLE more(id INTEGER PRIMARY KEY, v)", "INSERT INTO more VALUES(1, 'b')");
    await stop();
    await settleSchema(cluster);
    const triggers = c.query("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'people'");
    c.run(
      ...triggers.map(([name]) => `DROP TRIGGER "${String(name)}"`),
      "UPDATE people SET age = 99 WHERE id = 3",
    );
    await settleSchema(cluster);
    expect(a.query("SELECT age FROM people WHERE id = 3")).toEqual([[99n]]);
    const before = schemaText(b.db);
    await b.kill("SIGTERM");
    expect(b.marmot("cleanup").code).toBe(0);
    expect(schemaText(b.db)).toEqual(before);
    expect(b.query("SELECT name FROM sqlite_schema WHERE name LIKE '%marmot%'")).toEqual([]);
  }, 90_000);
});

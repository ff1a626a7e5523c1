/** Tables that one node cannot write are held back there, and nothing else is; texts that no write evaluates travel. */
import { afterEach, describe, expect, test } from "bun:test";
import { decodeImage } from "../../src/change/codec.ts";
import { forAll } from "../../src/change/per-table.ts";
import { Lab, type LabNode } from "../node/lab.ts";
import { expectEqual, schemaOf } from "./schema-lab.ts";

let lab: Lab | null = null;
afterEach(() => {
  lab?.close();
  lab = null;
});

const SCHEMA = `CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE o(id INTEGER PRIMARY KEY, v TEXT);
  INSERT INTO t VALUES(1, 'x')`;

async function start(schema = SCHEMA, count = 3, shards = 1, settings = {}): Promise<readonly LabNode[]> {
  lab = await Lab.create(schema, count, shards, "whole", [], settings);
  lab.settle();
  return lab.nodes;
}

/** The functions of an application, on the connection of its node. */
function giveFunctions({ app }: LabNode): void {
  const [own, matches] = [
    (value: unknown): unknown => value,
    (pattern: unknown, value: unknown): number => (new RegExp(String(pattern)).test(String(value)) ? 1 : 0),
  ];
  const functions = app as unknown as {
    function(name: string, options: object, run: (...values: unknown[]) => unknown): void;
  };
  functions.function("myfn", { deterministic: true }, own);
  functions.function("regexp", { deterministic: true }, matches);
}

const ids = (node: LabNode, table: string): unknown[] =>
  node.query(`SELECT id FROM ${table} NOT INDEXED ORDER BY id`).map(([id]) => id);

describe.each([1, 16])("%d shards", (shards) => {
  test("an index with a function of the application stays on its node, whose own rows go on", async () => {
    const [a, b] = (await start(SCHEMA, 3, shards)) as [LabNode, LabNode];
    giveFunctions(b);
    b.run("CREATE INDEX i ON t(myfn(v))", "INSERT INTO t VALUES(2, 'two')", "INSERT INTO o VALUES(1, 'b')");
    lab!.settle();
    expect(b.pipeline.obstacle).toBeNull();
    expect(b.schema.held).toMatchObject([
      {
        name: "t",
        sends: true,
        reason: "its index i calls myfn, which only the application has",
        hint: `give it to marmot with --functions FILE.js or --load-extension FILE, or drop the index: DROP INDEX "i"`,
      },
    ]);
    a.run("INSERT INTO o VALUES(2, 'a')");
    lab!.settle();
    for (const node of lab!.nodes)
      expect([ids(node, "t"), ids(node, "o")]).toEqual([
        [1n, 2n],
        [1n, 2n],
      ]);
    expect(b.pipeline.session.holdBack.waiting().size).toBe(0);
    expect(schemaOf(a).join()).not.toContain("myfn");
    // Rows of other nodes wait, and come when the hint is followed.
    a.run("INSERT INTO t VALUES(3, 'a')", "DELETE FROM t WHERE id = 1");
    lab!.settle();
    expect(ids(b, "t")).toEqual([1n, 2n]);
    expect([...b.pipeline.session.holdBack.waiting().values()]).toEqual([2]);
    b.crash();
    lab!.settle();
    expect(ids(b, "t")).toEqual([1n, 2n]);
    expect([...b.pipeline.session.holdBack.waiting().values()]).toEqual([2]);
    b.run(`DROP INDEX "i"`);
    expectEqual(lab!, a);
    expect(ids(b, "t")).toEqual([2n, 3n]);
    expect(b.schema.held).toEqual([]);
  });

  test("a write of a row that waits counts as made on the older row", async () => {
    const [a, b] = (await start(SCHEMA, 2, shards)) as [LabNode, LabNode];
    giveFunctions(b);
    b.run("CREATE INDEX i ON t(myfn(v))");
    lab!.settle();
    a.run("UPDATE t SET v = 'from a' WHERE id = 1");
    lab!.settle();
    b.run("UPDATE t SET v = 'from b' WHERE id = 1");
    lab!.settle();
    expect(a.query("SELECT v FROM t")).toEqual([["from b"]]);
    expect(a.replica.replica.journal.list(10).map((c) => c.kind)).toEqual(["concurrent write"]);
    b.run("DROP INDEX i");
    expectEqual(lab!, a);
  });
});

/** While rows wait, the lab does not come to rest. */
function rounds(): void {
  for (let i = 0; i < 12; i++) {
    for (const node of lab!.nodes) {
      node.touch();
      node.turns();
      node.order();
    }
    for (const node of lab!.nodes) node.deliver();
    lab!.clock += 100;
    for (const node of lab!.nodes) {
      node.pipeline.tick();
      node.turns();
    }
  }
}

describe.each([1, 16])("a table that the cluster changes while it is held, %d shards", (shards) => {
  test("waits in both directions, with its transactions; other tables go on", async () => {
    const [a, b] = (await start(`${SCHEMA}; CREATE TABLE p(id INTEGER PRIMARY KEY, v)`, 3, shards)) as [
      LabNode,
      LabNode,
    ];
    giveFunctions(b);
    b.run("CREATE INDEX i ON t(myfn(v))");
    lab!.settle();
    a.run("ALTER TABLE t ADD COLUMN w", "UPDATE t SET w = 1", "CREATE TABLE n(id INTEGER PRIMARY KEY)");
    lab!.settle();
    expect(b.pipeline.obstacle).toBeNull();
    expect(b.schema.held).toMatchObject([{ name: "t", sends: false }]);
    expect(b.pipeline.held).toContain("rows of t wait on this node, as its index i calls myfn");
    // Both ways, rows and schema.
    a.run("INSERT INTO o VALUES(1, 'a')", "INSERT INTO n VALUES(1)");
    lab!.settle(); // otherwise all rows go in one changeset, and wait together
    a.run("INSERT INTO t VALUES(10, 'a', 2)");
    b.run(
      "INSERT INTO o VALUES(2, 'b')",
      "CREATE TABLE m(id INTEGER PRIMARY KEY)",
      "INSERT INTO m VALUES(1)",
    );
    lab!.settle();
    for (const node of lab!.nodes)
      expect([ids(node, "o"), ids(node, "n"), ids(node, "m")]).toEqual([[1n, 2n], [1n], [1n]]);
    expect(ids(b, "t")).toEqual([1n]);
    // Transactions stay whole.
    a.run("BEGIN", "INSERT INTO t VALUES(11, 'a', 3)", "INSERT INTO p VALUES(1, 'a')", "COMMIT");
    b.run("BEGIN", "INSERT INTO t VALUES(20, 'b')", "INSERT INTO p VALUES(2, 'b')", "COMMIT");
    rounds();
    b.run("INSERT INTO o VALUES(3, 'b')");
    rounds();
    expect([ids(b, "p"), ids(a, "p"), ids(a, "t"), ids(a, "o")]).toEqual([
      [2n],
      [1n],
      [1n, 10n, 11n],
      [1n, 2n, 3n],
    ]);
    expect(b.pipeline.held).toContain("; p may have been written in the same transactions");
    b.crash();
    rounds();
    giveFunctions(b);
    a.run("INSERT INTO n VALUES(2)");
    rounds();
    a.run("DELETE FROM t WHERE id = 10", "UPDATE t SET v = 'again' WHERE id = 1");
    b.run("DROP TABLE m", "CREATE INDEX on_v ON o(v)");
    rounds();
    expect([ids(b, "n"), ids(b, "t"), ids(a, "t")]).toEqual([
      [1n, 2n],
      [1n, 20n],
      [1n, 11n],
    ]);
    expect(schemaOf(a).join()).toContain("on_v");
    // The hint is followed, and the application has changed the table besides.
    b.run("DROP INDEX i", "CREATE INDEX j ON t(v)");
    lab!.clock += 1000;
    expectEqual(lab!, a);
    expect(b.schema.held).toEqual([]);
    expect(b.pipeline.held).toBeNull();
    expect(schemaOf(a).join()).toContain("INDEX j");
    expect(b.query("SELECT id, v, w FROM t ORDER BY id")).toEqual([
      [1n, "again", 1n],
      [11n, "a", 3n],
      [20n, "b", null],
    ]);
    expect(ids(a, "p")).toEqual([1n, 2n]);
    for (const node of lab!.nodes) expect(node.replica.replica.journal.list(10)).toEqual([]);
  });
});

test("a table whose key the application changed to one that cannot be replicated waits alone", async () => {
  const [a, b] = (await start(
    "CREATE TABLE t(k TEXT PRIMARY KEY, v); CREATE TABLE o(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES('x', 1)",
  )) as [LabNode, LabNode];
  giveFunctions(b);
  const rebuild = (declaration: string): void =>
    b.run(
      "BEGIN",
      `CREATE TABLE n(${declaration})`,
      "INSERT INTO n(k, v) SELECT k, v FROM t",
      "DROP TABLE t",
      "ALTER TABLE n RENAME TO t",
      "COMMIT",
    );
  rebuild("k TEXT, v, g TEXT AS (myfn(v)) STORED, PRIMARY KEY(k, v)");
  rounds();
  expect(b.schema.held).toMatchObject([{ name: "t", sends: false, isRekeyed: true }]);
  b.run("INSERT INTO t(k, v) VALUES('own', 2)", "INSERT INTO o VALUES(1, 'b')");
  a.run("INSERT INTO o VALUES(2, 'a')", "CREATE TABLE m(id INTEGER PRIMARY KEY)");
  rounds();
  a.run("INSERT INTO t VALUES('other', 3)");
  rounds();
  expect(b.pipeline.obstacle).toBeNull();
  expect(b.pipeline.held).toContain("its stored generated column g calls myfn");
  for (const node of lab!.nodes) expect(ids(node, "o")).toEqual([1n, 2n]);
  b.crash();
  rounds();
  giveFunctions(b);
  rebuild("k TEXT PRIMARY KEY, v");
  lab!.clock += 1000;
  expectEqual(lab!, a);
  expect(a.query("SELECT k FROM t ORDER BY k")).toEqual([["other"], ["own"], ["x"]]);
});

test("CHECK and virtual columns with functions of the application travel as they are written", async () => {
  const [a, b, c] = (await start()) as [LabNode, LabNode, LabNode];
  giveFunctions(a);
  a.run(
    `CREATE TABLE item(id INTEGER PRIMARY KEY, code TEXT NOT NULL CHECK (code REGEXP '^[A-Z]+$'), g AS (myfn(code)) VIRTUAL)`,
    "CREATE UNIQUE INDEX item_code ON item(code)",
    "INSERT INTO item(code) VALUES('ABC')",
    "ALTER TABLE o ADD COLUMN w CHECK (myfn(w) IS NOT 7)",
  );
  lab!.settle();
  expect(a.schema.held).toEqual([]);
  const text = (node: LabNode): string => schemaOf(node).join("\n");
  for (const node of [b, c]) {
    expect(text(node)).toBe(text(a));
    expect(node.query("SELECT id, code FROM item")).toEqual([[1n, "ABC"]]);
  }
  giveFunctions(b);
  b.run(
    "INSERT INTO item(code) VALUES('XYZ')",
    "UPDATE item SET code = 'ABCD' WHERE id = 1",
    "INSERT INTO o(w) VALUES(8)",
  );
  expect(() => b.app.run("INSERT INTO item(code) VALUES('small')")).toThrow("CHECK");
  lab!.settle();
  b.crash();
  giveFunctions(b);
  b.run("REPLACE INTO item(code) VALUES('XYZ')");
  lab!.settle();
  for (const node of lab!.nodes)
    expect(node.query("SELECT code FROM item ORDER BY id")).toEqual([["ABCD"], ["XYZ"]]);
  b.run(
    "CREATE TABLE item2(id INTEGER PRIMARY KEY, code TEXT COLLATE NOCASE CHECK (code REGEXP '^[A-Z]+$'))",
    "INSERT INTO item2 SELECT id, code FROM item",
    "DROP TABLE item",
    "ALTER TABLE item2 RENAME TO item",
  );
  lab!.settle();
  for (const node of [a, c]) {
    expect(text(node)).toBe(text(b));
    expect(node.query("SELECT code FROM item ORDER BY id")).toEqual([["ABCD"], ["XYZ"]]);
  }
});

test("a new table with a stored generated column of the application's stays on its node", async () => {
  const [a, b] = (await start()) as [LabNode, LabNode];
  giveFunctions(a);
  a.run(
    "CREATE TABLE s(id INTEGER PRIMARY KEY, v, g AS (myfn(v)) STORED)",
    "INSERT INTO s(v) VALUES(1)",
    "INSERT INTO o VALUES(1, 'a')",
  );
  lab!.settle();
  expect(a.schema.local).toMatchObject([
    { name: "s", reason: "its stored generated column g calls myfn, which only the application has" },
  ]);
  expect(a.schema.local[0]!.hint).toContain("declare g VIRTUAL");
  expect(b.query("SELECT id FROM o")).toEqual([[1n]]);
  expect(schemaOf(b).join()).not.toContain("myfn");
});

const GUARDED = `CREATE TABLE j(id INTEGER PRIMARY KEY, kind TEXT, data TEXT, g AS (CASE kind WHEN 'json' THEN json_extract(data, '$.a') END) STORED);
  CREATE TABLE k(id INTEGER PRIMARY KEY, kind TEXT, data TEXT);
  CREATE INDEX kd ON k(json_extract(data, '$.id')) WHERE kind = 'json';
  INSERT INTO j(id, kind, data) VALUES(1, 'text', '{}'); INSERT INTO k VALUES(1, 'text', '{}')`;

test("columns of two writers that no expression takes together: the later row wins whole, or waits", async () => {
  const [a, b, c] = (await start(GUARDED, 3, 1, { merge: forAll("column") })) as [LabNode, LabNode, LabNode];
  for (const table of ["j", "k"]) {
    a.run(`UPDATE ${table} SET data = 'no json' WHERE id = 1`);
    b.run(`UPDATE ${table} SET kind = 'json' WHERE id = 1`);
  }
  lab!.settle();
  const rows = (node: LabNode, table: string): unknown =>
    node.query(`SELECT kind, data FROM ${table} NOT INDEXED`);
  for (const node of lab!.nodes) expect(rows(node, "j")).toEqual([["json", "{}"]]);
  // Only files have the other index: the replicas agree, and the row waits where it does not fit.
  for (const node of lab!.nodes) expect(node.replica.replica.row(2, [1n])).toEqual([1n, "json", "no json"]);
  expect(rows(c, "k")).toEqual([["text", "{}"]]);
  expect([...c.pipeline.session.holdBack.failures.values()]).toEqual(["malformed JSON"]);
  c.run("INSERT INTO k VALUES(2, 'text', 'goes on')");
  lab!.settle();
  expect(a.query("SELECT data FROM k WHERE id = 2")).toEqual([["goes on"]]);
  c.run("UPDATE k SET data = '{\"id\":1}', kind = 'json' WHERE id = 1");
  expectEqual(lab!, c);
});

test.each(["before", "after"])(
  "a unique index over rows, ordered %s it, for which its expression fails rejects these rows on every node",
  async (place) => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    const write = (): void => b.run("INSERT INTO t VALUES(2, 'no json'), (3, '{\"id\":1}')");
    const index = (): void => a.run("CREATE UNIQUE INDEX one ON t(json_extract(v, '$.id')) WHERE id > 1");
    const steps: [LabNode, () => void][] = [
      [b, write],
      [a, index],
    ];
    for (const [node, step] of place === "before" ? steps : steps.reverse()) {
      step();
      node.touch();
      node.turns();
      node.order();
    }
    expectEqual(lab!, a);
    expect(a.query("SELECT id FROM t ORDER BY id")).toEqual([[1n], [3n]]);
    expect(b.replica.replica.journal.list(10).map((c) => decodeImage(c.losingImage!))).toEqual([
      [2n, "no json"],
    ]);
  },
);

test("eviction triggers of an older version are replaced at the start", async () => {
  const [a] = await start(
    `CREATE TABLE j(id INTEGER PRIMARY KEY, kind, data);
    CREATE UNIQUE INDEX u ON j(json_extract(data, '$.id')) WHERE kind = 'json'`,
    2,
  );
  const texts = (): unknown =>
    a!.query("SELECT name, sql FROM sqlite_schema WHERE name LIKE '%\\_evict\\_%' ESCAPE '\\' ORDER BY name");
  const now = texts();
  a!.stopped((app) => {
    const triggers = app.query("SELECT name, sql FROM sqlite_schema WHERE name LIKE '%evict_%'").all() as {
      name: string;
      sql: string;
    }[];
    expect(triggers).toHaveLength(2);
    for (const { name, sql } of triggers) {
      app.exec(`DROP TRIGGER "${name}"`);
      app.exec(sql.replace(/ SELECT .*; END$/, " SELECT 1; END").replace(/INSERT INTO .*? SELECT/, "SELECT"));
    }
  });
  expect(texts()).toEqual(now);
  a!.run("INSERT INTO j VALUES(1, 'json', '{\"id\":1}')", "REPLACE INTO j VALUES(2, 'json', '{\"id\":1}')");
  expectEqual(lab!, a!);
  expect(a!.query("SELECT id FROM j")).toEqual([[2n]]);
});

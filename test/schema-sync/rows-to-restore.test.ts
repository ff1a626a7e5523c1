/**
 * Rows and values that a schema change removed from the file of a node are restored from the replica, also after a
 * restart.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { DatabaseSync } from "node:sqlite";
import { APP_DB_FORMAT } from "../../src/schema/app-db-tables.ts";
import { Lab, type LabNode } from "../node/lab.ts";
import { expectEqual } from "./schema-lab.ts";

let lab: Lab;
afterEach(() => lab.close());

const POSTS = `CREATE TABLE post(id INTEGER PRIMARY KEY, title TEXT, old TEXT);
  INSERT INTO post VALUES(1, 'a', 'a'), (2, 'b', 'b'), (3, 'c', 'c')`;
/** A rebuild as an ORM does it: no trigger captures the table afterwards. */
const rebuild = (columns: string, copied: string): string =>
  `CREATE TABLE tmp(${columns}); INSERT INTO tmp(${copied}) SELECT ${copied} FROM post; DROP TABLE post; ALTER TABLE tmp RENAME TO post`;
const WITH_MORE = rebuild("id INTEGER PRIMARY KEY, title TEXT, old TEXT, more DEFAULT 1", "id, title, old");

async function start(mode: "whole" | "row", schema = POSTS): Promise<[LabNode, LabNode, LabNode]> {
  lab = await Lab.create(schema, 3, mode === "row" ? 4 : 1, mode);
  lab.settle();
  return lab.nodes as [LabNode, LabNode, LabNode];
}

/** The node checks its file and proposes. */
const look = (node: LabNode): void => {
  node.touch();
  node.turns();
};

/** The node applies the entries of the others, and is killed after some of its turns. */
function meet(node: LabNode, turns: number): void {
  node.deliver();
  for (let i = 0; i < turns; i++) node.pipeline.turn();
  node.crash();
}

/** An index of `a` rejects rows of `b`, whose application has just changed them and the schema. */
function leaveOut(a: LabNode, b: LabNode): void {
  a.run("CREATE UNIQUE INDEX one ON post(title)");
  look(a);
  a.order();
  b.run("UPDATE post SET title = 'same'", "CREATE TABLE n(id INTEGER PRIMARY KEY)");
  b.deliver();
  b.pipeline.turn();
}

const POSTS_NOW = "SELECT id, title, old FROM post ORDER BY id";
const AS_FOUNDED = [
  [1n, "a", "a"],
  [2n, "b", "b"],
  [3n, "c", "c"],
];

describe.each(["whole", "row"] as const)("%s, killed after each of its turns", (mode) => {
  const TURNS = [0, 1, 2, 3, 4, 5, 6];

  test.each([
    ["changed", "ALTER TABLE post ADD COLUMN more DEFAULT 1"],
    ["rebuilt", WITH_MORE],
  ])(
    "rows that a unique index of others leaves no room for in a table that was %s",
    async (_how, change) => {
      for (const turns of TURNS) {
        const [a, b] = await start(mode);
        a.run("CREATE UNIQUE INDEX one ON post(title)");
        look(a);
        a.order();
        b.run("UPDATE post SET title = 'same'", change);
        meet(b, turns);
        expectEqual(lab, a);
        expect({ turns, rows: a.query("SELECT id, old, more FROM post ORDER BY id") }).toEqual({
          turns,
          rows: AS_FOUNDED.map(([id, , old]) => [id, old, 1n]),
        });
        expect(b.query("SELECT * FROM __marmot__awaited")).toEqual([]);
        lab.close();
      }
      lab = await Lab.create(POSTS, 1);
    },
    180_000,
  );

  test.each([
    ["dropped", "ALTER TABLE post DROP COLUMN old"],
    ["left out of a rebuilt table", rebuild("id INTEGER PRIMARY KEY, title TEXT", "id, title")],
  ])(
    "the values of a column that was %s and stays, since others index it",
    async (_how, change) => {
      for (const turns of [null, ...TURNS]) {
        const [a, b] = await start(mode);
        a.run("CREATE INDEX one ON post(old)");
        look(a);
        a.order();
        // Unacknowledged changes of these rows do not include the empty columns.
        b.run(
          change,
          "UPDATE post SET title = 'later' WHERE id = 2",
          "CREATE TABLE n(id INTEGER PRIMARY KEY)",
        );
        if (turns === null) b.deliver();
        else meet(b, turns);
        lab.settle();
        const rows = [[1n, "a", "a"], [2n, "later", "b"], [3n, "c", "c"]]; // prettier-ignore
        for (const node of lab.nodes) expect({ turns, rows: node.query(POSTS_NOW) }).toEqual({ turns, rows });
        expectEqual(lab, a);
        lab.close();
      }
      lab = await Lab.create(POSTS, 1);
    },
    180_000,
  );
});

describe("a dropped table that stays, since another node made a view of it, is empty until its rows are restored", () => {
  test.each(["nothing", "it is rebuilt", "the node is killed", "it is rebuilt, and the node is killed"])(
    "%s",
    async (meanwhile) => {
      const [a, b] = await start("whole");
      a.run("CREATE VIEW v AS SELECT title FROM post");
      look(a);
      a.order();
      b.run("DROP TABLE post", "CREATE TABLE n(id INTEGER PRIMARY KEY)");
      b.deliver();
      b.pipeline.turn();
      expect(b.query(POSTS_NOW)).toEqual([]);
      // As an ORM does that rebuilds a table under a view.
      if (meanwhile.includes("rebuilt")) b.run(`PRAGMA legacy_alter_table = ON; ${WITH_MORE}`);
      if (meanwhile.includes("killed")) b.crash();
      expectEqual(lab, a);
      expect(a.query(POSTS_NOW)).toEqual(AS_FOUNDED);
      expect(b.query("SELECT count(title) FROM v")).toEqual([[3n]]);
    },
  );
});

test.each([false, true])("rows to restore get another key from another node; killed: %p", async (killed) => {
  const [a, b, c] = await start("whole");
  leaveOut(a, b);
  expect(b.query("SELECT count(*) FROM __marmot__awaited")).toEqual([[2n]]);
  c.deliver();
  c.turns();
  c.run(rebuild("id INT, title TEXT UNIQUE, old TEXT PRIMARY KEY", "id, title, old"));
  look(c);
  c.order();
  b.deliver();
  if (killed) b.crash();
  expectEqual(lab, c);
  expect(a.query("SELECT id, old FROM post ORDER BY id")).toEqual(AS_FOUNDED.map(([id, , old]) => [id, old]));
});

test.each([false, true])(
  "rows to restore get another key from their own node; killed: %p",
  async (killed) => {
    const [a, b] = await start("whole");
    leaveOut(a, b);
    b.run(rebuild("id INT, title TEXT UNIQUE, old TEXT PRIMARY KEY", "id, title, old"));
    if (killed) b.crash();
    expectEqual(lab, a);
    expect(a.query("SELECT id, old FROM post ORDER BY id")).toEqual(
      AS_FOUNDED.map(([id, , old]) => [id, old]),
    );
  },
);

test.each([
  ["rebuilt the table", WITH_MORE],
  ["changed a row of it meanwhile", "UPDATE post SET title = 'later' WHERE id = 2"],
])(
  "values that the first of two changes gave stand, also where the application %s",
  async (_how, meanwhile) => {
    const [a, b] = await start("whole");
    for (const change of [
      "ALTER TABLE post ADD COLUMN z TEXT NOT NULL DEFAULT 'given'",
      rebuild("id INTEGER PRIMARY KEY, title TEXT, old TEXT, z TEXT NOT NULL", "id, title, old, z"),
    ]) {
      a.run(change);
      look(a);
      a.order();
      a.deliver();
      a.turns();
    }
    b.run(meanwhile);
    b.deliver();
    expectEqual(lab, a);
    expect(a.query("SELECT z FROM post")).toEqual([["given"], ["given"], ["given"]]);
  },
);

test("a withheld row is not proposed as deleted when the table is rebuilt", async () => {
  const [a, b] = await start("whole", `${POSTS}; CREATE UNIQUE INDEX one ON post(title)`);
  a.run("UPDATE post SET title = 'x' WHERE id = 2");
  look(a);
  a.order();
  b.run("INSERT INTO post VALUES(9, 'x', 'of b')");
  b.deliver();
  b.turns();
  expect(b.query("SELECT id FROM post ORDER BY id")).toEqual([[1n], [3n], [9n]]);
  b.run(`${WITH_MORE}; CREATE UNIQUE INDEX one ON post(title); DELETE FROM post WHERE id = 9`);
  expectEqual(lab, a);
  expect(a.query("SELECT id, title, old FROM post ORDER BY id")).toEqual([
    [1n, "a", "a"],
    [2n, "x", "b"],
    [3n, "c", "c"],
  ]);
});

test("a file of format 2 is upgraded", async () => {
  const [a, b] = await start("whole");
  b.close();
  const db = new DatabaseSync(b.file);
  db.exec(
    `DROP TABLE __marmot__awaited; DROP TABLE __marmot__lost; UPDATE __marmot__meta SET value = 2 WHERE name = 'format'`,
  );
  db.close();
  b.open();
  expect(b.query("SELECT value FROM __marmot__meta WHERE name = 'format'")).toEqual([
    [BigInt(APP_DB_FORMAT)],
  ]);
  b.run("INSERT INTO post VALUES(4, 'd', 'd')");
  expectEqual(lab, b);
  a.run("ALTER TABLE post ADD COLUMN more");
  expectEqual(lab, a);
});

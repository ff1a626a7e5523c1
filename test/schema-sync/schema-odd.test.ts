/** Schema changes of keys, of tables without a declared key, and of rare kinds of tables. */
import { afterEach, describe, expect, test } from "bun:test";
import { Lab, type LabNode } from "../node/lab.ts";
import { expectEqual } from "./schema-lab.ts";

const SCHEMA = `CREATE TABLE a(id INTEGER PRIMARY KEY, x TEXT, y INT);
  CREATE TABLE k(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
  CREATE TABLE r(x, y);
  CREATE TABLE auto(id INTEGER PRIMARY KEY AUTOINCREMENT, v);
  CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES p(id) ON DELETE CASCADE);
  INSERT INTO a VALUES(1, 'one', 10), (2, 'two', 20), (3, 'three', 30);
  INSERT INTO k VALUES('p', 1), ('q', 2); INSERT INTO r VALUES(1, 2), (3, 4), (1, 2);
  INSERT INTO auto(v) VALUES('x'), ('y'); INSERT INTO p VALUES(1), (2); INSERT INTO c VALUES(1, 1), (2, 2);`;

let lab: Lab | null = null;
afterEach(() => {
  lab?.close();
  lab = null;
});

/** [name, statements of one node, concurrent statements of another, query, expected rows] */
const CASES: readonly (readonly [
  name: string,
  ddl: readonly string[],
  meanwhile: readonly string[],
  sql: string,
  rows: readonly unknown[][],
])[] = [
  [
    "another primary key, while another node writes",
    [
      `BEGIN; CREATE TABLE a2(x TEXT PRIMARY KEY, y INT, id INT); INSERT INTO a2 SELECT x, y, id FROM a; DROP TABLE a;
       ALTER TABLE a2 RENAME TO a; COMMIT`,
    ],
    ["UPDATE a SET y = 21 WHERE id = 2"],
    "SELECT x, y, id FROM a ORDER BY id",
    [
      ["one", 10n, 1n],
      ["two", 21n, 2n],
      ["three", 30n, 3n],
    ],
  ],
  [
    "a declared key for a table that had none",
    [
      `BEGIN; CREATE TABLE r2(id INTEGER PRIMARY KEY, x, y); INSERT INTO r2(x, y) SELECT x, y FROM r; DROP TABLE r;
       ALTER TABLE r2 RENAME TO r; COMMIT`,
    ],
    ["INSERT INTO k VALUES('z', 9)"],
    "SELECT * FROM r",
    [
      [1n, 1n, 2n],
      [2n, 3n, 4n],
      [3n, 1n, 2n],
    ],
  ],
  [
    "a table without a declared key gets a column and loses one",
    ["ALTER TABLE r ADD COLUMN z DEFAULT 5", "ALTER TABLE r DROP COLUMN x", "INSERT INTO r VALUES(8, 9)"],
    ["INSERT INTO r VALUES(7, 7)"],
    "SELECT y, z FROM r ORDER BY y",
    [
      [2n, 5n],
      [2n, 5n],
      [4n, 5n],
      [7n, 5n],
      [8n, 9n],
    ],
  ],
  [
    "a table dropped and made anew under its name",
    ["DROP TABLE a", "CREATE TABLE a(id INTEGER PRIMARY KEY, other TEXT)", "INSERT INTO a VALUES(1, 'new')"],
    ["INSERT INTO k VALUES('z', 9)"],
    "SELECT * FROM a",
    [[1n, "new"]],
  ],
  [
    "two tables swap names",
    ["BEGIN; ALTER TABLE a RENAME TO t; ALTER TABLE auto RENAME TO a; ALTER TABLE t RENAME TO auto; COMMIT"],
    ["UPDATE a SET x = 'of another' WHERE id = 3"],
    "SELECT x FROM auto UNION ALL SELECT v FROM a ORDER BY 1",
    [["of another"], ["one"], ["two"], ["x"], ["y"]],
  ],
  [
    "UNIQUE, NOT NULL and a default that is no constant by rebuilding; generated columns; STRICT",
    [
      `BEGIN; CREATE TABLE a2(id INTEGER PRIMARY KEY, x TEXT NOT NULL UNIQUE, y INT CHECK(y > 0), at TEXT DEFAULT CURRENT_TIMESTAMP,
         g INT GENERATED ALWAYS AS (y * 2) STORED) STRICT;
       INSERT INTO a2(id, x, y, at) SELECT id, x, y, 'then' FROM a; DROP TABLE a; ALTER TABLE a2 RENAME TO a; COMMIT`,
    ],
    ["INSERT INTO k VALUES('z', 9)"],
    "SELECT id, x, y, at, g FROM a ORDER BY id",
    [
      [1n, "one", 10n, "then", 20n],
      [2n, "two", 20n, "then", 40n],
      [3n, "three", 30n, "then", 60n],
    ],
  ],
  [
    "a foreign key goes, another comes",
    [
      `BEGIN; CREATE TABLE c2(id INTEGER PRIMARY KEY, p INT, a INT REFERENCES a(id)); INSERT INTO c2 SELECT id, p, id FROM c; DROP TABLE c;
       ALTER TABLE c2 RENAME TO c; COMMIT`,
    ],
    ["INSERT INTO p VALUES(9)", "INSERT INTO c VALUES(9, 9)"],
    "SELECT id, p, a FROM c ORDER BY id",
    [
      [1n, 1n, 1n],
      [2n, 2n, 2n],
      [9n, 9n, null],
    ],
  ],
  [
    "a rowid table becomes one without",
    [
      `BEGIN; CREATE TABLE a2(id INTEGER PRIMARY KEY, x TEXT, y REAL) WITHOUT ROWID; INSERT INTO a2 SELECT * FROM a; DROP TABLE a;
       ALTER TABLE a2 RENAME TO a; COMMIT`,
    ],
    ["UPDATE a SET x = 'of another' WHERE id = 3"],
    "SELECT x, y FROM a ORDER BY id",
    [
      ["one", 10],
      ["two", 20],
      ["of another", 30],
    ],
  ],
];

describe.each([1, 16])("%d shards", (shards) => {
  test.each(CASES)("%s", async (_name, ddl, meanwhile, sql, rows) => {
    lab = await Lab.create(SCHEMA, 3, shards);
    const [first, second, third] = lab.nodes as [LabNode, LabNode, LabNode];
    lab.settle();
    second.app.exec("PRAGMA foreign_keys = ON");
    second.run(...meanwhile);
    first.run(...ddl);
    expectEqual(lab, first);
    expect(third.query(sql)).toEqual(rows as unknown[][]);
    for (const node of lab.nodes) node.run("INSERT INTO k VALUES('n' || random(), 1)");
    expectEqual(lab, second);
  });
});

describe.each([1, 16])("%d shards: unique constants", (shards) => {
  test("a unique index over a constant: its row is replaced, and written by two nodes at once", async () => {
    lab = await Lab.create(
      `CREATE TABLE address(id INTEGER PRIMARY KEY, street TEXT, chosen INT); CREATE UNIQUE INDEX one ON address((1)) WHERE chosen;
       CREATE TABLE setting(id INTEGER PRIMARY KEY, v); INSERT INTO address VALUES(1, 'a', 1), (2, 'b', 0); INSERT INTO setting VALUES(1, 'x')`,
      3,
      shards,
    );
    const [a, b, c] = lab.nodes as [LabNode, LabNode, LabNode];
    lab.settle();
    a.run("UPDATE OR REPLACE address SET chosen = 1 WHERE id = 2", "REPLACE INTO address VALUES(3, 'c', 1)");
    expectEqual(lab, a);
    expect(c.query("SELECT id FROM address")).toEqual([[3n]]);
    b.run("CREATE UNIQUE INDEX single ON setting(1)", "REPLACE INTO setting VALUES(7, 'y')");
    expectEqual(lab, b);
    expect(a.query("SELECT * FROM setting")).toEqual([[7n, "y"]]);
    expect(lab.nodes.map((n) => n.replica.replica.journal.total)).toEqual([0, 0, 0]);
    a.run("REPLACE INTO address VALUES(4, 'd', 1)");
    b.run("REPLACE INTO address VALUES(5, 'e', 1)", "INSERT INTO address VALUES(6, 'f', 0)");
    expectEqual(lab, a);
    expect(c.query("SELECT count(*) FROM address WHERE chosen")).toEqual([[1n]]);
    expect(c.query("SELECT street FROM address WHERE NOT chosen")).toEqual([["f"]]);
    expect(lab.nodes.map((n) => n.pipeline.obstacle)).toEqual([null, null, null]);
  });
});

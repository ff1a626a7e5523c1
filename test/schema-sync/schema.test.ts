/** Schema changes of one node, in whole pipelines: each node gets the same schema text and the same rows. */
import { afterEach, describe, expect, test } from "bun:test";
import { Lab, type LabNode } from "../node/lab.ts";
import { expectEqual, SCHEMA } from "./schema-lab.ts";

let lab: Lab | null = null;
afterEach(() => {
  lab?.close();
  lab = null;
});

/** [name, statements of one node, later statements of all nodes] */
const CHANGES: readonly (readonly [name: string, ddl: readonly string[], after: readonly string[]])[] = [
  [
    "CREATE TABLE with rows at once",
    ["CREATE TABLE n(id INTEGER PRIMARY KEY, v TEXT DEFAULT 'd')", "INSERT INTO n VALUES(1, 'x'), (2, 'y')"],
    ["INSERT INTO n VALUES(10 + :n, 'later')", "DELETE FROM n WHERE id = 1"],
  ],
  [
    "ADD COLUMN with a default, and rows a moment later",
    ["ALTER TABLE a ADD COLUMN z INT DEFAULT 7", "UPDATE a SET z = 8 WHERE id = 2"],
    ["INSERT INTO a(id, x) VALUES(10 + :n, 'n')"],
  ],
  [
    "CREATE INDEX, VIEW and TRIGGER",
    [
      "CREATE INDEX ax ON a(x)",
      "CREATE VIEW av AS SELECT x FROM a WHERE y > 15",
      "CREATE TRIGGER t AFTER INSERT ON a BEGIN INSERT INTO other(v) VALUES('from ' || NEW.id); END",
    ],
    ["INSERT INTO a VALUES(10 + :n, 'n', 1)"],
  ],
  ["DROP TABLE", ["DROP TABLE b"], ["UPDATE a SET y = y + 1 WHERE id = :n"]],
  ["RENAME TABLE", ["ALTER TABLE a RENAME TO aa"], ["UPDATE aa SET y = y + 1 WHERE id = 1 + :n"]],
  ["RENAME COLUMN", ["ALTER TABLE a RENAME COLUMN x TO xx"], ["UPDATE a SET xx = 'n' WHERE id = 1 + :n"]],
  [
    "RENAME COLUMN of the key",
    ["ALTER TABLE a RENAME COLUMN id TO ident"],
    ["UPDATE a SET x = 'n' WHERE ident = 1 + :n"],
  ],
  ["DROP COLUMN", ["ALTER TABLE a DROP COLUMN x"], ["UPDATE a SET y = 5 WHERE id = 1 + :n"]],
  [
    "a table rebuilt as ORMs do, with its data changed",
    [
      `BEGIN; CREATE TABLE a_new(id INTEGER PRIMARY KEY, y INT NOT NULL DEFAULT 0, x TEXT, w REAL);
       INSERT INTO a_new SELECT id, y, upper(x), y / 4.0 FROM a; DROP TABLE a; ALTER TABLE a_new RENAME TO a;
       DELETE FROM a WHERE id = 3; COMMIT`,
    ],
    ["UPDATE a SET w = 0.5 WHERE id = 1 + :n", "INSERT INTO a VALUES(10 + :n, 1, 'n', 2)"],
  ],
  [
    "UNIQUE index over rows",
    ["CREATE UNIQUE INDEX au ON a(x)"],
    ["INSERT OR REPLACE INTO a VALUES(10 + :n, 'v' || :n, 1)"],
  ],
  ["user_version", ["PRAGMA user_version = 42"], []],
];

describe.each([1, 16])("%d shards", (shards) => {
  test.each(CHANGES)("%s", async (_name, ddl, after) => {
    lab = await Lab.create(SCHEMA, 3, shards);
    const [first, second] = lab.nodes as [LabNode, LabNode, LabNode];
    lab.settle();
    second.run("UPDATE other SET v = 'before'", "INSERT INTO other VALUES(50, 'meanwhile')");
    first.run(...ddl);
    expectEqual(lab, first);
    for (const sql of after)
      for (const node of lab.nodes) {
        node.run(sql.replaceAll(":n", String(node.number)));
        expectEqual(lab, node);
      }
    for (const node of lab.nodes) expect(node.replica.replica.settings.schemaVersion).toBeGreaterThan(1);
  });
});

test("draining does not wait for rows of a table that another node dropped", async () => {
  lab = await Lab.create(
    "CREATE TABLE a(id INTEGER PRIMARY KEY, v); CREATE TABLE gone(id INTEGER PRIMARY KEY, v)",
    3,
    1,
  );
  const [first, second, third] = lab.nodes as [LabNode, LabNode, LabNode];
  lab.settle();
  second.run("INSERT INTO gone VALUES(1, 'too late'), (2, 'too')");
  const written = [...second.reader.newestIds()];
  expect(written.map(([table, id]) => second.pipeline.unordered(table, id))).toEqual([2]);
  first.run("DROP TABLE gone");
  lab.settle([first, third]);
  lab.settle();
  expectEqual(lab, first);
  expect(written.map(([table, id]) => second.pipeline.unordered(table, id))).toEqual([0]);
});

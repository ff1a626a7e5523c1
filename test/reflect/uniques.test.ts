/** UNIQUE clashes between nodes through every kind of index: each is found, and nothing that is none. */
import { afterEach, expect, test } from "bun:test";
import { Lab, type LabNode } from "../node/lab.ts";

let lab: Lab;
afterEach(() => lab.close());

/** Two nodes write at once; the later of two that clash wins. Rows as text, equal on both. */
async function race(schema: string, first: string, second: string): Promise<string[]> {
  lab = await Lab.create(schema, 2);
  lab.settle();
  const [a, b] = lab.nodes as [LabNode, LabNode];
  a.run(first);
  b.run(second);
  lab.settle();
  expect(lab.nodes.flatMap((n) => n.deviations())).toEqual([]);
  const rows = lab.nodes.map((n) => n.query("SELECT CAST(id AS TEXT) FROM t ORDER BY id").map(String));
  expect(rows[1]).toEqual(rows[0]!);
  return rows[0]!;
}

const CASES: [string, string, string, string, string[]][] = [
  [
    "a generated column is compared with its own affinity",
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a, g INT AS (a || '') STORED UNIQUE)",
    "INSERT INTO t(id, a) VALUES(1, '05'), (3, '6')",
    "INSERT INTO t(id, a) VALUES(2, 5)",
    ["2", "3"],
  ],
  [
    "a generated text column keeps apart what a number would join",
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a, g TEXT AS (a) VIRTUAL, UNIQUE(g))",
    "INSERT INTO t(id, a) VALUES(1, '5')",
    "INSERT INTO t(id, a) VALUES(2, '5.0')",
    ["1", "2"],
  ],
  [
    "an expression means what the column's affinity makes of it",
    "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, a TEXT); CREATE UNIQUE INDEX i ON t(a, (n = '5'))",
    "INSERT INTO t VALUES(1, 5, 'x')",
    "INSERT INTO t VALUES(2, '5', 'x'), (3, 6, 'x')",
    ["2", "3"],
  ],
  [
    "a partial condition, too",
    "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, a TEXT); CREATE UNIQUE INDEX i ON t(a) WHERE n = '1'",
    "INSERT INTO t VALUES(1, 1, 'x'), (4, 2, 'x')",
    "INSERT INTO t VALUES(2, '1', 'x')",
    ["2", "4"],
  ],
  [
    "a condition with the column's own collation",
    "CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT COLLATE NOCASE, a TEXT); CREATE UNIQUE INDEX i ON t(a) WHERE k = 'YES'",
    "INSERT INTO t VALUES(1, 'yes', 'x')",
    "INSERT INTO t VALUES(2, 'Yes', 'x')",
    ["2"],
  ],
  [
    "NOCASE in the index, in the column, in an expression, and DESC",
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE UNIQUE, b TEXT, c TEXT); CREATE UNIQUE INDEX i ON t(b COLLATE NOCASE DESC); CREATE UNIQUE INDEX j ON t(c || 'x' COLLATE NOCASE DESC, b)",
    "INSERT INTO t VALUES(1, 'aa', 'p', 'c'), (3, 'bb', 'Q', 'd'), (5, 'cc', 'r', 'e')",
    "INSERT INTO t VALUES(2, 'AA', 's', 'f'), (4, 'dd', 'q', 'g'), (6, 'ee', 'r ', 'E')",
    ["2", "4", "5", "6"],
  ],
  [
    "BINARY where the column says NOCASE; composite; NULLs are distinct",
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE, b); CREATE UNIQUE INDEX i ON t(a COLLATE BINARY, b)",
    "INSERT INTO t VALUES(1, 'x', 1), (3, 'x', NULL)",
    "INSERT INTO t VALUES(2, 'X', 1), (4, 'x', NULL)",
    ["1", "2", "3", "4"],
  ],
  [
    "a table that declares ON CONFLICT REPLACE, IGNORE or FAIL",
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE ON CONFLICT REPLACE, b UNIQUE ON CONFLICT IGNORE, c NOT NULL ON CONFLICT FAIL)",
    "INSERT INTO t VALUES(1, 1, 1, 1), (3, 3, 3, 3)",
    "INSERT INTO t VALUES(2, 1, 2, 2), (4, 4, 3, 4)",
    ["2", "4"],
  ],
  [
    "names that a table or a column really has",
    `CREATE TABLE t(id INTEGER PRIMARY KEY, "a.b" TEXT, "we""ird" TEXT, "select" INT, UNIQUE("a.b", "we""ird")); CREATE UNIQUE INDEX "i.x" ON t("select" + 1)`,
    `INSERT INTO t VALUES(1, 'x', 'y', 1), (3, 'p', 'q', 9)`,
    `INSERT INTO t VALUES(2, 'x', 'y', 2), (4, 'r', 's', 9)`,
    ["2", "4"],
  ],
];

for (const [name, schema, first, second, left] of CASES)
  test(name, async () => {
    expect(await race(schema, first, second)).toEqual(left);
  });

test("the losing row of a UNIQUE clash may have a key that is not valid UTF-8", async () => {
  lab = await Lab.create("CREATE TABLE t(id TEXT NOT NULL PRIMARY KEY, a UNIQUE)", 2);
  lab.settle();
  const [a, b] = lab.nodes as [LabNode, LabNode];
  a.run("INSERT INTO t VALUES(CAST(x'61ff' AS TEXT), 1), (CAST(x'620063' AS TEXT), 2)");
  b.run("INSERT INTO t VALUES('n', 1), ('m', 2)");
  lab.settle();
  for (const node of lab.nodes) {
    expect(node.query("SELECT hex(id) FROM t ORDER BY id")).toEqual([["6D"], ["6E"]]);
    expect(node.deviations()).toEqual([]);
  }
});

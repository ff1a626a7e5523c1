/** Rows that REPLACE removes without a delete trigger are captured, however their UNIQUE value came about. */
import { afterEach, expect, test } from "bun:test";
import { Lab, type LabNode } from "../node/lab.ts";

let lab: Lab;
afterEach(() => lab.close());

/** The first node writes; the value that removed a row is given up again before anybody looks. */
async function evicted(schema: string, ...statements: string[]): Promise<string> {
  lab = await Lab.create(schema, 2);
  lab.settle();
  const [a, b] = lab.nodes as [LabNode, LabNode];
  a.run("BEGIN", ...statements, "COMMIT");
  lab.settle();
  expect(lab.nodes.flatMap((n) => n.deviations())).toEqual([]);
  const [mine, others] = [a, b].map((n) => String(n.query("SELECT group_concat(id) FROM t")));
  expect(others).toBe(mine!);
  expect(a.replica.replica.journal.list(10)).toEqual([]);
  return mine!;
}

const CASES: [string, string, string[]][] = [
  [
    "a default in place of NULL",
    "CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT NOT NULL DEFAULT 'v' UNIQUE); INSERT INTO t VALUES(1, 'v')",
    ["REPLACE INTO t VALUES(2, NULL)", "UPDATE t SET u = 'w' WHERE id = 2"],
  ],
  [
    "a default in an expression, in an UPDATE",
    `CREATE TABLE t(id INTEGER PRIMARY KEY, u NOT NULL DEFAULT (1 + 1)); CREATE UNIQUE INDEX i ON t(u || 'x');
     INSERT INTO t VALUES(1, 2), (2, 3)`,
    ["UPDATE OR REPLACE t SET u = NULL WHERE id = 2", "UPDATE t SET u = 9 WHERE id = 2"],
  ],
  [
    "a generated column of generated columns, in an UPDATE",
    `CREATE TABLE t(id INTEGER PRIMARY KEY, "a ""b" TEXT, c, g AS (lower("a ""b") || c) STORED, h AS (g || '!') STORED UNIQUE);
     INSERT INTO t VALUES(1, 'V', 1), (2, 'w', 1)`,
    [`UPDATE OR REPLACE t SET "a ""b" = 'v' WHERE id = 2`, `UPDATE t SET "a ""b" = 'x' WHERE id = 2`],
  ],
  [
    "a default from which generated columns follow",
    `CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT NOT NULL DEFAULT 'V', "g,(" AS /* AS (u) */ (lower(u) || ')') VIRTUAL, h AS ("g,(" || '!') STORED UNIQUE);
     INSERT INTO t VALUES(1, 'v')`,
    ["REPLACE INTO t VALUES(2, NULL)", "UPDATE t SET u = 'w' WHERE id = 2"],
  ],
  ...(
    [
      ["TEXT", "(1 + 1)", "2", "'x'"],
      ["TEXT", "1.5", "1.5", "'x'"],
      ["INTEGER", "'2'", "2", "3"],
      ["NUMERIC", "'2.0'", "2", "3"],
      ["REAL", "2", "2.0", "3.0"],
      ["ANY", "x'32'", "x'32'", "3"],
    ] as const
  ).map(([type, given, stored, other]): [string, string, string[]] => [
    `a default of another type than the column stores, in an expression: ${type} DEFAULT ${given}`,
    `CREATE TABLE t(id INTEGER PRIMARY KEY, u ${type} NOT NULL DEFAULT ${given}); CREATE UNIQUE INDEX i ON t(typeof(u) || quote(u));
     INSERT INTO t VALUES(1, ${stored})`,
    ["REPLACE INTO t VALUES(2, NULL)", `UPDATE t SET u = ${other} WHERE id = 2`],
  ]),
  [
    "… in what a generated column is made of, in an UPDATE",
    `CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT NOT NULL DEFAULT (1 + 1), g AS (typeof(u) || u) UNIQUE);
     INSERT INTO t VALUES(1, '2'), (2, 'x')`,
    ["UPDATE OR REPLACE t SET u = NULL WHERE id = 2", "UPDATE t SET u = 'x' WHERE id = 2"],
  ],
  ...(
    [
      ["TEXT", "u = 1", "'1'"],
      ["INT", "u = '1'", "1"],
      ["REAL", "u IN ('1', '3')", "1.0"],
      ["TEXT COLLATE NOCASE", "u = 'a'", "'A'"],
      [
        "TEXT /* COLLATE x */ CHECK(u <> 'q' COLLATE BINARY) COLLATE [rtrim]",
        "CASE u WHEN 'a' THEN 1 END",
        "'a  '",
      ],
      ["BLOB, b TEXT DEFAULT '5'", "nullif(u = b, 1)", "5"],
    ] as const
  ).map(([type, term, value]): [string, string, string[]] => [
    `a comparison in an index means what it means of a column: ${term}, ${type}`,
    `CREATE TABLE t(id INTEGER PRIMARY KEY, u ${type}); CREATE UNIQUE INDEX i ON t((${term}));
     INSERT INTO t(id, u) VALUES(1, ${value})`,
    [`REPLACE INTO t(id, u) VALUES(2, ${value})`, "UPDATE t SET u = NULL WHERE id = 2"],
  ]),
  [
    "a comparison of a default that takes the place of NULL",
    `CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT NOT NULL DEFAULT '1' COLLATE NOCASE, g INT AS (CASE WHEN u = 1 THEN '7' END));
     CREATE UNIQUE INDEX i ON t((g = '7')); INSERT INTO t(id) VALUES(1)`,
    ["REPLACE INTO t VALUES(2, NULL)", "UPDATE t SET u = 'w' WHERE id = 2"],
  ],
  ...["INTEGER PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT"].flatMap(
    (key): [string, string, string[]][] => [
      [
        `an expression of an id that SQLite picks: ${key}`,
        `CREATE TABLE t(id ${key}, u); CREATE UNIQUE INDEX i ON t(coalesce(u, id)); INSERT INTO t VALUES(1, 2)`,
        ["REPLACE INTO t(u) VALUES(NULL)", "UPDATE t SET u = 9 WHERE id = 2"],
      ],
      [
        `a generated column of an id that SQLite picks, and a default: ${key}`,
        `CREATE TABLE t(id ${key}, u TEXT NOT NULL DEFAULT 'V', g AS (lower(u) || (id & 1)) STORED UNIQUE);
       INSERT INTO t VALUES(1, 'v'), (3, 'w'); DELETE FROM t WHERE id = 1; INSERT INTO t VALUES(-7, 'v')`,
        [
          "INSERT INTO t VALUES(4, 'x')",
          "REPLACE INTO t(id, u) VALUES(NULL, NULL)",
          "UPDATE t SET u = 'y' WHERE id = 5",
          "DELETE FROM t WHERE id > 2",
          "INSERT INTO t VALUES(2, 'z')",
        ],
      ],
    ],
  ),
  ...["fresh", '"fresh"', "[fresh]", "`fresh`"].map((word): [string, string, string[]] => [
    `a default without quotes of a text, though a column is called so: ${word}`,
    `CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT NOT NULL DEFAULT ${word} UNIQUE, fresh); INSERT INTO t VALUES(1, 'fresh', 5)`,
    ["REPLACE INTO t VALUES(2, NULL, 6)", "UPDATE t SET u = 'x' WHERE id = 2"],
  ]),
];

for (const [name, schema, statements] of CASES)
  test(name, async () => {
    expect(await evicted(schema, ...statements)).toBe("2");
  });

test("an application can drop columns that no UNIQUE index uses", async () => {
  lab = await Lab.create(
    `CREATE TABLE t(id INTEGER PRIMARY KEY, a, b, g AS (a + 1), c, d); CREATE UNIQUE INDEX i ON t(lower(b) || 'c', (b = 'it''s d'), g)`,
    2,
  );
  lab.settle();
  lab.nodes[0]!.run(
    "ALTER TABLE t DROP COLUMN c",
    "ALTER TABLE t DROP COLUMN d",
    "INSERT INTO t VALUES(1, 2, 3)",
  );
});

/**
 * A migration removes or changes the rows that violate its new constraint first: no row is lost, and the journal stays
 * empty. Concurrent rows of others that the constraint rejects are in the journal.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { decodeImage } from "../../src/change/codec.ts";
import { Lab, type LabNode } from "../node/lab.ts";
import { expectEqual } from "./schema-lab.ts";

const SCHEMA = `CREATE TABLE u(id INTEGER PRIMARY KEY, mail TEXT, n INT); CREATE TABLE k(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
  CREATE TABLE r(mail, n); CREATE TABLE busy(id INTEGER PRIMARY KEY, v);
  INSERT INTO u VALUES(1, 'a', 1), (2, 'a', NULL), (3, 'a', 3), (4, 'b', 4), (5, 'b', 5), (6, NULL, 6), (7, 'c', 7);
  INSERT INTO k VALUES('p', 1), ('q', 1), ('r', 2); INSERT INTO r VALUES('a', 1), ('a', 2), ('b', 3);`;

const INDEX = "CREATE UNIQUE INDEX by_mail ON u(mail)";
const rebuilt = (table: string): string =>
  `CREATE TABLE u2(${table}; INSERT INTO u2 SELECT id, mail, n FROM u; DROP TABLE u; ALTER TABLE u2 RENAME TO u`;

/** [name, statements of one application, the remaining ids of u] */
const MIGRATIONS: readonly (readonly [
  name: string,
  statements: readonly string[],
  left: readonly bigint[],
])[] = [
  [
    "the first of each stays",
    ["DELETE FROM u WHERE id NOT IN (SELECT min(id) FROM u GROUP BY mail)", INDEX],
    [1n, 4n, 6n, 7n],
  ],
  [
    "the last of each stays, all in one transaction",
    [`BEGIN; DELETE FROM u WHERE id NOT IN (SELECT max(id) FROM u GROUP BY mail); ${INDEX}; COMMIT`],
    [3n, 5n, 6n, 7n],
  ],
  ["none of them stays", ["DELETE FROM u WHERE mail IN ('a', 'b')", INDEX], [6n, 7n]],
  [
    "their values change",
    [`UPDATE u SET mail = mail || id WHERE id NOT IN (SELECT max(id) FROM u GROUP BY mail)`, INDEX],
    [1n, 2n, 3n, 4n, 5n, 6n, 7n],
  ],
  [
    "they are removed and written anew",
    [`BEGIN; DELETE FROM u; ${INDEX}; INSERT INTO u VALUES(2, 'a', 9), (4, 'b', 9), (9, 'z', 9); COMMIT`],
    [2n, 4n, 9n],
  ],
  [
    "the table is rebuilt with the constraint",
    [
      "DELETE FROM u WHERE id IN (2, 3, 4)",
      `BEGIN; ${rebuilt("id INTEGER PRIMARY KEY, mail TEXT UNIQUE, n INT)")}; COMMIT`,
    ],
    [1n, 5n, 6n, 7n],
  ],
  [
    "NULLs go, and must not be any more",
    [
      "DELETE FROM u WHERE n IS NULL",
      "UPDATE u SET mail = 'none' WHERE mail IS NULL",
      `BEGIN; ${rebuilt("id INTEGER PRIMARY KEY, mail TEXT NOT NULL, n INT NOT NULL) STRICT")}; COMMIT`,
    ],
    [1n, 3n, 4n, 5n, 6n, 7n],
  ],
  [
    "what was the key is none any more",
    [
      "DELETE FROM u WHERE mail IS NULL OR id NOT IN (SELECT min(id) FROM u GROUP BY mail)",
      `BEGIN; CREATE TABLE u2(mail TEXT NOT NULL PRIMARY KEY, id INT, n INT); INSERT INTO u2 SELECT mail, id, n FROM u; DROP TABLE u;
       ALTER TABLE u2 RENAME TO u; COMMIT`,
    ],
    [1n, 4n, 7n],
  ],
];

let lab: Lab | null = null;
afterEach(() => {
  lab?.close();
  lab = null;
});

/** [kind, losing image] of each conflict, equal on all nodes. */
function conflicts(of: Lab): unknown[] {
  const [first, ...others] = of.nodes.map(({ replica: { replica } }) =>
    replica.journal
      .list(100)
      .map((c) => [c.kind, c.losingImage === null ? null : decodeImage(c.losingImage)]),
  );
  for (const other of others) expect(other).toEqual(first!);
  return first!;
}

const ids = (node: LabNode): unknown[] => node.query("SELECT id FROM u ORDER BY id").map(([id]) => id);

const look = (node: LabNode): void => {
  node.touch();
  node.turns();
};

describe.each([
  [1, "whole"],
  [16, "whole"],
  [4, "row"],
] as const)("%d shards, %s", (shards, mode) => {
  test.each(MIGRATIONS)("%s", async (_name, statements, left) => {
    lab = await Lab.create(SCHEMA, 3, shards, mode);
    lab.settle();
    const [a, b] = lab.nodes as [LabNode, LabNode];
    // Written later, by the migrating node and by another.
    b.run("UPDATE u SET n = 33 WHERE id = 3", "INSERT INTO busy VALUES(1, 1)");
    a.run("UPDATE u SET n = 55 WHERE id = 5");
    lab.settle();
    b.run("INSERT INTO busy VALUES(2, 2)"); // at the same time, and unaffected by the migration
    a.run(...statements);
    expectEqual(lab, a);
    expect(ids(b)).toEqual(left as unknown[]);
    expect(conflicts(lab)).toEqual([]);
  });

  test("migrations that delete duplicates from two tables on two nodes record no conflict", async () => {
    lab = await Lab.create(SCHEMA, 3, shards, mode);
    lab.settle();
    const [a, b, c] = lab.nodes as [LabNode, LabNode, LabNode];
    a.run("DELETE FROM k WHERE k = 'q'", "CREATE UNIQUE INDEX by_v ON k(v)");
    b.run("DELETE FROM r WHERE n = 2", "CREATE UNIQUE INDEX by_r ON r(mail)");
    expectEqual(lab, a);
    expect(c.query("SELECT k FROM k ORDER BY k")).toEqual([["p"], ["r"]]);
    expect(c.query("SELECT n FROM r ORDER BY n")).toEqual([[1n], [3n]]);
    expect(conflicts(lab)).toEqual([]);
  });

  test("the same migration on each node at the same time gives one schema", async () => {
    lab = await Lab.create(SCHEMA, 3, shards, mode);
    lab.settle();
    for (const node of lab.nodes) {
      node.run("DELETE FROM u WHERE id NOT IN (SELECT min(id) FROM u GROUP BY mail)", INDEX);
      look(node);
    }
    expectEqual(lab, lab.nodes[0]!);
    expect(ids(lab.nodes[1]!)).toEqual([1n, 4n, 6n, 7n]);
    expect(conflicts(lab)).toEqual([]);
  });

  test("a duplicate that another node writes at the same time is in the journal", async () => {
    lab = await Lab.create(SCHEMA, 3, shards, mode);
    lab.settle();
    const [a, b] = lab.nodes as [LabNode, LabNode];
    // Ordered first, and not seen by the migrating node.
    b.run("INSERT INTO u VALUES(8, 'b', 8)");
    look(b);
    b.order();
    a.run("DELETE FROM u WHERE id NOT IN (SELECT min(id) FROM u GROUP BY mail)", INDEX);
    look(a);
    a.order();
    expectEqual(lab, a);
    // The migration is ordered later, and its rows win. Row 8 replaced others: 4 for a moment, 5 finally.
    expect(ids(a)).toEqual([1n, 4n, 6n, 7n]);
    const found = conflicts(lab) as [string, unknown[]][];
    expect(found).toContainEqual(["unique clash", [8n, "b", 8n]]);
    for (const [kind, [id]] of found)
      expect([kind, [4n, 5n, 8n].includes(id as bigint)]).toEqual(["unique clash", true]);
  });
});

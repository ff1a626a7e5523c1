/** NULL in a declared key: for a moment within a transaction it is nothing; a row that keeps it holds back its table alone. */
import { afterEach, describe, expect, test } from "bun:test";
import { Lab, type LabNode } from "./lab.ts";

const SCHEMA = `CREATE TABLE t(k TEXT PRIMARY KEY, v INT); CREATE TABLE o(id INTEGER PRIMARY KEY, v TEXT);
  CREATE TABLE c(a TEXT COLLATE NOCASE, b INT, v TEXT, PRIMARY KEY(a, b)); CREATE TABLE u(k TEXT PRIMARY KEY, mail TEXT UNIQUE);
  INSERT INTO t VALUES('a', 1);`;

let lab: Lab | null = null;
afterEach(() => {
  lab?.close();
  lab = null;
});

/** As `Lab.settle`, but a node may keep rows back. */
function rounds(of: Lab): void {
  for (let i = 0; i < 30; i++) {
    for (const node of of.nodes) {
      node.touch();
      node.turns();
      node.order();
    }
    for (const node of of.nodes) node.deliver();
    of.clock += 100;
    for (const node of of.nodes) {
      node.pipeline.tick();
      node.turns();
    }
  }
}

const rows = (node: LabNode, sql: string): unknown[][] => node.app.query(sql).values() as unknown[][];
const ALL = [
  "SELECT * FROM t ORDER BY k",
  "SELECT * FROM o ORDER BY id",
  "SELECT * FROM c ORDER BY v",
  "SELECT * FROM u ORDER BY k",
];

function expectEqual(of: Lab): void {
  of.settle();
  for (const node of of.nodes) {
    for (const sql of ALL) expect(rows(node, sql)).toEqual(rows(of.nodes[0]!, sql));
    expect(node.wrongChecksums()).toEqual([]);
    expect(node.deviations()).toEqual([]);
    expect(node.pipeline.held).toBeNull();
  }
}

/** Statement of the printed hint. */
const hinted = (node: LabNode): string => /DELETE FROM .*? NULL(?=[;)])/.exec(node.pipeline.held!)![0];

describe.each([
  [1, "whole"],
  [4, "whole"],
  [4, "row"],
] as const)("%i shards, %s", (shards, transactions) => {
  const create = async (nodes = 2): Promise<[LabNode, LabNode]> => {
    lab = await Lab.create(SCHEMA, nodes, shards, transactions);
    lab.settle();
    return [lab.nodes[0]!, lab.nodes[1]!];
  };

  test.each([
    ["filled before the commit", "INSERT INTO t(v) VALUES(2); UPDATE t SET k = 'x' WHERE k IS NULL"],
    ["deleted before the commit", "INSERT INTO t(v) VALUES(3); DELETE FROM t WHERE k IS NULL"],
    [
      "of a row that had a key before",
      "UPDATE t SET k = NULL WHERE k = 'a'; UPDATE t SET k = 'b' WHERE k IS NULL",
    ],
    [
      "in one of two columns",
      "INSERT INTO c VALUES(NULL, 4, 'x'), ('A', NULL, 'y'); UPDATE c SET a = 'z', b = 5 WHERE a IS NULL OR b IS NULL AND v = 'y' AND 0; UPDATE c SET b = 6 WHERE b IS NULL",
    ],
    ["replaced", "INSERT INTO u VALUES(NULL, 'm'); REPLACE INTO u VALUES('k', 'm')"],
    [
      "beside many keys",
      "INSERT INTO t(v) SELECT id FROM o; INSERT INTO t WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 5000) SELECT 'k' || i, i FROM s; INSERT INTO t(v) VALUES(9); DELETE FROM t WHERE k IS NULL",
    ],
  ])("a NULL key %s is nothing", async (_, statements) => {
    const [a] = await create();
    a.app.exec(`BEGIN; ${statements}; INSERT INTO o(v) VALUES('with it'); COMMIT`);
    expectEqual(lab!);
    expect(rows(lab!.nodes[1]!, "SELECT v FROM o")).toEqual([["with it"]]);
  });

  test.each([
    ["deleted by the hint", null],
    ["given a key", "UPDATE t SET k = 'given' WHERE k IS NULL"],
  ])("a row that keeps it holds back its table until it is %s", async (_, fix) => {
    const [a, b] = await create();
    a.app.exec("INSERT INTO t(v) VALUES(2)");
    rounds(lab!);
    expect(a.pipeline.held).toContain("rows of t wait on this node, as a row has NULL in its key");
    a.app.exec("INSERT INTO o VALUES(1, 'later')");
    a.app.exec("UPDATE t SET v = 7 WHERE k = 'a'");
    a.app.exec("INSERT INTO o VALUES(2, 'later still')");
    b.app.exec("INSERT INTO t VALUES('of b', 1)");
    b.app.exec("INSERT INTO o VALUES(10, 'of b')");
    rounds(lab!);
    expect(rows(b, "SELECT v FROM t WHERE k = 'a'")).toEqual([[1n]]);
    expect(rows(a, "SELECT v FROM t WHERE k = 'of b'")).toEqual([[1n]]);
    expect(rows(a, "SELECT v FROM o WHERE id = 10")).toEqual([["of b"]]);
    a.app.exec(fix ?? hinted(a));
    expectEqual(lab!);
    expect(rows(b, "SELECT v FROM t WHERE k = 'a'")).toEqual([[7n]]);
  });

  test("another table goes on, and the table itself after a restart", async () => {
    const [a, b] = await create();
    a.app.exec("INSERT INTO t(v) VALUES(2)");
    a.app.exec("INSERT INTO o VALUES(1, 'later')");
    rounds(lab!);
    expect(rows(b, "SELECT v FROM o")).toEqual([["later"]]);
    expect(a.pipeline.held).not.toContain("o may");
    a.crash();
    rounds(lab!);
    expect(a.pipeline.held).toContain("rows of t wait");
    a.app.exec("INSERT INTO o VALUES(2, 'after the restart')");
    rounds(lab!);
    expect(rows(b, "SELECT v FROM o")).toEqual([["later"], ["after the restart"]]);
    a.app.exec(hinted(a));
    expectEqual(lab!);
  });

  test("a transaction with such a row waits whole, and others of the same drain do not", async () => {
    const [a, b] = await create();
    a.app.exec("INSERT INTO u VALUES('before', 'y')");
    a.app.exec(
      "BEGIN; INSERT INTO t(v) VALUES(2); INSERT INTO t VALUES('k', 1); INSERT INTO o VALUES(1, 'with it'); COMMIT",
    );
    a.app.exec("INSERT INTO u VALUES('alone', 'x')");
    rounds(lab!);
    if (transactions === "whole") {
      expect(a.pipeline.held).toContain("; o may have been written in the same transactions");
      expect(rows(b, "SELECT v FROM o")).toEqual([]);
    } else expect(rows(b, "SELECT v FROM o")).toEqual([["with it"]]);
    expect(rows(b, "SELECT k FROM u ORDER BY k")).toEqual([["alone"], ["before"]]);
    expect(rows(b, "SELECT v FROM t WHERE k = 'k'")).toEqual([]);
    a.app.exec("INSERT INTO c VALUES('q', 1, 'w')");
    a.app.exec("UPDATE t SET v = 9 WHERE k = 'k'");
    rounds(lab!);
    expect(rows(b, "SELECT v FROM c")).toEqual([["w"]]);
    a.app.exec("BEGIN; UPDATE o SET v = 'again'; INSERT INTO c VALUES('r', 1, 'x'); COMMIT");
    a.app.exec("INSERT INTO u VALUES('after', 'z')");
    rounds(lab!);
    expect(rows(b, "SELECT v FROM c").length).toBe(transactions === "whole" ? 1 : 2);
    expect(rows(b, "SELECT k FROM u WHERE k = 'after'")).toEqual([["after"]]);
    a.app.exec(hinted(a));
    expectEqual(lab!);
    expect(rows(b, "SELECT v FROM o")).toEqual([["again"]]);
  });

  test("what was written together is not known after a checkpoint that restarts the WAL: all of the drain waits", async () => {
    const [a, b] = await create();
    a.app.exec("BEGIN; INSERT INTO t(v) VALUES(2); INSERT INTO o VALUES(1, 'with it'); COMMIT");
    a.app.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    a.app.exec("INSERT INTO u VALUES('alone', 'x')");
    a.app.exec("UPDATE t SET v = 3 WHERE k IS NULL");
    a.app.exec("UPDATE o SET v = 'later'");
    rounds(lab!);
    if (transactions === "whole") {
      expect(rows(b, "SELECT v FROM o")).toEqual([]);
      expect(rows(b, "SELECT k FROM u")).toEqual([]);
    }
    a.app.exec(hinted(a));
    expectEqual(lab!);
    expect(rows(b, "SELECT k FROM u")).toEqual([["alone"]]);
  });

  test("a UNIQUE value of such a row keeps another node's row out of the file until it is fixed", async () => {
    const [a, b] = await create();
    a.app.exec("INSERT INTO u VALUES(NULL, 'm')");
    rounds(lab!);
    b.app.exec("INSERT INTO u VALUES('of b', 'm')");
    rounds(lab!);
    expect(rows(a, "SELECT * FROM u")).toEqual([[null, "m"]]);
    a.app.exec(hinted(a));
    expectEqual(lab!);
    expect(rows(a, "SELECT * FROM u")).toEqual([["of b", "m"]]);
  });
});

/** Rows that no trigger saw and that a comparison found: a write of another node replaces none of them without a trace. */
import { afterEach, describe, expect, test } from "bun:test";
import { decodeImage } from "../../src/change/codec.ts";
import { keyIdOf } from "../../src/change/key.ts";
import { UNSEEN_REASON } from "../../src/rows/unseen-rows.ts";
import type { Value } from "../../src/change/value.ts";
import { Lab, type LabNode } from "./lab.ts";

const SCHEMA = `CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, w INT); CREATE TABLE k(k TEXT NOT NULL PRIMARY KEY, v) WITHOUT ROWID;
  CREATE TABLE r(v); CREATE TABLE u(id INTEGER PRIMARY KEY, mail TEXT UNIQUE, v);
  INSERT INTO t VALUES(1, 'one', 0), (2, 'two', 0); INSERT INTO k VALUES('a', 1); INSERT INTO r VALUES('r');
  INSERT INTO u VALUES(1, 'm1', 0), (2, 'm2', 0);`;

let lab: Lab | null = null;
afterEach(() => {
  lab?.close();
  lab = null;
});

/** Writes that fire nothing, and the rows that a comparison finds then. */
function writeUnseen(
  node: LabNode,
  sql: string,
  ...found: readonly (readonly [string, readonly Value[]])[]
): void {
  const triggers = node.app
    .query("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY rowid")
    .values() as [string, string][];
  node.app.exec("BEGIN");
  for (const [name] of triggers) node.app.exec(`DROP TRIGGER "${name}"`);
  node.app.exec(sql);
  for (const [, text] of triggers) node.app.exec(text);
  node.app.exec("COMMIT");
  for (const [table, key] of found) {
    const shape = [...node.replica.replica.shapes.values()].find((s) => s.name === table)!;
    node.unseen.note(shape.id, keyIdOf(shape, key));
  }
}

const journal = (node: LabNode): unknown[][] =>
  node.replica.replica.journal
    .list(100)
    .filter((c) => c.note?.reason === UNSEEN_REASON)
    .map((c) => [c.note!.table, ...decodeImage(c.losingImage!)])
    .sort();
const rows = (node: LabNode, table: string): unknown[][] =>
  node.app.query(`SELECT * FROM ${table} ORDER BY 1`).values() as unknown[][];

function expectEqual(of: Lab, lost: readonly unknown[][]): void {
  of.settle();
  for (const node of of.nodes) {
    for (const table of ["t", "k", "r", "u"]) expect(rows(node, table)).toEqual(rows(of.nodes[0]!, table));
    expect(journal(node)).toEqual([...lost].sort());
    expect(node.unseen.size).toBe(0);
    expect(node.pipeline.session.withheld.size).toBe(0);
  }
}

describe.each([
  [1, "whole"],
  [4, "row"],
] as const)("%i shards, %s", (shards, transactions) => {
  const create = async (): Promise<[LabNode, LabNode]> => {
    lab = await Lab.create(SCHEMA, 2, shards, transactions);
    lab.settle();
    return [lab.nodes[0]!, lab.nodes[1]!];
  };

  test("updated by another node: the values are in the journal before the row is replaced", async () => {
    const [a, b] = await create();
    writeUnseen(
      a,
      "UPDATE t SET v = 'bytes' WHERE id = 1; UPDATE k SET v = 2; UPDATE r SET v = 'x'",
      ["t", [1n]],
      ["k", ["a"]],
      ["r", [1n]],
    );
    b.app.exec("UPDATE t SET w = 7 WHERE id = 1; UPDATE k SET v = 3; UPDATE r SET v = 'y'");
    expectEqual(lab!, [
      ["t", 1n, "bytes", 0n],
      ["k", "a", 2n],
      ["r", 1n, "x"],
    ]);
    expect(rows(a, "t")).toEqual([
      [1n, "one", 7n],
      [2n, "two", 0n],
    ]);
  });

  test("deleted by another node, or inserted under the same key", async () => {
    const [a, b] = await create();
    writeUnseen(
      a,
      "UPDATE t SET v = 'bytes' WHERE id = 1; INSERT INTO t VALUES(9, 'nine', 9)",
      ["t", [1n]],
      ["t", [9n]],
    );
    b.app.exec("DELETE FROM t WHERE id = 1; INSERT INTO t VALUES(9, 'of b', 0)");
    expectEqual(lab!, [
      ["t", 1n, "bytes", 0n],
      ["t", 9n, "nine", 9n],
    ]);
  });

  test("a row that holds a UNIQUE value of another node's row", async () => {
    const [a, b] = await create();
    writeUnseen(a, "UPDATE u SET mail = 'new' WHERE id = 1", ["u", [1n]]);
    b.app.exec("INSERT INTO u VALUES(5, 'new', 1)");
    expectEqual(lab!, [["u", 1n, "new", 0n]]);
    expect(rows(a, "u")).toEqual([
      [1n, "m1", 0n],
      [2n, "m2", 0n],
      [5n, "new", 1n],
    ]);
  });

  test("written again by the application: it is an ordinary write, and nothing goes to the journal", async () => {
    const [a, b] = await create();
    writeUnseen(a, "UPDATE t SET v = 'bytes' WHERE id = 1", ["t", [1n]]);
    a.app.exec("UPDATE t SET w = 1 WHERE id = 1");
    lab!.settle();
    b.app.exec("UPDATE t SET w = 2 WHERE id = 1");
    expectEqual(lab!, []);
    expect(rows(b, "t")[0]).toEqual([1n, "bytes", 2n]);
  });

  test("a crash between the file and the journal loses nothing", async () => {
    const [a, b] = await create();
    writeUnseen(a, "UPDATE t SET v = 'bytes' WHERE id = 1", ["t", [1n]]);
    b.app.exec("UPDATE t SET w = 7 WHERE id = 1");
    b.touch();
    b.turns();
    b.order();
    for (const node of lab!.nodes) node.deliver();
    a.turns();
    expect(rows(a, "t")[0]).toEqual([1n, "bytes", 0n]);
    a.crash();
    expectEqual(lab!, [["t", 1n, "bytes", 0n]]);
  });
});

/** Tables without a declared key: two nodes whose SQLite picks the same rowid, and both rows live. */
import { afterEach, describe, expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { forAll } from "../../src/change/per-table.ts";
import { dumpReplica } from "../replica/lab.ts";
import { Lab, type LabNode } from "./lab.ts";

let lab: Lab;
afterEach(() => lab.close());

const LOG = "CREATE TABLE log(v TEXT); INSERT INTO log VALUES('0')";

async function start(schema = LOG, count = 2, shards = 1): Promise<LabNode[]> {
  lab = await Lab.create(schema, count, shards);
  lab.settle();
  return lab.nodes;
}

const send = (node: LabNode): void => {
  node.touch();
  node.turns();
};
const hand = (node: LabNode): void => {
  node.deliver();
  node.turns();
};
const shown = (node: LabNode, sql = "SELECT v FROM log ORDER BY v"): string =>
  node.query(sql).flat().map(String).join(" ");

/** All at rest: every node shows the same, nothing deviates, and the journal is empty. */
function agree(expected: string, sql?: string): void {
  lab.settle();
  for (const node of lab.nodes) {
    expect(shown(node, sql)).toBe(expected);
    expect(node.deviations()).toEqual([]);
    expect(node.wrongChecksums()).toEqual([]);
    expect(node.replica.replica.journal.total).toBe(0);
    expect(dumpReplica(node.replica.db, node.replica.replica)).toBe(
      dumpReplica(lab.nodes[0]!.replica.db, lab.nodes[0]!.replica.replica),
    );
  }
}

describe("the same rowid on two nodes", () => {
  test("insert and insert", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    a.run("INSERT INTO log VALUES('a')");
    b.run("INSERT INTO log VALUES('b')");
    send(b);
    send(a);
    b.order();
    a.order();
    agree("0 a b");
    expect(b.query("SELECT rowid, v FROM log ORDER BY 1")).toEqual([
      [1n, "0"],
      [2n, "b"],
      [3n, "a"],
    ]);
  });

  test("insert and insert, with an edit in flight and one not sent", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    b.run("INSERT INTO log VALUES('b')");
    send(b);
    a.run("INSERT INTO log VALUES('a')");
    send(a);
    a.run("UPDATE log SET v = 'a2' WHERE v = 'a'");
    send(a);
    expect(a.proposed).toHaveLength(2);
    b.order();
    a.order();
    a.run("UPDATE log SET v = 'a3' WHERE v = 'a2'");
    agree("0 a3 b");
  });

  test("insert and delete", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    b.run("INSERT INTO log VALUES('b')");
    send(b);
    a.run("INSERT INTO log VALUES('a')");
    send(a);
    a.run("DELETE FROM log WHERE v = 'a'");
    send(a);
    b.order();
    a.order();
    agree("0 b");
  });

  test("the origin's next insert has the rowid to which its row must go", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    b.run("INSERT INTO log VALUES('b')");
    send(b);
    a.run("INSERT INTO log VALUES('a')");
    send(a);
    a.run("INSERT INTO log VALUES('next')");
    send(a);
    a.run("UPDATE log SET v = v || '!' WHERE v IN ('a', 'next')", "INSERT INTO log VALUES('last')");
    b.order();
    a.order();
    agree("0 a! b last next!");
  });

  test("a delete of a row that is gone spares the row that has its rowid now", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    b.run("DELETE FROM log");
    send(b);
    b.run("INSERT INTO log VALUES('b')");
    send(b);
    expect(b.query("SELECT rowid FROM log")).toEqual([[1n]]);
    a.run("DELETE FROM log");
    send(a);
    b.order();
    a.order();
    agree("b");
  });

  test("an update of a row that is gone brings it back under another rowid", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    b.run("DELETE FROM log");
    send(b);
    b.run("INSERT INTO log VALUES('b')");
    send(b);
    a.run("UPDATE log SET v = 'a'");
    send(a);
    b.order();
    a.order();
    agree("a b");
  });

  test("a row that came back unknown to somebody who inserted in its place lives beside his", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    a.run("DELETE FROM log");
    send(a);
    a.run("INSERT INTO log VALUES('a')");
    send(a);
    b.run("UPDATE log SET v = 'b'");
    send(b);
    const [gone, ...rest] = a.proposed.splice(0);
    a.proposed.push(gone!);
    a.order();
    b.order();
    a.proposed.push(...rest);
    a.order();
    lab.settle();
    for (const node of lab.nodes) expect(shown(node)).toBe("a b");
  });
});

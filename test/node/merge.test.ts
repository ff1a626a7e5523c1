/** Updates of different columns both win (`--merge column`), step by step. */
import { afterEach, describe, expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { decodeBatchHead, decodeImage, decodeTables } from "../../src/change/codec.ts";
import { forAll } from "../../src/change/per-table.ts";
import { acceptBatch, NO_MEMORY, type OriginMemory } from "../../src/replica/order/accept-batch.ts";
import { Lab, type LabNode } from "./lab.ts";

const SCHEMA = `CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT); INSERT INTO t VALUES(1, '0', '0', '0');
  CREATE TABLE u(id INTEGER PRIMARY KEY, name TEXT UNIQUE, day TEXT, room TEXT, v TEXT, UNIQUE(day, room));
  INSERT INTO u VALUES(1, 'x', 'mon', 'red', '0'), (2, 'y', 'tue', 'blue', '0');`;

let lab: Lab;
afterEach(() => lab.close());

const make = async (count = 2, merge: "row" | "column" = "column"): Promise<LabNode[]> => {
  lab = await Lab.create(SCHEMA, count, 1, "whole", [], { merge: forAll(merge) });
  lab.settle();
  return lab.nodes;
};
/** Drains, proposes, and appends to the log. */
const send = (node: LabNode): void => {
  node.touch();
  node.turns();
  node.order();
};
const row = (node: LabNode, table = "t", id = 1): unknown =>
  node.query(`SELECT * FROM ${table} WHERE id = ${id}`)[0];
const journal = () =>
  lab.nodes[0]!.replica.replica.journal.list(100).map((c) => ({
    kind: c.kind,
    lost: c.losingImage === null ? null : decodeImage(c.losingImage),
  }));
/** All files and replicas are equal, and each file equals its replica. */
const same = (expected: unknown, table = "t", id = 1): void => {
  for (const node of lab.nodes) {
    expect(row(node, table, id)).toEqual(expected);
    expect(node.deviations()).toEqual([]);
  }
};

describe("column merge", () => {
  test("concurrent updates of different columns both win, also in the file of the later origin", async () => {
    const [a, b] = (await make()) as [LabNode, LabNode];
    a.run("UPDATE t SET a = 'A' WHERE id = 1");
    b.run("UPDATE t SET b = 'B' WHERE id = 1");
    send(a);
    send(b);
    lab.settle();
    same([1n, "A", "B", "0"]);
    expect(journal()).toEqual([]);
  });

  test("--merge row: the later update wins with all its columns", async () => {
    const [a, b] = (await make(2, "row")) as [LabNode, LabNode];
    a.run("UPDATE t SET a = 'A' WHERE id = 1");
    b.run("UPDATE t SET b = 'B' WHERE id = 1");
    send(a);
    send(b);
    lab.settle();
    same([1n, "0", "B", "0"]);
    expect(journal().length).toBe(1);
  });

  test("of one column the later update wins and the other is in the journal; the other columns of both win", async () => {
    const [a, b] = (await make()) as [LabNode, LabNode];
    a.run("UPDATE t SET a = 'A', c = 'C' WHERE id = 1");
    b.run("UPDATE t SET a = 'B', b = 'B' WHERE id = 1");
    send(a);
    send(b);
    lab.settle();
    same([1n, "B", "B", "C"]);
    expect(journal()).toEqual([{ kind: "concurrent write", lost: [1n, "A", "0", "C"] }]);
  });

  test("a newer own write, drained while the first is in flight or after its merge, changes only its own column", async () => {
    for (const drainEarly of [true, false]) {
      const [a, b] = (await make()) as [LabNode, LabNode];
      b.run("UPDATE t SET b = 'B' WHERE id = 1");
      send(b);
      a.run("UPDATE t SET a = 'A1' WHERE id = 1");
      send(a);
      a.run("UPDATE t SET a = 'A2' WHERE id = 1"); // not drained, or in flight behind the first
      if (drainEarly) send(a);
      a.deliver();
      a.applyOnly(); // the first is merged in the replica; the file still shows A2 and the old b
      expect(row(a)).toEqual([1n, "A2", "0", "0"]);
      if (!drainEarly) a.run("UPDATE t SET c = 'C' WHERE id = 1");
      lab.settle();
      same([1n, "A2", "B", drainEarly ? "0" : "C"]);
      expect(journal()).toEqual([]);
      lab.close();
    }
    await make();
  });

  test("after a kill the merged row is reflected, and an unacknowledged write still changes only its own columns", async () => {
    const [a, b] = (await make()) as [LabNode, LabNode];
    b.run("UPDATE t SET b = 'B' WHERE id = 1");
    send(b);
    a.run("UPDATE t SET a = 'A' WHERE id = 1");
    send(a);
    a.deliver();
    a.applyOnly();
    a.run("UPDATE t SET c = 'C' WHERE id = 1");
    a.crash();
    lab.settle();
    same([1n, "A", "B", "C"]);
    expect(journal()).toEqual([]);
  });

  test("a write that changes no value over a merged own write is not proposed", async () => {
    const [a, b] = (await make()) as [LabNode, LabNode];
    b.run("UPDATE t SET b = 'B' WHERE id = 1");
    send(b);
    a.run("UPDATE t SET a = 'A' WHERE id = 1");
    send(a);
    a.deliver();
    a.applyOnly();
    a.run("UPDATE t SET a = a WHERE id = 1");
    lab.settle();
    const entries = lab.order[0]!.length;
    lab.settle();
    expect(lab.order[0]!.length).toBe(entries);
    same([1n, "A", "B", "0"]);
  });

  test("an update after a concurrent delete restores the whole row, and the delete is in the journal", async () => {
    const [a, b] = (await make()) as [LabNode, LabNode];
    b.run("DELETE FROM t WHERE id = 1");
    send(b);
    a.run("UPDATE t SET a = 'A' WHERE id = 1");
    send(a);
    lab.settle();
    same([1n, "A", "0", "0"]);
    expect(journal()).toEqual([{ kind: "concurrent write", lost: null }]);
  });

  test("a delete records the merged columns that it had not seen in the journal", async () => {
    const [a, b] = (await make()) as [LabNode, LabNode];
    b.run("UPDATE t SET b = 'B' WHERE id = 1");
    send(b);
    a.run("UPDATE t SET a = 'A' WHERE id = 1");
    send(a);
    a.run("DELETE FROM t WHERE id = 1");
    send(a);
    lab.settle();
    same(undefined);
    expect(journal()).toEqual([{ kind: "concurrent write", lost: [1n, "A", "B", "0"] }]);
  });

  test("columns of one UNIQUE constraint are taken from one update", async () => {
    const [a, b] = (await make()) as [LabNode, LabNode];
    a.run("UPDATE u SET day = 'wed' WHERE id = 1");
    b.run("UPDATE u SET room = 'green', v = '1' WHERE id = 1");
    send(a);
    send(b);
    lab.settle();
    same([1n, "x", "mon", "green", "1"], "u"); // not (wed, green), which no node wrote
    expect(journal()).toEqual([{ kind: "concurrent write", lost: [1n, "x", "wed", "red", "0"] }]);
  });

  test("a swap of a unique column merges with a concurrent change of another column", async () => {
    const [a, b] = (await make()) as [LabNode, LabNode];
    a.run(
      "BEGIN; UPDATE u SET name = 'tmp' WHERE id = 1; UPDATE u SET name = 'x' WHERE id = 2; UPDATE u SET name = 'y' WHERE id = 1; COMMIT",
    );
    b.run("UPDATE u SET v = 'B'");
    send(a);
    send(b);
    lab.settle();
    same([1n, "y", "mon", "red", "B"], "u", 1);
    same([2n, "x", "tue", "blue", "B"], "u", 2);
    expect(journal()).toEqual([]);
  });

  test("rows are merged whole where the same changeset uses a kept unique value in another row", async () => {
    const [a, b] = (await make()) as [LabNode, LabNode];
    a.run("UPDATE u SET name = 'z' WHERE id = 1");
    send(a);
    // The writer has not seen that row 1 has 'z' now: it gives 'z' to row 2, and changes another column of row 1.
    b.run("BEGIN; UPDATE u SET name = 'z' WHERE id = 2; UPDATE u SET v = 'B' WHERE id = 1; COMMIT");
    send(b);
    lab.settle();
    same([1n, "x", "mon", "red", "B"], "u", 1);
    same([2n, "z", "tue", "blue", "0"], "u", 2);
    expect(journal().map((c) => c.lost)).toEqual([[1n, "z", "mon", "red", "0"]]);
  });

  test("a received replica with a merged own write: the file shows the merged row", async () => {
    const [a, b] = (await make()) as [LabNode, LabNode];
    b.run("UPDATE t SET b = 'B' WHERE id = 1");
    send(b);
    a.run("UPDATE t SET a = 'A' WHERE id = 1");
    send(a);
    b.deliver();
    b.turns();
    expect(await a.adopt(b)).toBe(true);
    lab.settle();
    same([1n, "A", "B", "0"]);
  });
});

/**
 * Three nodes write the cells of a table at random, each value once. The mask of a logged change has only cells that
 * its own application wrote; at the end each cell has the last value in the log.
 */
async function cells(seed: number): Promise<void> {
  const random = new Random(seed);
  await make(3);
  const columns = ["a", "b", "c"];
  let counter = 0;
  const writers = new Map<string, string>();
  for (let step = 0; step < 150; step++) {
    const node = random.pick(lab.nodes);
    switch (random.below(6)) {
      case 0:
      case 1: {
        const value = String(++counter);
        writers.set(value, node.peerId);
        node.run(`UPDATE t SET ${random.pick(columns)} = '${value}' WHERE id = 1`);
        break;
      }
      case 2:
        node.touch();
        node.turns();
        break;
      case 3:
        node.order();
        break;
      case 4:
        node.deliver(random.between(1, 3));
        if (random.chance(0.4)) node.applyOnly();
        break;
      default:
        lab.clock += random.pick([1, 30, 300]);
        node.turns();
        node.pipeline.tick();
        if (random.chance(0.1)) node.crash();
    }
  }
  lab.settle();
  const [shape] = [...lab.nodes[0]!.replica.replica.shapes.values()].filter((s) => s.name === "t");
  const final = ["0", "0", "0"];
  const memory = new Map<string, OriginMemory>();
  for (const { data } of lab.order[0]!) {
    const head = decodeBatchHead(data);
    if (acceptBatch(memory.get(head.origin) ?? NO_MEMORY, head, false) !== "take") continue;
    memory.set(head.origin, { incarnation: head.incarnation, csn: head.csn, ended: false, stagedParts: 0 });
    for (const change of decodeTables(head, () => shape).flatMap((t) => t.rows))
      for (let i = 1; i <= columns.length; i++) {
        if ((change.mask![0]! & (1 << i)) === 0) continue;
        const value = change.image![i] as string;
        expect({ seed, value, writer: writers.get(value) }).toEqual({ seed, value, writer: head.origin });
        final[i - 1] = value;
      }
  }
  for (const node of lab.nodes) {
    expect({ seed, row: node.query("SELECT a, b, c FROM t WHERE id = 1")[0] }).toEqual({ seed, row: final });
    expect({ seed, wrong: node.deviations() }).toEqual({ seed, wrong: [] });
  }
}

describe("random writes of single columns", () => {
  const first = Number(process.env.MARMOT_SEED ?? 1);
  const count = Number(process.env.MARMOT_SEEDS ?? 40);
  for (let seed = first; seed < first + count; seed++) test(`seed ${seed}`, () => cells(seed));
});

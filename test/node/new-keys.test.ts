/** Keys above all that the replica ever had are new, and are not read from it. */
import { afterEach, expect, spyOn, test } from "bun:test";
import { Op } from "../../src/change/batch.ts";
import { decodeBatchHead, decodeTables } from "../../src/change/codec.ts";
import { Replica } from "../../src/replica/replica.ts";
import { Lab } from "./lab.ts";

let lab: Lab;
afterEach(() => lab.close());

/** The operations of the newest batch with rows. */
function operations(): number[] {
  const shapes = lab.nodes[0]!.replica.replica.shapes;
  const rows = lab.order[0]!.map(({ data }) =>
    decodeTables(decodeBatchHead(data), (id) => shapes.get(id)).flatMap((table) => table.rows),
  );
  return rows.findLast((of) => of.length > 0)!.map(({ op }) => op);
}

test("rows that this node inserted a moment before are updated, and deleted, not inserted", async () => {
  lab = await Lab.create("CREATE TABLE t(k INTEGER PRIMARY KEY, v)", 2);
  lab.settle();
  const [node, other] = lab.nodes as [Lab["nodes"][number], Lab["nodes"][number]];
  const read = spyOn(Replica.prototype, "row");
  const write = (sql: string): number[] => {
    read.mockClear();
    node.run(sql);
    lab.settle();
    return operations();
  };
  const insert = (from: number): string =>
    `WITH RECURSIVE n(i) AS (SELECT ${from} UNION ALL SELECT i + 1 FROM n WHERE i < ${from + 19})
       INSERT INTO t SELECT i, 'a' FROM n`;
  try {
    expect(write(insert(1))).toEqual(Array<number>(20).fill(Op.insert));
    expect(read.mock.calls.length).toBeLessThan(20);
    expect(write("UPDATE t SET v = 'b'")).toEqual(Array<number>(20).fill(Op.update));
    expect(write("DELETE FROM t WHERE k > 10")).toEqual(Array<number>(10).fill(Op.delete));
    // Their keys were in the replica once, and are read.
    expect(write("INSERT INTO t SELECT k + 10, 'c' FROM t")).toEqual(Array<number>(10).fill(Op.insert));
    expect(read.mock.calls.length).toBeGreaterThanOrEqual(10);
    expect(write(insert(1000))).toEqual(Array<number>(20).fill(Op.insert));
    for (const { replica } of lab.nodes) expect([...replica.replica.rows(1)]).toHaveLength(40);
    expect([...node.deviations(), ...other.deviations()]).toEqual([]);
  } finally {
    read.mockRestore();
  }
});

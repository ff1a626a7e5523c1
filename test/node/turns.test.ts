/** The order of drain and reflection in the turns of a pipeline. */
import { afterEach, expect, test } from "bun:test";
import { Lab, type LabNode } from "./lab.ts";

let lab: Lab;
afterEach(() => lab.close());

/** A node that waits to reflect an acknowledgement, for which no reader waits. */
async function withLazyReflection(): Promise<LabNode> {
  lab = await Lab.create("CREATE TABLE t(id INTEGER PRIMARY KEY, v)", 1);
  const node = lab.nodes[0]!;
  lab.settle();
  node.run("INSERT INTO t VALUES(1, 'a')");
  node.touch();
  node.turns();
  node.order();
  node.deliver();
  node.turns();
  lab.clock += 100;
  return node;
}

const reflections = (node: LabNode): number => node.pipeline.counters().reflections;

test("a row of the application is proposed before a lazy reflection that is due", async () => {
  const node = await withLazyReflection();
  const before = reflections(node);
  node.run("INSERT INTO t VALUES(2, 'b')");
  node.touch();
  node.pipeline.turn();
  expect([node.proposed.length, reflections(node)]).toEqual([1, before]);
  node.pipeline.turn();
  expect(reflections(node)).toBe(before + 1);
});

test("an application that writes in each turn does not hold up its acknowledgements", async () => {
  const node = await withLazyReflection();
  const before = reflections(node);
  for (let id = 2; id < 6; id++) {
    node.run(`INSERT INTO t VALUES(${id}, 'b')`);
    node.touch();
    node.pipeline.turn();
  }
  expect(node.proposed.length).toBe(4);
  expect(reflections(node)).toBeGreaterThan(before);
});

test("rows of other nodes are shown before rows of the application are proposed", async () => {
  lab = await Lab.create("CREATE TABLE t(id INTEGER PRIMARY KEY, v)", 2);
  const [a, b] = lab.nodes as [LabNode, LabNode];
  lab.settle();
  a.run("INSERT INTO t VALUES(1, 'a')");
  a.touch();
  a.turns();
  a.order();
  b.run("INSERT INTO t VALUES(2, 'b')");
  b.deliver();
  b.touch();
  b.pipeline.turn();
  expect(b.query("SELECT id FROM t")).toEqual([[1n], [2n]]);
});

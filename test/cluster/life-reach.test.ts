/** Nodes that do not reach each other: pairs are named, and a join reaches a leader through a follower. Real processes. */
import { afterEach, expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { CLEAR, type Condition } from "../faults/links.ts";
import { TestCluster, type TestNode, until } from "./lab.ts";

const HELD: Condition = { ...CLEAR, held: true };

let cluster: TestCluster;
afterEach(() => cluster.stop());

test("a pair that does not reach each other is named, and a join reaches the leader through a follower", async () => {
  cluster = await TestCluster.start({
    ...{ shards: 1, quiet: true, linked: new Random(3) },
    schema: "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)",
  });
  const links = cluster.links!;
  const lead = await cluster.leader();
  const [first, second] = cluster.nodes.filter((n) => n !== lead) as [TestNode, TestNode];
  links.between([first.name], [second.name], HELD);
  links.reset(first.name, second.name);
  await until(async () => {
    const { unreached } = await lead.status();
    const [pair] = unreached;
    return (
      (unreached.length === 1 &&
        [pair!.from, pair!.to].sort().join() === [first.name, second.name].sort().join()) ||
      JSON.stringify(unreached)
    );
  }, "the pair is in the status");
  const shown = await lead.verb("status");
  expect(shown.stdout).toContain("do not reach each other");
  await until(() => lead.log().includes("do not reach each other") || lead.log(), "the log names it");
  // Neither of the two takes the other for dead.
  await until(async () => {
    const { verdict } = await first.status();
    const advice = verdict.findings.map((f) => `${f.advice} ${f.command}`).join("; ");
    return advice.includes(`${second.name} runs, and this node does not reach it`) || advice;
  }, "the other side names it, too");
  // Both still replicate through the leader.
  first.run("INSERT INTO t VALUES(1, 'one')");
  await until(() => second.query("SELECT v FROM t").flat()[0] === "one", "the row is on the other side");

  const joiner = cluster.add();
  await links.open(joiner.name, first.name, () => first.port);
  await joiner.start(["--peers", links.address(joiner.name, first.name)]);
  await until(
    async () => (await lead.status()).members.some((m) => m.name === joiner.name),
    "the leader admits a node that it does not reach",
  );
  await until(
    async () =>
      (await first.status()).unreached.some(({ from, to }) => [from, to].includes(joiner.name)) ||
      first.log(),
    "the new pair is named",
  );
  links.clear();
  await joiner.kill("SIGTERM");
  for (const node of [lead, second]) await links.open(joiner.name, node.name, () => node.port);
  await joiner.start();
  await joiner.ready();
  await until(async () => (await lead.status()).unreached.length === 0 || lead.log(), "all reach each other");
  await cluster.settle();
}, 120_000);

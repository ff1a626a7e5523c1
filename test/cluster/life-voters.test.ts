/** Voters that are lost are replaced, by themselves where a learner is there. Real processes on loopback. */
import { afterEach, describe, expect, test } from "bun:test";
import { TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)";
const MS = 120_000;

let cluster: TestCluster;
afterEach(() => cluster.stop());

const roles = (node: TestNode, wanted: Record<string, string>): Promise<void> =>
  until(
    async () => {
      const { members } = await node.status();
      const now = Object.fromEntries(members.map((m) => [m.name, m.role]));
      return Bun.deepEquals(now, wanted) ? true : JSON.stringify(now);
    },
    `members ${JSON.stringify(wanted)}`,
  );

async function goesOn(nodes: readonly TestNode[], id: number): Promise<void> {
  nodes[0]!.run(`INSERT INTO t VALUES(${id}, 'goes on')`);
  expect(await nodes[0]!.wait()).toBeTrue();
  await cluster.settle(nodes);
}

describe.each([1, 16])("with %p shards", (shards) => {
  test(
    "a silent voter gives its vote to a learner, which gives it back",
    async () => {
      const quick = ["--replace-after", "1s"];
      cluster = await TestCluster.start({ shards, schema: SCHEMA, quiet: true, first: quick, count: 1 });
      const [a, b, c, spare] = [cluster.nodes[0]!, cluster.add(), cluster.add(), cluster.add()];
      for (const node of [b, c]) {
        await node.start(quick);
        await node.ready();
        // Ready means that it has its vote.
        const { members } = await a.status();
        expect(members.find((m) => m.name === node.name)?.role).toBe("voter");
      }
      const asLearner = [...quick, "--role", "learner"];
      await spare.start(asLearner);
      await spare.ready();
      await c.kill();
      await roles(a, { n0: "voter", n1: "voter", n2: "learner", n3: "voter" });
      // The same line goes on.
      await spare.kill("SIGTERM");
      await spare.startAlone(asLearner);
      await spare.ready();
      await b.kill(); // one of three may fail
      await goesOn([a, spare], 1);
      await Promise.all([b.startAlone(quick), c.startAlone(quick)]);
      await roles(a, { n0: "voter", n1: "voter", n2: "voter", n3: "learner" });
      await goesOn(cluster.nodes, 2);
    },
    MS,
  );
});

test(
  "every machine of three is replaced, one after the other, and one of three may always fail",
  async () => {
    cluster = await TestCluster.start({ shards: 4, schema: SCHEMA, quiet: true });
    const live = [...cluster.nodes];
    for (let i = 0; i < 4; i++) {
      const dead = live.shift()!;
      await dead.kill();
      expect(live[0]!.marmot("members", "remove", dead.name).code).toBe(0);
      const next = cluster.add();
      await next.start();
      await next.ready();
      live.push(next);
      await goesOn(live, i);
    }
    await live.shift()!.kill();
    await goesOn(live, 9);
  },
  MS,
);

test(
  "the leader moves to the node that writes",
  async () => {
    cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, quiet: true });
    const leader = async (): Promise<string> => (await cluster.nodes[0]!.status()).shards[0]!.leader;
    const before = (await cluster.leader()).name;
    const writer = cluster.nodes.find((node) => node.name !== before)!;
    let id = 0;
    await until(async () => {
      writer.run(`INSERT INTO t VALUES(${id++}, 'x')`);
      return (await leader()) === writer.name || `${before} leads after ${id} writes`;
    }, "the leader moves");
    await goesOn(cluster.nodes, id);
  },
  MS,
);

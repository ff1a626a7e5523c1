/** A cluster under attack goes on, and keeps nothing of it: connections without the key, key holders, an admitted member. */
import { expect, test } from "bun:test";
import { SqliteLogStore } from "../../src/log-store/sqlite-log-store.ts";
import { dataPaths } from "../../src/replication/machine/data-paths.ts";
import { EntryType } from "../../src/raft/model/types.ts";
import { hostileRound } from "../faults/hostile-round.ts";
import { TestCluster, type TestNode, until } from "./lab.ts";

test("bad connections, invented members and an admitted member that sends junk cost nothing lasting", async () => {
  const plan = { seed: 1, connections: 600, holders: 6, messages: 150, topics: 5000, records: 40 };
  const measured = await hostileRound(plan, () => {});
  expect(measured.map(({ after }) => after)).toHaveLength(5);
}, 180_000);

test("a committed entry that cannot be decoded halts the node with a hint, again after a restart; applications write on", async () => {
  const cluster = await TestCluster.start({
    shards: 1,
    schema: "CREATE TABLE t(id INTEGER PRIMARY KEY)",
    count: 1,
  });
  try {
    const [node] = cluster.nodes as [TestNode];
    await node.kill("SIGTERM");
    const log = SqliteLogStore.open(dataPaths(node.dataDir).log);
    const group = log.group(0);
    const index = group.lastIndex() + 1;
    const data = new TextEncoder().encode("no batch");
    log.write([{ shard: 0, entries: [{ index, term: group.hardState.term, type: EntryType.normal, data }] }]);
    log.close();
    for (let start = 0; start < 2; start++) {
      await node.start();
      await until(async () => {
        const { text } = await node.http("/readyz").catch(() => ({ text: "" }));
        return text.includes(`bad-entry: entry ${index} of shard 0 cannot be applied: `) || text;
      }, "the state names the entry");
      expect((await node.status()).node.state).toBe("bad-entry");
      expect((await node.http("/readyz")).text).toContain(`marmot rejoin --db ${node.db}`);
      expect(await node.wait({ timeout: "500ms" })).toBeFalse();
      node.run(`INSERT INTO t VALUES(${start})`);
      expect(node.process!.exitCode).toBeNull();
      await node.kill("SIGTERM");
    }
  } finally {
    await cluster.stop();
  }
}, 120_000);

/** Three nodes insert into AUTOINCREMENT tables at the same time, as ORMs do: all rows are there, with their children. */
import { expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { TestCluster } from "./lab.ts";
import { writeLikeOrms } from "./ids-load.ts";

const seed = Number(process.env.MARMOT_SEED ?? 11);

for (const shards of [1, 16])
  test(`inserts of ORMs without ids do not collide between nodes with id blocks, ${shards} shards`, async () => {
    const load = { perSecond: 20, seconds: 6, shards };
    const blocks = await writeLikeOrms({ ...load, random: new Random(seed), block: 64 });
    console.log(`seed ${seed}, ${shards} shards, blocks of 64: ${JSON.stringify(blocks)}`);
    expect(blocks.inserted).toBeGreaterThan(300);
    expect(blocks).toMatchObject({ lost: 0, strayed: 0, journalled: 0 });
  }, 120_000);

test("each member has its own slot, and a joiner draws its first id from its block", async () => {
  const cluster = await TestCluster.start({
    shards: 1,
    schema: "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT)",
    first: ["--id-block", "t=100"],
  });
  try {
    const first = cluster.nodes.map((n) => n.query("INSERT INTO t(v) VALUES('x') RETURNING id")[0]![0]);
    expect(first.map(Number)).toEqual([1, 101, 201]);
    await cluster.settle();
    expect((await cluster.nodes[2]!.status()).cluster.idBlock).toBe("64,t=100");
    // A restart changes nothing: the next one is in the block again.
    await cluster.nodes[1]!.kill();
    await cluster.nodes[1]!.start();
    await cluster.nodes[1]!.ready();
    const [[id]] = cluster.nodes[1]!.query("INSERT INTO t(v) VALUES('y') RETURNING id") as [[bigint]];
    expect((Math.floor((Number(id) - 1) / 100) % 8) - 1).toBe(0);
    await cluster.settle();
  } finally {
    await cluster.stop();
  }
}, 120_000);

test("without id blocks the same inserts collide, and each loser is in the journal", async () => {
  const plain = await writeLikeOrms({ random: new Random(seed), perSecond: 20, seconds: 6, block: 0 });
  console.log(`seed ${seed}, without blocks: ${JSON.stringify(plain)}`);
  expect(plain.lost).toBeGreaterThan(0);
  expect(plain.journalled).toBe(plain.lost);
}, 120_000);

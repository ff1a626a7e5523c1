/** Three nodes insert into AUTOINCREMENT tables at the same time, as ORMs do: all rows are there, with their children. */
import { expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { writeLikeOrms } from "./ids-load.ts";

const seed = Number(process.env.MARMOT_SEED ?? 11);

for (const shards of [1, 16])
  test(`unchanged ORMs write on all nodes, ${shards} shards`, async () => {
    const load = { perSecond: 20, seconds: 6, shards };
    const blocks = await writeLikeOrms({ ...load, random: new Random(seed), block: 64 });
    console.log(`seed ${seed}, ${shards} shards, blocks of 64: ${JSON.stringify(blocks)}`);
    expect(blocks.inserted).toBeGreaterThan(300);
    expect(blocks).toMatchObject({ lost: 0, strayed: 0, journalled: 0 });
  }, 120_000);

test("without blocks the same writes collide, and each loser is in the journal", async () => {
  const plain = await writeLikeOrms({ random: new Random(seed), perSecond: 20, seconds: 6, block: 0 });
  console.log(`seed ${seed}, without blocks: ${JSON.stringify(plain)}`);
  expect(plain.lost).toBeGreaterThan(0);
  expect(plain.journalled).toBe(plain.lost);
}, 120_000);

import { expect, test } from "bun:test";
import { soak } from "./soak.ts";

/** Half a minute each; `scripts/soak.ts` does the same for hours. `MARMOT_SOAK_SEED` repeats a seed. */
const SECONDS = 30;

for (const shards of [1, 16])
  test(`${shards} ${shards === 1 ? "shard" : "shards"}: writers on all nodes while nodes are killed at random lose and double nothing`, async () => {
    const seed = Number(process.env.MARMOT_SOAK_SEED ?? crypto.getRandomValues(new Uint32Array(1))[0]!);
    const result = await soak({ seed, seconds: SECONDS, shards, say: console.log });
    expect(result.wrong).toEqual([]);
    expect(result.kills).toBeGreaterThan(3);
    expect(result.transactions).toBeGreaterThan(100);
  }, 240_000);

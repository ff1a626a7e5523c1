/** A rolling upgrade under load: a newer format of entries is used when each member reads it, and no sooner. */
import { expect, test } from "bun:test";
import { upgrade } from "./upgrades.ts";

const FIRST = Number(process.env.MARMOT_SEED ?? 1);
const SEEDS = Number(process.env.MARMOT_SEEDS ?? 8);

test("nodes are upgraded one after the other, some go back, and one that goes back too late halts", async () => {
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
    const { problems, trace } = await upgrade(seed);
    if (problems.length > 0)
      expect([...trace.slice(-40), ...problems, `again: MARMOT_SEED=${seed} MARMOT_SEEDS=1`]).toEqual([]);
  }
}, 240_000);

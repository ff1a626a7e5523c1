/** Clusters that lose members for good go on once, from the chosen ones, and no confirmed row is lost. */
import { expect, test } from "bun:test";
import { loseMembers, LOSSES } from "./recoveries.ts";

const FIRST = Number(process.env.MARMOT_SEED ?? 1);
const SEEDS = Number(process.env.MARMOT_SEEDS ?? 24);

test.each(LOSSES.map((loss, i) => [loss, i] as const))(
  "members are %s",
  async (_loss, kind) => {
    for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
      if (seed % LOSSES.length !== kind) continue;
      const { problems, trace } = await loseMembers(seed);
      if (problems.length > 0)
        expect([...trace.slice(-40), ...problems, `again: MARMOT_SEED=${seed} MARMOT_SEEDS=1`]).toEqual([]);
    }
  },
  240_000,
);

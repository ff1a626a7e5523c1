/** Whole nodes that ship to an archive in memory, which fails now and then, under drawn writes and faults. */
import { expect, test } from "bun:test";
import { draw } from "./plan.ts";
import { reportOf } from "./report.ts";
import { simulate } from "./simulation.ts";

const FIRST = Number(process.env.MARMOT_SEED ?? 30_000);
const SEEDS = Math.ceil(Number(process.env.MARMOT_SEEDS ?? 200) / 4);

test(`${SEEDS} archives restore each position as the nodes had it there`, async () => {
  let [compared, merged] = [0, 0];
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
    const result = await simulate({ ...draw(seed), archived: true });
    const again = `again: MARMOT_SEED=${seed} MARMOT_SEEDS=1 bun test test/simulation/archive.test.ts`;
    if (result.problems.length > 0) expect([...reportOf(result), again]).toEqual([]);
    compared += result.counts.archived!;
    merged += result.counts.merged!;
  }
  // A single seed may have none.
  if (SEEDS > 5) expect([compared > SEEDS / 2, merged > 3]).toEqual([true, true]);
});

test("a seed with an archive gives the same events in two runs", async () => {
  const plan = { ...draw(FIRST + 1), archived: true };
  const [one, two] = [await simulate(plan), await simulate(plan)];
  expect([two.hash, two.counts]).toEqual([one.hash, one.counts]);
});

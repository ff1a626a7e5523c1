/** Machines that lose their past are stopped before their votes count, and no confirmed row is lost. */
import { expect, test } from "bun:test";
import { FAULTS, loseThePast } from "./machines.ts";

const FIRST = Number(process.env.MARMOT_SEED ?? 1);
const SEEDS = Number(process.env.MARMOT_SEEDS ?? 60);

test.each(FAULTS.map((fault, i) => [fault, i] as const))("a machine is %s", async (_fault, kind) => {
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
    if (seed % FAULTS.length !== kind) continue;
    const { problems, trace } = await loseThePast(seed);
    if (problems.length > 0)
      expect([...trace.slice(-40), ...problems, `again: MARMOT_SEED=${seed} MARMOT_SEEDS=1`]).toEqual([]);
  }
});

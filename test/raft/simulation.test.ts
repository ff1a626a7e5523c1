/** Randomised runs. A failure names its seed: `RAFT_SEED=n bun test test/raft/simulation.test.ts` replays it. */
import { describe, test } from "bun:test";
import { Simulation } from "./simulation.ts";

const SEEDS = 100;
const STEPS = 2_000;
/** Seeds that once failed, with what they found. */
const REGRESSIONS: readonly number[] = [];

function run(seed: number): void {
  const simulation = new Simulation(seed);
  try {
    simulation.run(STEPS);
  } catch (error) {
    const tail = simulation.trace.slice(-20).join("\n");
    throw new Error(`seed ${seed} failed; replay with RAFT_SEED=${seed}: ${String(error)}\n${tail}`, {
      cause: error,
    });
  }
}

describe("paper, figure 3: what holds in every schedule", () => {
  const only = process.env["RAFT_SEED"];
  if (only !== undefined) {
    test(`seed ${only}`, () => run(Number(only)));
    return;
  }
  const first = Number(process.env["RAFT_FIRST_SEED"] ?? 1);
  const count = Number(process.env["RAFT_SEEDS"] ?? SEEDS);
  test(`${count} seeds from ${first}`, () => {
    for (let seed = first; seed < first + count; seed += 1) run(seed);
  });
  test("seeds that once failed", () => {
    for (const seed of REGRESSIONS) run(seed);
  });
});

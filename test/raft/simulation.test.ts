/** Randomised runs. A failure names its seed: `RAFT_SEED=n bun test test/raft/simulation.test.ts` replays it. */
import { describe, expect, test } from "bun:test";
import { Simulation } from "./simulation.ts";

const SEEDS = 1_500;
const STEPS = 2_000;

/** Gives how many reads by index were answered. */
function run(seed: number): number {
  const simulation = new Simulation(seed);
  try {
    simulation.run(STEPS);
    return simulation.invariants.readsAnswered;
  } catch (error) {
    const tail = simulation.trace.slice(-20).join("\n");
    throw new Error(`seed ${seed} failed; replay with RAFT_SEED=${seed}: ${String(error)}\n${tail}`, {
      cause: error,
    });
  }
}

describe("the invariants of figure 3 hold in every schedule", () => {
  const only = process.env["RAFT_SEED"];
  if (only !== undefined) {
    test(`seed ${only}`, () => void run(Number(only)));
    return;
  }
  const first = Number(process.env["RAFT_FIRST_SEED"] ?? 1);
  const count = Number(process.env["RAFT_SEEDS"] ?? SEEDS);
  test(`${count} seeds from ${first}`, () => {
    let reads = 0;
    for (let seed = first; seed < first + count; seed += 1) reads += run(seed);
    // Those after healing, one per member, are few of them.
    expect(reads).toBeGreaterThan(count * 10);
  }, 600_000);
  test("a seed replays exactly", () => {
    const trace = (seed: number): string[] => {
      const simulation = new Simulation(seed);
      simulation.run(STEPS);
      return simulation.trace;
    };
    for (const seed of [4, 5, 6, 7]) expect(trace(seed)).toEqual(trace(seed));
    expect(trace(5).length).toBeGreaterThan(100);
  });
});

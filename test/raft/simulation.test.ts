/** Randomised runs. A failure names its seed: `RAFT_SEED=n bun test test/raft/simulation.test.ts` replays it. */
import { describe, expect, test } from "bun:test";
import { Simulation } from "./simulation.ts";

const SEEDS = 200;
const STEPS = 2_000;

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
  test("a seed replays exactly", () => {
    const trace = (seed: number): string[] => {
      const simulation = new Simulation(seed);
      simulation.run(STEPS);
      return simulation.trace;
    };
    expect(trace(2).length).toBeGreaterThan(100);
    for (const seed of [2, 3, 4, 5]) expect(trace(seed)).toEqual(trace(seed));
  });
});

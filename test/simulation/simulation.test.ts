/** Whole nodes under everything that a seed draws. A failing seed: bun scripts/simulate.ts --from SEED --seeds 1 */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { draw, type Plan, withMigrations } from "./plan.ts";
import { simulate } from "./simulation.ts";

/** Plans that once failed, cut down where that was possible, and what they found. `scripts/simulate.ts --save NAME` adds one. */
const FAILED = join(import.meta.dir, "failed");

interface FailedPlan {
  readonly found: string;
  readonly plan: Plan;
}

const FIRST = Number(process.env.MARMOT_SEED ?? 10_000);
const SEEDS = Number(process.env.MARMOT_SEEDS ?? 200);
const KEYLESS_SEEDS = Math.ceil(SEEDS / 5);

async function holds(plan: Plan): Promise<void> {
  const { seed } = plan;
  const { problems } = await simulate(plan);
  expect({ seed, problems: problems.slice(0, 5) }).toEqual({ seed, problems: [] });
}

describe("what once failed", () => {
  for (const name of readdirSync(FAILED)) {
    const { found, plan } = JSON.parse(readFileSync(join(FAILED, name), "utf8")) as FailedPlan;
    test(`${name}: ${found}`, () => holds(plan));
  }
});

describe("random schedules of whole nodes", () => {
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) test(`seed ${seed}`, () => holds(draw(seed)));
});

describe("with a table without a declared key", () => {
  for (let seed = FIRST; seed < FIRST + KEYLESS_SEEDS; seed++)
    test(`seed ${seed}`, () => holds({ ...draw(seed), keyless: true }));
});

describe("with changes of the schema", () => {
  for (let seed = FIRST; seed < FIRST + KEYLESS_SEEDS; seed++)
    test(`seed ${seed}`, () => holds(withMigrations(draw(seed))));
});

test("a seed replays exactly", async () => {
  const [one, two] = [await simulate(draw(FIRST + 3)), await simulate(draw(FIRST + 3))];
  expect(two.hash).toBe(one.hash);
  expect(two.counts).toEqual(one.counts);
});

/** Whole nodes under the faults and writes that a seed draws. A failing run prints its report and the command that replays it. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { draw, type Plan, withGenerated, withMigrations } from "./plan.ts";
import { expectHolds, LEGEND, replayCommand, replayFile, reportOf } from "./report.ts";
import { type Result, simulate } from "./simulation.ts";

/** Plans that failed in the past, reduced, each with the bug that it found. `scripts/simulate.ts --save NAME` adds one. */
const FAILED = join(import.meta.dir, "failed");

interface FailedPlan {
  readonly found: string;
  readonly plan: Plan;
}

const FIRST = Number(process.env.MARMOT_SEED ?? 10_000);
const SEEDS = Number(process.env.MARMOT_SEEDS ?? 200);
const KEYLESS_SEEDS = Math.ceil(SEEDS / 5);

describe("a plan that failed in the past passes", () => {
  for (const name of readdirSync(FAILED)) {
    const { found, plan } = JSON.parse(readFileSync(join(FAILED, name), "utf8")) as FailedPlan;
    test(`${name}: ${found}`, () => expectHolds(plan, replayFile(`test/simulation/failed/${name}`)));
  }
});

describe("whole nodes under drawn writes and faults lose, double and reorder nothing", () => {
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) test(`seed ${seed}`, () => expectHolds(draw(seed)));
});

describe("the same with a table without a declared key", () => {
  for (let seed = FIRST; seed < FIRST + KEYLESS_SEEDS; seed++)
    test(`seed ${seed}`, () => expectHolds({ ...draw(seed), keyless: true }));
});

describe("the same with schema changes", () => {
  for (let seed = FIRST; seed < FIRST + KEYLESS_SEEDS; seed++)
    test(`seed ${seed}`, () => expectHolds(withMigrations(draw(seed))));
});

test("a seed gives the same events and counts in two runs", async () => {
  const [one, two] = [await simulate(draw(FIRST + 3)), await simulate(draw(FIRST + 3))];
  expect(two.hash).toBe(one.hash);
  expect(two.counts).toEqual(one.counts);
});

describe("the report of a failing run", () => {
  const failed: Result = {
    ...{ plan: draw(5), hash: "", simulatedMs: 0, wallMs: 0, counts: {} },
    problems: ["n1 shows its older write 1.2.0 in kv/3, its newest is 1.4.0"],
    trace: Array.from({ length: 50 }, (_, i) => `${i} an event`),
    story: ["story of kv/3", "  n1 transaction 2: found nothing, left 1.2.0"],
  };

  test("has the last events, the story of the row, the legend and the problem, in this order", () => {
    expect(reportOf(failed)).toEqual([
      ...failed.trace.slice(10).map((line) => `  ${line}`),
      ...failed.story,
      ...LEGEND,
      `WRONG ${failed.problems[0]}`,
    ]);
  });

  test("has a command with the options that draw the plan again", () => {
    const again = "again: bun scripts/simulate.ts --from 5 --seeds 1";
    const plan = draw(5);
    expect(replayCommand(plan)).toBe(`${again} --verbose`);
    expect(replayCommand({ ...plan, keyless: true }, [3, 7])).toBe(`${again} --only 3,7 --verbose --keyless`);
    expect(replayCommand(withMigrations(plan), [])).toBe(`${again} --only none --verbose --schema`);
    expect(replayCommand(withGenerated(plan, true))).toBe(`${again} --verbose --schema --generated`);
    expect(replayCommand(withGenerated(plan, false))).toBe(`${again} --verbose --generated`);
  });

  test("is the error of a test whose plan does not hold", async () => {
    const broken: Plan = { ...draw(5), shards: 0 };
    const error = await expectHolds(broken).then(
      () => null,
      (reason: unknown) => reason as Error,
    );
    expect(error?.message).toContain("WRONG the simulation broke");
    expect(error?.message).toContain(LEGEND[0]!);
    expect(error?.message).toEndWith("again: bun scripts/simulate.ts --from 5 --seeds 1 --verbose");
  });
});

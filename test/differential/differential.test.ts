/**
 * Random schemas and statements on three nodes in simulated time and on one plain file, with equal results. A failing case
 * prints its SQL and the command that repeats it.
 */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Case, KeptCase } from "./case.ts";
import { render } from "./draft.ts";
import { draw, OPTIONS } from "./draw.ts";
import { expectNoProblems, replayCommand, replayFile } from "./report.ts";
import { runSimulated } from "./simulated.ts";
import type { Verdict } from "./verdict.ts";

/** Cases that failed in the past, reduced, each with the bug that it found. `scripts/differential.ts --save NAME` adds one. */
const FAILED = join(import.meta.dir, "failed");

const FIRST = Number(process.env.MARMOT_SEED ?? 10_000);
const CASES = Number(process.env.MARMOT_CASES ?? 500);

async function expectHolds(it: Case, again = replayCommand(it.seed)): Promise<Verdict> {
  const verdict = await runSimulated(it);
  expectNoProblems(it, verdict.problems, again);
  return verdict;
}

describe("a case that failed in the past passes", () => {
  for (const name of readdirSync(FAILED)) {
    const { found, case: it } = JSON.parse(readFileSync(join(FAILED, name), "utf8")) as KeptCase;
    test(`${name}: ${found.split("\n")[0]!.slice(0, 150)}`, async () => {
      const { refused } = await expectHolds(it, replayFile(`test/differential/failed/${name}`));
      expect(refused).toBeNull();
    });
  }
});

describe("three nodes end with the contents of one plain file", () => {
  let refused = 0;
  for (let seed = FIRST; seed < FIRST + CASES; seed++)
    test(`case ${seed}`, async () => {
      if ((await expectHolds(render(draw(seed, OPTIONS)))).refused !== null) refused++;
    });
  test("less than a twelfth of the drawn schemas is refused", () => {
    expect(refused).toBeLessThan(Math.max(2, CASES / 12));
  });
});

test("a seed draws the same case twice, another seed another one", () => {
  expect(draw(FIRST + 7)).toEqual(draw(FIRST + 7));
  expect(JSON.stringify(render(draw(FIRST + 7)))).not.toBe(JSON.stringify(render(draw(FIRST + 8))));
});

test("the report of a failing case has its SQL, the problem and the command that repeats it", () => {
  const it = render(draw(FIRST, OPTIONS));
  expect(() => expectNoProblems(it, [], replayCommand(it.seed))).not.toThrow();
  const report = (): void => expectNoProblems(it, ["n1 misses a row"], replayCommand(it.seed, true));
  expect(report).toThrow(`  ${it.schema[0]};\n`);
  expect(report).toThrow(
    `WRONG n1 misses a row\nagain: bun scripts/differential.ts --from ${it.seed} --cases 1 --real`,
  );
});

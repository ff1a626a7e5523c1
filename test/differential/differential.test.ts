/**
 * Random schemas and statements on three nodes in simulated time, and on one plain file: everything the same. A case that
 * fails: bun scripts/differential.ts --from SEED --cases 1
 */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Case, KeptCase } from "./case.ts";
import { render } from "./draft.ts";
import { draw, OPTIONS } from "./draw.ts";
import { runSimulated } from "./simulated.ts";
import type { Verdict } from "./verdict.ts";

/** Cases that once failed, cut down, and what they found. `scripts/differential.ts --save NAME` adds one. */
const FAILED = join(import.meta.dir, "failed");

const FIRST = Number(process.env.MARMOT_SEED ?? 10_000);
const CASES = Number(process.env.MARMOT_CASES ?? 500);

async function holds(it: Case): Promise<Verdict> {
  const verdict = await runSimulated(it);
  expect({ seed: it.seed, problems: verdict.problems.slice(0, 5) }).toEqual({ seed: it.seed, problems: [] });
  return verdict;
}

describe("what once failed", () => {
  for (const name of readdirSync(FAILED)) {
    const { found, case: it } = JSON.parse(readFileSync(join(FAILED, name), "utf8")) as KeptCase;
    test(`${name}: ${found.split("\n")[0]!.slice(0, 150)}`, async () => {
      expect((await holds(it)).refused).toBeNull();
    });
  }
});

describe("nodes do what a plain file does", () => {
  let refused = 0;
  for (let seed = FIRST; seed < FIRST + CASES; seed++)
    test(`case ${seed}`, async () => {
      if ((await holds(render(draw(seed, OPTIONS)))).refused !== null) refused++;
    });
  test("few of the schemas are refused", () => {
    expect(refused).toBeLessThan(Math.max(2, CASES / 12));
  });
});

test("a seed stands for one case", () => {
  expect(draw(FIRST + 7)).toEqual(draw(FIRST + 7));
  expect(JSON.stringify(render(draw(FIRST + 7)))).not.toBe(JSON.stringify(render(draw(FIRST + 8))));
});

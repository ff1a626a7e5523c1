import { expect, test } from "bun:test";
import { runCase } from "./cases.ts";
import { runRebaseCase } from "../rebase/rebase-cases.ts";

/** `SEEDS=from-to` runs other seeds. A failure prints its seed. */
const [from, to] = (process.env.SEEDS ?? "1-60").split("-").map(Number) as [number, number];

function run(one: (seed: number) => void): string {
  const failed: string[] = [];
  for (let seed = from; seed <= to && failed.length < 2; seed++)
    try {
      one(seed);
    } catch (error) {
      failed.push(`${seed}: ${(error as Error).stack}`);
    }
  return failed.join("\n\n");
}

test("a random migration gives another file and a replica the same schema and rows", () => {
  expect(run(runCase)).toBe("");
}, 600_000);

test("of two concurrent random migrations the second is rebased on the first or reported as rejected", () => {
  expect(run(runRebaseCase)).toBe("");
}, 600_000);

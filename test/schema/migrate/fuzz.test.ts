import { expect, test } from "bun:test";
import { runCase } from "./cases.ts";
import { runRebaseCase } from "../rebase/rebase-cases.ts";

/** Run others with `SEEDS=from-to`. A failure prints its seed. */
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

test("a migration made with plain statements reaches other files, texts and rows", () => {
  expect(run(runCase)).toBe("");
}, 600_000);

test("of two migrations made apart either comes first, and the other goes on top of it or is told", () => {
  expect(run(runRebaseCase)).toBe("");
}, 600_000);

import { expect, test } from "bun:test";
import { runCase } from "./cases.ts";

/** Run more with `SEEDS=from-to`. A failure prints its seed. */
const [from, to] = (process.env.SEEDS ?? "1-120").split("-").map(Number) as [number, number];

test("a migration made with plain statements reaches other files, texts and rows", () => {
  const failed: string[] = [];
  for (let seed = from; seed <= to; seed++)
    try {
      runCase(seed);
    } catch (error) {
      failed.push(`${seed}: ${(error as Error).stack}`);
      if (failed.length > 2) break;
    }
  expect(failed.join("\n\n")).toBe("");
});

/** When a node collects garbage: by its memory, by its growth since the last collection, and by the work done since. */
import { expect, test } from "bun:test";
import { Garbage } from "../../src/replication/machine/garbage.ts";

const MB = 1 << 20;

/** Ticks once a `stepMs`, with the memory before each tick; a collection leaves `kept`. Returns the ticks that collected. */
function collections(before: readonly number[], kept: number, { stepMs = 1000, turns = 20 } = {}): number[] {
  const collected: number[] = [];
  let [at, now, bytes] = [0, 10_000, 0];
  const collectGarbage = (): void => {
    collected.push(at);
    bytes = kept * MB;
  };
  const garbage = new Garbage({ memory: () => bytes, collectGarbage }, { now: () => now });
  for (const mb of before) {
    bytes = mb * MB;
    garbage.tick(++at * turns);
    now += stepMs;
  }
  return collected;
}

test("a process below the limit is not collected", () => {
  expect(collections([143, 143, 143], 100)).toEqual([]);
});

test("a process that keeps much memory is collected when it has grown since", () => {
  expect(collections([150, 150, 165, 166, 165, 167], 150)).toEqual([1, 4, 6]);
});

test("under pressure every tick collects that comes a quarter of a second after the last one", () => {
  expect(collections([224, 224, 223, 240], 220, { stepMs: 250 })).toEqual([1, 2, 4]);
  expect(collections([224, 224, 224], 220, { stepMs: 200 })).toEqual([1, 3]);
});

test("without work since the last look there is little garbage", () => {
  expect(collections([150, 200, 143, 150, 150, 150, 150, 150], 100, { turns: 8 })).toEqual([6]);
});

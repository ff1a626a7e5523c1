/** How long a position is behind the committed index. */
import { expect, test } from "bun:test";
import { CommitTimes, entriesBehind } from "../../src/replication/peer-lag.ts";

test("entries behind are counted by shard: one that is ahead does not make up for another", () => {
  expect(entriesBehind([10, 5], [7, 9])).toBe(3);
  expect(entriesBehind([10, 5], [])).toBe(15);
  expect(entriesBehind([], [3])).toBe(0);
});

test("the time counts from the first commit that the position lacks", () => {
  let now = 0;
  const times = new CommitTimes(() => now);
  for (const [at, committed] of [
    [0, 10],
    [100, 20],
    [150, 20],
    [300, 30],
  ] as const) {
    now = at;
    times.note(committed);
  }
  now = 1000;
  expect([9, 10, 15, 20, 29, 30].map((n) => times.behindMs(n))).toEqual([1000, 900, 900, 700, 700, 0]);
});

test("old commits get sparser, and the oldest is kept: memory is bounded", () => {
  let now = 0;
  const times = new CommitTimes(() => now);
  for (; now < 100_000; now++) times.note(now + 1);
  expect(times.behindMs(0)).toBe(100_000);
  expect(times.behindMs(99_999)).toBe(1);
});

/** Which base positions include the writes of all other origins. */
import { expect, test } from "bun:test";
import { RecentWriters } from "../../../src/replica/apply/recent-writers.ts";

const [ME, OTHER, RESOLVER] = [1, 2, 0];

test("a base includes the writes from before the replica was opened", () => {
  const writers = new RecentWriters([5, 0, 7]);
  expect(writers.isCoveredBy([5, 0, 7], ME)).toBe(true);
  for (const base of [[4, 9, 9], [9, 9, 6], [9, 9], []]) expect(writers.isCoveredBy(base, ME)).toBe(false);
});

test("a base includes the newest writes of the others in each shard, not those of its own origin", () => {
  const writers = new RecentWriters([0, 0]);
  writers.note({ shard: 1, index: 8, origin: OTHER });
  writers.note({ shard: 1, index: 6, origin: OTHER });
  writers.note({ shard: 0, index: 9, origin: ME });
  expect(writers.isCoveredBy([0, 8], ME)).toBe(true);
  expect(writers.isCoveredBy([0, 7], ME)).toBe(false);
  expect(writers.isCoveredBy([9, 0], OTHER)).toBe(true);
  expect(writers.isCoveredBy([8, 9], OTHER)).toBe(false);
});

test("a write of the reference resolver is one of another origin for every node", () => {
  const writers = new RecentWriters([0]);
  writers.note({ shard: 0, index: 3, origin: RESOLVER });
  expect([writers.isCoveredBy([2], ME), writers.isCoveredBy([3], ME)]).toEqual([false, true]);
});

/** The bounds of the newest entries in memory. */
import { expect, test } from "bun:test";
import { EntryCache } from "../../src/log-store/entry-cache.ts";
import { EntryType } from "../../src/raft/model/types.ts";

const MEGABYTE = 1 << 20;

/** Bytes that stay in memory after many entries of `size` bytes. */
function keptBytes(groups: number, size: number): { least: number; most: number } {
  const cache = new EntryCache(1, groups);
  const data = new Uint8Array(size);
  let least = Number.POSITIVE_INFINITY;
  let most = 0;
  for (let index = 1; index <= (40 * MEGABYTE) / size; index++) {
    cache.push({ term: 1, index, type: EntryType.normal, data });
    const kept = (index - cache.firstIndex + 1) * size;
    most = Math.max(most, kept);
    if (index > (20 * MEGABYTE) / size) least = Math.min(least, kept);
  }
  return { least, most };
}

test("the cache of the only group keeps the 8 MB that are in flight", () => {
  const { least, most } = keptBytes(1, 100_000);
  expect(least).toBeGreaterThan(8 * MEGABYTE);
  expect(most).toBeLessThanOrEqual(12 * MEGABYTE);
});

test("each of many groups keeps 4 MB at most", () => {
  const { least, most } = keptBytes(16, 100_000);
  expect(least).toBeGreaterThan(2 * MEGABYTE);
  expect(most).toBeLessThanOrEqual(4 * MEGABYTE);
});

test("small entries are bounded by their number", () => {
  const cache = new EntryCache(1, 1);
  for (let index = 1; index <= 20_000; index++)
    cache.push({ term: 1, index, type: EntryType.normal, data: new Uint8Array(1) });
  expect(20_000 - cache.firstIndex + 1).toBeLessThanOrEqual(8192);
});

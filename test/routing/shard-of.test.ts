import { expect, test } from "bun:test";
import XXH from "xxhashjs";
import { Random } from "../../src/base/random.ts";
import { shardOf } from "../../src/routing/shard-of.ts";

test("Bun's xxh32 equals that of xxhashjs on random texts", () => {
  const random = new Random(1);
  for (let i = 0; i < 2000; i++) {
    const text = String.fromCodePoint(
      ...Array.from({ length: random.below(60) }, () => random.below(0xd7ff)),
    );
    expect(Bun.hash.xxHash32(text, 0)).toBe(XXH.h32(Buffer.from(text), 0).toNumber());
  }
});

test("the shards of known keys never change", () => {
  const rows = ["i1", "i2", "i3", "t3:abc", "t1:a;i5;"].map((key) =>
    [2, 3, 16, 64].map((n) => shardOf("books", key, n)),
  );
  expect(rows).toEqual([
    [0, 2, 6, 29],
    [0, 0, 0, 30],
    [1, 1, 11, 23],
    [0, 0, 7, 34],
    [0, 0, 5, 47],
  ]);
});

test("each shard gets between 0.65 and 1.4 of its even share of rows", () => {
  for (const shards of [2, 3, 16, 64]) {
    const counts = Array.from({ length: shards }, () => 0);
    const rows = shards * 2000;
    for (let i = 0; i < rows; i++) counts[shardOf("t", `i${i}`, shards)]!++;
    for (const count of counts) {
      expect(count).toBeGreaterThan(2000 * 0.65);
      expect(count).toBeLessThan(2000 * 1.4);
    }
  }
});

test("with one more shard only the rows of the new shard move", () => {
  let moved = 0;
  for (let i = 0; i < 20_000; i++) {
    const before = shardOf("t", `i${i}`, 15);
    const after = shardOf("t", `i${i}`, 16);
    if (before !== after) {
      expect(after).toBe(15);
      moved++;
    }
  }
  expect(moved).toBeGreaterThan(20_000 / 16 / 1.5);
  expect(moved).toBeLessThan((20_000 / 16) * 1.5);
});

/** A map by key against a `Map`: the same answers, whatever is added, changed and deleted, also while it is iterated. */
import { describe, expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import type { KeyId } from "../../src/change/key.ts";
import { KeyMap } from "../../src/change/key-map.ts";

type Value = number | { readonly n: number };

const drawKey = (random: Random, range: number): KeyId => {
  const n = random.below(range);
  switch (random.below(8)) {
    case 0:
      return `t${n}`;
    case 1:
      return -n;
    case 2:
      return n * 2 ** 31;
    case 3:
      return Number.MAX_SAFE_INTEGER - n;
    default:
      return n;
  }
};

const sorted = (entries: Iterable<[KeyId, Value]>): string[] =>
  [...entries].map((entry) => JSON.stringify(entry)).sort();

describe("a map by key", () => {
  test.each([1, 2, 3, 4, 5, 6])("does what a Map does (%d)", (seed) => {
    const random = new Random(seed);
    const range = random.pick([5, 100, 5000]);
    const map = new KeyMap<number, { n: number }>();
    const model = new Map<KeyId, Value>();
    for (let step = 0; step < 40_000; step++) {
      const key = drawKey(random, range);
      // Long spells of mostly adding and mostly deleting: it grows, and gives back.
      if (random.chance(Math.floor(step / 10_000) % 2 === 0 ? 0.7 : 0.3)) {
        const value = random.chance(0.2) ? { n: step } : step;
        map.set(key, value);
        model.set(key, value);
      } else expect(map.delete(key)).toBe(model.delete(key));
      const other = drawKey(random, range);
      expect(map.get(other)).toBe(model.get(other)!);
      expect(map.has(other)).toBe(model.has(other));
      expect(map.size).toBe(model.size);
      if (step % 5000 === 0) expect(sorted(map)).toEqual(sorted(model));
    }
    expect(sorted(map)).toEqual(sorted(model));
    expect([...map.keys()].length).toBe(model.size);
    expect([...map.values()].length).toBe(model.size);
  });

  test("entries deleted during an iteration do not come, and all others come once", () => {
    const map = new KeyMap<number, { n: number }>();
    const count = 20_000;
    for (let i = 0; i < count; i++) map.set(i, i);
    for (let i = 0; i < 100; i++) map.set(`t${i}`, i);
    const seen = new Set<KeyId>();
    for (const [key, value] of map) {
      expect(seen.has(key)).toBe(false);
      seen.add(key);
      if (typeof key === "string") continue;
      expect(value).toBe(key);
      // Itself, and one that is still to come: most of the room is given back on the way.
      map.delete(key);
      map.delete(count - 1 - key);
    }
    expect(seen.size).toBe(100 + count / 2);
    expect(map.size).toBe(100);
  });

  test("memory follows the number of present keys while a million keys are added and deleted", () => {
    const map = new KeyMap<0, never>();
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 1_000_000; i++) {
      map.set(i, 0);
      if (i >= 100) expect(map.delete(i - 100) || i).toBe(true);
    }
    expect(map.size).toBe(100);
    Bun.gc(true);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20);
  });
});

/** Which rows are written by one statement, and which one by one. */
import { expect, test } from "bun:test";
import type { TableShape } from "../../src/change/shape.ts";
import type { Image, Value } from "../../src/change/value.ts";
import { areNearKeys, areNearRows } from "../../src/rows/near-rows.ts";

const shape = (...key: number[]): TableShape => ({ key }) as unknown as TableShape;
const images = (...keys: Value[]): Image[] => keys.map((key) => [null, key, "x"]);

test("keys that rise without large gaps are near", () => {
  expect(areNearKeys([])).toBe(true);
  expect(areNearKeys([5])).toBe(true);
  expect(areNearKeys([1, 2, 3, 9])).toBe(true);
  expect(areNearKeys([1, 2, 3, 900])).toBe(false);
  expect(areNearKeys([2, 1])).toBe(false);
  expect(areNearKeys([1, 1])).toBe(false);
  expect(areNearKeys(["t1:a", "t1:b"])).toBe(true);
  expect(areNearKeys(["t1:b", "t1:a"])).toBe(false);
  expect(areNearKeys([1, "t1:a"])).toBe(false);
});

test("rows are near by the first column of their key", () => {
  expect(areNearRows(shape(1), images(1n, 2n, 4n))).toBe(true);
  expect(areNearRows(shape(1), images(1n, 2n, 4_000_000_000n))).toBe(false);
  expect(areNearRows(shape(1), images("a", "b"))).toBe(true);
  expect(areNearRows(shape(1), images("b", "a"))).toBe(false);
  expect(areNearRows(shape(1), images(new Uint8Array([1]), new Uint8Array([2])))).toBe(false);
  expect(areNearRows(shape(1), images(2n, "a"))).toBe(false);
  // Only in a key of several columns the first one may repeat.
  expect(areNearRows(shape(1), images("a", "a"))).toBe(false);
  expect(areNearRows(shape(1, 2), images("a", "a", "b"))).toBe(true);
  expect(areNearRows(shape(1), images(9n, 1n, 2n, 0n), 1, 2)).toBe(true);
});

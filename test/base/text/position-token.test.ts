import { expect, test } from "bun:test";
import { hasReached, parsePosition, showPosition } from "../../../src/base/text/position-token.ts";

test("a position is the index of each shard, and its text gives it back", () => {
  for (const positions of [[812], [0], [812, 40, 7], Array.from({ length: 64 }, (_, i) => i)])
    expect(parsePosition(showPosition(positions))).toEqual(positions);
  expect(showPosition([812, 40, 7])).toBe("c:812.40.7");
});

test("a text of another form is no position", () => {
  for (const text of [
    "",
    "c:",
    "812",
    "C:812",
    "c:812.",
    "c:.1",
    "c:1e3",
    "c: 1",
    "c:1\n",
    `c:${"9".repeat(16)}`,
  ])
    expect(parsePosition(text)).toBe(null);
  expect(parsePosition(showPosition(Array.from({ length: 65 }, () => 1)))).toBe(null);
});

test("a position is reached when every shard is there", () => {
  expect(hasReached([5, 7], [5, 7])).toBe(true);
  expect(hasReached([6, 6], [5, 7])).toBe(false);
  expect(hasReached([], [1])).toBe(false);
});

/** Durations as text. */
import { expect, test } from "bun:test";
import { parseDuration, showDuration } from "../../src/base/duration.ts";

test("a duration has a unit, and is shown in the largest one that fits", () => {
  const good: [string, number][] = [
    ["0ms", 0],
    ["500ms", 500],
    ["10s", 10_000],
    ["1.5s", 1500],
    ["2m", 120_000],
    ["1h", 3_600_000],
    ["7d", 7 * 86_400_000],
  ];
  for (const [text, ms] of good) expect([text, parseDuration(text)]).toEqual([text, ms]);
  for (const text of ["", "10", "s", "-1s", "1 s", "1w", "1e3s", "0x1s", ".5s"])
    expect([text, parseDuration(text)]).toEqual([text, null]);
  expect([0, 500, 1500, 10_000, 120_000, 3_600_000, 86_400_000].map(showDuration)).toEqual([
    "0ms",
    "500ms",
    "1500ms",
    "10s",
    "2m",
    "1h",
    "1d",
  ]);
});

test("a number without a unit is a duration only where the caller names its unit", () => {
  expect([parseDuration("250", "ms"), parseDuration("5s", "ms"), parseDuration("250")]).toEqual([
    250,
    5000,
    null,
  ]);
});

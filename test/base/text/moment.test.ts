import { expect, test } from "bun:test";
import { parseMoment } from "../../../src/base/text/moment.ts";

const NOW = Date.UTC(2026, 10, 29, 12);

test("a time is a date with a zone, or how long ago it was", () => {
  const day = 86_400_000;
  for (const [text, expected] of [
    ["2026-11-29T11:59:00Z", NOW - 60_000],
    ["2026-11-29 11:59Z", NOW - 60_000],
    ["2026-11-29T13:00:00.250+01:00", NOW + 250],
    ["2026-11-29", NOW - day / 2],
    ["10 minutes ago", NOW - 600_000],
    ["1 day ago", NOW - day],
    ["1.5 hours ago", NOW - 5_400_000],
    ["10m", NOW - 600_000],
    ["2d", NOW - 2 * day],
    ["now", NOW],
  ] as const)
    expect([text, parseMoment(text, NOW)]).toEqual([text, expected]);
});

test("a time without a zone, and other texts, are none", () => {
  for (const text of ["", "10", "yesterday", "2026-11-29T12:00:00", "2026-13-01", "in 10 minutes", "c:812"])
    expect([text, parseMoment(text, NOW)]).toEqual([text, null]);
});

/** A point in time as people write it: `2026-11-29T12:00:00Z`, `10 minutes ago`, or `10m` for ten minutes ago. */
import { parseDuration } from "../duration.ts";

const UNITS: Readonly<Record<string, number>> = {
  second: 1000,
  minute: 60_000,
  hour: 3_600_000,
  day: 86_400_000,
  week: 7 * 86_400_000,
};

/** A date alone is its first moment in UTC; a time needs its zone, so that every node reads the same. */
const ISO = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d))?$/i;

/** Milliseconds since 1970; null: not a time. */
export function parseMoment(given: string, now: number): number | null {
  const text = given.trim();
  if (text === "now") return now;
  const ago = /^(\d+(?:\.\d+)?) *(second|minute|hour|day|week)s? +ago$/i.exec(text);
  if (ago !== null) return now - Math.round(Number(ago[1]) * UNITS[ago[2]!.toLowerCase()]!);
  const duration = parseDuration(text);
  if (duration !== null) return now - duration;
  if (!ISO.test(text)) return null;
  const time = Date.parse(text.replace(" ", "T"));
  return Number.isNaN(time) ? null : time;
}

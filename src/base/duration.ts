/** Durations as text: `500ms`, `10s`, `2m`, `1h`, `7d`. The one parser for flags, variables, files and query parameters. */

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Timers count to 2^31 − 1 ms: longer waits end after this time. */
export const MAX_TIMEOUT_MS = 24 * UNITS.d!;

/** Milliseconds; null: not a duration. `unit`: the unit of a number without one; without it such a number is refused. */
export function parseDuration(text: string, unit = ""): number | null {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text);
  const factor = match === null ? undefined : UNITS[match[2] ?? unit];
  return match === null || factor === undefined ? null : Math.round(Number(match[1]) * factor);
}

/** Milliseconds in the largest unit that shows them whole. */
export function showDuration(ms: number): string {
  const unit = ["d", "h", "m", "s"].find((u) => ms > 0 && ms % UNITS[u]! === 0) ?? "ms";
  return `${ms / UNITS[unit]!}${unit}`;
}

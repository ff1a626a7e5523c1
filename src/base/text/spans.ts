/** Spans of time, sizes and counts as people read them. */

/** `0.4 s`, `8 s`, `12 min`, `3 h`, `4 d`. */
export function showSpan(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

export const showCount = (n: number): string => n.toLocaleString("en");

/** `1 row`, `2 rows`. */
export const counted = (n: number, unit: string): string => `${showCount(n)} ${unit}${n === 1 ? "" : "s"}`;

/** A word of a shell command. */
export const shellWord = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

/** Rows of all tables together. */
export const totalRows = (rows: Readonly<Record<string, number>>): number =>
  Object.values(rows).reduce((sum, n) => sum + n, 0);

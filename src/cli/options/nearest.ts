/** Suggestions for a misspelt name. */

/** The largest edit distance of a suggestion. */
const MAX_DISTANCE = 2;

/** The name with the smallest edit distance: at most two, and less than its length. null: there is none. */
export function nearest(name: string, names: readonly string[]): string | null {
  let best: string | null = null;
  let least = MAX_DISTANCE + 1;
  for (const candidate of names) {
    const distance = editDistance(name, candidate);
    if (distance < least && distance < candidate.length) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

/** "; did you mean X?", or "". */
export function didYouMean(name: string, names: readonly string[], prefix = ""): string {
  const near = nearest(name, names);
  return near === null ? "" : `; did you mean ${prefix}${near}?`;
}

/** Levenshtein distance: letters to insert, delete or replace. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}

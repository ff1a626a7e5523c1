/** Counts observations in buckets, as Prometheus does. Memory is fixed. */

export interface Counts {
  readonly counts: readonly number[];
  readonly sum: number;
  readonly count: number;
}

export class Histogram {
  /** Upper bounds, ascending; the last bucket is unbounded. */
  readonly bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;
  #count = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.#counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  observe(value: number): void {
    const at = this.bounds.findIndex((bound) => value <= bound);
    this.#counts[at === -1 ? this.bounds.length : at]!++;
    this.#sum += value;
    this.#count++;
  }

  /** By bucket, not cumulative. */
  read(): Counts {
    return { counts: [...this.#counts], sum: this.#sum, count: this.#count };
  }
}

/** The value below which the share `q` of the observations between two readings lies; null: there were none. */
export function quantile(
  bounds: readonly number[],
  { from, to }: { readonly from: Counts | null; readonly to: Counts },
  q: number,
): number | null {
  const counts = to.counts.map((n, i) => n - (from?.counts[i] ?? 0));
  const total = counts.reduce((sum, n) => sum + n, 0);
  if (total === 0) return null;
  let left = q * total;
  for (const [i, n] of counts.entries()) {
    const low = i === 0 ? 0 : bounds[i - 1]!;
    const high = bounds[i] ?? low;
    if (n > 0 && left <= n) return low + (high - low) * (left / n);
    left -= n;
  }
  return bounds.at(-1) ?? null;
}

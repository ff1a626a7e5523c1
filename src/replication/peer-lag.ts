/** How long a position is behind: remembers when the committed index passed which value. Pure. */
import type { Clock } from "../base/clock.ts";

/** Samples that are kept; older ones get sparser. */
const MAX_SAMPLES = 256;

interface Sample {
  readonly at: number;
  /** Committed entries, over all shards. */
  readonly committed: number;
}

export const sumOf = (positions: readonly number[]): number => positions.reduce((sum, n) => sum + n, 0);

/** Committed entries, over all shards, that `applied` does not contain. */
export const entriesBehind = (committed: readonly number[], applied: readonly number[]): number =>
  committed.reduce((sum, index, shard) => sum + Math.max(0, index - (applied[shard] ?? 0)), 0);

export class CommitTimes {
  readonly #now: Clock["now"];
  #samples: Sample[] = [];

  constructor(now: Clock["now"]) {
    this.#now = now;
  }

  note(committed: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && committed <= last.committed) return;
    this.#samples.push({ at: this.#now(), committed });
    if (this.#samples.length <= MAX_SAMPLES) return;
    const half = MAX_SAMPLES / 2;
    this.#samples = this.#samples.filter((_, i) => i >= half || i % 2 === 0);
  }

  /** Milliseconds since the first known commit beyond `applied`; 0: there is none. */
  behindMs(applied: number): number {
    const first = this.#samples.find(({ committed }) => committed > applied);
    return first === undefined ? 0 : Math.max(0, this.#now() - first.at);
  }
}

/** When the cluster was at which position, as this node saw it. */
import { decodeBatchHead } from "../../change/codec.ts";
import { readMarking } from "../../change/marking.ts";
import { hasReached } from "../../base/text/position-token.ts";
import { type Entry, EntryType } from "../../raft/model/types.ts";
import type { Mark } from "../chain-link.ts";

/** More are thinned out. */
const MOST = 200_000;

export class Marks {
  /** The positions at which the first mark was expected: what is before them has no marks. */
  readonly base: readonly number[];
  #marks: Mark[] = [];

  constructor(base: readonly number[]) {
    this.base = base;
  }

  /** The positions rise; of several in one millisecond the last one counts. */
  note(time: number, positions: readonly number[]): void {
    if (this.#marks.at(-1)?.[0] === time) this.#marks.pop();
    this.#marks.push([time, positions]);
    if (this.#marks.length > MOST) this.#marks = this.#marks.filter((_, i) => i % 2 === 1);
  }

  /** Those up to `positions` are in the archive. */
  forget(positions: readonly number[]): void {
    const kept = this.#marks.findIndex((mark) => !hasReached(positions, mark[1]));
    this.#marks = kept === -1 ? [] : this.#marks.slice(kept);
  }

  /** For a segment with these entries. `now` bounds times of nodes whose clocks are fast. */
  between(
    from: readonly number[],
    to: readonly number[],
    entries: readonly (readonly Entry[])[],
    now: number,
  ): Mark[] {
    const own = this.#marks.filter(([, at]) => hasReached(to, at) && !hasReached(from, at));
    const before = hasReached(from, this.base) ? [] : this.#estimated(from, entries, now);
    const marks = [...before, ...own];
    if (marks.length === 0) marks.push([now, to]);
    return marks;
  }

  /** Entries that this node applied before it noted times, by those of their origins. */
  #estimated(from: readonly number[], entries: readonly (readonly Entry[])[], now: number): Mark[] {
    const dated = entries.flatMap((list, shard) => {
      let time = 0;
      return list
        .filter(({ index }) => index <= (this.base[shard] ?? 0))
        .map((entry) => {
          time = Math.max(time, Math.min(now, timeOf(entry)));
          return { time, shard, index: entry.index };
        });
    });
    dated.sort((a, b) => a.time - b.time);
    const at = [...from];
    const marks: Mark[] = [];
    for (const { time, shard, index } of dated) {
      at[shard] = index;
      if (time === 0) continue;
      if (marks.at(-1)?.[0] === time) marks.pop();
      marks.push([time, [...at]]);
    }
    return marks;
  }
}

/** 0: it has none. */
function timeOf({ type, data }: Entry): number {
  if (type !== EntryType.normal || data.length === 0) return 0;
  const { marker, batch } = readMarking(data);
  if (marker !== null || batch.length === 0) return 0;
  try {
    return decodeBatchHead(batch, "an archived entry").time;
  } catch {
    return 0;
  }
}

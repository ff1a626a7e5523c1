/**
 * How far each origin has written keys since the replica was opened. Where a changeset's base includes the writes of all
 * others, none of its rows can conflict, and the last writes of its keys need not be read.
 */
import type { PositionVector } from "../../change/batch.ts";
import { covers, type LastWrite } from "./changeset.ts";

export class RecentWriters {
  /** Per shard. Up to here the writers are not known. */
  readonly #opened: readonly number[];
  /** Origin ⇒ index of its newest write, per shard. */
  readonly #newest = new Map<number, number[]>();

  /** `positions`: those of the replica when it was opened. */
  constructor(positions: readonly number[]) {
    this.#opened = positions;
  }

  note({ shard, index, origin }: LastWrite): void {
    let newest = this.#newest.get(origin);
    if (newest === undefined) this.#newest.set(origin, (newest = []));
    if (index > (newest[shard] ?? 0)) newest[shard] = index;
  }

  /** The base position includes every write of the other origins. */
  isCoveredBy(base: PositionVector, origin: number): boolean {
    const isCovered = (index: number, shard: number): boolean => covers(base, { shard, index });
    if (!this.#opened.every(isCovered)) return false;
    // Shards without a write are holes, which `every` leaves out.
    for (const [writer, newest] of this.#newest)
      if (writer !== origin && !newest.every(isCovered)) return false;
    return true;
  }
}

/**
 * Through which log a whole changeset leaves when there are several shards: everything that an origin has in flight lies
 * in one log, so that its changesets are taken in its order and one watermark per change log is true. Straight to a
 * shard if all rows lie there and nothing is in flight elsewhere; through shard 0 if nothing is in flight outside of it;
 * else not now.
 */
import { assert } from "../base/assert.ts";

export class LaneChoice {
  readonly #inUse: number | null;
  readonly #touched = new Set<number>();
  #lane: number | null;

  /** `inUse`: the shard in whose log something is in flight; null: nothing is. */
  constructor(inUse: number | null) {
    this.#inUse = inUse;
    this.#lane = inUse;
  }

  /** A row of the shard is found. False: the changeset cannot leave before what is in flight was taken. */
  admit(shard: number): boolean {
    if (this.#inUse !== null && this.#inUse !== 0 && shard !== this.#inUse) return false;
    this.#touched.add(shard);
    return true;
  }

  /** The lane, for good. A large changeset is asked before all of its rows are known: then shard 0 takes it. */
  decide(complete: boolean): number {
    assert(this.#touched.size > 0, "a changeset that leaves has rows");
    if (this.#lane === null) this.#lane = complete && this.#touched.size === 1 ? [...this.#touched][0]! : 0;
    return this.#lane;
  }

  /** Shards beside 0 that an entry of shard 0 names, ascending; none in another lane. */
  names(): number[] {
    return this.#lane === 0 ? [...this.#touched].filter((s) => s !== 0).sort((a, b) => a - b) : [];
  }
}

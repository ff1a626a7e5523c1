/**
 * Chooses the shard log through which a whole changeset leaves when there are several shards. Everything that an origin has
 * in flight lies in one log: its changesets are taken in its order, and one watermark per change log is enough.
 * The changeset leaves through the shard of its rows if all of them lie there and nothing is in flight elsewhere. It leaves
 * through shard 0 if nothing is in flight outside of that. Otherwise it waits.
 */
import { assert } from "../base/assert.ts";

export class ActiveShardLog {
  readonly #inUse: number | null;
  readonly #touched = new Set<number>();
  #shard: number | null;

  /** `inUse`: the shard in whose log something is in flight; null: nothing is. */
  constructor(inUse: number | null) {
    this.#inUse = inUse;
    this.#shard = inUse;
  }

  /** The changeset has a row of the shard. False: it cannot leave before everything in flight was taken. */
  admit(shard: number): boolean {
    if (this.#inUse !== null && this.#inUse !== 0 && shard !== this.#inUse) return false;
    this.#touched.add(shard);
    return true;
  }

  /** The shard, fixed from then on. A large changeset asks before all of its rows are known: then it is shard 0. */
  decide(complete: boolean): number {
    assert(this.#touched.size > 0, "a changeset that leaves has rows");
    if (this.#shard === null) this.#shard = complete && this.#touched.size === 1 ? [...this.#touched][0]! : 0;
    return this.#shard;
  }

  /** Shards beside 0 that an entry of shard 0 names, ascending; none in the log of another shard. */
  names(): number[] {
    return this.#shard === 0 ? [...this.#touched].filter((s) => s !== 0).sort((a, b) => a - b) : [];
  }
}

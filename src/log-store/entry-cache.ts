/**
 * The newest entries of one group, so that replication does not wait for the disk. Cut together with the log itself.
 * Raft's
 * own tail keeps only the entries of the last moment; this cache serves followers that are late by some megabytes.
 */
import { assert } from "../base/assert.ts";
import type { Entry } from "../raft/model/types.ts";

/**
 * Bytes of data kept over all groups: more than a node has in flight, so that large values are not read from disk again for
 * each follower.
 */
const CACHE_BYTES = 12 << 20;
/** Bytes of data kept per group, however many groups there are. */
const GROUP_BYTES = 4 << 20;
/** A full cache is cut to this share, so that the array is not moved for each entry. */
const KEPT_SHARE = 0.75;
/** Entries kept per group, however small. */
const CACHE_ENTRIES = 8192;

export class EntryCache {
  #first: number;
  #entries: Entry[] = [];
  #bytes = 0;

  readonly #limit: number;

  /** `next`: index of the first entry that will be pushed. `groups`: groups that share the memory. */
  constructor(next: number, groups: number) {
    this.#first = next;
    this.#limit = Math.max(GROUP_BYTES, CACHE_BYTES / groups);
  }

  /** Index of the oldest entry kept; where the next one goes when there are none. */
  get firstIndex(): number {
    return this.#first;
  }

  reset(next: number): void {
    this.#entries = [];
    this.#bytes = 0;
    this.#first = next;
  }

  get(index: number): Entry | undefined {
    return this.#entries[index - this.#first];
  }

  push(entry: Entry): void {
    assert(entry.index === this.#first + this.#entries.length, "the cache has no gaps");
    this.#entries.push(entry);
    this.#bytes += entry.data.length;
    if (this.#bytes <= this.#limit && this.#entries.length <= CACHE_ENTRIES) return;
    let drop = 0;
    while (
      drop < this.#entries.length - 1 &&
      (this.#bytes > this.#limit * KEPT_SHARE || this.#entries.length - drop > CACHE_ENTRIES * KEPT_SHARE)
    )
      this.#bytes -= this.#entries[drop++]!.data.length;
    this.#entries = this.#entries.slice(drop);
    this.#first += drop;
  }

  /** Drops everything from `index` on: it will be rewritten. */
  cut(index: number): void {
    if (index < this.#first) this.reset(index);
    else for (const entry of this.#entries.splice(index - this.#first)) this.#bytes -= entry.data.length;
  }

  /** Drops everything up to `index`: it is compacted. */
  forget(index: number): void {
    const count = index - this.#first + 1;
    if (count <= 0) return;
    if (count >= this.#entries.length) this.reset(Math.max(index + 1, this.#first + this.#entries.length));
    else {
      for (const entry of this.#entries.splice(0, count)) this.#bytes -= entry.data.length;
      this.#first = index + 1;
    }
  }

  slice(from: number, to: number, maxBytes: number): Entry[] {
    const out: Entry[] = [];
    let bytes = 0;
    for (let index = from; index < to; index++) {
      const entry = this.#entries[index - this.#first]!;
      bytes += entry.data.length;
      if (out.length > 0 && bytes > maxBytes) break;
      out.push(entry);
    }
    return out;
  }
}

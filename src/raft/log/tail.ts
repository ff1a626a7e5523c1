/** The newest entries of a log, in memory: those not on disk yet, and those written recently. */
import { assert } from "../../base/assert.ts";
import type { Entry } from "../model/types.ts";

/** Approximate cost of an entry without its data, in memory and on the wire. Also bounds lists of empty entries. */
const ENTRY_OVERHEAD_BYTES = 16;
/** From this many on, dropped slots at the front of the array are released. */
const COMPACT_SLOTS_MIN = 64;

export const entryBytes = (entry: Entry): number => entry.data.length + ENTRY_OVERHEAD_BYTES;

/** The longest prefix of `entries` within `maxBytes`; at least one entry. */
export function limitEntries(entries: Entry[], maxBytes: number): Entry[] {
  let bytes = 0;
  for (let i = 0; i < entries.length; i += 1) {
    bytes += entryBytes(entries[i] as Entry);
    if (bytes > maxBytes && i > 0) return entries.slice(0, i);
  }
  return entries;
}

export class Tail {
  /** `undefined`: a dropped slot. */
  #entries: (Entry | undefined)[] = [];
  /** Slots in front that were dropped. */
  #dropped = 0;
  /** Index of the first entry; where the next one goes when empty. */
  #first: number;
  #bytes = 0;

  constructor(first: number) {
    this.#first = first;
  }

  get first(): number {
    return this.#first;
  }

  /** `first − 1` when empty. */
  get last(): number {
    return this.#first + this.#entries.length - this.#dropped - 1;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** For first ≤ index ≤ last. */
  at(index: number): Entry {
    return this.#entries[this.#dropped + index - this.#first] as Entry;
  }

  push(entry: Entry): void {
    assert(entry.index === this.last + 1, "entries are consecutive");
    this.#entries.push(entry);
    this.#bytes += entryBytes(entry);
  }

  /** Discards everything at and after `index`. Below `first`: everything, and the next entry is `index`. */
  truncate(index: number): void {
    if (index < this.#first) {
      this.reset(index);
      return;
    }
    while (this.last >= index) this.#bytes -= entryBytes(this.#entries.pop() as Entry);
  }

  reset(first: number): void {
    this.#entries = [];
    this.#dropped = 0;
    this.#bytes = 0;
    this.#first = first;
  }

  /** Forgets the first entry. */
  shift(): void {
    const entry = this.#entries[this.#dropped] as Entry;
    this.#entries[this.#dropped] = undefined;
    this.#dropped += 1;
    this.#first += 1;
    this.#bytes -= entryBytes(entry);
    if (this.#dropped === this.#entries.length) {
      this.#entries.length = 0;
      this.#dropped = 0;
    } else if (this.#dropped >= COMPACT_SLOTS_MIN && this.#dropped * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#dropped);
      this.#dropped = 0;
    }
  }

  /** Entries in [from, to), first ≤ from, to ≤ last + 1. A new array. */
  slice(from: number, to: number): Entry[] {
    const offset = this.#dropped - this.#first;
    return this.#entries.slice(from + offset, to + offset) as Entry[];
  }

  /** How far entries from `from` on fit into `maxBytes`, up to `to`: an end for `slice`, at least `from + least`. */
  endWithin(from: number, to: number, maxBytes: number, least: number): number {
    let bytes = 0;
    for (let index = from; index < to; index += 1) {
      bytes += entryBytes(this.at(index));
      if (bytes > maxBytes && index >= from + least) return index;
    }
    return to;
  }
}

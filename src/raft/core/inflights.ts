/** The appends to one follower that are in flight: a ring that grows on demand, bounded in messages and in bytes. */
import { assert } from "../../base/assert.ts";

const FIRST_CAPACITY = 4;

export class Inflights {
  readonly #maxMessages: number;
  readonly #maxBytes: number;
  /** Index of each message's last entry, and the bytes of its entries. Oldest at `#start`. */
  #indexes: number[] = [];
  #sizes: number[] = [];
  #start = 0;
  #count = 0;
  #bytes = 0;

  /** `maxBytes` is soft: a message that starts below it may exceed it. */
  constructor(maxMessages: number, maxBytes: number) {
    this.#maxMessages = maxMessages;
    this.#maxBytes = maxBytes;
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get full(): boolean {
    return this.#count >= this.#maxMessages || this.#bytes >= this.#maxBytes;
  }

  /** `index`: of the message's last entry; never lower than that of the message before. */
  add(index: number, bytes: number): void {
    assert(!this.full, "a message leaves only while the window is open");
    if (this.#count === this.#indexes.length) this.#grow();
    const at = (this.#start + this.#count) % this.#indexes.length;
    this.#indexes[at] = index;
    this.#sizes[at] = bytes;
    this.#count += 1;
    this.#bytes += bytes;
  }

  /** Frees every message whose last entry is at or below `index`. */
  freeTo(index: number): void {
    while (this.#count > 0 && (this.#indexes[this.#start] as number) <= index) {
      this.#bytes -= this.#sizes[this.#start] as number;
      this.#start = (this.#start + 1) % this.#indexes.length;
      this.#count -= 1;
    }
  }

  reset(): void {
    this.#start = 0;
    this.#count = 0;
    this.#bytes = 0;
  }

  /** Called when the ring is full, so it is copied unrolled. */
  #grow(): void {
    const size = this.#indexes.length;
    const capacity = Math.min(this.#maxMessages, Math.max(FIRST_CAPACITY, size * 2));
    const unrolled = (ring: readonly number[]): number[] =>
      Array.from({ length: capacity }, (_, i) => (i < size ? (ring[(this.#start + i) % size] as number) : 0));
    this.#indexes = unrolled(this.#indexes);
    this.#sizes = unrolled(this.#sizes);
    this.#start = 0;
  }
}

/**
 * Keys that the replica never had: numbers above all that were ever written. For these nothing is read from it. Valid until
 * the replica changes.
 */
import type { KeyId } from "../../change/key.ts";

/** Fewer keys of a table are not worth the look for the highest one. */
const LOOK_FROM = 8;

export class NewKeys {
  readonly #highest: (table: number) => number;
  readonly #asked = new Map<number, number>();
  readonly #above = new Map<number, number>();

  /** `highest`: no number above it was ever a key of the table. */
  constructor(highest: (table: number) => number) {
    this.#highest = highest;
  }

  /** The replica is about to change. */
  clear(): void {
    if (this.#asked.size === 0) return;
    this.#asked.clear();
    this.#above.clear();
  }

  /** The key is known to be new. */
  has(table: number, keyId: KeyId): boolean {
    if (typeof keyId !== "number") return false;
    const asked = (this.#asked.get(table) ?? 0) + 1;
    if (asked <= LOOK_FROM) {
      this.#asked.set(table, asked);
      if (asked < LOOK_FROM) return false;
      this.#above.set(table, this.#highest(table));
    }
    return keyId > this.#above.get(table)!;
  }
}

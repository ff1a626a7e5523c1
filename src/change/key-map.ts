/**
 * A map and a list of keys for a million rows. In the map, number keys (most keys) with number values take 24 to 48 bytes
 * each, outside of the collected heap; a `Map` takes two or three times that. All others are in a `Map`.
 */
import type { KeyId } from "./key.ts";

const LEAST_SLOTS = 16;
/** Above so many slots the map shrinks when most of them are empty. */
const KEPT_SLOTS = 4096;

/** Entries in the order of insertion, found by linear probing. A deleted entry leaves NaN, which equals nothing. */
class NumberMap {
  #keys = new Float64Array(LEAST_SLOTS / 2);
  #values = new Float64Array(LEAST_SLOTS / 2);
  /** Place of an entry plus one; 0: none. At most half of them are in use. */
  #slots = new Int32Array(LEAST_SLOTS);
  #count = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  #slotOf(key: number): number {
    const mask = this.#slots.length - 1;
    const hash = Math.imul((key | 0) ^ Math.imul((key / 0x1_0000_0000) | 0, 0x9e37_79b1), 0x85eb_ca6b);
    let slot = (hash ^ (hash >>> 15)) & mask;
    for (;;) {
      const place = this.#slots[slot]!;
      if (place === 0 || this.#keys[place - 1] === key) return slot;
      slot = (slot + 1) & mask;
    }
  }

  get(key: number): number | undefined {
    const place = this.#slots[this.#slotOf(key)]!;
    return place === 0 ? undefined : this.#values[place - 1];
  }

  set(key: number, value: number): void {
    let slot = this.#slotOf(key);
    const place = this.#slots[slot]!;
    if (place !== 0) {
      this.#values[place - 1] = value;
      return;
    }
    if (this.#count === this.#keys.length) {
      this.#resize();
      slot = this.#slotOf(key);
    }
    this.#keys[this.#count] = key;
    this.#values[this.#count] = value;
    this.#slots[slot] = ++this.#count;
    this.#size++;
  }

  delete(key: number): boolean {
    const place = this.#slots[this.#slotOf(key)]!;
    if (place === 0) return false;
    this.#keys[place - 1] = Number.NaN;
    this.#size--;
    if (this.#slots.length > KEPT_SLOTS && this.#size < this.#slots.length / 16) this.#resize();
    return true;
  }

  /** Drops deleted entries and makes room for as many again. */
  #resize(): void {
    let slots = LEAST_SLOTS;
    while (slots < 4 * this.#size) slots *= 2;
    const keys = this.#keys;
    const values = this.#values;
    const count = this.#count;
    this.#keys = new Float64Array(slots / 2);
    this.#values = new Float64Array(slots / 2);
    this.#slots = new Int32Array(slots);
    this.#count = 0;
    for (let i = 0; i < count; i++) {
      const key = keys[i]!;
      if (Number.isNaN(key)) continue;
      const slot = this.#slotOf(key);
      this.#keys[this.#count] = key;
      this.#values[this.#count] = values[i]!;
      this.#slots[slot] = ++this.#count;
    }
  }

  /** Entries that are deleted during the iteration do not come; entries that are added may come. */
  *keys(): Generator<number, void> {
    const keys = this.#keys;
    for (let i = 0; i < (keys === this.#keys ? this.#count : keys.length); i++) {
      const key = keys[i]!;
      if (keys === this.#keys ? !Number.isNaN(key) : this.get(key) !== undefined) yield key;
    }
  }
}

/** `N`: the values that are numbers. */
export class KeyMap<N extends number, T extends object> {
  readonly #numbers = new NumberMap();
  readonly #others = new Map<KeyId, N | T>();

  get size(): number {
    return this.#numbers.size + this.#others.size;
  }

  get(keyId: KeyId): N | T | undefined {
    const number = typeof keyId === "number" ? this.#numbers.get(keyId) : undefined;
    return number === undefined && this.#others.size > 0
      ? this.#others.get(keyId)
      : (number as N | undefined);
  }

  has(keyId: KeyId): boolean {
    return this.get(keyId) !== undefined;
  }

  set(keyId: KeyId, value: N | T): void {
    if (typeof keyId === "number" && typeof value === "number") {
      this.#numbers.set(keyId, value);
      if (this.#others.size > 0) this.#others.delete(keyId);
    } else {
      if (typeof keyId === "number") this.#numbers.delete(keyId);
      this.#others.set(keyId, value);
    }
  }

  /** False: there was no entry. */
  delete(keyId: KeyId): boolean {
    return (typeof keyId === "number" && this.#numbers.delete(keyId)) || this.#others.delete(keyId);
  }

  /** Entries that are deleted during the iteration do not come; entries that are added may come. */
  *keys(): Generator<KeyId, void> {
    yield* this.#others.keys();
    yield* this.#numbers.keys();
  }

  *[Symbol.iterator](): Generator<[KeyId, N | T], void> {
    yield* this.#others;
    for (const key of this.#numbers.keys()) yield [key, this.#numbers.get(key) as N];
  }

  *values(): Generator<N | T, void> {
    for (const [, value] of this) yield value;
  }
}

/** Keys by table, each as often as it was added, without an object for each. */
export class KeyList {
  readonly #tables = new Map<number, KeyId[]>();

  add(table: number, keyId: KeyId): void {
    const keys = this.#tables.get(table);
    if (keys === undefined) this.#tables.set(table, [keyId]);
    else keys.push(keyId);
  }

  /** In the order in which tables, and the keys of each, were first added. */
  tables(): Iterable<[table: number, keys: readonly KeyId[]]> {
    return this.#tables;
  }
}

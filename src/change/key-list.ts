/** Keys by table, each as often as it was added, without an object for each: there may be a million of them. */
import type { KeyId } from "./key.ts";

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

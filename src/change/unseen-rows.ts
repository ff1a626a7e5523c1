/**
 * Rows of the application's file that no trigger saw, as far as a comparison with the replica has found them. Until they are
 * published, or written again, what another node writes would replace them without a trace.
 */
import type { KeyId } from "./key.ts";

export class UnseenRows {
  readonly #tables = new Map<number, Set<KeyId>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(table: number, keyId: KeyId): boolean {
    return this.#tables.get(table)?.has(keyId) ?? false;
  }

  note(table: number, keyId: KeyId): void {
    let keys = this.#tables.get(table);
    if (keys === undefined) this.#tables.set(table, (keys = new Set<KeyId>()));
    if (!keys.has(keyId)) this.#size++;
    keys.add(keyId);
  }

  forget(table: number, keyId: KeyId): void {
    if (this.#tables.get(table)?.delete(keyId) === true) this.#size--;
  }
}

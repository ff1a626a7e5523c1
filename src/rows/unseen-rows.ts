/**
 * Rows of the application's file that no trigger saw, as far as a comparison with the replica has found them. A write of
 * another node would replace such a row without a trace: its values go into the conflict journal before.
 */
import type { KeyId } from "../change/key.ts";

/** Why the values are in the journal. */
export const UNSEEN_REASON = "no trigger saw this write of the file, and the row of the cluster replaced it";

/** "kept": its values are on their way into the journal. */
export type UnseenState = "found" | "kept";

export class UnseenRows {
  readonly #tables = new Map<number, Map<KeyId, UnseenState>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(table: number, keyId: KeyId): UnseenState | undefined {
    return this.#tables.get(table)?.get(keyId);
  }

  set(table: number, keyId: KeyId, state: UnseenState): void {
    let keys = this.#tables.get(table);
    if (keys === undefined) this.#tables.set(table, (keys = new Map<KeyId, UnseenState>()));
    if (!keys.has(keyId)) this.#size++;
    keys.set(keyId, state);
  }

  /** A comparison found it. */
  note(table: number, keyId: KeyId): void {
    if (this.get(table, keyId) === undefined) this.set(table, keyId, "found");
  }

  forget(table: number, keyId: KeyId): void {
    if (this.#tables.get(table)?.delete(keyId) === true) this.#size--;
  }
}

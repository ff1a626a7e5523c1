/**
 * Keys with change-log rows that are not acknowledged: on these the live file is ahead of the replica. Filled by the
 * drain and by the reflector's look at the logs' tails, emptied when acknowledged log rows go.
 */
import type { KeyId } from "./key.ts";

export interface PendingRow {
  /** Log ids of the key's oldest and newest unacknowledged rows. */
  minId: number;
  maxId: number;
}

export class PendingRows {
  readonly #tables = new Map<number, Map<KeyId, PendingRow>>();
  readonly #seen = new Map<number, number>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(table: number, keyId: KeyId): boolean {
    return this.#tables.get(table)?.has(keyId) ?? false;
  }

  get(table: number, keyId: KeyId): PendingRow | undefined {
    return this.#tables.get(table)?.get(keyId);
  }

  /** Log id up to which the table's log was looked at. */
  seen(table: number): number {
    return this.#seen.get(table) ?? 0;
  }

  /** The table's log was looked at up to `id`. */
  see(table: number, id: number): void {
    if (id > this.seen(table)) this.#seen.set(table, id);
  }

  note(table: number, keyId: KeyId, minId: number, maxId: number): PendingRow {
    let rows = this.#tables.get(table);
    if (rows === undefined) this.#tables.set(table, (rows = new Map<KeyId, PendingRow>()));
    const row = rows.get(keyId);
    if (row === undefined) {
      const fresh = { minId, maxId };
      rows.set(keyId, fresh);
      this.#size++;
      return fresh;
    }
    if (minId < row.minId) row.minId = minId;
    if (maxId > row.maxId) row.maxId = maxId;
    return row;
  }

  /** Log rows up to `upTo` are acknowledged. True: nothing of the key is pending any more. */
  release(table: number, keyId: KeyId, upTo: number): boolean {
    const rows = this.#tables.get(table);
    const row = rows?.get(keyId);
    if (rows === undefined || row === undefined) return true;
    if (row.maxId > upTo) {
      if (row.minId <= upTo) row.minId = upTo + 1;
      return false;
    }
    rows.delete(keyId);
    this.#size--;
    return true;
  }

  /** Nothing of the key is pending any more: its log rows name another one. What it was; undefined: nothing. */
  remove(table: number, keyId: KeyId): PendingRow | undefined {
    const row = this.get(table, keyId);
    if (row !== undefined) this.release(table, keyId, row.maxId);
    return row;
  }

  *keys(table: number): Iterable<KeyId> {
    yield* this.#tables.get(table)?.keys() ?? [];
  }
}

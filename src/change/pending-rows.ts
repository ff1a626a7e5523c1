/**
 * Keys with unacknowledged change-log rows: their rows in the app database are ahead of the replica. Filled by the drain and
 * by the reflector, which reads the tails of the logs. Emptied by acknowledgements.
 */
import type { KeyId } from "./key.ts";
import { KeyMap } from "./key-map.ts";

export interface PendingRow {
  /** Log ids of the key's oldest and newest unacknowledged rows. */
  readonly minId: number;
  readonly maxId: number;
}

/** Most keys were written once. There may be a million of them, and a number needs no object. */
type Ids = number | PendingRow;

const ids = (minId: number, maxId: number): Ids => (minId === maxId ? minId : { minId, maxId });
const rowOf = (of: Ids): PendingRow => (typeof of === "number" ? { minId: of, maxId: of } : of);

export class PendingRows {
  readonly #tables = new Map<number, KeyMap<number, PendingRow>>();
  readonly #seen = new Map<number, number>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(table: number, keyId: KeyId): boolean {
    return this.#tables.get(table)?.has(keyId) ?? false;
  }

  get(table: number, keyId: KeyId): PendingRow | undefined {
    const found = this.#tables.get(table)?.get(keyId);
    return found === undefined ? undefined : rowOf(found);
  }

  /** Log id up to which the table's log was read. */
  seen(table: number): number {
    return this.#seen.get(table) ?? 0;
  }

  /** The table's log was read up to `id`. */
  see(table: number, id: number): void {
    if (id > this.seen(table)) this.#seen.set(table, id);
  }

  /** Returns the log id of the key's oldest unacknowledged row. */
  note(table: number, keyId: KeyId, minId: number, maxId: number): number {
    let rows = this.#tables.get(table);
    if (rows === undefined) this.#tables.set(table, (rows = new KeyMap<number, PendingRow>()));
    const known = rows.get(keyId);
    if (known === undefined) {
      rows.set(keyId, ids(minId, maxId));
      this.#size++;
      return minId;
    }
    const row = rowOf(known);
    const oldest = Math.min(minId, row.minId);
    const newest = Math.max(maxId, row.maxId);
    if (oldest < row.minId || newest > row.maxId) rows.set(keyId, ids(oldest, newest));
    return oldest;
  }

  /** Log rows up to `upTo` are acknowledged. True: the key is no longer pending. */
  release(table: number, keyId: KeyId, upTo: number): boolean {
    const rows = this.#tables.get(table);
    const known = rows?.get(keyId);
    if (rows === undefined || known === undefined) return true;
    const { minId, maxId } = rowOf(known);
    if (maxId > upTo) {
      if (minId <= upTo) rows.set(keyId, ids(upTo + 1, maxId));
      return false;
    }
    rows.delete(keyId);
    this.#size--;
    return true;
  }

  /** The key is no longer pending: its log rows name another key. Returns its ids; undefined: it was not pending. */
  remove(table: number, keyId: KeyId): PendingRow | undefined {
    const row = this.get(table, keyId);
    if (row !== undefined) this.release(table, keyId, row.maxId);
    return row;
  }

  hasAny(table: number): boolean {
    return (this.#tables.get(table)?.size ?? 0) > 0;
  }

  *keys(table: number): Iterable<KeyId> {
    yield* this.#tables.get(table)?.keys() ?? [];
  }
}

/**
 * Rows of the replica that the live file may not show yet: filled by `replica/`, emptied by `reflect/`. Keyed, so a row
 * that changes ten times is written once.
 */
import type { KeyId } from "./key.ts";
import type { Image, Value } from "./value.ts";

export interface ChangedRow {
  /** Key columns in key order, as the replica spells them (or last spelt them, for a row that is gone). */
  readonly key: readonly Value[];
  /** The replica's row now; null: it has none. */
  readonly image: Image | null;
}

export class ChangedRows {
  /** Table id ⇒ rows. Tables without rows are absent. */
  readonly tables = new Map<number, Map<KeyId, ChangedRow>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  set(table: number, keyId: KeyId, row: ChangedRow): void {
    let rows = this.tables.get(table);
    if (rows === undefined) this.tables.set(table, (rows = new Map<KeyId, ChangedRow>()));
    const before = rows.size;
    rows.set(keyId, row);
    this.#size += rows.size - before;
  }

  get(table: number, keyId: KeyId): ChangedRow | undefined {
    return this.tables.get(table)?.get(keyId);
  }

  clear(): void {
    this.tables.clear();
    this.#size = 0;
  }

  delete(table: number, keyId: KeyId): void {
    const rows = this.tables.get(table);
    if (rows === undefined || !rows.delete(keyId)) return;
    this.#size--;
    if (rows.size === 0) this.tables.delete(table);
  }
}

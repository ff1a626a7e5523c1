/**
 * Rows of other nodes that the file does not show for now, since this node cannot write their table. A transaction stays whole:
 * its rows of other tables wait with them, and so does each later transaction that changes one of these rows.
 */
import type { ChangedRows } from "../change/changed-rows.ts";
import type { KeyId } from "../change/key.ts";
import type { WithheldRows } from "../change/withheld-rows.ts";

export class HoldBack {
  readonly #tables: ReadonlySet<number>;
  readonly #shadows: WithheldRows;
  /** Rows of other tables that wait. */
  readonly #tied = new Map<number, Set<KeyId>>();
  /** Table ⇒ the last message of an expression that failed for a row. */
  readonly failures = new Map<number, string>();

  /** `shadows`: rows that the file withholds already. While a table is held back, they wait for it. */
  constructor(tables: ReadonlySet<number>, shadows: WithheldRows) {
    this.#tables = tables;
    this.#shadows = shadows;
    if (tables.size === 0) return;
    for (const [table, rows] of shadows.tables)
      if (!tables.has(table)) this.#tied.set(table, new Set(rows.keys()));
  }

  /** The row waits. */
  has(table: number, keyId: KeyId): boolean {
    return this.#tables.has(table) || (this.#tied.get(table)?.has(keyId) ?? false);
  }

  /** The same, of a row that changed. `changed`: which of its rows came with one of a held table. */
  holds(table: number, keyId: KeyId, changed: ChangedRows): boolean {
    if (this.#tables.size === 0) return false;
    if (this.has(table, keyId)) return true;
    if (!changed.isTied(table, keyId)) return false;
    const rows = this.#tied.get(table);
    if (rows === undefined) this.#tied.set(table, new Set([keyId]));
    else rows.add(keyId);
    return true;
  }

  failed(table: number, message: string): void {
    this.failures.set(table, message);
  }

  waiting(): Map<number, number> {
    const counts = new Map<number, number>();
    for (const [table, rows] of this.#shadows.tables) {
      let count = 0;
      for (const keyId of rows.keys()) if (this.has(table, keyId)) count++;
      if (this.failures.has(table)) count = Math.max(count, 1);
      if (count > 0) counts.set(table, count);
    }
    return counts;
  }
}

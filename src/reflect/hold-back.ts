/**
 * Rows of other nodes that the file does not show for now, since this node cannot write their table. A transaction stays whole:
 * its rows of other tables wait with them, and so does each later transaction that changes one of these rows.
 */
import type { ChangedRows } from "../change/changed-rows.ts";
import type { KeyId } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import type { WithheldRows } from "../change/withheld-rows.ts";

export class HoldBack {
  readonly tables: ReadonlySet<number>;
  /** Those of them whose columns or key differ from the replica's: nothing of them can be read or written. The replica's shapes. */
  readonly silent: ReadonlyMap<number, TableShape>;
  readonly #withheld: WithheldRows;
  /** Rows of other tables that wait. */
  readonly #tied = new Map<number, Set<KeyId>>();
  /** Table ⇒ the message of an expression that failed for a row of another node in the last reflection. */
  readonly failures = new Map<number, string>();

  /** `withheld`: rows that the file withholds already. While a table is held back, they wait for it. */
  constructor(
    tables: ReadonlySet<number>,
    withheld: WithheldRows,
    silent: ReadonlyMap<number, TableShape> = new Map(),
  ) {
    this.tables = tables;
    this.silent = silent;
    this.#withheld = withheld;
    if (tables.size === 0) return;
    for (const [table, rows] of withheld.tables)
      if (!tables.has(table)) this.#tied.set(table, new Set(rows.keys()));
  }

  /** The row waits. */
  has(table: number, keyId: KeyId): boolean {
    return this.tables.has(table) || (this.#tied.get(table)?.has(keyId) ?? false);
  }

  /** The same, of a row that changed. `changed`: which of its rows came with one of a held table. */
  holds(table: number, keyId: KeyId, changed: ChangedRows): boolean {
    if (this.tables.size === 0) return false;
    if (this.has(table, keyId)) return true;
    if (!changed.isTied(table, keyId)) return false;
    const rows = this.#tied.get(table);
    if (rows === undefined) this.#tied.set(table, new Set([keyId]));
    else rows.add(keyId);
    return true;
  }

  /** Number of rows that wait, by table. */
  waiting(): Map<number, number> {
    const counts = new Map<number, number>();
    for (const [table, rows] of this.#withheld.tables) {
      let count = this.failures.has(table) ? 1 : 0;
      for (const keyId of rows.keys()) if (this.has(table, keyId)) count++;
      if (count > 0) counts.set(table, count);
    }
    return counts;
  }
}

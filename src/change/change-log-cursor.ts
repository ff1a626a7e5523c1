/**
 * How far the rows of each table's change log have come: drained, then ordered, then acknowledged, then swept. One set of
 * cursors belongs to the app-db session; each id is raised at one place. The class lies in this pure room because capture,
 * reflect and the session itself use it and may not import each other.
 */
import type { LogId, TableId } from "../base/ids.ts";
import type { Watermark } from "./batch.ts";
import type { KeyList } from "./key-map.ts";

/** Log ids of one table. Rows up to an id have taken that step. */
export class ChangeLogCursor {
  #drained: LogId;
  #ordered: LogId;
  #acknowledged: LogId;
  #swept: LogId = 0;

  /** `stored`: the acknowledged id in the file. `ordered`: the last session's, if it was further. */
  constructor(stored: LogId, ordered: LogId = 0) {
    this.#drained = stored;
    this.#acknowledged = stored;
    this.#ordered = Math.max(stored, ordered);
  }

  /** Rows up to here were read into the outbox, or need not be. */
  get drained(): LogId {
    return Math.max(this.#drained, this.#acknowledged);
  }

  /** The changes up to here are in the total order, and this node's replica has them. */
  get ordered(): LogId {
    return this.#ordered;
  }

  /** The file says so, too: no row up to here is pending. */
  get acknowledged(): LogId {
    return this.#acknowledged;
  }

  /** Log rows up to here are deleted. */
  get swept(): LogId {
    return this.#swept;
  }

  /** By the drain. */
  drainTo(id: LogId): void {
    this.#drained = Math.max(this.#drained, id);
  }

  /** Rows after `ordered`, or after `acknowledged`, are drained again. */
  restart(from: "ordered" | "acknowledged"): void {
    this.#drained = from === "ordered" ? this.#ordered : this.#acknowledged;
  }

  /** By the outbox. */
  orderTo(id: LogId): void {
    this.#ordered = Math.max(this.#ordered, id);
  }

  /** By the reflector, in the transaction that stores it. A transaction that fails ends the node. False: nothing is new. */
  acknowledge(): boolean {
    if (this.#ordered <= this.#acknowledged) return false;
    this.#acknowledged = this.#ordered;
    return true;
  }

  /** By the reflector: deletes at most `rows` more. Returns the new id; null: everything acknowledged is deleted. */
  sweep(rows: number): LogId | null {
    if (this.#swept >= this.#acknowledged) return null;
    this.#swept = Math.min(this.#acknowledged, this.#swept + rows);
    return this.#swept;
  }
}

/** The cursors of all tables, and the keys to release with the next acknowledgement. */
export class ChangeLogCursors {
  readonly #tables = new Map<TableId, ChangeLogCursor>();
  /** Keys of ordered drains, one list a drain. */
  readonly #looked: KeyList[];

  /**
   * `stored`: table id ⇒ acknowledged id in the file. `tables`: ids of the session's tables. `previous`: of the session
   * before, whose ordered ids still hold.
   */
  constructor(
    tables: Iterable<TableId>,
    stored: ReadonlyMap<TableId, LogId>,
    previous: ChangeLogCursors | null = null,
  ) {
    for (const table of tables)
      this.#tables.set(table, new ChangeLogCursor(stored.get(table) ?? 0, previous?.ordered(table)));
    this.#looked = previous === null ? [] : [...previous.#looked];
  }

  /** A new cursor for a table that the session does not have yet, or no longer has. */
  of(table: TableId): ChangeLogCursor {
    let cursor = this.#tables.get(table);
    if (cursor === undefined) this.#tables.set(table, (cursor = new ChangeLogCursor(0)));
    return cursor;
  }

  ordered(table: TableId): LogId {
    return this.#tables.get(table)?.ordered ?? 0;
  }

  drained(table: TableId): LogId {
    return this.#tables.get(table)?.drained ?? 0;
  }

  /** After the end of an incarnation: rows in flight are drained again. */
  restart(from: "ordered" | "acknowledged"): void {
    for (const cursor of this.#tables.values()) cursor.restart(from);
  }

  /** Drains are ordered one after the other, so that one id per log tells how far. */
  order(upTo: readonly Watermark[], looked: KeyList): void {
    if (upTo.length === 0) return;
    for (const { table, upTo: id } of upTo) this.of(table).orderTo(id);
    this.#looked.push(looked);
  }

  /** Something ordered waits for its acknowledgement in the file. */
  get waiting(): boolean {
    return this.#looked.length > 0;
  }

  /**
   * In the reflector's transaction: acknowledges everything that is ordered. Returns the tables with news, the keys to
   * release, and the call that belongs after the commit.
   */
  acknowledge(): { tables: TableId[]; looked: readonly KeyList[]; committed: () => void } {
    const looked = [...this.#looked];
    const tables = [...this.#tables].flatMap(([table, cursor]) => (cursor.acknowledge() ? [table] : []));
    return { tables, looked, committed: () => void this.#looked.splice(0, looked.length) };
  }
}

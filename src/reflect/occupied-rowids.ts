/**
 * Tables without a declared key: pending own rows under rowids that rows of other nodes have in the replica. Such an own row
 * would hide the other one until it is ordered and redirected, while the rest of that row's transaction is shown. So it
 * moves to a free rowid before the other row is shown. A row that is in flight cannot move, since its batch names the rowid:
 * the reflection waits until it is ordered.
 */
import type { BasePositions } from "../change/base-positions.ts";
import type { PositionVector } from "../change/batch.ts";
import type { BeforeImageSource } from "../change/before-image-source.ts";
import type { ChangeLogCursors } from "../change/change-log-cursor.ts";
import type { ChangedRows } from "../change/changed-rows.ts";
import { type KeyId, keyIdOf, keyValues } from "../change/key.ts";
import type { PendingRow, PendingRows } from "../change/pending-rows.ts";
import type { TableShape } from "../change/shape.ts";
import { imageEqual, type Value } from "../change/value.ts";
import type { WithheldRows } from "../change/withheld-rows.ts";
import type { ChangeLogWriter } from "./change-log-writer.ts";
import { type FreeRowid, freeRowids } from "./redirected-rows.ts";

export interface OccupyingSource extends Pick<BeforeImageSource, "beforeImage" | "watermark"> {
  readonly changed: ChangedRows;
  freeRowid(table: number, ...args: Parameters<FreeRowid>): bigint;
  /** The replica's row is another row than the one that a pending change of this node is about. */
  isOtherRow(table: number, keyId: KeyId, key: readonly Value[], base: PositionVector): boolean;
}

export interface OccupiedComponents {
  readonly source: OccupyingSource;
  readonly logs: ReadonlyMap<number, ChangeLogWriter>;
  readonly cursors: ChangeLogCursors;
  readonly pending: PendingRows;
  readonly bases: BasePositions;
  readonly withheld: WithheldRows;
}

export class OccupiedRowids {
  readonly #components: OccupiedComponents;

  constructor(components: OccupiedComponents) {
    this.#components = components;
  }

  /** Changed tables without a declared key. */
  get tables(): TableShape[] {
    const { source, logs } = this.#components;
    const shapes = [...source.changed.tables.keys()].flatMap((table) => logs.get(table)?.shape ?? []);
    return shapes.filter(({ rowidKey }) => rowidKey);
  }

  /**
   * A pending row that hides another one is in flight, or may be in a drain that runs. `newest`: of each log; no pending row
   * of the log's tail was noted yet.
   */
  isInFlight(newest: ReadonlyMap<number, number>, isDraining: boolean): boolean {
    const { source, logs, pending, cursors } = this.#components;
    for (const { id } of this.tables) {
      const isUnread = (newest.get(id) ?? 0) > pending.seen(id);
      if (isDraining && (isUnread || pending.hasAny(id))) return true;
      const [ordered, drained] = [cursors.ordered(id), cursors.drained(id)];
      if (drained <= ordered || !pending.hasAny(id)) continue;
      for (const keyId of source.changed.tables.get(id)!.keys()) {
        const row = pending.get(id, keyId);
        const isSent = row !== undefined && row.minId <= drained && row.maxId > ordered;
        if (isSent && this.#hides(logs.get(id)!, keyId)) return true;
      }
    }
    return false;
  }

  /** New rowids of pending rows that hide one of the rows `changed`. */
  moves(log: ChangeLogWriter, changed: Iterable<KeyId>): Map<bigint, bigint> {
    const { source, pending } = this.#components;
    const { id, rowidKey } = log.shape;
    if (!rowidKey || !pending.hasAny(id)) return new Map();
    const rowids = [...changed].flatMap((keyId) =>
      this.#hides(log, keyId) ? [keyValues(log.shape, keyId)[0] as bigint] : [],
    );
    return freeRowids(log, rowids, pending, (used, above) => source.freeRowid(id, used, above));
  }

  /**
   * The application touched the row and did not change it, or the change was ordered before a restart. A drain would send
   * nothing, but under another rowid the row would be a new one.
   */
  isUnchanged(log: ChangeLogWriter, rowid: bigint): boolean {
    const { source, pending } = this.#components;
    const table = log.shape.id;
    const keyId = keyIdOf(log.shape, [rowid]);
    const row = pending.get(table, keyId)!;
    if (row.maxId <= source.watermark(table, keyId)) return true;
    const before = source.beforeImage(table, keyId, [rowid], this.#base(table, keyId, row));
    const shown = log.access.get([rowid]);
    return before === null || shown === null ? before === shown : imageEqual(before, shown);
  }

  /** The position that the application saw when it wrote the pending row. */
  #base(table: number, keyId: KeyId, { minId }: PendingRow): PositionVector {
    const { withheld, bases } = this.#components;
    return withheld.get(table, keyId)?.position ?? bases.at(table, minId);
  }

  /** The pending row of the key is another one than the replica's. */
  #hides(log: ChangeLogWriter, keyId: KeyId): boolean {
    const { source, pending } = this.#components;
    const table = log.shape.id;
    const row = pending.get(table, keyId);
    if (row === undefined) return false;
    const base = this.#base(table, keyId, row);
    return source.isOtherRow(table, keyId, keyValues(log.shape, keyId), base);
  }
}

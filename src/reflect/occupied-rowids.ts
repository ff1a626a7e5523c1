/**
 * Rowids of tables without a declared key under which the replica has a row of another node and the file a different,
 * pending one. The pending row must leave the rowid before the other row is shown.
 */
import type { BasePositions } from "../change/base-positions.ts";
import type { PositionVector } from "../change/batch.ts";
import type { ChangeLogCursors } from "../change/change-log-cursor.ts";
import { type ChangedRows, LOOK_UP } from "../change/changed-rows.ts";
import { type KeyId, keyValues } from "../change/key.ts";
import type { PendingRows } from "../change/pending-rows.ts";
import type { WithheldRows } from "../change/withheld-rows.ts";
import type { ChangeLogWriter } from "./change-log-writer.ts";

interface OccupiedRowidsComponents {
  readonly logs: ReadonlyMap<number, ChangeLogWriter>;
  readonly source: {
    readonly changed: ChangedRows;
    /** The replica took own log rows of the key's table up to here. */
    watermark(table: number, keyId: KeyId): number;
    /** Another node inserted the row under the rowid after `base`. */
    isOthersRow(table: number, keyId: KeyId, base: PositionVector): boolean;
  };
  readonly pending: PendingRows;
  readonly cursors: ChangeLogCursors;
  readonly bases: BasePositions;
  readonly withheld: WithheldRows;
}

export class OccupiedRowids {
  readonly #components: OccupiedRowidsComponents;

  constructor(components: OccupiedRowidsComponents) {
    this.#components = components;
  }

  /** Tables without a declared key that have changed rows. */
  tables(): number[] {
    const { logs, source } = this.#components;
    return [...source.changed.tables.keys()].filter((table) => logs.get(table)?.shape.rowidKey === true);
  }

  /** One of the pending rows may have left this node under its rowid. */
  get isAnySent(): boolean {
    const { logs } = this.#components;
    return this.tables().some((table) => !this.rowids(logs.get(table)!, "sent").next().done);
  }

  /** Of one table: where the pending row is here alone, or where it was sent. */
  *rowids(log: ChangeLogWriter, which: "here" | "sent"): Generator<bigint, void> {
    const { source, pending, cursors, bases, withheld } = this.#components;
    const table = log.shape.id;
    for (const [keyId, changed] of source.changed.tables.get(table) ?? []) {
      const row = pending.get(table, keyId);
      if (row === undefined || (changed !== LOOK_UP && changed.image === null)) continue;
      // A row that the replica took before a restart is acknowledged soon.
      const isSent = row.minId <= cursors.sent(table);
      const isTaken = row.minId <= Math.max(cursors.ordered(table), source.watermark(table, keyId));
      if (isSent !== (which === "sent") || isTaken) continue;
      const base = withheld.get(table, keyId)?.position ?? bases.at(table, row.minId);
      if (source.isOthersRow(table, keyId, base)) yield keyValues(log.shape, keyId)[0] as bigint;
    }
  }
}

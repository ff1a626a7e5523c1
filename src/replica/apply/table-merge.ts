/** Whether a table merges updates by row or by column, and the concurrent write that a row overwrites. */
import type { DatabaseSync } from "node:sqlite";
import type { RowChange } from "../../change/batch.ts";
import type { KeyId } from "../../change/key.ts";
import { type PerTable, settingOf } from "../../change/per-table.ts";
import type { TableShape } from "../../change/shape.ts";
import { type Image, valueEqual } from "../../change/value.ts";
import type { MergeMode } from "../store/settings.ts";
import { type ChangesetContext, type LastWrite, unseenWrite } from "./changeset.ts";
import { ColumnMerger, type MergedRow } from "./column-merge.ts";
import { ColumnPositions } from "./column-positions.ts";

/** A row of a changeset, and the row that it replaces. */
export interface RowWrite {
  readonly row: RowChange;
  /** The row as it is written. */
  readonly merged: MergedRow;
  readonly before: Image | null;
}

export class TableMerge {
  readonly #modes: PerTable<MergeMode>;
  readonly #positions: ColumnPositions;
  readonly #mergers = new Map<TableShape, ColumnMerger | null>();

  constructor(db: DatabaseSync, modes: PerTable<MergeMode>) {
    this.#modes = modes;
    this.#positions = new ColumnPositions(db);
  }

  /** null: the table merges by row, the later row wins whole. */
  mergerOf(shape: TableShape): ColumnMerger | null {
    let merger = this.#mergers.get(shape);
    if (merger === undefined) {
      merger = settingOf(this.#modes, shape.name) === "column" ? new ColumnMerger(shape) : null;
      this.#mergers.set(shape, merger);
    }
    return merger;
  }

  /** Records the columns that a row writes; `columns`: null for the whole row. */
  note(
    shape: TableShape,
    keyId: KeyId,
    columns: readonly number[] | null,
    by: { readonly write: LastWrite; readonly last: LastWrite | null },
  ): void {
    if (this.mergerOf(shape) === null) return;
    if (columns === null) this.#positions.forget(shape.id, keyId);
    else this.#positions.note(shape.id, keyId, columns, by);
  }

  /** The row was evicted, or written by the reference resolver. */
  forget(shape: TableShape, keyId: KeyId): void {
    if (this.mergerOf(shape) !== null) this.#positions.forget(shape.id, keyId);
  }

  /** The write of another origin that this row overwrites and its writer had not seen; null: there is none. */
  lostWrite(
    shape: TableShape,
    write: RowWrite,
    last: LastWrite | null,
    context: ChangesetContext,
  ): LastWrite | null {
    const { row, merged, before } = write;
    const base = context.bases[row.base];
    if (this.mergerOf(shape) === null) return unseenWrite(last, base, context);
    const lastOf = this.#positions.of(shape.id, row.keyId, last);
    const unseen = (column: number): LastWrite | null => unseenWrite(lastOf(column), base, context);
    const { image, columns } = merged;
    if (columns === null || before === null || image === null)
      // A delete or a whole row: a column of another origin may be older than the row's last write.
      return shape.columns
        .flatMap((_, column) => unseen(column) ?? [])
        .reduce<LastWrite | null>((a, b) => (a === null || b.index > a.index ? b : a), null);
    for (const column of columns) {
      if (valueEqual(before[column]!, image[column]!)) continue;
      const lost = unseen(column);
      if (lost !== null) return lost;
    }
    return null;
  }
}

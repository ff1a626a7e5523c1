/**
 * Column merge: an update is a patch of the columns that its writer changed, so that concurrent updates of different
 * columns are both kept. The columns of the key are one unit, and so are those of a UNIQUE constraint: an update of one
 * column writes the whole unit. Pure: rows in, images out.
 */
import type { RowChange } from "../../change/batch.ts";
import { Op } from "../../change/batch.ts";
import { keyIdOf } from "../../change/key.ts";
import type { Collation, TableShape, UniqueShape } from "../../change/shape.ts";
import { type Image, type Value, valueEqual } from "../../change/value.ts";
import { mentions } from "../../sqlite/ddl-text/index-text.ts";

export interface MergedRow {
  /** The row to write; null: the row is deleted. */
  readonly image: Image | null;
  /** Columns taken from the change, in order; null: all of them. */
  readonly columns: readonly number[] | null;
}

const whole = (row: RowChange): MergedRow => ({ image: row.image, columns: null });

const inMask = (mask: Uint8Array, column: number): boolean =>
  ((mask[column >> 3] ?? 0) & (1 << (column & 7))) !== 0;

export class ColumnMerger {
  readonly #shape: TableShape;
  readonly #units: readonly (readonly number[])[];

  constructor(shape: TableShape) {
    this.#shape = shape;
    this.#units = [shape.key, ...shape.uniques.map((u) => columnsOf(u, shape))];
  }

  /** `before`: the row in the replica; null: there is none. */
  merge(row: RowChange, before: Image | null): MergedRow {
    if (row.op !== Op.update || row.mask === null || row.image === null || before === null) return whole(row);
    const given = new Set<number>();
    for (let i = 0; i < row.image.length; i++) if (inMask(row.mask, i)) given.add(i);
    for (let grown = true; grown;) {
      grown = false;
      for (const unit of this.#units) {
        if (!unit.some((c) => given.has(c)) || unit.every((c) => given.has(c))) continue;
        for (const c of unit) given.add(c);
        grown = true;
      }
    }
    const { image } = row;
    const columns = [...given].sort((a, b) => a - b);
    return { image: image.map((value, i) => (given.has(i) ? value : before[i]!)), columns };
  }

  /** Merges the rows of one changeset. If two merged rows have equal UNIQUE values, all rows are written as they were sent. */
  mergeSet(rows: readonly RowChange[], before: readonly (Image | null)[]): MergedRow[] {
    const merged = rows.map((row, i) => this.merge(row, before[i]!));
    return this.#clashes(rows, merged) ? rows.map(whole) : merged;
  }

  #clashes(rows: readonly RowChange[], merged: readonly MergedRow[]): boolean {
    return this.#shape.uniques.some((unique, u) => {
      const unit = this.#units[u + 1]!;
      const kept = merged.map(
        ({ image }, i) => image !== null && unit.some((c) => !valueEqual(image[c]!, rows[i]!.image![c]!)),
      );
      if (!kept.includes(true)) return false;
      const columns = unique.terms.map((t) => t.column);
      // Equality of expressions and partial indexes is not computed here: assume a clash.
      if (unique.where !== null || columns.includes(null)) return true;
      const key = columns as number[];
      const collations = unique.terms.map((t) => t.collation as Collation);
      const named = { ...this.#shape, key, keyCollations: collations };
      const seen = new Set<string | number>();
      return merged.some(({ image }) => {
        if (image === null) return false;
        const values: Value[] = key.map((c) => image[c]!);
        if (values.includes(null)) return false; // NULLs are distinct
        const id = keyIdOf(named, values);
        return seen.size === seen.add(id).size;
      });
    });
  }
}

/** Stored columns that a UNIQUE constraint depends on. A generated column counts as depending on all of them. */
function columnsOf(unique: UniqueShape, shape: TableShape): number[] {
  const all = shape.columns.map((_, i) => i);
  const text = [...unique.terms.map((t) => t.sql), unique.where ?? ""].join(" , ");
  const named = all.filter((i) => mentions(text, shape.columns[i]!.name));
  const plain = unique.terms.every((t) => t.column !== null);
  return plain || named.length > 0 ? named : all;
}

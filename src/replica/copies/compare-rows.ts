/** A full and exact comparison of two databases' rows, table by table, both streamed in the order of the key. */
import type { DatabaseSync } from "node:sqlite";
import { type KeyId, keyIdOfImage } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import { type Image, imageEqual, type Value } from "../../change/value.ts";
import { exactRows } from "../../rows/exact-rows.ts";
import { RowAccess } from "../../rows/row-access.ts";

export interface RowDifference {
  readonly table: TableShape;
  readonly keyId: KeyId;
  readonly left: Image | null;
  readonly right: Image | null;
}

export interface CompareOptions {
  readonly left: DatabaseSync;
  readonly right: DatabaseSync;
  readonly shapes: readonly TableShape[];
  readonly encoding: string;
  /** Keys that may differ. */
  readonly skip?: (table: number, keyId: KeyId) => boolean;
  /** False: that is enough. */
  readonly onDifference: (difference: RowDifference) => boolean;
  /** Called now and then with the rows compared so far; may wait. */
  readonly pause?: (rows: number) => Promise<void>;
}

const SLICE = 2000;

/** The caller holds a read transaction on both sides. Returns how many rows were looked at. */
export async function compareRows(options: CompareOptions): Promise<number> {
  const { left, right, shapes, encoding, skip, onDifference, pause } = options;
  let rows = 0;
  for (const table of shapes) {
    const other = new RowAccess(right, table, encoding);
    for (const image of exactRows(left, table, encoding)) {
      if (++rows % SLICE === 0) await pause?.(rows);
      const keyId = keyIdOfImage(table, image);
      const match = other.get(keyOf(table, image));
      if (match !== null && imageEqual(image, match)) continue;
      if (skip?.(table.id, keyId)) continue;
      if (!onDifference({ table, keyId, left: image, right: match })) return rows;
    }
    const own = new RowAccess(left, table, encoding);
    for (const image of exactRows(right, table, encoding)) {
      if (++rows % SLICE === 0) await pause?.(rows);
      if (own.get(keyOf(table, image)) !== null) continue;
      const keyId = keyIdOfImage(table, image);
      if (skip?.(table.id, keyId)) continue;
      if (!onDifference({ table, keyId, left: null, right: image })) return rows;
    }
  }
  return rows;
}

const keyOf = (table: TableShape, image: Image): Value[] => table.key.map((k) => image[k]!);

/**
 * Keys of the rows of one table in which two databases differ. Yields null now and then, so that the caller can let others
 * run; the statements stay open meanwhile.
 */
export function* differingKeys(options: {
  readonly left: DatabaseSync;
  readonly right: DatabaseSync;
  readonly table: TableShape;
  readonly encoding: string;
}): Generator<readonly Value[] | null, void> {
  const { left, right, table, encoding } = options;
  let rows = 0;
  const other = new RowAccess(right, table, encoding);
  for (const image of exactRows(left, table, encoding)) {
    if (++rows % SLICE === 0) yield null;
    const key = keyOf(table, image);
    const match = other.get(key);
    if (match === null || !imageEqual(image, match)) yield key;
  }
  const own = new RowAccess(left, table, encoding);
  for (const image of exactRows(right, table, encoding)) {
    if (++rows % SLICE === 0) yield null;
    const key = keyOf(table, image);
    if (own.get(key) === null) yield key;
  }
}

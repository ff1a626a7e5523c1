/** Compares the rows of two databases fully and exactly, table by table, in the order of the key. */
import type { DatabaseSync } from "node:sqlite";
import { type KeyId, keyIdOfImage, keyOfImage } from "../../change/key.ts";
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

interface ComparedTable {
  readonly left: DatabaseSync;
  readonly right: DatabaseSync;
  readonly table: TableShape;
  readonly encoding: string;
}

interface ComparedTables extends Omit<ComparedTable, "table"> {
  readonly shapes: readonly TableShape[];
  /** Keys that may differ. */
  readonly skip?: (table: number, keyId: KeyId) => boolean;
  /** False ends the comparison. */
  readonly onDifference: (difference: RowDifference) => boolean;
  /** Called between slices with the number of rows compared so far. */
  readonly pause?: (rows: number) => Promise<void>;
}

/** Rows compared between two pauses. */
const SLICE = 2000;

/** Yields the differing rows of one table, and null between slices. Adds the rows compared to `count`. */
function* differences(
  { left, right, table, encoding }: ComparedTable,
  count: { rows: number },
): Generator<RowDifference | null, void> {
  const inRight = new RowAccess(right, table, encoding);
  for (const image of exactRows(left, table, encoding)) {
    if (++count.rows % SLICE === 0) yield null;
    const match = inRight.get(keyOfImage(table, image));
    if (match === null || !imageEqual(image, match))
      yield { table, keyId: keyIdOfImage(table, image), left: image, right: match };
  }
  const inLeft = new RowAccess(left, table, encoding);
  for (const image of exactRows(right, table, encoding)) {
    if (++count.rows % SLICE === 0) yield null;
    if (inLeft.get(keyOfImage(table, image)) === null)
      yield { table, keyId: keyIdOfImage(table, image), left: null, right: image };
  }
}

/** The caller holds a read transaction on both sides. Returns the number of rows compared. */
export async function compareRows(options: ComparedTables): Promise<number> {
  const { shapes, skip, onDifference, pause } = options;
  const count = { rows: 0 };
  for (const table of shapes)
    for (const difference of differences({ ...options, table }, count))
      if (difference === null) await pause?.(count.rows);
      else if (!skip?.(table.id, difference.keyId) && !onDifference(difference)) return count.rows;
  return count.rows;
}

/**
 * Yields the keys of the differing rows of one table, and null between slices, so that the caller can let other work run.
 * The statements stay open until the end.
 */
export function* differingKeys(options: ComparedTable): Generator<readonly Value[] | null, void> {
  for (const difference of differences(options, { rows: 0 }))
    yield difference === null ? null : keyOfImage(options.table, (difference.left ?? difference.right)!);
}

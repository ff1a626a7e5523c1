/**
 * Records about the rows of a table, kept beside the rows, after a schema change: before images, images in the journal,
 * column positions and checksums. The records of a dropped table are deleted.
 */
import type { DatabaseSync } from "node:sqlite";
import { decodeImage, encodeImage, imageHash } from "../../change/codec.ts";
import { keyIdOfImage } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import { exactRows } from "../../rows/exact-rows.ts";
import { UNKNOWN_IMAGE } from "../apply/before-images.ts";
import type { Checksums } from "../apply/checksums.ts";
import type { RowRouting } from "../store/row-routing.ts";
import { type ColumnPlaces, withImageMap } from "./image-map.ts";
import type { MigrationComponents } from "./migration-components.ts";
import { readRows, text } from "../../sqlite/typed-rows.ts";
import { keyCell } from "../store/key-cell.ts";

/** Rows hashed between two yields. */
const SLICE = 1000;

/** The table was dropped, or its rows have other keys: deletes all records of its rows. */
export function forgetTable(
  table: number,
  { db, beforeImages, checksums, changed, rowidCollisions }: MigrationComponents,
): void {
  for (const name of ["column", "attached", "orphan", "stray", "birth", "rowid", "moved"])
    db.prepare(`DELETE FROM "__marmot__${name}" WHERE "tbl" = ?`).run(table);
  beforeImages.forgetTable(table);
  checksums.forget(table);
  changed.forgetTable(table);
  rowidCollisions.forgetTable(table);
}

/** Maps the recorded images of the table's rows to the new shape. */
export function mapRecordedImages(
  after: TableShape,
  places: ColumnPlaces,
  { db, beforeImages, journal, changed }: MigrationComponents,
): void {
  withImageMap(db, after, places, (images) => {
    beforeImages.mapImages(after.id, (bytes) => {
      const image = images.map(decodeImage(bytes));
      return image === null ? UNKNOWN_IMAGE : encodeImage(image);
    });
    journal.mapImages(after.id, (bytes) => {
      const image = decodeImage(bytes);
      return encodeImage(
        images.map(image) ?? places.map((from) => (from === null ? null : (image[from] ?? null))),
      );
    });
  });
  changed.lookUp(after.id);
  mapColumnPositions(db, after.id, places);
}

/** Column positions are stored by the place of the column. */
function mapColumnPositions(db: DatabaseSync, table: number, places: ColumnPlaces): void {
  const rows = db.prepare(`SELECT "key", "writes" FROM "__marmot__column" WHERE "tbl" = ?`).all(table);
  const put = db.prepare(`UPDATE "__marmot__column" SET "writes" = ? WHERE "tbl" = ? AND "key" = ?`);
  for (const { key, writes } of readRows(rows, { key: keyCell, writes: text })) {
    const entry = JSON.parse(writes) as { columns: Record<string, unknown> };
    const columns: Record<string, unknown> = {};
    places.forEach((from, i) => {
      if (from !== null && String(from) in entry.columns) columns[i] = entry.columns[from];
    });
    put.run(JSON.stringify({ ...entry, columns }), table, key);
  }
}

/** The rows of a replica and their routing. */
interface RowSource {
  readonly db: DatabaseSync;
  readonly routing: RowRouting;
  readonly encoding: string;
}

/** Adds the hashes of all rows of a table to the checksums. Yields the size of each slice that is done. */
export function* sumRows(
  shape: TableShape,
  { db, routing, encoding }: RowSource,
  checksums: Checksums,
): Generator<number, void> {
  let rows = 0;
  for (const image of exactRows(db, shape, encoding)) {
    checksums.add(
      shape.id,
      routing.shardOf(shape, keyIdOfImage(shape, image)),
      imageHash(encodeImage(image)),
    );
    if (++rows % SLICE === 0) yield SLICE;
  }
}

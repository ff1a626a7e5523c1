/**
 * What the replica keeps about the rows of a table, beside the rows, becomes what they became by a change of the schema:
 * references, the journal's images, columns' writes, checksums; and it goes with a table that is gone.
 */
import type { DatabaseSync } from "node:sqlite";
import { foldName } from "../../base/names.ts";
import { decodeImage, encodeImage, imageHash } from "../../change/codec.ts";
import { type KeyId, keyIdOfImage, keyOfImage, keyValues } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Image } from "../../change/value.ts";
import type { AppliedTable } from "../../schema/migrate/migrate.ts";
import { followTables } from "../../schema/diff/evolve.ts";
import { exactRows } from "../../rows/exact-rows.ts";
import { RowAccess } from "../../rows/row-access.ts";
import type { SchemaEntry } from "../../schema/diff/schema-entry.ts";
import type { Checksums } from "../apply/checksums.ts";
import { type ColumnPlaces, ImageMap } from "./image-map.ts";
import type { OldestBeforeImage } from "../apply/before-images.ts";
import type { RowRouting } from "../store/row-routing.ts";
import { type CatalogueObject, stateOf } from "../store/schema-store.ts";
import type { ReplicaSchema, SchemaChangeComponents } from "./schema-change.ts";
import type { ReplicaSettings } from "../store/settings.ts";
import { type TableMapping, placesOf } from "./table-mapping.ts";

/** Rows hashed between two yields. */
const SLICE = 1000;

/** A reference that equals no image: what the row was is unknown, so whatever is pending is sent. */
export const UNKNOWN = encodeImage([]);

/** A row that others changed and the live file may not show: as it was, and as it is. */
export interface UnseenRow extends OldestBeforeImage {
  readonly now: Image | null;
}

/** Before the change: by table, of those whose rows may be named otherwise by it. */
export function unseenRows(
  db: DatabaseSync,
  { shapes, settings }: ReplicaSchema,
  { changes }: SchemaEntry,
  objects: readonly CatalogueObject[],
  { references }: SchemaChangeComponents,
): Map<number, UnseenRow[]> {
  const altered = new Set(
    followTables(stateOf(objects, settings), changes).flatMap(({ from }) =>
      from === null ? [] : [foldName(from)],
    ),
  );
  return new Map(
    shapes
      .filter(({ name }) => altered.has(foldName(name)))
      .map((shape) => {
        const access = new RowAccess(db, shape, settings.encoding);
        const rows = [...references.oldest(shape.id)];
        return [shape.id, rows.map((r) => ({ ...r, now: access.get(keyValues(shape, r.keyId)) }))] as const;
      }),
  );
}

/** What is known of the table's rows under their older names goes on under those that they have now. */
export function nameAnew(
  db: DatabaseSync,
  before: TableShape,
  after: TableShape,
  table: AppliedTable | undefined,
  rows: readonly UnseenRow[],
  encoding: string,
  { references, changed }: SchemaChangeComponents,
): void {
  const { sql } = db
    .prepare(`SELECT "sql" FROM main.sqlite_schema WHERE type = 'table' AND name = ?`)
    .get(after.name) as { sql: string };
  const images = new ImageMap(sql, after, placesOf(before, after, table), encoding);
  try {
    for (const { shard, index, image, now } of rows) {
      const [was, is] = [image, now].map((i) => (i === null ? null : images.map(i)));
      const keys = [was, is].map((i) => (i === null || i === undefined ? null : keyIdOfImage(after, i)));
      if (was !== null && was !== undefined)
        references.add(after.id, keys[0]!, shard, index, encodeImage(was));
      if (keys[1] !== null && keys[1] !== keys[0]) references.add(after.id, keys[1]!, shard, index, null);
      for (const [i, row] of [was, is].entries())
        if (row !== null && row !== undefined) {
          changed.set(after.id, keys[i]!, { key: keyOfImage(after, row), image: null });
          changed.lookUp(after.id);
        }
    }
  } finally {
    images.close();
  }
}

/** The table is gone, and so is all that was kept of its rows. */
export function forgetTable(
  db: DatabaseSync,
  table: number,
  { references, checksums, changed, births }: SchemaChangeComponents,
): void {
  for (const name of ["column", "attached", "orphan", "stray", "birth", "rowid", "moved"])
    db.prepare(`DELETE FROM "__marmot__${name}" WHERE "tbl" = ?`).run(table);
  references.forgetTable(table);
  checksums.forget(table);
  changed.forgetTable(table);
  births.forgetTable(table);
}

/** What is kept of the table's rows becomes what the rows became. */
export function carryRows(
  db: DatabaseSync,
  { places }: TableMapping,
  after: TableShape,
  encoding: string,
  { references, journal, changed }: SchemaChangeComponents,
): void {
  const { sql } = db
    .prepare(`SELECT "sql" FROM main.sqlite_schema WHERE type = 'table' AND name = ?`)
    .get(after.name) as { sql: string };
  const images = new ImageMap(sql, after, places, encoding);
  try {
    references.carry(after.id, (bytes) => {
      const image = images.map(decodeImage(bytes));
      return image === null ? UNKNOWN : encodeImage(image);
    });
    journal.carry(after.id, (bytes) => {
      const image = decodeImage(bytes);
      return encodeImage(
        images.map(image) ?? places.map((from) => (from === null ? null : (image[from] ?? null))),
      );
    });
  } finally {
    images.close();
  }
  changed.lookUp(after.id);
  carryColumnWrites(db, after.id, places);
}

/** Where columns were last written is kept by their places. */
function carryColumnWrites(db: DatabaseSync, table: number, places: ColumnPlaces): void {
  const rows = db.prepare(`SELECT "key", "writes" FROM "__marmot__column" WHERE "tbl" = ?`).all(table) as {
    key: KeyId;
    writes: string;
  }[];
  const put = db.prepare(`UPDATE "__marmot__column" SET "writes" = ? WHERE "tbl" = ? AND "key" = ?`);
  for (const { key, writes } of rows) {
    const entry = JSON.parse(writes) as { columns: Record<string, unknown> };
    const columns: Record<string, unknown> = {};
    places.forEach((from, i) => {
      if (from !== null && String(from) in entry.columns) columns[i] = entry.columns[from];
    });
    put.run(JSON.stringify({ ...entry, columns }), table, key);
  }
}

/** The checksums of a table whose rows are other images now, or lie in other shards. */
export function* sumAnew(
  db: DatabaseSync,
  shape: TableShape,
  routing: RowRouting,
  { encoding }: ReplicaSettings,
  checksums: Checksums,
): Generator<void, void> {
  checksums.forget(shape.id);
  let done = 0;
  for (const image of exactRows(db, shape, encoding)) {
    checksums.add(
      shape.id,
      routing.shardOf(shape, keyIdOfImage(shape, image)),
      imageHash(encodeImage(image)),
    );
    if (++done % SLICE === 0) yield;
  }
}

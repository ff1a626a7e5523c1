/** Rows of a table whose key changes in a schema change: their before images are recorded again under the new keys. */
import { foldName } from "../../base/names.ts";
import { encodeImage } from "../../change/codec.ts";
import { keyIdOfImage, keyOfImage, keyValues } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Image } from "../../change/value.ts";
import { RowAccess } from "../../rows/row-access.ts";
import { followTables } from "../../schema/diff/evolve.ts";
import type { SchemaEntry } from "../../schema/diff/schema-entry.ts";
import type { OldestBeforeImage } from "../apply/before-images.ts";
import { type CatalogueObject, stateOf } from "../store/schema-store.ts";
import { type ColumnPlaces, withImageMap } from "./image-map.ts";
import type { MigrationComponents, ReplicaSchema } from "./migration-components.ts";

/** A row that other nodes changed and the app database may not have: its oldest before image, and its image now. */
export interface UnreflectedRow extends OldestBeforeImage {
  readonly now: Image | null;
}

/** Call before the schema change. Returns the rows by table, for the tables that the change alters. */
export function unreflectedRows(
  { shapes, settings }: ReplicaSchema,
  { changes }: SchemaEntry,
  objects: readonly CatalogueObject[],
  { db, beforeImages }: MigrationComponents,
): Map<number, UnreflectedRow[]> {
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
        const rows = [...beforeImages.oldest(shape.id)];
        return [shape.id, rows.map((r) => ({ ...r, now: access.get(keyValues(shape, r.keyId)) }))] as const;
      }),
  );
}

/** Records the rows under their new keys. `after`: the shape of the table with its new key; `places`: see `ColumnPlaces`. */
export function rekeyRows(
  after: TableShape,
  places: ColumnPlaces,
  rows: readonly UnreflectedRow[],
  { db, beforeImages, changed }: MigrationComponents,
): void {
  withImageMap(db, after, places, (images) => {
    for (const { shard, index, image, now } of rows) {
      const old = image === null ? null : images.map(image);
      const current = now === null ? null : images.map(now);
      const oldKey = old === null ? null : keyIdOfImage(after, old);
      const key = current === null ? null : keyIdOfImage(after, current);
      if (old !== null && oldKey !== null)
        beforeImages.add(after.id, oldKey, { shard, index }, encodeImage(old));
      if (key !== null && key !== oldKey) beforeImages.add(after.id, key, { shard, index }, null);
      for (const row of [old, current])
        if (row !== null) {
          changed.set(after.id, keyIdOfImage(after, row), { key: keyOfImage(after, row), image: null });
          changed.lookUp(after.id);
        }
    }
  });
}

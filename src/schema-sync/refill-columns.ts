/**
 * Columns of a table that the cluster has and the file had not: its application dropped them and they stay after all, or
 * changes that came one after the other gave them values which all at once do not. They hold what the file showed of them,
 * or would have: that they were empty here is nothing that the application wrote.
 */
import type { DatabaseSync } from "node:sqlite";
import { foldName } from "../base/names.ts";
import type { PositionVector } from "../change/batch.ts";
import { keyIdOfImage, keyOfImage, type KeyId, keyValues } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import { imageEqual, type Image, type Value } from "../change/value.ts";
import type { TriggerSilencer } from "../reflect/trigger-silencer.ts";
import type { Replica } from "../replica/replica.ts";
import type { CatalogueObject } from "../replica/store/schema-store.ts";
import { columnsOf } from "../schema/diff/evolve.ts";
import { exactRows } from "../rows/exact-rows.ts";
import { RowAccess } from "../rows/row-access.ts";
import type { NameInFile } from "./detect-change.ts";

/** A column's place in the cluster's table and in the file's. */
interface Place {
  readonly there: number;
  readonly here: number;
}

/** Where the columns of the cluster's table `object` are in the file's. */
function placesOf(
  there: TableShape,
  here: TableShape,
  object: CatalogueObject,
  { recorded }: NonNullable<ReturnType<NameInFile>>,
): Place[] {
  const stored = columnsOf(object).map(foldName);
  const names = here.columns.map((c) => foldName(c.name));
  return there.columns.flatMap(({ name }, i): Place[] => {
    // The rowid is no stored column.
    if (there.rowidKey && i === 0) return here.rowidKey ? [{ there: 0, here: 0 }] : [];
    const place = names.indexOf(foldName(recorded?.[stored.indexOf(foldName(name))] ?? name));
    return place === -1 ? [] : [{ there: i, here: place }];
  });
}

/** Rows go by the same keys in both tables. */
function areNamedAlike(there: TableShape, here: TableShape, places: readonly Place[]): boolean {
  const textOf = ({ rowidKey, keyCollations }: TableShape, key: readonly unknown[]): string =>
    JSON.stringify([rowidKey, keyCollations, key]);
  const key = there.key.map((k) => places.find((p) => p.there === k)?.here);
  return textOf(there, key) === textOf(here, here.key);
}

export interface ReturnedColumnsOptions {
  readonly db: DatabaseSync;
  readonly triggers: TriggerSilencer;
  readonly replica: Replica;
  /** What the file reflects. */
  readonly reflected: PositionVector;
}

export interface ReturnedColumns {
  /** The cluster's table, and what the file calls it. */
  readonly object: CatalogueObject;
  readonly inFile: NonNullable<ReturnType<NameInFile>>;
  /** As the file has it, under the cluster's id. */
  readonly table: TableShape;
  /** The file's columns that took their values from nowhere. */
  readonly empty: readonly string[];
  /** Only these rows; null: all. */
  readonly only: Iterable<KeyId> | null;
}

/** Inside a write transaction. */
export function fillReturned(
  { db, triggers, replica, reflected }: ReturnedColumnsOptions,
  { object, inFile, table: here, empty, only }: ReturnedColumns,
): void {
  const there = replica.shapes.get(here.id)!;
  const places = placesOf(there, here, object, inFile);
  const isEmpty = new Set(empty.map(foldName));
  const returned = places.filter((p) => isEmpty.has(foldName(here.columns[p.here]!.name)));
  if (returned.length === 0 || !areNamedAlike(there, here, places)) return;
  const { encoding } = replica.settings;
  const filled = (image: Image): Value[] | null => {
    const key = keyOfImage(here, image);
    const shown = replica.beforeImage(here.id, keyIdOfImage(here, image), key, reflected);
    // The file's own, or nothing is known of what it was.
    if (shown === null || shown.length === 0) return null;
    const row = [...image];
    for (const place of returned) row[place.here] = shown[place.there]!;
    return imageEqual(row, image) ? null : row;
  };
  const keyIds: KeyId[] = only === null ? [] : [...only];
  if (only === null)
    // Not the rows: a table of a million need not be held.
    for (const image of exactRows(db, here, encoding))
      if (filled(image) !== null) keyIds.push(keyIdOfImage(here, image));
  if (keyIds.length === 0) return;
  const access = new RowAccess(db, here, encoding);
  triggers.begin();
  triggers.prepare(here.name);
  for (const keyId of keyIds) {
    const image = access.get(keyValues(here, keyId));
    const row = image === null ? null : filled(image);
    // What holds its place is reflected later, and so is this.
    if (row !== null && access.clashes(row).length === 0) access.write(row);
  }
  triggers.restore();
}

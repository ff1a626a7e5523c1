/**
 * Refills columns that the cluster has and the file lacked: the application dropped them and the cluster keeps them, or
 * several changes applied one by one gave them values that all at once do not. They get the values that the file showed last,
 * since their absence is no write of the application.
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

/** The place of a column in the cluster's table and in the file's. */
interface Place {
  readonly there: number;
  readonly here: number;
}

/** The places of the columns of the cluster's table `object`. */
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

/** Whether a row has the same key in both tables. */
function haveSameKey(there: TableShape, here: TableShape, places: readonly Place[]): boolean {
  const textOf = ({ rowidKey, keyCollations }: TableShape, key: readonly unknown[]): string =>
    JSON.stringify([rowidKey, keyCollations, key]);
  const key = there.key.map((k) => places.find((p) => p.there === k)?.here);
  return textOf(there, key) === textOf(here, here.key);
}

interface RefillOptions {
  readonly db: DatabaseSync;
  readonly triggers: TriggerSilencer;
  readonly replica: Replica;
  /** The position that the file reflects. */
  readonly reflected: PositionVector;
}

interface RefilledColumns {
  /** The table of the cluster, and its name in the file. */
  readonly object: CatalogueObject;
  readonly inFile: NonNullable<ReturnType<NameInFile>>;
  /** The table of the file, under the id of the cluster. */
  readonly table: TableShape;
  /** New columns of the file, which have no values yet. */
  readonly empty: readonly string[];
  /** Only these rows; null: all. */
  readonly only: Iterable<KeyId> | null;
}

/** Inside a write transaction. */
export function refillColumns(
  { db, triggers, replica, reflected }: RefillOptions,
  { object, inFile, table: here, empty, only }: RefilledColumns,
): void {
  const there = replica.shapes.get(here.id)!;
  const places = placesOf(there, here, object, inFile);
  const isEmpty = new Set(empty.map(foldName));
  const refilled = places.filter((p) => isEmpty.has(foldName(here.columns[p.here]!.name)));
  if (refilled.length === 0 || !haveSameKey(there, here, places)) return;
  const { encoding } = replica.settings;
  const filled = (image: Image): Value[] | null => {
    const key = keyOfImage(here, image);
    const shown = replica.beforeImage(here.id, keyIdOfImage(here, image), key, reflected);
    // A row of the file's own, or one whose earlier values are unknown.
    if (shown === null || shown.length === 0) return null;
    const row = [...image];
    for (const place of refilled) row[place.here] = shown[place.there]!;
    return imageEqual(row, image) ? null : row;
  };
  const keyIds: KeyId[] = only === null ? [] : [...only];
  if (only === null)
    // Collects keys instead of rows: a large table need not fit into memory.
    for (const image of exactRows(db, here, encoding))
      if (filled(image) !== null) keyIds.push(keyIdOfImage(here, image));
  if (keyIds.length === 0) return;
  const access = new RowAccess(db, here, encoding);
  triggers.begin();
  triggers.prepare(here.name);
  for (const keyId of keyIds) {
    const image = access.get(keyValues(here, keyId));
    const row = image === null ? null : filled(image);
    // A clashing row is reflected later, and then this row too.
    if (row !== null && access.clashes(row).length === 0) access.write(row);
  }
  triggers.restore();
}

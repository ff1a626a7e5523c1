/** Rekeyed tables: a change gave their rows other keys, and therefore gave the tables other ids. */
import { foldName, isSameName } from "../base/names.ts";
import type { RememberedSchema } from "../capture/remembered.ts";
import { type KeyId, keyIdOf } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import type { Image } from "../change/value.ts";
import type { Replica } from "../replica/replica.ts";
import type { ColumnOrigin, SchemaChange } from "../schema/diff/change.ts";
import { followTables } from "../schema/diff/evolve.ts";
import { shapeOf } from "../schema/read-shape.ts";
import { openDatabase } from "../sqlite/open.ts";
import { queryOf } from "../sqlite/query.ts";
import { createAsWritten } from "../sqlite/functions/stand-ins.ts";
import { readTable } from "../sqlite/schema.ts";

export interface RekeyedTable {
  /** The id before the change. */
  readonly had: number;
  /** The earlier key of a row in its current form; null: columns of that key no longer exist. */
  readonly keyBefore: ((image: Image) => KeyId) | null;
}

/** By their ids in `replica`, to whose schema `changes` lead from the remembered one. */
export function rekeyedTables(
  { state, tables }: RememberedSchema,
  changes: readonly SchemaChange[],
  replica: Replica,
): Map<number, RekeyedTable> {
  const rekeyed = new Map<number, RekeyedTable>();
  const shapes = [...replica.shapes.values()];
  for (const { from, to, columns } of followTables(state, changes)) {
    const object = state.objects.find((o) => o.kind === "table" && o.name === from);
    const had = tables.get(from ?? "");
    const now = shapes.find(({ name }) => isSameName(name, to));
    if (object === undefined || had === undefined || now === undefined || now.id === had) continue;
    rekeyed.set(now.id, { had, keyBefore: keyBefore(shapeOfText(object, had), now, columns) });
  }
  return rekeyed;
}

function shapeOfText({ name, sql }: { readonly name: string; readonly sql: string }, id: number): TableShape {
  const db = openDatabase(":memory:");
  try {
    createAsWritten(db, sql);
    return shapeOf(readTable(queryOf(db), name), id);
  } finally {
    db.close();
  }
}

function keyBefore(
  before: TableShape,
  now: TableShape,
  columns: readonly ColumnOrigin[],
): RekeyedTable["keyBefore"] {
  // A rowid is no column that a change can keep.
  if (before.rowidKey) return null;
  const names = now.columns.map((c) => foldName(c.name));
  const places = before.key.map((k) => {
    const [name] = columns.find(([, from]) => isSameName(from, before.columns[k]!.name)) ?? [];
    return name === undefined ? -1 : names.indexOf(foldName(name));
  });
  if (places.includes(-1)) return null;
  return (image) =>
    keyIdOf(
      before,
      places.map((place) => image[place]!),
    );
}

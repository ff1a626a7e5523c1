/** Tables of the cluster whose rows go by other keys after a change, and which therefore have another id. */
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
import { readTable } from "../sqlite/schema.ts";

export interface RenumberedTable {
  /** The older id. */
  readonly had: number;
  /** The older key of a row as it is now; null: columns of it are gone. */
  readonly keyBefore: ((image: Image) => KeyId) | null;
}

/** By their ids in `replica`, to which `changes` led from what is remembered. */
export function renumberedTables(
  { state, tables }: RememberedSchema,
  changes: readonly SchemaChange[],
  replica: Replica,
): Map<number, RenumberedTable> {
  const renumbered = new Map<number, RenumberedTable>();
  const shapes = [...replica.shapes.values()];
  for (const { from, to, columns } of followTables(state, changes)) {
    const object = state.objects.find((o) => o.kind === "table" && o.name === from);
    const had = tables.get(from ?? "");
    const now = shapes.find(({ name }) => isSameName(name, to));
    if (object === undefined || had === undefined || now === undefined || now.id === had) continue;
    renumbered.set(now.id, { had, keyBefore: keyBefore(shapeOfText(object, had), now, columns) });
  }
  return renumbered;
}

function shapeOfText({ name, sql }: { readonly name: string; readonly sql: string }, id: number): TableShape {
  const db = openDatabase(":memory:");
  try {
    db.exec(sql);
    return shapeOf(readTable(queryOf(db), name), id);
  } finally {
    db.close();
  }
}

function keyBefore(
  before: TableShape,
  now: TableShape,
  columns: readonly ColumnOrigin[],
): RenumberedTable["keyBefore"] {
  // A rowid is no column that goes on.
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

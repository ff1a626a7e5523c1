/**
 * Table mapping: which tables keep their id, and with it the records about their rows, in a schema change, and which are
 * other tables afterwards.
 */
import type { DatabaseSync } from "node:sqlite";
import { foldName } from "../../base/names.ts";
import type { TableShape } from "../../change/shape.ts";
import type { AppliedSchema, AppliedTable } from "../../schema/migrate/migrate.ts";
import { shapeOf } from "../../schema/read-shape.ts";
import { queryOf } from "../../sqlite/query.ts";
import { readTable } from "../../sqlite/schema.ts";
import type { ColumnPlaces } from "./image-map.ts";
import type { CatalogueObject } from "../store/schema-store.ts";
import { integer, readRow } from "../../sqlite/typed-rows.ts";

/** A replicated table before and after a schema change. */
export interface TableMapping {
  readonly before: TableShape;
  /** null: the table was dropped, or its rows have other keys. */
  readonly after: TableShape | null;
  readonly places: ColumnPlaces;
}

const keyText = ({ key, columns, keyCollations }: TableShape, name: (column: number) => string): string =>
  JSON.stringify([key.map(name), keyCollations, key.map((k) => columns[k]!.affinity)]);

/** The place of each new column in the old image; null: the column is new. */
export const placesOf = (
  before: TableShape,
  after: TableShape,
  table: AppliedTable | undefined,
): ColumnPlaces => {
  if (table === undefined) return after.columns.map((_, i) => i);
  const place = new Map(before.columns.map((c, i) => [foldName(c.name), i]));
  const origin = new Map(table.columns.map(([column, from]) => [foldName(column), from]));
  // The rowid is no stored column, and gets another name when a column takes its name.
  if (before.rowidKey && after.rowidKey) {
    place.delete(foldName(before.columns[0]!.name));
    return after.columns.map((c, i) =>
      i === 0 ? 0 : (place.get(foldName(origin.get(foldName(c.name)) ?? "\0")) ?? null),
    );
  }
  return after.columns.map((c) => place.get(foldName(origin.get(foldName(c.name)) ?? "")) ?? null);
};

/** The key consists of the same columns as before. */
function sameKey(before: TableShape, after: TableShape, places: ColumnPlaces): boolean {
  if (before.rowidKey !== after.rowidKey) return false;
  if (after.rowidKey) return true;
  const nowCalled = (column: number): string => after.columns[places.indexOf(column)]?.name ?? "";
  return keyText(before, nowCalled) === keyText(after, (column) => after.columns[column]!.name);
}

/** Gives every table its id: its old one if the key is the same, else a new one. */
export function numberObjects(
  db: DatabaseSync,
  objects: readonly CatalogueObject[],
  { state, tables }: AppliedSchema,
  { before, local }: { before: ReadonlyMap<string, TableShape>; local: ReadonlySet<string> },
): CatalogueObject[] {
  const ids = new Map(objects.map((o) => [`${o.kind}/${foldName(o.name)}`, o.tableId]));
  const byTo = new Map(tables.flatMap((t) => (t.to === null ? [] : [[foldName(t.to), t] as const])));
  const highest = readRow(
    db
      .prepare(
        `SELECT max(coalesce((SELECT max("table_id") FROM "__marmot__object"), 0), coalesce((SELECT max("tbl") FROM "__marmot__table_version"), 0)) AS id`,
      )
      .get(),
    { id: integer },
  );
  let next = highest.id + 1;
  const query = queryOf(db);
  return state.objects.map((object) => {
    if (object.kind !== "table") return { ...object, tableId: null };
    const table = byTo.get(foldName(object.name));
    if (table === undefined) return { ...object, tableId: ids.get(`table/${foldName(object.name)}`) ?? null };
    if (table.from === null)
      return {
        ...object,
        tableId: local.has(foldName(object.name)) || isVirtual(object.sql) ? null : next++,
      };
    const id = ids.get(`table/${foldName(table.from)}`) ?? null;
    const shape = before.get(foldName(table.from));
    if (id === null || shape === undefined) return { ...object, tableId: id };
    const now = shapeOf(readTable(query, object.name), id);
    return { ...object, tableId: sameKey(shape, now, placesOf(shape, now, table)) ? id : next++ };
  });
}

const isVirtual = (sql: string): boolean => /^\s*CREATE\s+VIRTUAL\b/i.test(sql);

/** Maps every table of the old schema. */
export function mapTables(
  before: readonly TableShape[],
  after: readonly TableShape[],
  tables: readonly AppliedTable[],
): TableMapping[] {
  const byId = new Map(after.map((s) => [s.id, s]));
  const byFrom = new Map(tables.flatMap((t) => (t.from === null ? [] : [[foldName(t.from), t] as const])));
  return before.map((shape) => {
    const now = byId.get(shape.id) ?? null;
    const table = byFrom.get(foldName(shape.name));
    return { before: shape, after: now, places: now === null ? [] : placesOf(shape, now, table) };
  });
}

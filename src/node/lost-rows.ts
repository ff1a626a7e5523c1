/**
 * Rows of this node that a change of the schema by others leaves no room for: kept in the file, in the transaction in which
 * they go, until they are in the cluster's conflict journal.
 */
import { foldName } from "../base/names.ts";
import type { DatabaseSync } from "node:sqlite";
import { encodeImage } from "../change/codec.ts";
import type { Value } from "../change/value.ts";
import { exactRows } from "../schema/exact-rows.ts";
import { LIVE_TABLES } from "../schema/live-tables.ts";
import type { LostRows } from "../schema/schema-entry.ts";
import { declaredColumns } from "../change/shape.ts";
import { shapeInFile } from "./live-schema.ts";

/** Rows that go into the journal at once. */
const AT_ONCE = 500;
/** More rows of one table are not kept: the journal would not, either. */
const KEPT = 10_000;

const isThere = (db: DatabaseSync): boolean =>
  db.prepare(`SELECT 1 FROM main.sqlite_schema WHERE name = '__marmot__lost'`).get() !== undefined;

const encoded = (image: readonly Value[]): string => Buffer.from(encodeImage(image)).toString("base64");

/** Inside a write transaction. */
export function keepLost(
  db: DatabaseSync,
  lost: Omit<LostRows, "id" | "rows">,
  images: Iterable<readonly Value[]>,
): void {
  db.exec(LIVE_TABLES.lost); // a file of format 1 has none
  const insert = db.prepare(`INSERT INTO "__marmot__lost"("rows") VALUES(?)`);
  let rows: string[] = [];
  const flush = (): void => {
    if (rows.length > 0) insert.run(JSON.stringify({ ...lost, rows }));
    rows = [];
  };
  let kept = 0;
  for (const image of images) {
    if (++kept > KEPT) break;
    if (rows.push(encoded(image)) >= AT_ONCE) flush();
  }
  flush();
}

/** All rows of a table of the file, or some columns of them beside what names a row. Inside a write transaction. */
export function keepTable(
  db: DatabaseSync,
  table: string,
  columns: readonly string[] | null,
  reason: string,
  encoding: string,
): void {
  const shape = shapeInFile(db, table, 0);
  if (shape === null) return;
  const names = shape.columns.map((c) => c.name);
  const declared = new Set(declaredColumns(shape).map((c) => c.name));
  const wanted = new Set((columns ?? [...declared]).map(foldName));
  const places = names.flatMap((name, i) => (shape.key.includes(i) || wanted.has(foldName(name)) ? [i] : []));
  const lost = { table, columns: places.map((i) => names[i]!), reason };
  // Read before anything is written: the statement must be done when tables change.
  const images = [...exactRows(db, shape, encoding)].map((row) => places.map((i) => row[i]!));
  keepLost(db, lost, images);
}

/** The next of what is kept; null: nothing is. */
export function nextLost(db: DatabaseSync): LostRows | null {
  if (!isThere(db)) return null;
  const row = db.prepare(`SELECT "id", "rows" FROM "__marmot__lost" ORDER BY "id" LIMIT 1`).get() as
    { id: number; rows: string } | undefined;
  return row === undefined ? null : { id: row.id, ...(JSON.parse(row.rows) as Omit<LostRows, "id">) };
}

/** It is in the journal. */
export function forgetLost(db: DatabaseSync, id: number): void {
  if (isThere(db)) db.prepare(`DELETE FROM "__marmot__lost" WHERE "id" = ?`).run(id);
}

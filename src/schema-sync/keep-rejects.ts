/**
 * Rows of this node that a change of the schema by others leaves no room for: kept in the file, in the transaction in which
 * they go, until they are in the cluster's conflict journal.
 */
import { foldName } from "../base/names.ts";
import type { DatabaseSync } from "node:sqlite";
import { encodeImage } from "../change/codec.ts";
import type { Value } from "../change/value.ts";
import { exactRows } from "../rows/exact-rows.ts";
import type { RejectsOfTable } from "../schema/diff/schema-entry.ts";
import { declaredColumns } from "../change/shape.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { shapeInFile } from "./detect-change.ts";
import { saveLost } from "./rejects-file.ts";

/** Rows that go into the journal at once. */
const AT_ONCE = 500;
/** More rows of one table go into a file of this node: the journal would forget the first, and those of others. */
const JOURNALLED = 10_000;

const encoded = (image: readonly Value[]): string => Buffer.from(encodeImage(image)).toString("base64");

/** Inside a write transaction. `images` may be read from the file meanwhile. */
export function keepLost(
  db: DatabaseSync,
  lost: Omit<RejectsOfTable, "id" | "rows">,
  images: Iterable<readonly Value[]>,
): void {
  const insert = db.prepare(`INSERT INTO "__marmot__lost"("rows") VALUES(?)`);
  let rows: string[] = [];
  const flush = (): void => {
    if (rows.length > 0) insert.run(JSON.stringify({ ...lost, rows }));
    rows = [];
  };
  for (const image of images) if (rows.push(encoded(image)) >= AT_ONCE) flush();
  flush();
}

/** Rows of tables that stay, in the order in which they left. */
export function keepRejected(
  db: DatabaseSync,
  rejected: readonly (Omit<RejectsOfTable, "id" | "rows"> & { readonly values: readonly Value[] })[],
): void {
  const alike = Map.groupBy(rejected, ({ table, columns, reason }) =>
    JSON.stringify([table, columns, reason]),
  );
  for (const rows of alike.values()) {
    const { table, columns, reason } = rows[0]!;
    keepLost(
      db,
      { table, columns, reason },
      rows.map(({ values }) => values),
    );
  }
}

export interface KeepTableOptions {
  readonly table: string;
  /** null: all. */
  readonly columns: readonly string[] | null;
  readonly reason: string;
  readonly encoding: string;
  /** Where rows go that are too many for the journal, and the schema's version under which they do. */
  readonly file: string;
  readonly version: number;
}

/**
 * All rows of a table of the file, or some columns of them beside what names a row. Inside a write transaction. Returns what
 * was saved in `file` because it is too much for the journal; null: nothing was.
 */
export function keepTable(
  db: DatabaseSync,
  { table, columns, reason, encoding, file, version }: KeepTableOptions,
): { readonly name: string; readonly rows: number } | null {
  const shape = shapeInFile(db, table, 0);
  if (shape === null) return null;
  const names = shape.columns.map((c) => c.name);
  const declared = new Set(declaredColumns(shape).map((c) => c.name));
  const wanted = new Set((columns ?? [...declared]).map(foldName));
  const places = names.flatMap((name, i) => (shape.key.includes(i) || wanted.has(foldName(name)) ? [i] : []));
  const kept = places.map((i) => names[i]!);
  function* images(limit: number): Generator<Value[], void> {
    let given = 0;
    for (const row of exactRows(db, shape!, encoding)) {
      if (++given > limit) return;
      yield places.map((i) => row[i]!);
    }
  }
  keepLost(db, { table, columns: kept, reason }, images(JOURNALLED));
  const { rows } = db.prepare(`SELECT count(*) AS rows FROM main.${quoteIdentifier(table)}`).get() as {
    rows: number;
  };
  if (rows <= JOURNALLED) return null;
  const all = images(Number.POSITIVE_INFINITY);
  return { name: saveLost(file, { table, version, columns: kept, rows: all }, encoding), rows };
}

/** The next of what is kept; null: nothing is. */
export function nextLost(db: DatabaseSync): RejectsOfTable | null {
  const row = db.prepare(`SELECT "id", "rows" FROM "__marmot__lost" ORDER BY "id" LIMIT 1`).get() as
    { id: number; rows: string } | undefined;
  return row === undefined ? null : { id: row.id, ...(JSON.parse(row.rows) as Omit<RejectsOfTable, "id">) };
}

/** It is in the journal. */
export function forgetLost(db: DatabaseSync, id: number): void {
  db.prepare(`DELETE FROM "__marmot__lost" WHERE "id" = ?`).run(id);
}

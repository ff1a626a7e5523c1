/**
 * Rows of this node that a schema change of another node rejects: stored in the file, in the transaction that removes them,
 * until they are in the conflict journal of the cluster.
 */
import { foldName } from "../base/names.ts";
import type { DatabaseSync } from "node:sqlite";
import { encodeImage } from "../change/codec.ts";
import type { Value } from "../change/value.ts";
import { exactRows } from "../rows/exact-rows.ts";
import type { RejectsOfTable } from "../schema/diff/schema-entry.ts";
import { declaredColumns } from "../change/shape.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { integer, readRow, text } from "../sqlite/typed-rows.ts";
import { shapeInFile } from "./detect-change.ts";
import { saveRejects } from "./rejects-file.ts";

/** Rows that enter the journal in one entry. */
const AT_ONCE = 500;
/** If a table has more rejected rows, they go into a file of this node: the journal would drop its oldest entries. */
const JOURNALLED = 10_000;

const encoded = (image: readonly Value[]): string => Buffer.from(encodeImage(image)).toString("base64");

/** Inside a write transaction. `images` may read from the file during the call. */
export function keepRejects(
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

/** Rejected rows of tables that remain, in the order of their removal. */
export function keepRejectedRows(
  db: DatabaseSync,
  rejected: readonly (Omit<RejectsOfTable, "id" | "rows"> & { readonly values: readonly Value[] })[],
): void {
  const alike = Map.groupBy(rejected, ({ table, columns, reason }) =>
    JSON.stringify([table, columns, reason]),
  );
  for (const rows of alike.values()) {
    const { table, columns, reason } = rows[0]!;
    keepRejects(
      db,
      { table, columns, reason },
      rows.map(({ values }) => values),
    );
  }
}

interface KeepTableOptions {
  readonly table: string;
  /** null: all. */
  readonly columns: readonly string[] | null;
  readonly reason: string;
  readonly encoding: string;
  /** The file for rows that are too many for the journal, and the schema version that rejects them. */
  readonly file: string;
  readonly version: number;
}

/**
 * Keeps all rows of a table of the file, or the given columns and the key of each row. Inside a write transaction. Returns the
 * saved table in `file` if the rows are too many for the journal; null: they are not.
 */
export function keepRejectedTable(
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
  keepRejects(db, { table, columns: kept, reason }, images(JOURNALLED));
  const count = db.prepare(`SELECT count(*) AS rows FROM main.${quoteIdentifier(table)}`).get();
  const { rows } = readRow(count, { rows: integer });
  if (rows <= JOURNALLED) return null;
  const all = images(Number.POSITIVE_INFINITY);
  return { name: saveRejects(file, { table, version, columns: kept, rows: all }, encoding), rows };
}

/** The next kept rows; null: none are kept. */
export function nextRejects(db: DatabaseSync): RejectsOfTable | null {
  const row = db.prepare(`SELECT "id", "rows" FROM "__marmot__lost" ORDER BY "id" LIMIT 1`).get();
  if (row === undefined) return null;
  const { id, rows } = readRow(row, { id: integer, rows: text });
  return { id, ...(JSON.parse(rows) as Omit<RejectsOfTable, "id">) };
}

/** Removes kept rows that are in the journal now. */
export function forgetRejects(db: DatabaseSync, id: number): void {
  db.prepare(`DELETE FROM "__marmot__lost" WHERE "id" = ?`).run(id);
}

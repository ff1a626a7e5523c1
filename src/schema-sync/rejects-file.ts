/**
 * Rejected rows that are too many for the conflict journal: saved in a SQLite file of the data directory, from which a user
 * can restore them.
 */
import type { DatabaseSync } from "node:sqlite";
import { TextBytes, type Value } from "../change/value.ts";
import { openDatabase } from "../sqlite/open.ts";
import { quoteIdentifier, quoteText } from "../sqlite/quote.ts";
import { commitAfter } from "../sqlite/transaction.ts";

interface RejectedTable {
  /** The table of the application. */
  readonly table: string;
  /** The schema version that rejected its rows. */
  readonly version: number;
  readonly columns: readonly string[];
  readonly rows: Iterable<readonly Value[]>;
}

/** Durable on return; a repeated call replaces the table. Returns the name of the table in `file`. */
export function saveRejects(
  file: string,
  { table, version, columns, rows }: RejectedTable,
  encoding: string,
): string {
  const name = `${table} (schema ${version})`;
  const db = openDatabase(file, { timeout: 1000 });
  try {
    db.exec(`PRAGMA encoding = ${quoteText(encoding)}; PRAGMA synchronous = FULL; BEGIN IMMEDIATE`);
    commitAfter(db, () => write(db, name, columns, rows));
  } finally {
    db.close();
  }
  return name;
}

function write(
  db: DatabaseSync,
  name: string,
  columns: readonly string[],
  rows: Iterable<readonly Value[]>,
): void {
  const quoted = `main.${quoteIdentifier(name)}`;
  db.exec(
    `DROP TABLE IF EXISTS ${quoted}; CREATE TABLE ${quoted}(${columns.map(quoteIdentifier).join(", ")})`,
  );
  const bytes = columns.map(
    (_, i) => `CASE ?${2 * i + 1} WHEN 1 THEN CAST(?${2 * i + 2} AS TEXT) ELSE ?${2 * i + 2} END`,
  );
  const insert = db.prepare(`INSERT INTO ${quoted} VALUES(${bytes.join(", ")})`);
  for (const row of rows) insert.run(...row.flatMap((v) => (v instanceof TextBytes ? [1, v.bytes] : [0, v])));
}

/** Database files that are built or received under a temporary name and then renamed. */
import { closeSync, fsyncSync, openSync, renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { openDatabase } from "../../sqlite/open.ts";
import { quoteIdentifier, quoteText } from "../../sqlite/quote.ts";
import type { TableShape } from "../../change/shape.ts";

/** Syncs a folder, so that a rename in it survives a power cut. */
export function syncFolder(folder: string): void {
  if (process.platform === "win32") return;
  const descriptor = openSync(folder, "r");
  fsyncSync(descriptor);
  closeSync(descriptor);
}

export function syncFile(path: string): void {
  const descriptor = openSync(path, "r+");
  fsyncSync(descriptor);
  closeSync(descriptor);
}

export function removeDatabase(path: string): void {
  for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(path + suffix, { force: true });
}

/** Renames a finished database that has no WAL to its final name, atomically and durably. */
export function publish(from: string, to: string): void {
  syncFile(from);
  renameSync(from, to);
  syncFolder(dirname(to));
}

/** Opens a new database that is filled in one transaction: without a journal, and without checks of the rows. */
export function openForFilling(path: string, encoding: string): DatabaseSync {
  const db = openDatabase(path);
  db.exec(`PRAGMA encoding = ${quoteText(encoding)}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF`);
  db.exec("PRAGMA ignore_check_constraints = ON; PRAGMA cache_size = -64000");
  return db;
}

/**
 * Attaches a database as `source`, read-only. The main database, to which nothing is written yet, gets its format: the
 * size of pages, and whether freed pages return to the disk.
 */
export function attachSource(db: DatabaseSync, path: string): void {
  db.exec(`ATTACH ${quoteText(`${pathToFileURL(path).href}?mode=ro`)} AS source`);
  const { page_size: pageSize } = db.prepare("PRAGMA source.page_size").get() as { page_size: number };
  const { auto_vacuum: vacuum } = db.prepare("PRAGMA source.auto_vacuum").get() as { auto_vacuum: number };
  db.exec(`PRAGMA main.page_size = ${pageSize}; PRAGMA main.auto_vacuum = ${vacuum}`);
}

/** Copies the rows of a table from the attached `source`. Returns their number. */
export function copyTable(db: DatabaseSync, shape: TableShape): number {
  const columns = shape.columns.map((c) => quoteIdentifier(c.name)).join(", ");
  const name = quoteIdentifier(shape.name);
  // With an asterisk SQLite copies the records as they are, where both tables are declared alike.
  const rows = isWhole(db, shape)
    ? `INSERT INTO main.${name} SELECT * FROM source.${name}`
    : `INSERT INTO main.${name}(${columns}) SELECT ${columns} FROM source.${name}`;
  return Number(db.prepare(rows).run().changes);
}

/** The stored columns are all columns, in the same order in both tables. SQLite would give rows without a key other rowids. */
function isWhole(db: DatabaseSync, { name, columns, rowidKey }: TableShape): boolean {
  if (rowidKey) return false;
  const wanted = JSON.stringify(columns.map((c) => c.name));
  return ["main", "source"].every((schema) => {
    const rows = db.prepare(`SELECT name FROM pragma_table_xinfo(?, ?)`).all(name, schema);
    return JSON.stringify(rows.map((row) => String(row.name))) === wanted;
  });
}

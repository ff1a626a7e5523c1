/** The order of objects in `sqlite_schema`, which dumps and listings of a schema follow: that of the application's file. */
import type { DatabaseSync } from "node:sqlite";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { integer, readRows, text } from "../../sqlite/typed-rows.ts";

const AUTOINCREMENT = /\bAUTOINCREMENT\b/i;

/** In a transaction of the caller, on a database that no one else has open. Objects that are not named follow at the end. */
export function orderSchema(db: DatabaseSync, objects: readonly SchemaObject[]): void {
  const rows = readRows(
    db.prepare("SELECT rowid AS id, type, name, tbl_name FROM main.sqlite_schema ORDER BY rowid").all(),
    {
      ...{ id: integer, type: text, name: text, tbl_name: text },
    },
  );
  const own = new Map(rows.map((row) => [`${row.type} ${row.name}`, row]));
  const automatic = Map.groupBy(
    rows.filter((row) => row.name.startsWith("sqlite_autoindex_")),
    (row) => row.tbl_name,
  );
  const wanted = new Set<(typeof rows)[number]>();
  for (const { kind, name, sql } of objects) {
    const row = own.get(`${kind} ${name}`);
    if (row !== undefined) wanted.add(row);
    if (kind !== "table") continue;
    for (const index of automatic.get(name) ?? []) wanted.add(index);
    // SQLite makes it with the first table that needs it.
    const sequence = own.get("table sqlite_sequence");
    if (sequence !== undefined && AUTOINCREMENT.test(sql)) wanted.add(sequence);
  }
  for (const row of rows) wanted.add(row);
  const ids = [...wanted].map((row) => row.id);
  const last = Math.max(0, ...ids);
  db.enableDefensive(false);
  db.exec("PRAGMA writable_schema = ON");
  const move = db.prepare("UPDATE main.sqlite_schema SET rowid = ? WHERE rowid = ?");
  // Beyond the present ids first, so that no id is used twice.
  ids.forEach((id, i) => move.run(last + i + 1, id));
  ids.forEach((_, i) => move.run(i + 1, last + i + 1));
  db.exec("PRAGMA writable_schema = OFF");
  db.enableDefensive(true);
}

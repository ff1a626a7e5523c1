/** Texts written into `sqlite_schema` itself, as https://www.sqlite.org/lang_altertable.html §7 describes. */
import type { DatabaseSync } from "node:sqlite";
import { assert } from "../base/assert.ts";
import { queryOf } from "./query.ts";

/** The caller proved that the text has the structure of the stored rows. Call `reload` before the schema is used. */
export function setText(db: DatabaseSync, kind: "table" | "index", name: string, sql: string): void {
  const { changes } = db
    .prepare("UPDATE main.sqlite_schema SET sql = ? WHERE type = ? AND name = ?")
    .run(sql, kind, name);
  assert(Number(changes) === 1, `the text of one ${kind} is set`);
}

/** A text of the application that SQLite compiles here only in part. Within a transaction, or alone. */
export function writeText(db: DatabaseSync, kind: "table" | "index", name: string, sql: string): void {
  db.enableDefensive(false);
  try {
    db.exec("PRAGMA writable_schema = ON");
    setText(db, kind, name, sql);
    reload(db);
  } finally {
    db.exec("PRAGMA writable_schema = OFF");
    db.enableDefensive(true);
  }
}

/** Makes this connection and all others read the schema again. Only while the schema is writable. */
export function reload(db: DatabaseSync): void {
  const [[version] = [0]] = queryOf(db)("PRAGMA main.schema_version");
  db.exec(`PRAGMA main.schema_version = ${(Number(version) + 1) % 0x7fff_ffff}`);
  db.exec("PRAGMA writable_schema = RESET; PRAGMA writable_schema = ON");
}

/** Questions to SQLite about a schema are asked on an empty database in memory. */
import type { DatabaseSync } from "node:sqlite";
import { errorMessage } from "../base/errors.ts";
import { openDatabase } from "../sqlite/open.ts";
import type { SchemaObject } from "../sqlite/schema.ts";
import { writeText } from "../sqlite/schema-texts.ts";
import { createAsWritten } from "../sqlite/functions/stand-ins.ts";
import { tablesInOrder } from "./virtual-tables.ts";

export function withScratch<T>(use: (db: DatabaseSync) => T): T {
  const db = openDatabase(":memory:");
  try {
    return use(db);
  } finally {
    db.close();
  }
}

/**
 * Creates an object of the application. Its text is as it was written, also where SQLite lacks a function or a collation that
 * it names. Throws what SQLite throws.
 */
export function createObject(db: DatabaseSync, { kind, name, sql }: SchemaObject): void {
  if (kind !== "table" && kind !== "index") db.exec(sql);
  else if (!createAsWritten(db, sql)) writeText(db, kind, name, sql);
}

/** Creates tables, indexes, views and triggers, in this order. Returns the objects that SQLite refused, with its message. */
export function createAll(db: DatabaseSync, objects: readonly SchemaObject[]): Map<SchemaObject, string> {
  const refused = new Map<SchemaObject, string>();
  const others = (["index", "view", "trigger"] as const).flatMap((kind) =>
    objects.filter((o) => o.kind === kind),
  );
  for (const object of [...tablesInOrder(objects), ...others])
    try {
      createObject(db, object);
    } catch (error) {
      refused.set(object, errorMessage(error));
    }
  return refused;
}

/** The application's own schema and rows, copied from a replica into an empty database: for a node's file, and for a backup. */
import type { DatabaseSync } from "node:sqlite";
import { nextTurn } from "../../base/clock.ts";
import { foldName } from "../../base/names.ts";
import type { TableShape } from "../../change/shape.ts";
import { requireWritable, unwritableTables, withCopy } from "../../schema/classify/writable.ts";
import { createObject } from "../../schema/scratch.ts";
import { fillersOf, fillIndex } from "../../schema/fill-index.ts";
import { derivedIndexOf } from "../../schema/search-index.ts";
import { tablesInOrder } from "../../schema/virtual-tables.ts";
import { mentions } from "../../sqlite/ddl-text/index-text.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { isUniqueIndex } from "../../sqlite/schema.ts";
import { readPositions } from "../store/positions.ts";
import { type CatalogueObject, readObjectsOf, readShapes, replicaObjects } from "../store/schema-store.ts";
import { readSettings, type ReplicaSettings } from "../store/settings.ts";
import { copyTable } from "./database-files.ts";

/** The application's schema and the applied positions, read from a replica. */
export interface ReplicaContents {
  readonly settings: ReplicaSettings;
  readonly objects: readonly CatalogueObject[];
  readonly shapes: readonly TableShape[];
  readonly positions: readonly number[];
}

/** `source`: an open replica, of the file `path`. */
export const readContents = (source: DatabaseSync, path: string): ReplicaContents => ({
  settings: readSettings(source, path),
  objects: readObjectsOf(source),
  shapes: readShapes(source),
  positions: readPositions(source),
});

/**
 * Creates objects. One that needs a function or a module of the application is left out where the replicated tables can do
 * without it: a table that does not replicate, and an index that is not UNIQUE, with the triggers and views that name it.
 */
function builder(db: DatabaseSync, objects: readonly CatalogueObject[]): (object: CatalogueObject) => void {
  const missing: string[] = [];
  const { refused, unwritable } = withCopy(objects, (copy) => ({
    refused: new Set([...copy.refused.keys()].map((o) => o.name)),
    unwritable: new Set([...unwritableTables(copy).values()].flat().map((u) => u.index)),
  }));
  return (object) => {
    const { kind, name, tableName, sql, tableId } = object;
    const isNeeded = tableId !== null || isUniqueIndex(object);
    const lacks = missing.some((other) => foldName(other) === foldName(tableName) || mentions(sql, other));
    if (!isNeeded && (refused.has(name) || unwritable.has(name) || (kind !== "table" && lacks)))
      missing.push(name);
    else createObject(db, object);
  };
}

export interface FillOptions {
  readonly onProgress?: ((rows: number, table: string) => void) | undefined;
  /** Indexes with rows of their own, which cannot be filled, are built nonetheless. */
  readonly keepsUnfilled?: boolean;
}

export interface Filled {
  /** Table ⇒ its rows. */
  readonly rows: Readonly<Record<string, number>>;
  /** Indexes that stay empty, or are not built. */
  readonly unfilled: readonly string[];
}

/** Also the numbers of the application in the header. Creates tables and rows first: indexes are cheaper on existing rows, and triggers do not fire. */
export async function fillApplication(
  db: DatabaseSync,
  { objects, shapes, settings: { userVersion, applicationId } }: ReplicaContents,
  { onProgress, keepsUnfilled = false }: FillOptions = {},
): Promise<Filled> {
  const exists = db.prepare("SELECT 1 FROM main.sqlite_schema WHERE name = ?");
  requireWritable(replicaObjects(objects));
  db.exec(`PRAGMA main.user_version = ${userVersion}; PRAGMA main.application_id = ${applicationId}`);
  const build = builder(db, objects);
  for (const object of tablesInOrder(objects)) if (exists.get(object.name) === undefined) build(object); // else a virtual table created it
  const rows: Record<string, number> = {};
  let done = 0;
  for (const shape of shapes) {
    rows[shape.name] = copyTable(db, shape);
    done += rows[shape.name]!;
    onProgress?.(done, shape.name);
    await nextTurn();
  }
  for (const object of objects) if (object.kind !== "table") build(object);
  const built = objects.filter(({ name }) => exists.get(name) !== undefined);
  const unfilled = built.filter((object) => !fillIndexOf(db, object, built)).map(({ name }) => name);
  if (keepsUnfilled) return { rows, unfilled };
  // One that no object names would answer without its rows.
  for (const name of unfilled)
    if (!built.some((o) => o.name !== name && mentions(o.sql, name)))
      db.exec(`DROP TABLE main.${quoteIdentifier(name)}`);
  return { rows, unfilled };
}

/** False: an index with rows of its own, and without a trigger that fills it. */
function fillIndexOf(db: DatabaseSync, object: CatalogueObject, built: readonly CatalogueObject[]): boolean {
  const index = derivedIndexOf(object);
  if (index === null) return true;
  const { kind, name } = index;
  const hasContent = built.some((o) => foldName(o.name) === foldName(index.content));
  if (kind === "external" ? hasContent : fillersOf(built, name).length > 0)
    fillIndex((sql) => db.exec(sql), index, built);
  else return kind === "external";
  return true;
}

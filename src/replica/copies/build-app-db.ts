/** Builds an app database for a node that has none: the replica's rows under the application's own schema, verbatim. */
import { nextTurn } from "../../base/clock.ts";
import { existsSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { UserError } from "../../base/errors.ts";
import type { TableShape } from "../../change/shape.ts";
import { foldName } from "../../base/names.ts";
import { requireWritable, unwritableTables, withCopy } from "../../schema/classify/writable.ts";
import { createObject } from "../../schema/scratch.ts";
import { builtElsewhere } from "../../schema/selection.ts";
import { mentions } from "../../sqlite/ddl-text/index-text.ts";
import { fillersOf, fillIndex } from "../../schema/fill-index.ts";
import { derivedIndexOf } from "../../schema/search-index.ts";
import { isUniqueIndex } from "../../sqlite/schema.ts";
import { tablesInOrder } from "../../schema/virtual-tables.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { readPositions } from "../store/positions.ts";
import { type CatalogueObject, readObjectsOf, readShapes, replicaObjects } from "../store/schema-store.ts";
import { readSettings, type ReplicaSettings } from "../store/settings.ts";
import { attachSource, copyTable, openForFilling, publish, removeDatabase } from "./database-files.ts";

/** The application's schema and the applied positions, read from a replica. */
interface ReplicaContents {
  readonly settings: ReplicaSettings;
  readonly objects: readonly CatalogueObject[];
  readonly shapes: readonly TableShape[];
  readonly positions: readonly number[];
}

interface BuildAppDbOptions {
  readonly replica: string;
  /** Path of the new file. An existing file is never replaced. */
  readonly appDb: string;
  /** Called on the unfinished file, which has all rows, with the positions that it reflects: installs capture. */
  readonly prepare: (
    db: DatabaseSync,
    settings: ReplicaSettings,
    shapes: readonly TableShape[],
    position: readonly number[],
  ) => void;
  readonly onProgress?: (rows: number) => void;
}

export async function buildAppDb({ replica, appDb, prepare, onProgress }: BuildAppDbOptions): Promise<void> {
  mkdirSync(dirname(appDb), { recursive: true });
  // In the same folder: a file cannot be renamed from a data directory on another file system.
  const fresh = `${appDb}.receiving`;
  removeDatabase(fresh);
  const contents = readContents(replica);
  const { settings, shapes, positions } = contents;
  const db = openForFilling(fresh, settings.encoding);
  try {
    attachSource(db, replica);
    db.exec(
      `PRAGMA user_version = ${settings.userVersion}; PRAGMA application_id = ${settings.applicationId}`,
    );
    db.exec("BEGIN");
    await fill(db, contents, onProgress);
    db.exec("COMMIT; DETACH source; PRAGMA journal_mode = WAL");
    prepare(db, settings, shapes, positions);
  } catch (error) {
    db.close();
    removeDatabase(fresh);
    throw error;
  }
  db.close();
  if (existsSync(appDb))
    throw new UserError(
      `${appDb} appeared while it was being received`,
      "move it away, or start the node again to have it compared",
    );
  publish(fresh, appDb);
}

function readContents(replica: string): ReplicaContents {
  const source = openDatabase(replica, { readOnly: true });
  try {
    const settings = readSettings(source, replica);
    return {
      settings,
      objects: builtElsewhere(readObjectsOf(source), settings.selection),
      shapes: readShapes(source),
      positions: readPositions(source),
    };
  } finally {
    source.close();
  }
}

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

/** Creates tables and rows first: indexes are cheaper on existing rows, and triggers do not fire. */
async function fill(
  db: DatabaseSync,
  { objects, shapes }: ReplicaContents,
  onProgress: ((rows: number) => void) | undefined,
): Promise<void> {
  const exists = db.prepare("SELECT 1 FROM main.sqlite_schema WHERE name = ?");
  requireWritable(replicaObjects(objects));
  const build = builder(db, objects);
  for (const object of tablesInOrder(objects)) if (exists.get(object.name) === undefined) build(object); // else a virtual table created it
  let rows = 0;
  for (const shape of shapes) {
    rows += copyTable(db, shape);
    onProgress?.(rows);
    await nextTurn();
  }
  for (const object of objects) if (object.kind !== "table") build(object);
  const built = objects.filter(({ name }) => exists.get(name) !== undefined);
  for (const object of built) fillIndexOf(db, object, built);
}

/** An index without a trigger that fills it would answer without the rows: it is not built. */
function fillIndexOf(db: DatabaseSync, object: CatalogueObject, built: readonly CatalogueObject[]): void {
  const index = derivedIndexOf(object);
  if (index === null) return;
  const isKept = index.kind === "external" || fillersOf(built, index.name).length > 0;
  const hasContent =
    index.kind !== "external" || built.some((o) => foldName(o.name) === foldName(index.content));
  if (isKept && hasContent) fillIndex((sql) => db.exec(sql), index, built);
  else if (!built.some((o) => o.name !== index.name && mentions(o.sql, index.name)))
    db.exec(`DROP TABLE main.${quoteIdentifier(index.name)}`);
}

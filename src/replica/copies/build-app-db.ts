/** A live file for a node that has none: the replica's rows under the application's own schema, byte for byte. */
import { existsSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { UserError } from "../../base/errors.ts";
import { foldName } from "../../base/names.ts";
import { unwritableTables, withCopy } from "../../schema/classify/writable.ts";
import { createObject } from "../../schema/scratch.ts";
import { builtElsewhere } from "../../schema/selection.ts";
import { mentions } from "../../sqlite/ddl-text/index-text.ts";
import { searchIndexOf } from "../../schema/search-index.ts";
import { tablesInOrder } from "../../schema/virtual-tables.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { quoteIdentifier, quoteText } from "../../sqlite/quote.ts";
import { publish, removeDatabase, yieldToLoop } from "./initial-import.ts";
import { type CatalogueObject, readObjectsOf, readShapes } from "../store/schema-store.ts";
import type { TableShape } from "../../change/shape.ts";
import { readSettings, type ReplicaSettings } from "../store/settings.ts";

export interface BuildAppDbOptions {
  readonly replica: string;
  /** Where the file goes; never over one that is there. */
  readonly appDb: string;
  /** Called on the unfinished file with every row in it and the positions it shows: capture is installed here. */
  readonly prepare: (
    db: DatabaseSync,
    settings: ReplicaSettings,
    shapes: readonly TableShape[],
    position: readonly number[],
  ) => void;
  readonly onProgress?: (rows: number) => void;
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
    const isNeeded = tableId !== null || (kind === "index" && /^\s*CREATE\s+UNIQUE\b/i.test(sql));
    const lacks = missing.find((other) => foldName(other) === foldName(tableName) || mentions(sql, other));
    if (!isNeeded && (refused.has(name) || unwritable.has(name) || (kind !== "table" && lacks !== undefined)))
      missing.push(name);
    else createObject(db, object);
  };
}

export async function buildAppDb({ replica, appDb, prepare, onProgress }: BuildAppDbOptions): Promise<void> {
  mkdirSync(dirname(appDb), { recursive: true });
  // Beside its place: the data directory may lie on another file system, from which nothing can be renamed.
  const fresh = `${appDb}.receiving`;
  removeDatabase(fresh);
  const source = openDatabase(replica, { readOnly: true });
  const settings = readSettings(source, replica);
  const objects = builtElsewhere(readObjectsOf(source), settings.selection);
  const shapes = readShapes(source);
  const positions = source.prepare(`SELECT "idx" FROM "__marmot__position" ORDER BY "shard"`).all() as {
    idx: number;
  }[];
  source.close();
  const db = openDatabase(fresh);
  try {
    db.exec(
      `PRAGMA encoding = ${quoteText(settings.encoding)}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF`,
    );
    db.exec("PRAGMA ignore_check_constraints = ON; PRAGMA cache_size = -64000");
    db.exec(
      `PRAGMA user_version = ${settings.userVersion}; PRAGMA application_id = ${settings.applicationId}`,
    );
    db.exec(`ATTACH ${quoteText(`${pathToFileURL(replica).href}?mode=ro`)} AS replica; BEGIN`);
    // Tables and rows first; indexes, views and triggers on rows that are there are cheaper, and fire nothing.
    const exists = db.prepare("SELECT 1 FROM main.sqlite_schema WHERE name = ?");
    const build = builder(db, objects);
    for (const object of tablesInOrder(objects)) if (exists.get(object.name) === undefined) build(object); // else a virtual table made it
    let rows = 0;
    for (const shape of shapes) {
      const columns = shape.columns.map((c) => quoteIdentifier(c.name)).join(", ");
      const name = quoteIdentifier(shape.name);
      const { changes } = db
        .prepare(`INSERT INTO main.${name}(${columns}) SELECT ${columns} FROM replica.${name}`)
        .run();
      rows += Number(changes);
      onProgress?.(rows);
      await yieldToLoop();
    }
    for (const object of objects) if (object.kind !== "table") build(object);
    for (const object of objects) {
      const index = searchIndexOf(object);
      if (index === null || exists.get(index.content) === undefined || exists.get(index.name) === undefined)
        continue;
      const name = quoteIdentifier(index.name);
      db.exec(`INSERT INTO ${name}(${name}) VALUES('rebuild')`);
    }
    db.exec("COMMIT; DETACH replica; PRAGMA journal_mode = WAL");
    prepare(
      db,
      settings,
      shapes,
      positions.map((p) => p.idx),
    );
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

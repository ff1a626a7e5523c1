/** Initial import: the first replica of a cluster, made from one read snapshot of the app database, at position 1. */
import { nextTurn } from "../../base/clock.ts";
import { chmodSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { Checksums } from "../apply/checksums.ts";
import { sumRows } from "../migrate/row-metadata.ts";
import { indexForeignKeys } from "../references/foreign-key-indexes.ts";
import { writeLocal } from "../store/local.ts";
import { readRouting } from "../store/row-routing.ts";
import { type CatalogueObject, createSchema, readShapes } from "../store/schema-store.ts";
import { type ReplicaSettings, writeSettings } from "../store/settings.ts";
import { attachSource, copyTable, openForFilling, publish, removeDatabase } from "./database-files.ts";
import type { TableShape } from "../../change/shape.ts";
import { integer, readRow } from "../../sqlite/typed-rows.ts";

interface InitialImportOptions {
  /** Path of the new replica; no file may exist there. */
  readonly path: string;
  /** The app database, with capture installed. */
  readonly appDb: string;
  readonly settings: ReplicaSettings;
  readonly objects: readonly CatalogueObject[];
  readonly peerId: string;
  /** Table id ⇒ name of its change log in the app database. */
  readonly logs: ReadonlyMap<number, string>;
  readonly onProgress?: (rows: number, total: number) => void;
}

/** A crash before the end leaves only `<path>.new`, which the next attempt removes. */
export async function createReplica(options: InitialImportOptions): Promise<void> {
  const { path, settings } = options;
  const fresh = `${path}.new`;
  removeDatabase(fresh);
  const db = openForFilling(fresh, settings.encoding);
  chmodSync(fresh, 0o600);
  try {
    await fill(db, options);
  } catch (error) {
    db.close();
    removeDatabase(fresh);
    throw error;
  }
  db.close();
  publish(fresh, path);
}

async function fill(db: DatabaseSync, options: InitialImportOptions): Promise<void> {
  const { appDb, settings, objects, peerId, onProgress } = options;
  attachSource(db, appDb);
  db.exec("BEGIN");
  createSchema(db, objects);
  writeSettings(db, settings);
  writeLocal(db, "peer_id", peerId);
  const shapes = readShapes(db);
  // The first read begins the snapshot of the app database: change logs and rows are of the same moment.
  storeWatermarks(db, shapes, options);
  let total = 0;
  for (const shape of shapes) {
    total += copyTable(db, shape);
    await nextTurn();
  }
  indexForeignKeys(db, shapes);
  await nextTurn();
  await fillChecksums(db, shapes, settings, (rows) => onProgress?.(rows, total));
  onProgress?.(total, total);
  const position = db.prepare(`INSERT INTO "__marmot__position" VALUES(?, 1, 1)`);
  for (let shard = 0; shard < settings.shards; shard++) position.run(shard);
  db.exec("COMMIT; DETACH source");
}

/** The import contains all rows of the change logs: they count as ordered. */
function storeWatermarks(
  db: DatabaseSync,
  shapes: readonly TableShape[],
  { settings, peerId, logs }: InitialImportOptions,
): void {
  const insert = db.prepare(`INSERT INTO "__marmot__watermark" VALUES(?, ?, ?, ?)`);
  const kept = settings.transactions === "whole" ? 1 : settings.shards;
  for (const { id } of shapes) {
    const log = quoteIdentifier(logs.get(id)!);
    const row = db.prepare(`SELECT coalesce(max(id), 0) AS top FROM source.${log}`).get();
    const { top } = readRow(row, { top: integer });
    for (let shard = 0; shard < kept; shard++) insert.run(peerId, shard, id, top);
  }
}

async function fillChecksums(
  db: DatabaseSync,
  shapes: readonly TableShape[],
  settings: ReplicaSettings,
  onProgress: (rows: number) => void,
): Promise<void> {
  const checksums = new Checksums(db);
  const source = { db, routing: readRouting(db, shapes, settings), encoding: settings.encoding };
  let done = 0;
  for (const shape of shapes)
    for (const rows of sumRows(shape, source, checksums)) {
      onProgress((done += rows));
      await nextTurn();
    }
  checksums.flush();
}

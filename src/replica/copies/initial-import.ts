/** The first node's replica: the application's file as it is, in one read snapshot, at position 1 of every shard. */
import { chmodSync, closeSync, fsyncSync, openSync, renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { encodeImage, imageHash } from "../../change/codec.ts";
import { keyIdOfImage } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Value } from "../../change/value.ts";
import { exactRows } from "../../rows/exact-rows.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { copyFormat } from "./file-format.ts";
import { quoteIdentifier, quoteText } from "../../sqlite/quote.ts";
import { readForeignKeys } from "../../schema/foreign-keys.ts";
import { queryOf } from "../../sqlite/query.ts";
import { Checksums } from "../apply/checksums.ts";
import { indexForeignKeys } from "../references/checked-foreign-key.ts";
import { readRouting } from "../store/row-routing.ts";
import { type CatalogueObject, createSchema, readShapes } from "../store/schema-store.ts";
import { type ReplicaSettings, writeSettings } from "../store/settings.ts";

export interface InitialImportOptions {
  /** Where the replica goes; must not exist. */
  readonly path: string;
  /** The application's file, with capture installed. */
  readonly appDb: string;
  readonly settings: ReplicaSettings;
  readonly objects: readonly CatalogueObject[];
  readonly peerId: string;
  /** Table id ⇒ change log's name in the file. */
  readonly logs: ReadonlyMap<number, string>;
  readonly onProgress?: (rows: number, total: number) => void;
}

/** Rows hashed between two turns of the event loop. */
const SLICE = 5000;

export const yieldToLoop = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Makes sure that a rename in `folder` survives a power cut. */
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

/** Puts a finished database in its place: no WAL, durable, atomically. */
export function publish(from: string, to: string): void {
  syncFile(from);
  renameSync(from, to);
  syncFolder(dirname(to));
}

/** A crash before the end leaves only `<path>.new`, which the next attempt removes. */
export async function createReplica(options: InitialImportOptions): Promise<void> {
  const { path, appDb, settings, objects, peerId, logs } = options;
  const fresh = `${path}.new`;
  removeDatabase(fresh);
  const db = openDatabase(fresh);
  chmodSync(fresh, 0o600);
  try {
    db.exec(
      `PRAGMA encoding = ${quoteText(settings.encoding)}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF`,
    );
    db.exec("PRAGMA ignore_check_constraints = ON; PRAGMA cache_size = -64000");
    db.exec(`ATTACH ${quoteText(`${pathToFileURL(appDb).href}?mode=ro`)} AS live`);
    copyFormat(db, "live");
    db.exec("BEGIN");
    createSchema(db, objects);
    writeSettings(db, settings);
    db.prepare(`INSERT INTO "__marmot__local_node" VALUES('peer_id', ?)`).run(peerId);
    const shapes = readShapes(db);
    // Reading any of these begins the snapshot of the live file; all are in it.
    const watermark = db.prepare(`INSERT INTO "__marmot__watermark" VALUES(?, ?, ?, ?)`);
    for (const shape of shapes) {
      const log = quoteIdentifier(logs.get(shape.id)!);
      const { top } = db.prepare(`SELECT coalesce(max(id), 0) AS top FROM live.${log}`).get() as {
        top: number;
      };
      const kept = settings.transactions === "whole" ? 1 : settings.shards;
      for (let shard = 0; shard < kept; shard++) watermark.run(peerId, shard, shape.id, top);
    }
    let total = 0;
    for (const shape of shapes) {
      const columns = shape.columns.map((c) => quoteIdentifier(c.name)).join(", ");
      const name = quoteIdentifier(shape.name);
      const { changes } = db
        .prepare(`INSERT INTO main.${name}(${columns}) SELECT ${columns} FROM live.${name}`)
        .run();
      total += Number(changes);
      await yieldToLoop();
    }
    indexForeignKeys(db, readForeignKeys(queryOf(db), shapes));
    await yieldToLoop();
    await fillChecksums(db, shapes, settings, (rows) => options.onProgress?.(rows, total));
    const position = db.prepare(`INSERT INTO "__marmot__position" VALUES(?, 1, 1)`);
    for (let shard = 0; shard < settings.shards; shard++) position.run(shard);
    db.exec("COMMIT; DETACH live");
  } catch (error) {
    db.close();
    removeDatabase(fresh);
    throw error;
  }
  db.close();
  publish(fresh, path);
}

/** Sums the hashes of all rows by table and shard. */
async function fillChecksums(
  db: DatabaseSync,
  shapes: readonly TableShape[],
  settings: ReplicaSettings,
  onProgress: (rows: number) => void,
): Promise<void> {
  const checksums = new Checksums(db);
  const routing = readRouting(db, shapes, settings);
  let done = 0;
  for (const shape of shapes)
    for (const image of exactRows(db, shape, settings.encoding)) {
      const shard = routing.shardOf(shape, keyIdOfImage(shape, image as Value[]));
      checksums.add(shape.id, shard, imageHash(encodeImage(image)));
      if (++done % SLICE === 0) {
        onProgress(done);
        await yieldToLoop();
      }
    }
  checksums.flush();
  onProgress(done);
}

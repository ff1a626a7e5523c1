/** Reads the rows of an app database that the cluster does not have, as far as the file is readable. */
import type { DatabaseSync } from "node:sqlite";
import { errorMessage } from "../../base/errors.ts";
import type { PeerId } from "../../base/ids.ts";
import { readCaptured, readMeta } from "../../capture/install.ts";
import { keyOfImage } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Image } from "../../change/value.ts";
import { readShapes } from "../../replica/store/schema-store.ts";
import { readSettings } from "../../replica/store/settings.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";
import { exactRows } from "../../rows/exact-rows.ts";
import { RowAccess } from "../../rows/row-access.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { FilePair } from "./file-pair.ts";

export interface KeptRow {
  readonly shape: TableShape;
  readonly image: Image;
}

export interface Salvage {
  readonly rows: readonly KeptRow[];
  /** Names of tables that could not be read whole, with the reason. */
  readonly unreadable: readonly { readonly table: string; readonly reason: string }[];
}

/**
 * Of a file of this node: rows with unacknowledged log rows that the replica has otherwise. Of any other file: rows whose key
 * the replica does not have. A deleted row is no row.
 */
export function salvage(file: string, paths: DataPaths, peerId: PeerId): Salvage {
  const replica = openDatabase(paths.replica, { readOnly: true });
  const rows: KeptRow[] = [];
  const unreadable: { table: string; reason: string }[] = [];
  const failed = (table: string, error: unknown): void =>
    void unreadable.push({ table, reason: errorMessage(error) });
  let db: DatabaseSync | null = null;
  try {
    db = openAppDb(file);
    if (isOwn(db, file, peerId)) {
      const pair = new FilePair(db, replica, { peerId, replicaFile: paths.replica });
      pair.onUnreadable = (shape, error) => failed(shape.name, error);
      for (const { shape, image } of pair.ownRows()) if (image !== null) rows.push({ shape, image });
    } else {
      const { encoding } = readSettings(replica, paths.replica);
      for (const shape of readShapes(replica)) {
        try {
          for (const image of unknownRows(db, replica, shape, encoding)) rows.push({ shape, image });
        } catch (error) {
          failed(shape.name, error);
        }
      }
    }
  } catch (error) {
    failed("the file", error);
  } finally {
    db?.close();
    replica.close();
  }
  return { rows, unreadable };
}

const isOwn = (db: DatabaseSync, file: string, peerId: PeerId): boolean =>
  readMeta(db, file)?.peerId === peerId && readCaptured(db) !== null;

/** Rows of the file with keys that the replica does not have. A table that the file does not have so throws. */
function* unknownRows(
  db: DatabaseSync,
  replica: DatabaseSync,
  shape: TableShape,
  encoding: string,
): Generator<Image, void> {
  const there = new RowAccess(replica, shape, encoding);
  for (const image of exactRows(db, shape, encoding))
    if (there.get(keyOfImage(shape, image)) === null) yield image;
}

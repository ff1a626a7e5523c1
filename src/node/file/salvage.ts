/** Reads the rows of an app database that the cluster does not have, as far as the file is readable. */
import type { DatabaseSync } from "node:sqlite";
import { errorMessage, isDamage } from "../../base/errors.ts";
import type { PeerId } from "../../base/ids.ts";
import { readCaptured, readMeta } from "../../capture/install.ts";
import { keyIdOfImage, keyOfImage } from "../../change/key.ts";
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
 * Of a file of this node: rows with unacknowledged log rows that the replica has otherwise. Of any other file, and of tables
 * whose change log is damaged: rows whose key the replica does not have. A deleted row is no row.
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
    const shapes = readShapes(replica);
    const pair = pairOf(db, replica, { file, paths, peerId }, (error) => failed("Marmot's tables", error));
    const unread = new Set(pair === null ? shapes.map(({ id }) => id) : []);
    if (pair !== null) {
      pair.onUnreadable = (shape, error) => {
        if (!unread.has(shape.id)) failed(shape.name, error);
        unread.add(shape.id);
      };
      for (const { shape, image } of pair.ownRows()) if (image !== null) rows.push({ shape, image });
    }
    // The change log does not tell their unsent rows.
    const { encoding } = readSettings(replica, paths.replica);
    const known = new Set(rows.map(({ shape, image }) => `${shape.id}/${keyIdOfImage(shape, image)}`));
    for (const shape of shapes.filter(({ id }) => unread.has(id))) {
      try {
        for (const image of unknownRows(db, replica, shape, encoding))
          if (!known.has(`${shape.id}/${keyIdOfImage(shape, image)}`)) rows.push({ shape, image });
      } catch (error) {
        if (pair === null) failed(shape.name, error);
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

/** null: the file is another one's, or its bookkeeping cannot be read, which is reported. */
function pairOf(
  db: DatabaseSync,
  replica: DatabaseSync,
  { file, paths, peerId }: { file: string; paths: DataPaths; peerId: PeerId },
  report: (error: unknown) => void,
): FilePair | null {
  try {
    const isOwn = readMeta(db, file)?.peerId === peerId && readCaptured(db) !== null;
    return isOwn ? new FilePair(db, replica, { peerId, replicaFile: paths.replica }) : null;
  } catch (error) {
    if (!isDamage(error)) throw error;
    db.prepare("SELECT count(*) FROM sqlite_schema").get(); // throws where no table can be read
    report(error);
    return null;
  }
}

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

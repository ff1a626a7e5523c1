/** Facts about the app database in the replica of a node that is not running. */
import { writeFileNote } from "../../replica/store/file-note.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";
import type { FileLife } from "../../rows/file-life.ts";
import { LOCKED_MS } from "../../sqlite/locked.ts";
import { openDatabase } from "../../sqlite/open.ts";

/** Durably. */
export function storeNote(paths: DataPaths, life: FileLife): void {
  const db = openDatabase(paths.replica, { timeout: LOCKED_MS });
  try {
    db.exec("PRAGMA synchronous = FULL");
    writeFileNote(db, life);
  } finally {
    db.close();
  }
}

/** Table id ⇒ the highest change-log id of this node that is ordered. */
export function orderedIds(paths: DataPaths, peerId: string): (table: number) => number {
  const db = openDatabase(paths.replica, { readOnly: true });
  try {
    const rows = db
      .prepare(`SELECT "tbl", max("up_to") AS id FROM "__marmot__watermark" WHERE "peer" = ? GROUP BY "tbl"`)
      .all(peerId) as { tbl: number; id: number }[];
    const ids = new Map(rows.map(({ tbl, id }) => [tbl, id]));
    return (table) => ids.get(table) ?? 0;
  } finally {
    db.close();
  }
}

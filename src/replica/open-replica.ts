/** Opens a replica, and checkpoints it so that its positions survive a power cut. */
import { existsSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { errorMessage, isDiskFull, UserError } from "../base/errors.ts";
import { addStandIns, requireWritable } from "../schema/classify/writable.ts";
import { openDatabase } from "../sqlite/open.ts";
import { indexForeignKeys } from "./references/foreign-key-indexes.ts";
import { Replica } from "./replica.ts";
import { readIncomplete } from "./store/incomplete-tables.ts";
import { readObjectsOf, readShapes, replicaObjects } from "./store/schema-store.ts";
import { readSettings } from "./store/settings.ts";
import { completeReplica } from "./store/tables.ts";
import { integer, readRow } from "../sqlite/typed-rows.ts";

/** Pages of WAL after which SQLite checkpoints by itself. */
const CHECKPOINT_ABOVE_PAGES = 2000;

export interface OpenReplica {
  readonly db: DatabaseSync;
  readonly replica: Replica;
  /**
   * Checkpoints the WAL into the file; SQLite syncs both. Returns the positions that survive a power cut from now on, or
   * null if readers kept the checkpoint from finishing. Not while a transaction of the replica is open.
   */
  checkpoint(): number[] | null;
  close(): void;
}

const damaged = (path: string, cause: unknown): UserError =>
  new UserError(
    `the replica ${path} is damaged: ${errorMessage(cause)}`,
    "stop the node, remove its data directory and let it join the cluster again",
    { cause },
  );

export function openReplica(path: string, peerId: string): OpenReplica {
  let db: DatabaseSync | null = null;
  try {
    if (!existsSync(path)) throw new Error("the file is missing");
    db = openDatabase(path);
    db.exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -16000; PRAGMA busy_timeout = 5000",
    );
    db.exec(`PRAGMA ignore_check_constraints = ON; PRAGMA wal_autocheckpoint = ${CHECKPOINT_ABOVE_PAGES}`);
    const settings = readSettings(db, path);
    completeReplica(db);
    const objects = replicaObjects(readObjectsOf(db));
    const incomplete = readIncomplete(db);
    requireWritable(objects, (table) => incomplete.has(table.tableId ?? 0));
    addStandIns(db, objects);
    const shapes = readShapes(db);
    indexForeignKeys(db, shapes);
    const replica = new Replica(db, { peerId, settings, shapes });
    const open = db;
    return {
      db,
      replica,
      checkpoint() {
        replica.store();
        const positions = replica.positions();
        const row = open.prepare("PRAGMA wal_checkpoint(PASSIVE)").get();
        const { busy, log, checkpointed } = readRow(row, {
          busy: integer,
          log: integer,
          checkpointed: integer,
        });
        return busy === 0 && log === checkpointed ? positions : null;
      },
      close: () => open.close(),
    };
  } catch (error) {
    db?.close();
    if (error instanceof UserError || isDiskFull(error)) throw error;
    throw damaged(path, error);
  }
}

/** Opening a replica, and knowing what of it is synced. */
import { existsSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { errorMessage, isDiskFull, UserError } from "../base/errors.ts";
import { addStandIns } from "../schema/classify/writable.ts";
import { readForeignKeys } from "../schema/foreign-keys.ts";
import { openDatabase } from "../sqlite/open.ts";
import { queryOf } from "../sqlite/query.ts";
import { indexForeignKeys } from "./references/checked-foreign-key.ts";
import { Replica } from "./replica.ts";
import { readObjectsOf, readShapes } from "./store/schema-store.ts";
import { readSettings } from "./store/settings.ts";
import { completeReplica } from "./store/tables.ts";

/** Bytes of WAL after which a checkpoint is due. */
const CHECKPOINT_ABOVE_PAGES = 2000;

export interface OpenReplica {
  readonly db: DatabaseSync;
  readonly replica: Replica;
  /**
   * Moves what is in the WAL into the file, synced on both sides. Returns the positions that a power cut cannot take any
   * more, or null when readers kept it from finishing. Not while a transaction of the replica is open.
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
    addStandIns(
      db,
      readObjectsOf(db).filter((o) => o.tableId !== null),
    );
    const shapes = readShapes(db);
    indexForeignKeys(db, readForeignKeys(queryOf(db), shapes));
    const replica = new Replica(db, { peerId, settings, shapes });
    const open = db;
    return {
      db,
      replica,
      checkpoint() {
        const positions = replica.positions();
        const result = open.prepare("PRAGMA wal_checkpoint(PASSIVE)").get() as {
          busy: number;
          log: number;
          checkpointed: number;
        };
        return result.busy === 0 && result.log === result.checkpointed ? positions : null;
      },
      close: () => open.close(),
    };
  } catch (error) {
    db?.close();
    if (error instanceof UserError || isDiskFull(error)) throw error;
    throw damaged(path, error);
  }
}

/** Reads one of this node's own facts in its replica. */
export function readLocal(db: DatabaseSync, name: string): string | null {
  const row = db.prepare(`SELECT "value" FROM "__marmot__local_node" WHERE "name" = ?`).get(name) as
    { value: string } | undefined;
  return row === undefined ? null : String(row.value);
}

export function writeLocal(db: DatabaseSync, name: string, value: string): void {
  db.prepare(`INSERT OR REPLACE INTO "__marmot__local_node" VALUES(?, ?)`).run(name, value);
}

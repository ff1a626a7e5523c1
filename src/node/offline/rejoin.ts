/**
 * Sets the file and the replicated state of a stopped node aside, so that its next start joins the cluster as a new member.
 * The node keeps its key, the cluster key and the addresses of its peers.
 */
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { basename, join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { errorMessage, UserError } from "../../base/errors.ts";
import { readCaptured } from "../../capture/install.ts";
import { type DataPaths, dataPaths } from "../../replication/machine/data-paths.ts";
import { readAcknowledged, readChangeLogs } from "../../rows/change-logs.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { lockDataDir, storedAddresses } from "../data-dir.ts";

/** Rows of one table that no other node has received. */
interface UnsentRows {
  readonly table: string;
  readonly rows: number;
  /** The first keys as SQL literals. */
  readonly keys: readonly string[];
}

export interface RejoinResult {
  /** Where the file is now; null: there was none. */
  readonly file: string | null;
  /** Where replica and log are now. */
  readonly folder: string;
  readonly unsent: readonly UnsentRows[];
  /** The node knows no peer: its next start needs --peers. */
  readonly needsPeers: boolean;
}

const KEYS_SHOWN = 20;

/** `stamp`: makes the new names unique. Throws `UserError`, and changes nothing then. */
export function setAside(file: string, dataDir: string, stamp: string): RejoinResult {
  const paths = dataPaths(dataDir);
  if (!existsSync(paths.replica) && !existsSync(paths.log))
    throw new UserError(
      `${dataDir} holds no member of a cluster`,
      "check --db and --data-dir; marmot run --peers ADDRESS joins a cluster",
    );
  const lock = lockDataDir(paths);
  try {
    const unsent = existsSync(file) ? closeFile(file) : [];
    const folder = join(dataDir, `before-${stamp}`);
    mkdirSync(folder, { mode: 0o700 });
    // The file is last: until then a start without its replica is refused, and this command can be repeated.
    for (const path of statePaths(paths))
      if (existsSync(path)) renameSync(path, join(folder, basename(path)));
    const aside = existsSync(file) ? `${file}.before-${stamp}` : null;
    if (aside !== null) renameSync(file, aside);
    return { file: aside, folder, unsent, needsPeers: storedAddresses(paths).length === 0 };
  } finally {
    lock.close();
  }
}

const statePaths = ({ log, replica, nextReplica, joiningLog }: DataPaths): string[] =>
  [log, joiningLog, nextReplica, replica].flatMap((path) => [`${path}-shm`, `${path}-wal`, path]);

/** Lists the unsent rows, and leaves the file without a WAL, so that it can be moved. */
function closeFile(file: string): UnsentRows[] {
  const db = openAppDb(file, { timeout: 0 });
  try {
    const unsent = readCaptured(db) === null ? [] : readUnsent(db);
    // Only the last connection can leave WAL mode.
    db.exec("PRAGMA journal_mode = DELETE");
    return unsent;
  } catch (error) {
    throw new UserError(
      `${file} cannot be moved: ${errorMessage(error)}`,
      "stop the applications that use it, and try again",
      { cause: error },
    );
  } finally {
    db.close();
  }
}

function readUnsent(db: DatabaseSync): UnsentRows[] {
  const acknowledged = readAcknowledged(db);
  return readChangeLogs(db).flatMap(({ id, name, log }) => {
    const columns = db.prepare(`SELECT name FROM pragma_table_info(?) WHERE name GLOB 'k[0-9]*'`).all(log);
    const key = columns
      .map((column) => `quote(${quoteIdentifier(String(column.name))})`)
      .join(" || ', ' || ");
    const keys = db
      .prepare(`SELECT DISTINCT ${key} AS "key" FROM ${quoteIdentifier(log)} WHERE id > ?`)
      .all(acknowledged.get(id) ?? 0)
      .map((row) => String(row.key));
    return keys.length === 0 ? [] : [{ table: name, rows: keys.length, keys: keys.slice(0, KEYS_SHOWN) }];
  });
}

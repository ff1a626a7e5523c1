/**
 * Sets the file and the replicated state of a stopped node aside, so that its next start joins the cluster as a new member.
 * The node keeps its key, the cluster key and the addresses of its peers.
 */
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { basename, join } from "node:path";
import { errorMessage, UserError } from "../../base/errors.ts";
import { readCaptured } from "../../capture/install.ts";
import { type DataPaths, dataPaths } from "../../replication/machine/data-paths.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { lockDataDir, storedAddresses } from "../data-dir.ts";
import { saveUnsent, type UnsentRows } from "./unsent-rows.ts";

export interface RejoinResult {
  /** Where the file is now; null: there was none. */
  readonly file: string | null;
  /** Where replica and log are now. */
  readonly folder: string;
  readonly unsent: readonly UnsentRows[];
  /** A database with the unsent rows; null: every row was sent. */
  readonly saved: string | null;
  /** The node knows no peer: its next start needs --peers. */
  readonly needsPeers: boolean;
}

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
    const saved = `${file}.unsent-${stamp}`;
    const unsent = existsSync(file) ? closeFile(file, saved) : [];
    const folder = join(dataDir, `before-${stamp}`);
    mkdirSync(folder, { mode: 0o700 });
    // The file is last: until then a start without its replica is refused, and this command can be repeated.
    for (const path of statePaths(paths))
      if (existsSync(path)) renameSync(path, join(folder, basename(path)));
    const aside = existsSync(file) ? `${file}.before-${stamp}` : null;
    if (aside !== null) renameSync(file, aside);
    const needsPeers = storedAddresses(paths).length === 0;
    return { file: aside, folder, unsent, saved: unsent.length === 0 ? null : saved, needsPeers };
  } finally {
    lock.close();
  }
}

const statePaths = ({ log, replica, nextReplica, joiningLog }: DataPaths): string[] =>
  [log, joiningLog, nextReplica, replica].flatMap((path) => [`${path}-shm`, `${path}-wal`, path]);

/** Lists and saves the unsent rows, and leaves the file without a WAL, so that it can be moved. */
function closeFile(file: string, saved: string): UnsentRows[] {
  const db = openAppDb(file, { timeout: 0 });
  try {
    const unsent = readCaptured(db) === null ? [] : saveUnsent(db, saved);
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

/**
 * Sets the file and the replicated state of a stopped node aside, so that its next start joins the cluster as a new member.
 * The node keeps its key, the cluster key and the addresses of its peers.
 */
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { hostname } from "node:os";
import { basename, join } from "node:path";
import { errorMessage, UserError } from "../../base/errors.ts";
import { readCaptured } from "../../capture/install.ts";
import { marmotCommand } from "../../base/text/commands.ts";
import { shellWord } from "../../base/text/spans.ts";
import { readFormerMember } from "../../log-store/log-file.ts";
import { toldRole } from "../../replication/members/role.ts";
import { type DataPaths, dataPaths } from "../../replication/machine/data-paths.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { knowsPeers, lockDataDir } from "../data-dir.ts";
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
  /** The command that joins again, with the name and the role of the former member as far as they are known. */
  readonly next: string;
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
    const needsPeers = !knowsPeers(paths);
    const next = nextStart(file, dataDir, needsPeers);
    const folder = join(dataDir, `before-${stamp}`);
    mkdirSync(folder, { mode: 0o700 });
    // The file is last: until then a start without its replica is refused, and this command can be repeated.
    for (const path of statePaths(paths))
      if (existsSync(path)) renameSync(path, join(folder, basename(path)));
    const aside = existsSync(file) ? `${file}.before-${stamp}` : null;
    if (aside !== null) renameSync(file, aside);
    return { file: aside, folder, unsent, saved: unsent.length === 0 ? null : saved, needsPeers, next };
  } finally {
    lock.close();
  }
}

function nextStart(file: string, dataDir: string, needsPeers: boolean): string {
  const words = [marmotCommand("run", { db: file, folder: dataDir })];
  const former = formerMember(dataPaths(dataDir));
  if (former !== null && former.name !== hostname()) words.push("--name", shellWord(former.name));
  const role = former === null || former.isVoter ? "voter" : toldRole({ role: "voter", ...former });
  if (role !== "voter") words.push("--role", role);
  if (needsPeers) words.push("--peers ADDRESS");
  return words.join(" ");
}

/** null: the log is missing, damaged or of another version. */
function formerMember({ log }: DataPaths): ReturnType<typeof readFormerMember> {
  try {
    return existsSync(log) ? readFormerMember(log) : null;
  } catch (error) {
    if (error instanceof UserError) return null;
    throw error;
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

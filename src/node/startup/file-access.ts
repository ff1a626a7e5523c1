/** Errors of files in words: the file, the meaning and a hint. */
import { accessSync, constants, existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { errorMessage, isDamage, isDiskFull, UserError } from "../../base/errors.ts";
import { marmotCommand } from "../../base/text/commands.ts";
import { shellWord } from "../../base/text/spans.ts";
import { damageText, findDamage } from "../../sqlite/damage.ts";
import { isBusy } from "../../sqlite/locked.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";

export interface FileProblem {
  readonly message: string;
  readonly hint: string;
}

/** Primary result codes: https://www.sqlite.org/rescode.html */
const SQLITE = { perm: 3, readonly: 8, ioerr: 10, cantopen: 14, auth: 23 } as const;
const DENIED = ["EACCES", "EPERM", "EROFS"];

/** The primary result code of an error of either SQLite module; null: it is none. */
export function sqliteCode(error: unknown): number | null {
  const { code, errcode, errno, name } = error as Record<string, unknown>;
  if (code === "ERR_SQLITE_ERROR" && typeof errcode === "number") return errcode & 0xff;
  return name === "SQLiteError" && typeof errno === "number" ? errno & 0xff : null;
}

const PERMISSION_HINT = (path: string): string =>
  `give the user that runs marmot write permission there, for example: chown -R USER ${shellWord(path)}`;

const READ_ONLY = "its file system is mounted read-only";
const READ_ONLY_HINT =
  "mount it for writing, for example: mount -o remount,rw MOUNT-POINT; or move the files to another file system";

const hintFor = (denied: string, path: string): string =>
  denied === READ_ONLY ? READ_ONLY_HINT : PERMISSION_HINT(path);

/** Folders and files that this process must be able to write, and cannot. */
export function accessProblems(db: string, dataDir: string): FileProblem[] {
  const problems: FileProblem[] = [];
  const need = (path: string, why: string): void => {
    const denied = deniedBy(path);
    if (denied !== null)
      problems.push({
        message: `${path} should be writable (${why}), but ${denied}`,
        hint: hintFor(denied, path),
      });
  };
  if (existsSync(db) && statSync(db).isFile()) {
    need(db, "the database of the application");
    for (const end of ["-wal", "-shm"])
      if (existsSync(db + end)) need(db + end, "SQLite's file beside the database");
  }
  const folder = dirname(resolve(db));
  if (existsSync(folder)) need(folder, "SQLite makes files beside the database");
  const parent = dirname(resolve(dataDir));
  if (existsSync(dataDir)) {
    need(dataDir, "the data directory");
    if (deniedBy(dataDir) === null && statSync(dataDir).isDirectory())
      problems.push(...unusableFiles(dataDir));
  } else if (parent !== folder && existsSync(parent)) need(parent, "the data directory is made there");
  return problems;
}

/** Databases and keys of the node, in a folder that can be read. A file that cannot be opened is no damaged one. */
function unusableFiles(dataDir: string): FileProblem[] {
  return readdirSync(dataDir).flatMap((name): FileProblem[] => {
    const isKey = name.endsWith(".key");
    if (!isKey && !/\.db(-wal|-shm)?$/.test(name)) return [];
    const path = join(dataDir, name);
    const denied = deniedBy(path, isKey ? "read" : "write");
    const should = isKey ? "readable" : "writable";
    return denied === null
      ? []
      : [
          {
            message: `${path} should be ${should} (a file of the node), but ${denied}`,
            hint: hintFor(denied, path),
          },
        ];
  });
}

function deniedBy(path: string, use: "read" | "write" = "write"): string | null {
  try {
    const isFolder = statSync(path).isDirectory();
    const mode = use === "read" ? constants.R_OK : constants.R_OK | constants.W_OK;
    accessSync(path, mode | (isFolder ? constants.X_OK : 0));
    return null;
  } catch (error) {
    const { code } = error as { code?: string };
    // Another process has closed the database a moment before: SQLite removed its files.
    if (code === "ENOENT") return null;
    if (code === "EROFS") return READ_ONLY;
    return DENIED.includes(code ?? "") ? `this user has no permission to ${use} it` : errorMessage(error);
  }
}

/** The error as a user can act on it; null: it is not of a file. `used`: the file, where the error does not name it. */
export function fileError(error: unknown, used: string): UserError | null {
  if (error instanceof UserError || !(error instanceof Error) || isDiskFull(error)) return null;
  const { code, path = used } = error as { code?: string; path?: string };
  const of = (message: string, hint: string): UserError => new UserError(message, hint, { cause: error });
  if (code === "EROFS") return of(`${path} cannot be written: ${READ_ONLY}`, READ_ONLY_HINT);
  if (DENIED.includes(code ?? ""))
    return of(`${path} cannot be read or written: permission denied (${code})`, PERMISSION_HINT(path));
  if (isBusy(error))
    return of(
      `${path} is locked: another connection holds it, for a long transaction or with PRAGMA locking_mode = EXCLUSIVE (${error.message})`,
      "let the application end the transaction or leave that mode, and start the node again",
    );
  switch (sqliteCode(error)) {
    case SQLITE.perm:
    case SQLITE.readonly:
    case SQLITE.cantopen:
    case SQLITE.auth:
      if ([path, dirname(path)].some((one) => existsSync(one) && deniedBy(one) === READ_ONLY))
        return of(`${path} cannot be written: ${READ_ONLY} (${error.message})`, READ_ONLY_HINT);
      return of(
        `${path} cannot be written: this user lacks permission for it or for its folder, or the file system is read-only (${error.message})`,
        PERMISSION_HINT(dirname(path)),
      );
    case SQLITE.ioerr:
      return of(
        `${path} cannot be read or written: its disk reports an error (${error.message})`,
        "check the disk and the kernel's messages, and start the node again",
      );
    default:
      return null;
  }
}

/** The damage of a database; null: it is sound, or cannot be asked. */
function damageOf(path: string): string | null {
  if (!existsSync(path)) return null;
  let db: ReturnType<typeof openAppDb> | null = null;
  try {
    db = openAppDb(path, { readOnly: true });
    return findDamage(db);
  } catch (error) {
    return isDamage(error) ? damageText(error) : null;
  } finally {
    db?.close();
  }
}

/** For a damaged file that no cluster has yet. */
export const salvageHint = (file: string): string =>
  `put a backup in its place, or salvage its rows: sqlite3 ${shellWord(file)} .recover | sqlite3 salvaged.db`;

export interface NodeFiles {
  readonly db: string;
  readonly folder: string;
  readonly replica: string;
  readonly log: string;
}

/** The hint for a damaged file of the data directory. */
export const rejoinHint = ({ folder, db }: Pick<NodeFiles, "folder" | "db">): string =>
  `stop the node, move ${shellWord(folder)} and ${shellWord(db)} away, and let it join the cluster again with --peers; changes that were not sent stay in the file that was moved; if no other node is a member, keep ${shellWord(db)}, run ${marmotCommand("cleanup", { db, folder })}, and move only ${shellWord(folder)}: the next start forms a new cluster from the file`;

/** null: there is a file at the path. */
export function noDatabase(path: string): FileProblem | null {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isFile() === true) return null;
  return {
    message:
      stat === undefined
        ? `${path} does not exist`
        : `${path} should be a SQLite file and is a ${stat.isDirectory() ? "folder" : "special file"}`,
    hint: "give the path of a SQLite file with --db",
  };
}

/** An error at work or at a start, as a user can act on it; null: it is not of a file. */
export function nodeFileError(error: unknown, files: NodeFiles): UserError | null {
  const noFile = sqliteCode(error) === SQLITE.cantopen ? noDatabase(files.db) : null;
  if (noFile !== null) return new UserError(noFile.message, noFile.hint, { cause: error });
  if (!isDamage(error)) return fileError(error, `${files.db} or a file in ${files.folder}`);
  // A start that was to form a cluster ended before there was a replica.
  const hint = existsSync(files.replica) ? rejoinHint(files) : salvageHint(files.db);
  for (const path of [files.db, files.replica, files.log]) {
    const damage = damageOf(path);
    if (damage !== null) return new UserError(`${path} is damaged: ${damage}`, hint, { cause: error });
  }
  const names = `${files.db}, ${files.replica} or ${files.log}`;
  return new UserError(`${names} is damaged: ${damageText(error)}`, hint, { cause: error });
}

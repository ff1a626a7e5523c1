/** Errors for users: the problem with the value that came, and a hint. */

/**
 * A problem that a user can fix. The message names the problem with the value that came; `hint` names one command or
 * edit.
 */
export class UserError extends Error {
  override name = "UserError";
  readonly hint: string;

  constructor(message: string, hint: string, options?: ErrorOptions) {
    super(message, options);
    this.hint = hint;
  }
}

/** Wrong usage: options that are unknown, malformed or contradict each other. Exit code 2. */
export class UsageError extends UserError {
  override name = "UsageError";
}

export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const SQLITE_FULL = 13;
/** The shared-memory file beside a WAL could not grow. */
const SQLITE_IOERR_SHMSIZE = 4874;

/** No data is damaged: there was no space to write. Covers errors of both SQLite modules and of the file system. */
export function isDiskFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code, errno, errcode } = error as { code?: unknown; errno?: unknown; errcode?: unknown };
  if (code === "ENOSPC" || code === "EDQUOT") return true;
  const sqlite = code === "ERR_SQLITE_ERROR" ? errcode : error.name === "SQLiteError" ? errno : null;
  if (sqlite === SQLITE_FULL || sqlite === SQLITE_IOERR_SHMSIZE) return true;
  return error.cause !== undefined && isDiskFull(error.cause);
}

const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;
/** A read ended before its page did: the file is shorter than it was. */
const SQLITE_IOERR_SHORT_READ = 522;

/** SQLite found a database file damaged. Covers errors of both SQLite modules. */
export function isDamage(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { errcode, errno } = error as { errcode?: unknown; errno?: unknown };
  const code = typeof errcode === "number" ? errcode : error.name === "SQLiteError" ? errno : null;
  if (code === SQLITE_IOERR_SHORT_READ) return true;
  if (typeof code === "number" && [SQLITE_CORRUPT, SQLITE_NOTADB].includes(code & 0xff)) return true;
  return error.cause !== undefined && isDamage(error.cause);
}

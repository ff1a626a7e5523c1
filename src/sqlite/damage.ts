/** SQLite found a database file damaged. Covers errors of both SQLite modules. */

const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;
/** A read ended before its page did: the file is shorter than it was. */
const SQLITE_IOERR_SHORT_READ = 522;

export function isDamage(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { errcode, errno } = error as { errcode?: unknown; errno?: unknown };
  const code = typeof errcode === "number" ? errcode : error.name === "SQLiteError" ? errno : null;
  if (code === SQLITE_IOERR_SHORT_READ) return true;
  if (typeof code === "number" && [SQLITE_CORRUPT, SQLITE_NOTADB].includes(code & 0xff)) return true;
  return error.cause !== undefined && isDamage(error.cause);
}

/**
 * Milliseconds for which another process may hold a file exclusively while it is opened. The first process that opens
 * a file
 * after a crash recovers its WAL; the last one that closes it writes the WAL back.
 */
export const LOCKED_MS = 15_000;

/** SQLITE_BUSY and its extended codes: another connection holds the write lock. */
export function isBusy(error: unknown): boolean {
  const code = (error as { errcode?: unknown }).errcode;
  if (typeof code === "number") return (code & 0xff) === 5;
  return /database is locked/.test(error instanceof Error ? error.message : "");
}

/**
 * Milliseconds for which a file may be another process's alone while it is opened: the first that opens it after a crash
 * recovers its WAL, the last that closes it writes the WAL back.
 */
export const LOCKED_MS = 15_000;

/** SQLITE_BUSY and its extended codes: somebody else holds the write lock. */
export function isBusy(error: unknown): boolean {
  const code = (error as { errcode?: unknown }).errcode;
  if (typeof code === "number") return (code & 0xff) === 5;
  return /database is locked/.test(error instanceof Error ? error.message : "");
}

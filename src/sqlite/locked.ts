/**
 * Milliseconds for which a file may be another process's alone while it is opened: the first that opens it after a crash
 * recovers its WAL, the last that closes it writes the WAL back.
 */
export const LOCKED_MS = 15_000;

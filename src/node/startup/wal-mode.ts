/** The application's file in WAL mode: an application can take it out of that while no node runs. */
import type { Clock } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import { isBusy, LOCKED_MS } from "../../sqlite/locked.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";

const LOOK_MS = 100;

/**
 * The journal mode in which the file was, now WAL; "busy": other connections keep it from being switched. `waitMs`: for
 * their locks.
 */
export function switchToWal(file: string, waitMs: number): string {
  try {
    const db = openAppDb(file, { timeout: waitMs });
    try {
      const before = modeBy(db, "PRAGMA journal_mode");
      return before === "wal" || modeBy(db, "PRAGMA journal_mode = WAL") === "wal" ? before : "busy";
    } finally {
      db.close();
    }
  } catch (error) {
    if (isBusy(error)) return "busy";
    throw error;
  }
}

/** The same for a new cluster's first node, which nothing can wait for. Throws `UserError`. */
export function requireWal(file: string): string {
  const before = switchToWal(file, LOCKED_MS);
  if (before === "busy")
    throw new UserError(
      `${file} cannot be switched to WAL mode: other connections use it`,
      "close the applications that use it, and start the node again",
    );
  return before;
}

const modeBy = (db: ReturnType<typeof openAppDb>, sql: string): string =>
  (db.prepare(sql).get() as { journal_mode: string }).journal_mode;

/** Waits until it is in WAL mode. Returns the mode in which it was. */
export async function untilWal(file: string, clock: Clock, signal: AbortSignal): Promise<string> {
  for (;;) {
    signal.throwIfAborted();
    const before = switchToWal(file, 0);
    if (before !== "busy") return before;
    await new Promise((resolve) => void clock.after(LOOK_MS, () => resolve(null)));
  }
}

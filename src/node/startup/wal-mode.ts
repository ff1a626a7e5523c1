/** The application's file in WAL mode: an application can take it out of that while no node runs. */
import type { Clock } from "../../base/clock.ts";
import { isBusy } from "../../sqlite/locked.ts";
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

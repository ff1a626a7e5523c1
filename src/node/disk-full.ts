/**
 * Waiting for room on a disk that is full. A write that found no room left nothing behind: SQLite rolled back, and what the
 * files hold is what was committed. A sync that failed is another matter (nobody knows what is on disk): that ends the process.
 */
import { closeSync, fsyncSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { isDiskFull } from "../base/errors.ts";
import type { DataPaths } from "../replication/data-paths.ts";
import type { Stage } from "../replication/message-router.ts";

const LOOK_MS = 1000;
/** What a node needs at once to open its files and go on; with less it would stop again. */
const ROOM_BYTES = 16 << 20;
/** Little: an application may need the last bytes more than we do. */
const TRIED_BYTES = 64 << 10;

/** Whether `folder`'s disk has so much, and lets us write: quotas are in no figure. */
function hasRoom(folder: string): boolean {
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize < ROOM_BYTES) return false;
  const path = join(folder, `.marmot-room-${process.pid}`);
  try {
    const file = openSync(path, "w", 0o600);
    try {
      for (let left = TRIED_BYTES; left > 0;) left -= writeSync(file, new Uint8Array(left));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    return true;
  } catch (error) {
    if (isDiskFull(error)) return false;
    throw error;
  } finally {
    rmSync(path, { force: true });
  }
}

/** Folders of a node whose disk is full; a disk is asked for each, as they may be different ones. */
const fullFolders = (db: string, paths: DataPaths): string[] =>
  [...new Set([paths.folder, dirname(db)])].filter((folder) => !hasRoom(folder));

/** Resolves when there is room for the data directory and for the file. `report` gets the full folders at each look. */
export async function untilRoom(
  { db, paths }: { readonly db: string; readonly paths: DataPaths },
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
  report: (full: readonly string[]) => void,
): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const full = fullFolders(db, paths);
    if (full.length === 0) return;
    report(full);
    await new Promise((resolve) => void clock.after(LOOK_MS, () => resolve(null)));
  }
}

/** What peers meet meanwhile: a node of the cluster that says nothing. */
export const silentStage = (clusterId: string): Stage => ({
  clusterId,
  onConnect: () => {},
  onDisconnect: () => {},
  onRaft: () => {},
  onControl: () => {},
  async *onTransfer() {
    yield* [];
    throw new Error("this node waits for room on its disk");
  },
});

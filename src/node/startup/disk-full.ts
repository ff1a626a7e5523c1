/**
 * Waits for room on a full disk. SQLite rolled back the write that failed, so the files hold exactly the committed
 * transactions. A failed sync is different: the content of the disk is unknown then, and the process ends.
 */
import { closeSync, fsyncSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Clock, sleep } from "../../base/clock.ts";
import { isDiskFull } from "../../base/errors.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";
import type { Stage } from "../../replication/messages/message-router.ts";

const LOOK_MS = 1000;
/** Free space that a node needs to open its files and continue; with less it would stop again. */
const ROOM_BYTES = 16 << 20;
/** Size of the test write: small, since an application may need the last free bytes. */
const TRIED_BYTES = 64 << 10;

/** Whether the disk of `folder` has that space and accepts a write: `statfs` does not report quotas. */
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

/** The folders of a node whose disk is full; the data directory and the file may be on different disks. */
const fullFolders = (db: string, paths: DataPaths): string[] =>
  [...new Set([paths.folder, dirname(db)])].filter((folder) => !hasRoom(folder));

/** Resolves when data directory and file both have room. Until then `report` receives the full folders at each look. */
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
    await sleep(clock, LOOK_MS);
  }
}

/** The stage for messages of peers until then: a node of the cluster that does not answer. */
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

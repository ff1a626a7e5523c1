/**
 * A member whose replica is damaged or missing. Its log has its votes, and its file its unsent rows, so it stays the member
 * that it is and receives the replica again.
 */
import { existsSync } from "node:fs";
import { errorMessage, isDamage } from "../../base/errors.ts";
import { readMembership } from "../../log-store/log-file.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";
import { openDatabase } from "../../sqlite/open.ts";

/** In a sentence; null: the replica can be read, or there is no other member to send one. */
export function lostReplica(paths: DataPaths): string | null {
  const { replica, log } = paths;
  if (!existsSync(log)) return null;
  const damage = existsSync(replica) ? damageOf(paths) : null;
  const loss = existsSync(replica) ? damage && `is damaged: ${damage.replaceAll(/\s+/g, " ")}` : "is missing";
  return loss === null || !hasPeers(log) ? null : `${replica} ${loss}`;
}

function damageOf(paths: DataPaths): string | null {
  try {
    const db = openDatabase(paths.replica, { readOnly: true });
    try {
      const { quick_check: found } = db.prepare("PRAGMA quick_check(1)").get() as { quick_check: string };
      const isReplica = db.prepare(`SELECT 1 FROM sqlite_schema WHERE name = '__marmot__position'`).get();
      if (found !== "ok") return found;
      return isReplica === undefined ? "it has no tables of a replica" : null;
    } finally {
      db.close();
    }
  } catch (error) {
    if (isDamage(error)) return errorMessage(error);
    throw error;
  }
}

function hasPeers(log: string): boolean {
  try {
    const { self, at } = readMembership(log);
    return at.members.some(({ id }) => id !== self) && at.members.some(({ id }) => id === self);
  } catch {
    return false; // the log is damaged, too
  }
}

/** Removes all tables and triggers of Marmot from an application's file. */
import { existsSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { UserError } from "../../base/errors.ts";
import { type Removed, removeLeftovers, uninstall } from "../../capture/install.ts";
import { dataPaths } from "../../replication/machine/data-paths.ts";
import { requireDatabase } from "../startup/check-files.ts";
import { readLeftovers } from "../../schema/leftovers.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { queryOf } from "../../sqlite/query.ts";

export interface CleanupResult {
  readonly triggers: number;
  readonly tables: number;
  /** What older replicators had left in the file. */
  readonly others: Removed;
  /** Names of triggers and tables of HarmonyLite that are still there. */
  readonly left: readonly string[];
}

/**
 * `alsoOthers`: HarmonyLite's triggers and tables, too; those of maxpert/marmot, which have Marmot's prefix, go in any case.
 * Throws `UserError` while a node runs on the data directory.
 */
export function cleanupDatabase(file: string, dataDir: string, alsoOthers = false): CleanupResult {
  if (!existsSync(file)) throw new UserError(`${file} does not exist`, "check --db");
  requireDatabase(file);
  const { lock: path } = dataPaths(dataDir);
  let lock: DatabaseSync | null = null;
  if (existsSync(path)) {
    lock = openDatabase(path, { timeout: 0 });
    try {
      lock.exec("BEGIN EXCLUSIVE");
    } catch (error) {
      lock.close();
      throw new UserError(
        `a marmot runs on ${dataDir}`,
        `stop it first; marmot status --data-dir ${dataDir} shows it`,
        { cause: error },
      );
    }
  }
  const db = openAppDb(file);
  try {
    const removed = uninstall(db);
    const others = removeLeftovers(db, alsoOthers);
    return { ...removed, others, left: readLeftovers(queryOf(db)).map(({ name }) => name) };
  } finally {
    db.close();
    lock?.close();
  }
}

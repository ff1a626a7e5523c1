/** Removes all tables and triggers of Marmot from an application's file. */
import { existsSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { UserError } from "../../base/errors.ts";
import { uninstall } from "../../capture/install.ts";
import { dataPaths } from "../../replication/data-paths.ts";
import { requireDatabase } from "../startup/check-files.ts";
import { openDatabase } from "../../sqlite/open.ts";

interface CleanupResult {
  readonly triggers: number;
  readonly tables: number;
}

/** Throws `UserError` while a node runs on the data directory. */
export function cleanupDatabase(file: string, dataDir: string): CleanupResult {
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
  const db = openDatabase(file);
  try {
    return uninstall(db);
  } finally {
    db.close();
    lock?.close();
  }
}

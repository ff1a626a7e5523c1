/** The beginning of the names of a node's backups: that of its file. */
import { basename } from "node:path";

/** `db`: null where only the data directory is known. */
export const backupBase = (db: string | null, dataDir: string): string =>
  basename(db ?? dataDir.replace(/\.marmot\/*$/, "")).replace(/\.[^.]*$/, "") || "app";

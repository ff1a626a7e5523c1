/** Builds an app database for a node that has none: the replica's rows under the application's own schema, verbatim. */
import { existsSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { UserError } from "../../base/errors.ts";
import type { TableShape } from "../../change/shape.ts";
import { builtElsewhere } from "../../schema/selection.ts";
import { LOCKED_MS } from "../../sqlite/locked.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { beginWriting, openAppDb } from "../../sqlite/open-app-db.ts";
import { quoteText } from "../../sqlite/quote.ts";
import type { ReplicaSettings } from "../store/settings.ts";
import { attachSource, openForFilling, publish, removeDatabase } from "./database-files.ts";
import { fillApplication, readContents, type ReplicaContents } from "./fill-application.ts";

export interface BuildAppDbOptions {
  readonly replica: string;
  /** Path of the new file. An existing file is never replaced. */
  readonly appDb: string;
  /** Called on the unfinished file, which has all rows, with the positions that it reflects: installs capture. */
  readonly prepare: (
    db: DatabaseSync,
    settings: ReplicaSettings,
    shapes: readonly TableShape[],
    position: readonly number[],
  ) => void;
  /** Afterwards, outside of a transaction. */
  readonly finish?: (db: DatabaseSync, settings: ReplicaSettings, shapes: readonly TableShape[]) => void;
  readonly onProgress?: (rows: number) => void;
}

/** A database that exists, without any object or setting of an application: many create it at their start. */
export function isEmptyAppDb(file: string, replica: string): boolean {
  const { encoding } = contentsOf(replica).settings;
  const db = openAppDb(file, { readOnly: true, timeout: LOCKED_MS });
  try {
    const value = (sql: string): unknown => Object.values(db.prepare(sql).get()!)[0];
    return (
      Number(value("SELECT count(*) FROM sqlite_schema")) === 0 &&
      Number(value("PRAGMA user_version")) === 0 &&
      Number(value("PRAGMA application_id")) === 0 &&
      (Number(value("PRAGMA page_count")) === 0 || value("PRAGMA encoding") === encoding)
    );
  } finally {
    db.close();
  }
}

/**
 * The same for an empty database that exists: in one transaction, which also installs capture, since an application may have it
 * open.
 */
export async function fillAppDb({
  replica,
  appDb,
  prepare,
  finish,
  onProgress,
}: BuildAppDbOptions): Promise<void> {
  const contents = contentsOf(replica);
  const { settings, shapes, positions } = contents;
  const db = openAppDb(appDb, { timeout: LOCKED_MS });
  try {
    db.exec(`PRAGMA encoding = ${quoteText(settings.encoding)}; PRAGMA ignore_check_constraints = ON`);
    attachSource(db, replica);
    db.exec("PRAGMA main.journal_mode = WAL; PRAGMA main.synchronous = FULL");
    beginWriting(db);
    if (db.prepare("SELECT 1 FROM main.sqlite_schema").get() !== undefined)
      throw new UserError(
        `${appDb} was written while the replica was received`,
        "start the node again: the file is compared with the cluster's data",
      );
    await fillApplication(db, contents, { onProgress });
    prepare(db, settings, shapes, positions);
    db.exec("COMMIT");
    finish?.(db, settings, shapes);
  } finally {
    // Without a commit nothing was changed.
    db.close();
  }
}

export async function buildAppDb({
  replica,
  appDb,
  prepare,
  finish,
  onProgress,
}: BuildAppDbOptions): Promise<void> {
  mkdirSync(dirname(appDb), { recursive: true });
  // In the same folder: a file cannot be renamed from a data directory on another file system.
  const fresh = `${appDb}.receiving`;
  removeDatabase(fresh);
  const contents = contentsOf(replica);
  const { settings, shapes, positions } = contents;
  const db = openForFilling(fresh, settings.encoding);
  try {
    attachSource(db, replica);
    db.exec("BEGIN");
    await fillApplication(db, contents, { onProgress });
    db.exec("COMMIT; DETACH source; PRAGMA journal_mode = WAL");
    prepare(db, settings, shapes, positions);
    finish?.(db, settings, shapes);
  } catch (error) {
    db.close();
    removeDatabase(fresh);
    throw error;
  }
  db.close();
  if (existsSync(appDb))
    throw new UserError(
      `${appDb} appeared while it was being received`,
      "move it away, or start the node again to have it compared",
    );
  publish(fresh, appDb);
}

function contentsOf(replica: string): ReplicaContents {
  const source = openDatabase(replica, { readOnly: true });
  try {
    const contents = readContents(source, replica);
    return { ...contents, objects: builtElsewhere(contents.objects, contents.settings.selection) };
  } finally {
    source.close();
  }
}

/** Builds an app database for a node that has none: the replica's rows under the application's own schema, verbatim. */
import { existsSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { UserError } from "../../base/errors.ts";
import type { TableShape } from "../../change/shape.ts";
import { builtElsewhere } from "../../schema/selection.ts";
import { openDatabase } from "../../sqlite/open.ts";
import type { ReplicaSettings } from "../store/settings.ts";
import { attachSource, openForFilling, publish, removeDatabase } from "./database-files.ts";
import { fillApplication, readContents, type ReplicaContents } from "./fill-application.ts";

interface BuildAppDbOptions {
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
  readonly onProgress?: (rows: number) => void;
}

export async function buildAppDb({ replica, appDb, prepare, onProgress }: BuildAppDbOptions): Promise<void> {
  mkdirSync(dirname(appDb), { recursive: true });
  // In the same folder: a file cannot be renamed from a data directory on another file system.
  const fresh = `${appDb}.receiving`;
  removeDatabase(fresh);
  const contents = contentsOf(replica);
  const { settings, shapes, positions } = contents;
  const db = openForFilling(fresh, settings.encoding);
  try {
    attachSource(db, replica);
    db.exec(
      `PRAGMA user_version = ${settings.userVersion}; PRAGMA application_id = ${settings.applicationId}`,
    );
    db.exec("BEGIN");
    await fillApplication(db, contents, { onProgress });
    db.exec("COMMIT; DETACH source; PRAGMA journal_mode = WAL");
    prepare(db, settings, shapes, positions);
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

/** Refuses the file of another node that runs: two nodes on one file would remove each other's triggers. */
import { shellWord } from "../../base/text/spans.ts";
import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { isDamage, UserError } from "../../base/errors.ts";
import { readMeta } from "../../capture/install.ts";
import { dataPaths } from "../../replication/machine/data-paths.ts";
import { hasTable } from "../../sqlite/has.ts";
import { isBusy, LOCKED_MS } from "../../sqlite/locked.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { commitAfter } from "../../sqlite/transaction.ts";

/** A copy of the file has the note of its original, and another identity. */
interface Note {
  readonly dataDir: string;
  readonly file: string;
}

function identityOf(file: string): string {
  const { dev, ino } = statSync(file);
  return `${dev}/${ino}`;
}

/**
 * The file names the data directory of its node, for the nodes that open it later. Left out while an application
 * holds the write lock: without the note a node looks at the usual place, `FILE.marmot`.
 */
export function noteDataDir(file: string, dataDir: string): void {
  const db = openAppDb(file, { timeout: LOCKED_MS });
  try {
    const note: Note = { dataDir: resolve(dataDir), file: identityOf(file) };
    db.beginWriting();
    commitAfter(db, () =>
      db
        .prepare(`INSERT OR REPLACE INTO "__marmot__status" VALUES('node', 'held_by', ?)`)
        .run(JSON.stringify(note)),
    );
  } catch (error) {
    if (!isBusy(error)) throw error;
  } finally {
    db.close();
  }
}

/** Throws `UserError` when a process holds the data directory of the file's node, and it is not `dataDir`. */
export function refuseHeldFile(file: string, dataDir: string): void {
  if (!existsSync(file)) return;
  const holder = dataDirOf(file) ?? `${file}.marmot`;
  if (resolve(holder) === resolve(dataDir) || !isHeld(dataPaths(holder).lock)) return;
  throw new UserError(
    `another marmot runs on ${file}; its data directory is ${holder}`,
    `stop it first, or give this node a file of its own with --db; marmot status --data-dir ${shellWord(holder)} shows it`,
  );
}

/** null: no node uses the file, it is a copy, its node is of an older build, or it is damaged, which is told elsewhere. */
function dataDirOf(file: string): string | null {
  let db: ReturnType<typeof openAppDb> | null = null;
  try {
    db = openAppDb(file, { readOnly: true, timeout: LOCKED_MS });
    if (readMeta(db, file) === null || !hasTable(db, "__marmot__status")) return null;
    const row = db
      .prepare(`SELECT "value" FROM "__marmot__status" WHERE "item" = 'node' AND "name" = 'held_by'`)
      .get();
    if (row === undefined) return null;
    const note = JSON.parse(String(row.value)) as Note;
    return note.file === identityOf(file) ? note.dataDir : null;
  } catch (error) {
    if (isDamage(error)) return null;
    throw error;
  } finally {
    db?.close();
  }
}

/** Whether a process has locked the data directory. */
function isHeld(path: string): boolean {
  if (!existsSync(path)) return false;
  const lock = openDatabase(path, { timeout: 0 });
  try {
    lock.exec("BEGIN EXCLUSIVE; ROLLBACK");
    return false;
  } catch {
    return true;
  } finally {
    lock.close();
  }
}

/** Carries out the verdict on the file at its path, so that a replicator can be opened on it. */
import type { DatabaseSync } from "node:sqlite";
import type { Halt } from "../../base/halt.ts";
import { install, newFileLife, uninstall } from "../../capture/install.ts";
import { markLog, skipIds } from "../../capture/log-ids.ts";
import { isReaderFile } from "../../capture/reader-triggers.ts";
import { readRemembered, writeRemembered } from "../../capture/remembered.ts";
import { readPositions } from "../../replica/store/positions.ts";
import { readShapes } from "../../replica/store/schema-store.ts";
import { readSettings } from "../../replica/store/settings.ts";
import { readChangeLogs } from "../../rows/change-logs.ts";
import { type FileLife, readFileLife, storeFileLife } from "../../rows/file-life.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { isBusy, LOCKED_MS } from "../../sqlite/locked.ts";
import { commitAfter } from "../../sqlite/transaction.ts";
import { orderedIds, storeNote } from "../startup/ordered-ids.ts";
import { inspectFile, type InspectedFile } from "./inspect-file.ts";

/** `done`: a sentence for the log; "": nothing was done. `isBusy`: the application holds the write lock; try again. */
export type Custody =
  { readonly halt: Halt; readonly isBusy: boolean } | { readonly halt: null; readonly done: string };

/** Milliseconds that one attempt waits for the write lock. */
const PATIENCE_MS = 500;

/** No connection of this process may be open on the file or the replica. */
export async function takeFile(inspected: InspectedFile): Promise<Custody> {
  const verdict = await inspectFile(inspected);
  if (verdict.kind === "halt") return { halt: verdict.halt, isBusy: false };
  try {
    return { halt: null, done: carryOut(verdict.kind, inspected) };
  } catch (error) {
    if (!isBusy(error) && !isBusy((error as Error).cause)) throw error;
    const name = verdict.kind === "install" ? "file-replaced" : "file-older";
    const reason = `${inspected.file} must be brought up to date, and an application holds its write lock`;
    return { halt: { name, reason, hint: "let the application end its transaction" }, isBusy: true };
  }
}

function carryOut(kind: "take" | "renew" | "install", inspected: InspectedFile): string {
  const { file, paths, peerId } = inspected;
  if (kind === "take") {
    if (isOlderFormat(file)) writing(file, completeOlderFormat);
    return "";
  }
  const life = newFileLife();
  // Before the file: a crash in between finds a file of another epoch, as it did before.
  storeNote(paths, life);
  const used = orderedIds(paths, peerId);
  if (kind === "renew") {
    writing(file, (db) => {
      storeFileLife(db, life);
      skipIds(db, used);
    });
    return "the file is an older copy of itself; it is brought up to date";
  }
  reinstall(inspected, life, used);
  return "Marmot's tables were gone from the file; capture is installed again";
}

function isOlderFormat(file: string): boolean {
  const db = openAppDb(file, { timeout: LOCKED_MS });
  try {
    return readFileLife(db) === null;
  } finally {
    db.close();
  }
}

/** A file of a build that counted no lives gets one, and complete change logs. */
function completeOlderFormat(db: DatabaseSync): void {
  if (readFileLife(db) !== null) return;
  storeFileLife(db, newFileLife());
  for (const { log } of readChangeLogs(db)) markLog(db, log);
}

/** The application's rows beyond the replica's are found by the comparison of unreconciled tables. */
function reinstall(
  { file, paths, peerId }: InspectedFile,
  life: FileLife,
  usedIds: (table: number) => number,
): void {
  const replica = openDatabase(paths.replica, { readOnly: true });
  const db = openAppDb(file, { timeout: LOCKED_MS });
  try {
    const { clusterId, schemaVersion } = readSettings(replica, paths.replica);
    const shapes = readShapes(replica);
    const isReader = isReaderFile(db);
    uninstall(db);
    install(db, shapes, {
      isReader,
      ...{ clusterId, peerId, schemaVersion, position: readPositions(replica), usedIds, life },
    });
    writing(file, (own) => {
      skipIds(own, usedIds);
      writeRemembered(own, { ...readRemembered(own)!, unreconciled: shapes.map(({ id }) => id) });
    });
  } finally {
    db.close();
    replica.close();
  }
}

function writing(file: string, work: (db: DatabaseSync) => void): void {
  const db = openAppDb(file, { timeout: PATIENCE_MS });
  try {
    db.exec("PRAGMA synchronous = FULL");
    db.beginWriting();
    commitAfter(db, () => work(db));
  } finally {
    db.close();
  }
}

/** How the application's file is opened: no connection checkpoints by itself, and no commit of Marmot restarts the WAL. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isBusy } from "../../src/sqlite/locked.ts";
import { type AppDatabase, beginWriting, openAppDb, openAppDbReader } from "../../src/sqlite/open-app-db.ts";

let folder = "";
let file = "";
let application: DatabaseSync;
let db: AppDatabase;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-test-"));
  file = join(folder, "app.db");
  application = new DatabaseSync(file);
  application.exec("PRAGMA journal_mode = WAL; CREATE TABLE t(a)");
  db = openAppDb(file);
});

afterEach(() => {
  db.close();
  application.close();
  rmSync(folder, { recursive: true });
});

const write = (on: DatabaseSync): void => on.exec("INSERT INTO t VALUES(randomblob(3000))");
/** A checkpoint as an application's library runs it after a commit. */
const checkpoint = (): void => void application.prepare("PRAGMA wal_checkpoint(PASSIVE)").all();
const commit = (): void => {
  db.beginWriting();
  write(db);
  db.exec("COMMIT");
};

test("each connection to the application's file is told not to checkpoint by itself", () => {
  const pages = (rows: unknown): string => JSON.stringify(rows);
  for (const options of [{}, { readOnly: true }, { timeout: 1000 }]) {
    const opened = openAppDb(file, options);
    expect(pages(opened.prepare("PRAGMA wal_autocheckpoint").all())).toBe('[{"wal_autocheckpoint":0}]');
    opened.close();
  }
  const reader = openAppDbReader(file, 500);
  expect(reader.query("PRAGMA wal_autocheckpoint").values()).toEqual([[0n]]);
  reader.close();
});

test("thousands of pages of own commits are not checkpointed", () => {
  for (let i = 0; i < 1500; i++) commit();
  const { frames, backfilled } = db.walState();
  expect(frames).toBeGreaterThan(1500);
  expect(backfilled).toBe(0);
});

test("a WAL that is wholly in the file is restarted by a checkpoint before a write transaction begins", () => {
  write(application);
  checkpoint();
  const { frames, backfilled } = db.walState();
  expect(backfilled).toBe(frames);
  expect(frames).toBeGreaterThan(0);
  db.beginWriting();
  expect(db.walState()).toEqual({ busy: false, frames: 0, backfilled: 0 });
  write(db);
  db.exec("COMMIT");
  expect(db.walState().backfilled).toBe(0);
});

test("a WAL with frames that are not in the file is left as it is", () => {
  write(application);
  checkpoint();
  write(application);
  const before = db.walState();
  db.beginWriting();
  expect(db.walState()).toEqual(before);
  db.exec("ROLLBACK");
});

test("a reader that prevents the restart makes the transaction wait as for a lock, but not for ever", () => {
  const reader = new DatabaseSync(file);
  write(application);
  reader.exec("BEGIN");
  reader.prepare("SELECT count(*) FROM t").get();
  checkpoint();
  let refusals = 0;
  for (;;)
    try {
      db.beginWriting();
      break;
    } catch (error) {
      expect(isBusy(error)).toBe(true);
      expect(db.isTransaction).toBe(false);
      refusals++;
    }
  expect(refusals).toBe(50);
  const before = db.walState().frames;
  write(db);
  db.exec("COMMIT");
  // The reader's snapshot keeps its place in the WAL: nothing was restarted.
  expect(db.walState().frames).toBeGreaterThan(before);
  reader.exec("COMMIT");
  reader.close();
});

test("a connection that waits for locks begins at once when the reader ends", () => {
  const waiting = openAppDb(file, { timeout: 5000 });
  write(application);
  checkpoint();
  beginWriting(waiting);
  expect(waiting.isTransaction).toBe(true);
  waiting.exec("ROLLBACK");
  waiting.close();
});

test("a file that is still this node's alone has an ordinary write transaction", () => {
  const own = new DatabaseSync(join(folder, "own.db"));
  beginWriting(own);
  expect(own.isTransaction).toBe(true);
  own.close();
});

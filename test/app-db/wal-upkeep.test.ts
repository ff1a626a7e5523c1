/** The WAL stays bounded where the application only reads, and is left alone between an application's commits. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WalUpkeep } from "../../src/app-db/wal-upkeep.ts";
import { type AppDatabase, openAppDb } from "../../src/sqlite/open-app-db.ts";

let folder = "";
let application: DatabaseSync;
let db: AppDatabase;
let time = 0;
let used = false;
let upkeep: WalUpkeep;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-test-"));
  const file = join(folder, "app.db");
  application = new DatabaseSync(file);
  application.exec("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(a)");
  db = openAppDb(file);
  time = 0;
  used = false;
  upkeep = new WalUpkeep({ db, now: () => time, isUsed: () => used });
});
afterEach(() => {
  db.close();
  application.close();
  rmSync(folder, { recursive: true });
});

const tick = (ms = 100): void => {
  time += ms;
  upkeep.tick();
};
/** A commit of that many megabytes. */
const write = (on: DatabaseSync, mb: number): void =>
  on.prepare("INSERT INTO t VALUES(zeroblob(?))").run(mb << 20) as unknown as void;
const frames = (): number => db.walState().frames;

test("Marmot's own commits beside an application that only reads: above 4 MB the WAL is truncated", () => {
  tick(5000);
  for (let i = 0; i < 20; i++) {
    write(db, 1);
    application.prepare("SELECT count(*) FROM t").get();
    tick();
    expect(frames()).toBeLessThan(1400);
  }
});

test("within a second of a commit of the application nothing is checkpointed", () => {
  for (let i = 0; i < 20; i++) {
    write(application, 1);
    tick(900);
  }
  expect(db.walState().backfilled).toBe(0);
  expect(frames()).toBeGreaterThan(4000);
  tick(900);
  tick(1100);
  expect(frames()).toBe(0);
});

test("above 64 MB it is checkpointed although the application commits all the time", () => {
  for (let i = 0; i < 10; i++) {
    write(application, 7);
    tick();
  }
  expect(frames()).toBeLessThan(8 * 260);
});

test("not while a transaction of this node is open", () => {
  write(db, 8);
  used = true;
  tick(5000);
  expect(db.walState().backfilled).toBe(0);
  used = false;
  tick(5000);
  tick(5000);
  expect(frames()).toBe(0);
});

test("a reader that prevents the restart is waited for without a lock, and tried again later", () => {
  const reader = new DatabaseSync(join(folder, "app.db"));
  reader.exec("BEGIN");
  reader.prepare("SELECT count(*) FROM t").get();
  write(db, 8);
  tick(5000);
  const before = performance.now();
  tick(5000);
  expect(performance.now() - before).toBeLessThan(1000);
  expect(frames()).toBeGreaterThan(2000);
  reader.exec("COMMIT");
  reader.close();
  tick(5000);
  tick(5000);
  expect(frames()).toBe(0);
});

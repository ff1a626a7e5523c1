/** Commits of others are noticed, those of Marmot's writing connection are not. */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ForeignCommits } from "../../src/app-db/foreign-commits.ts";
import { type AppDatabase, openAppDb } from "../../src/sqlite/open-app-db.ts";

let folder = "";
let own: AppDatabase;
let application: Database;
let commits: ForeignCommits;
const reader = { asked: 0, moved: () => ++reader.asked > 0 };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-commits-"));
  const path = join(folder, "a.db");
  application = new Database(path, { create: true });
  application.exec("PRAGMA journal_mode = WAL; CREATE TABLE t(i INTEGER PRIMARY KEY)");
  own = openAppDb(path, { timeout: 1000 });
  commits = new ForeignCommits(own);
  commits.moved(reader);
  reader.asked = 0;
});

afterEach(() => {
  own.close();
  application.close();
  rmSync(folder, { recursive: true, force: true });
});

test("a commit of the application is noticed once, one of the writing connection never", () => {
  own.exec("INSERT INTO t VALUES(1)");
  expect(commits.moved(reader)).toBeFalse();
  application.exec("INSERT INTO t VALUES(2)");
  expect(commits.moved(reader)).toBeTrue();
  expect(commits.moved(reader)).toBeFalse();
});

test("a commit of the application between two own ones is noticed, also when the second one began before the look", () => {
  own.exec("INSERT INTO t VALUES(1)");
  application.exec("INSERT INTO t VALUES(2)");
  own.exec("INSERT INTO t VALUES(3)");
  expect(commits.moved(reader)).toBeTrue();
  expect(commits.moved(reader)).toBeFalse();
});

test("inside a transaction of the writing connection the reader is asked, and nothing is missed after it", () => {
  own.exec("BEGIN; SELECT count(*) FROM t");
  application.exec("INSERT INTO t VALUES(1)");
  expect(commits.moved(reader)).toBeTrue();
  expect(reader.asked).toBe(1);
  own.exec("COMMIT");
  expect(commits.moved(reader)).toBeTrue();
  expect(commits.moved(reader)).toBeFalse();
});

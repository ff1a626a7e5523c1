/** Ids of change logs that lost rows: such a log is noticed, and goes on above every id that was used. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { DatabaseSync } from "node:sqlite";
import { continueLog, isLogComplete, markLog } from "../../src/capture/log-ids.ts";
import { changeLogSql, CUT_LOG, newestIdsSql } from "../../src/schema/app-db-tables.ts";

function logWith(...ids: number[]): DatabaseSync {
  const db = new DatabaseSync(":memory:");
  db.exec(changeLogSql("log", 1));
  markLog(db, "log");
  for (const id of ids) db.exec(`INSERT INTO log(id, k1) VALUES(${id}, 1)`);
  return db;
}

const next = (db: DatabaseSync): unknown =>
  db.prepare("INSERT INTO log(k1) VALUES(1) RETURNING id").get()!.id;

test("a log is complete while it has its mark and the highest id that was used", () => {
  const db = logWith(1, 2, 3);
  expect(isLogComplete(db, "log", 3)).toBe(true);
  expect(isLogComplete(db, "log", 4)).toBe(false);
  db.exec("DELETE FROM log WHERE id > 1");
  expect(isLogComplete(db, "log", 3)).toBe(false);
  const emptied = logWith(1);
  emptied.exec("DELETE FROM log; INSERT INTO log(id, k1) VALUES(1, 1), (2, 1)");
  expect(isLogComplete(emptied, "log", 1)).toBe(false);
});

test("a log that lost rows goes on above the highest id that was used", () => {
  const db = logWith(1, 2, 3);
  db.exec("DELETE FROM log");
  continueLog(db, "log", 3);
  expect(isLogComplete(db, "log", 3)).toBe(true);
  expect(next(db)).toBe(4);
});

test("a log that lost nothing stays as it is, and a new one begins with 1", () => {
  const db = logWith(1, 2, 3);
  continueLog(db, "log", 3);
  expect(next(db)).toBe(4);
  expect(next(logWith())).toBe(1);
});

test("the newest ids say which logs lost their mark, and leave out logs without a change", () => {
  const db = new Database(":memory:");
  for (const log of ["a", "b", "c"]) db.exec(changeLogSql(log, 1));
  db.exec("INSERT INTO a(id) VALUES(0), (7); INSERT INTO b(id) VALUES(7); INSERT INTO c(id) VALUES(0)");
  const logs = ["a", "b", "c"].map((log, i) => ({ id: i + 1, log }));
  const rows = newestIdsSql(logs).flatMap((sql) => db.query(sql).values());
  expect(rows).toEqual([
    [1, 7],
    [2, CUT_LOG],
  ]);
});

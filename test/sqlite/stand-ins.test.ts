/** Functions that stand in for those of the application. */
import { expect, test } from "bun:test";
import { DatabaseSync } from "node:sqlite";
import { withStandIns } from "../../src/sqlite/functions/stand-ins.ts";

test("a function that only the application has takes every value, also integers that JavaScript cannot hold", () => {
  const db = new DatabaseSync(":memory:");
  const create = `CREATE TABLE t(id INTEGER PRIMARY KEY, part AS (app_part(id, typeof(id))) VIRTUAL)`;
  withStandIns(db, () => db.exec(create));
  const insert = db.prepare("INSERT INTO t(id) VALUES(?)");
  for (const id of [9_007_199_254_740_993n, -9_223_372_036_854_775_808n, 1n]) insert.run(id);
  const read = db.prepare("SELECT id, part FROM t ORDER BY id");
  read.setReadBigInts(true);
  expect(read.all().map((row) => Object.values(row))).toEqual([
    [-9_223_372_036_854_775_808n, 0],
    [1n, 0],
    [9_007_199_254_740_993n, 0],
  ]);
  db.close();
});

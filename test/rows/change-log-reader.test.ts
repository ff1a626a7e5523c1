/** The reader of change-log rows, on both of Bun's SQLite modules. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { TextBytes } from "../../src/change/value.ts";
import { captureObjects } from "../../src/capture/capture-triggers.ts";
import type { TableShape } from "../../src/change/shape.ts";
import { ChangeLogReader, RowWithoutKey, selectsOf, selectsOfBun } from "../../src/rows/change-log-reader.ts";
import { shapeOf } from "../../src/schema/read-shape.ts";
import { openDatabase } from "../../src/sqlite/open.ts";
import { queryOf } from "../../src/sqlite/query.ts";
import { readTable } from "../../src/sqlite/schema.ts";

let folder = "";
let db: DatabaseSync;
let bun: Database;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-reader-"));
  db = openDatabase(join(folder, "a.db"));
  db.exec("PRAGMA journal_mode = WAL");
  bun = new Database(join(folder, "a.db"), { safeIntegers: true });
});
afterEach(() => {
  bun.close();
  db.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Captures a new table `t` into the log `l`. */
function capture(table: string): TableShape {
  db.exec(table);
  const read = readTable(queryOf(db), "t");
  const shape = shapeOf(read, 1);
  for (const { sql } of captureObjects(shape, read, "l")) db.exec(sql);
  return shape;
}

const readers = (shape: TableShape): ChangeLogReader[] =>
  [selectsOf(db), selectsOfBun(bun)].map(
    (prepare) => new ChangeLogReader(prepare, { shape, log: "l", encoding: "UTF-8" }),
  );

describe("rows of a log", () => {
  test("come in order from one id to another, without unfounded suspicions, more than one statement reads", () => {
    const shape = capture("CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
    db.exec(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000) INSERT INTO t SELECT i, i FROM n",
    );
    db.exec("UPDATE l SET v = 1 WHERE id = 7; UPDATE l SET v = 0 WHERE id = 11999");
    for (const reader of readers(shape)) {
      expect(reader.maxId()).toBe(12000);
      const rows = [...reader.rows(5)];
      expect(rows).toHaveLength(12000 - 5 - 1);
      expect(rows[0]).toEqual({ id: 6, suspect: false, key: [6n] });
      expect(rows[1]!.suspect).toBe(true);
      expect(rows.every(({ id }, i) => i === 0 || id > rows[i - 1]!.id)).toBe(true);
      expect([...reader.rows(10, 12)].map(({ id }) => id)).toEqual([11, 12]);
    }
  });

  test("are none in an empty log, which has no highest id", () => {
    const shape = capture("CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
    for (const reader of readers(shape)) {
      expect(reader.maxId()).toBe(0);
      expect([...reader.rows(0)]).toEqual([]);
    }
  });

  test("a text key that is not valid UTF-8 comes as its bytes, beside a real U+FFFD as text", () => {
    const shape = capture("CREATE TABLE t(a TEXT, b TEXT, PRIMARY KEY(a, b)) WITHOUT ROWID");
    db.exec("INSERT INTO t VALUES('x', CAST(x'ff' AS TEXT)), ('\ufffd', 'y')");
    for (const reader of readers(shape))
      expect([...reader.rows(0)].map(({ key }) => key)).toEqual([
        ["x", new TextBytes(new Uint8Array([0xff]))],
        ["\ufffd", "y"],
      ]);
  });

  test("a NULL key that no row has any more is skipped, also one of two columns", () => {
    const shape = capture("CREATE TABLE t(a TEXT COLLATE NOCASE, b, PRIMARY KEY(a, b))");
    db.exec("INSERT INTO t VALUES(NULL, 1), ('k', 2), ('x', NULL); UPDATE t SET a = 'given' WHERE a IS NULL");
    for (const reader of readers(shape)) expect(reader.hasRowWithoutKey(0, 9)).toBe(true);
    db.exec("DELETE FROM t WHERE b IS NULL");
    for (const reader of readers(shape)) {
      expect(reader.hasRowWithoutKey(0, 9)).toBe(false);
      expect([...reader.captured(0, 9)].map(({ key }) => key)).toEqual([
        ["k", 2n],
        ["given", 1n],
      ]);
    }
  });

  test("a NULL key is a row of the log, but no key of a row", () => {
    const shape = capture("CREATE TABLE t(a TEXT PRIMARY KEY, b)");
    db.exec("INSERT INTO t VALUES(NULL, 1), ('k', 2)");
    for (const reader of readers(shape)) {
      expect([...reader.rows(0)].map(({ key }) => key)).toEqual([[null], ["k"]]);
      expect([...reader.keyIds(0)]).toEqual([[2, "t1:k"]]);
      expect(reader.hasRowWithoutKey(0, 2)).toBe(true);
      expect(() => [...reader.captured(0, 2)]).toThrow(RowWithoutKey);
    }
  });
});

describe("captured keys", () => {
  test("come once a range with their newest image; a deleted row has none", () => {
    const shape = capture("CREATE TABLE t(a TEXT COLLATE NOCASE PRIMARY KEY, b) WITHOUT ROWID");
    db.exec("INSERT INTO t VALUES('k', 1); UPDATE t SET b = 2; INSERT INTO t VALUES('gone', 1)");
    db.exec("DELETE FROM t WHERE a = 'gone'; UPDATE t SET a = 'K', b = 1.0");
    for (const reader of readers(shape)) {
      const rows = [...reader.captured(0, reader.maxId())];
      expect(rows.map(({ keyId }) => keyId)).toEqual(["t1:k", "t4:gone"]);
      expect(rows[0]!.image).toEqual(["K", 1]); // a number is REAL
      expect(rows[1]!.image).toBeNull();
      expect(rows[0]!.minId).toBe(1);
      expect(rows[0]!.maxId).toBe(reader.maxId());
    }
  });

  test("broken text in a column comes as its bytes", () => {
    const shape = capture("CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
    db.exec("INSERT INTO t VALUES(1, CAST(x'c3' AS TEXT))");
    for (const reader of readers(shape))
      expect([...reader.captured(0, 1)][0]!.image).toEqual([1n, new TextBytes(new Uint8Array([0xc3]))]);
  });
});

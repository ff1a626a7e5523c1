/** A table whose unique indexes hold expressions that can fail answers with capture as it does without. */
import { describe, expect, test } from "bun:test";
import { DatabaseSync } from "node:sqlite";
import { captureObjects } from "../../src/capture/capture-triggers.ts";
import { shapeOf } from "../../src/schema/read-shape.ts";
import { openDatabase } from "../../src/sqlite/open.ts";
import { queryOf } from "../../src/sqlite/query.ts";
import { readTable } from "../../src/sqlite/schema.ts";
import { errorMessage } from "../../src/base/errors.ts";

function open(schema: string): DatabaseSync {
  const db = openDatabase(":memory:");
  db.function("raises", { deterministic: true }, (value) => {
    if (value === "bad") throw new Error("the application's function failed");
    return value;
  });
  db.exec(schema);
  return db;
}

function capture(db: DatabaseSync): void {
  const table = readTable(queryOf(db), "j");
  for (const { sql } of captureObjects(shapeOf(table, 1), table, "log")) db.exec(sql);
}

function rowsOf(db: DatabaseSync): string {
  const columns = readTable(queryOf(db), "j").columns.map((c) => `quote(${c.name})`);
  return JSON.stringify(db.prepare(`SELECT ${columns.join(", ")} FROM j ORDER BY id`).all());
}

/** Runs each statement with and without capture; returns the keys that evictions logged. */
function compare(schema: string, statements: readonly string[]): unknown[] {
  const plain = open(schema);
  const captured = open(schema);
  capture(captured);
  for (const sql of statements) {
    const answers = [plain, captured].map((db) => {
      try {
        db.exec(sql);
        return "taken";
      } catch (error) {
        return errorMessage(error);
      }
    });
    expect([sql, answers[1]]).toEqual([sql, answers[0]!]);
    expect(rowsOf(captured)).toBe(rowsOf(plain));
  }
  return captured
    .prepare(`SELECT k1 FROM "log" WHERE v = 1 ORDER BY id`)
    .all()
    .map((row) => Object.values(row as object)[0] as unknown);
}

const GUARDED = `CREATE TABLE j(id INTEGER PRIMARY KEY, kind TEXT, data TEXT, seen INT DEFAULT 0);
  CREATE UNIQUE INDEX u ON j(json_extract(data, '$.id')) WHERE kind = 'json';
  INSERT INTO j VALUES(1, 'text', 'hello', 0), (2, 'json', '{"id":7}', 0), (3, 'text', 'world', 0), (4, 'json', '{"id":8}', 0);`;

describe("an expression is evaluated only where the index's condition holds", () => {
  test("rows outside of the condition hold anything", () => {
    const evicted = compare(GUARDED, [
      "UPDATE j SET data = 'hello2' WHERE id = 1",
      "INSERT INTO j(kind, data) VALUES('text', 'new')",
      "UPDATE j SET kind = 'note' WHERE id = 3",
      "REPLACE INTO j VALUES(2, 'text', 'now text', 0)",
      "INSERT INTO j(kind, data) VALUES('json', '{\"id\":9}')",
      "INSERT INTO j(kind, data) VALUES('json', '{\"id\":9}')",
      "INSERT OR IGNORE INTO j(kind, data) VALUES('text', 'more')",
      "DELETE FROM j WHERE id = 1",
      "UPDATE j SET kind = 'json' WHERE id = 3",
    ]);
    expect(evicted).toEqual([]);
  });

  test("REPLACE through the index is logged, also after a failure and with the key of another row", () => {
    const evicted = compare(GUARDED, [
      "INSERT INTO j(kind, data) VALUES('json', 'no json')",
      "REPLACE INTO j(kind, data) VALUES('json', '{\"id\":7}')",
      "REPLACE INTO j(id, kind, data) VALUES(3, 'json', '{\"id\":8}')",
      "UPDATE OR REPLACE j SET data = '{\"id\":8}' WHERE id = 5",
    ]);
    expect(evicted).toEqual([2, 4, 3]);
  });

  test("a row in a table that was analyzed while it was small", () => {
    compare(`${GUARDED} ANALYZE`, [
      "INSERT INTO j(kind, data) VALUES('json', '{\"id\":9}')",
      "UPDATE j SET data = 'x' WHERE id = 1",
    ]);
  });
});

describe("an expression is evaluated after NOT NULL, CHECK and conflicts", () => {
  test("a CHECK that ignores the row", () => {
    const schema = `CREATE TABLE j(id INTEGER PRIMARY KEY, data TEXT NOT NULL CHECK (json_valid(data)));
      CREATE UNIQUE INDEX u ON j(json_extract(data, '$.id')); INSERT INTO j VALUES(1, '{"id":1}')`;
    const evicted = compare(schema, [
      "INSERT OR IGNORE INTO j(data) VALUES('no json')",
      "INSERT INTO j(data) VALUES('no json')",
      "INSERT OR IGNORE INTO j(data) VALUES(NULL)",
      "UPDATE OR IGNORE j SET data = 'no json'",
      "REPLACE INTO j(data) VALUES('{\"id\":1}')",
    ]);
    expect(evicted).toEqual([1]);
  });

  test("NOT NULL of another column, which the guard does not name", () => {
    const schema = `CREATE TABLE j(id INTEGER PRIMARY KEY, data TEXT, n INTEGER NOT NULL);
      CREATE UNIQUE INDEX u ON j(json_extract(data, '$.id')); INSERT INTO j VALUES(1, '{id:1}', 1)`;
    const evicted = compare(schema, [
      "INSERT OR IGNORE INTO j(data) VALUES('no json'), (x'00')",
      "REPLACE INTO j(data, n) VALUES('{id: 1}', 2)",
      "ALTER TABLE j DROP COLUMN n",
    ]);
    expect(evicted).toEqual([1]);
  });

  test("a key that ignores the row, or updates the other", () => {
    const evicted = compare(GUARDED, [
      "INSERT OR IGNORE INTO j VALUES(1, 'json', 'no json', 0)",
      "INSERT INTO j VALUES(1, 'json', 'no json', 0) ON CONFLICT(id) DO UPDATE SET seen = 1",
      "INSERT INTO j VALUES(1, 'json', 'no json', 0) ON CONFLICT DO NOTHING",
    ]);
    expect(evicted).toEqual([]);
  });

  test("a function of the application that raises", () => {
    const schema = `CREATE TABLE j(id INTEGER PRIMARY KEY, v TEXT NOT NULL CHECK (v <> 'bad'), w TEXT);
      CREATE UNIQUE INDEX u ON j(raises(v)); CREATE UNIQUE INDEX x ON j(raises(w)) WHERE id > 1; INSERT INTO j VALUES(1, 'a', 'bad')`;
    const evicted = compare(schema, [
      "INSERT OR IGNORE INTO j VALUES(2, 'bad', '1')",
      "INSERT INTO j VALUES(2, 'b', 'bad')",
      "INSERT INTO j VALUES(2, 'b', '2')",
      "UPDATE j SET w = 'bad' WHERE id = 1",
      "REPLACE INTO j VALUES(3, 'b', '3')",
    ]);
    // An UPDATE finds the row itself, too, which the drain then sees.
    expect(evicted).toEqual([1, 2]);
  });

  test("the arrows and abs", () => {
    const schema = `CREATE TABLE j(id INTEGER PRIMARY KEY, d TEXT, n INTEGER);
      CREATE UNIQUE INDEX u ON j((d ->> '$.a') COLLATE NOCASE) WHERE n > 0; CREATE UNIQUE INDEX x ON j(abs(n)) WHERE id > 5;
      INSERT INTO j VALUES(1, '{"a":"X"}', 1)`;
    const evicted = compare(schema, [
      "INSERT INTO j VALUES(2, 'no', -9223372036854775808)",
      "INSERT INTO j VALUES(6, NULL, -9223372036854775808)",
      "INSERT INTO j VALUES(3, 'no', 4)",
      'REPLACE INTO j VALUES(4, \'{"a":"x"}\', 5)',
    ]);
    expect(evicted).toEqual([1]);
  });
});

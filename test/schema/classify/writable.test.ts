/** Whether this SQLite can write a table: by what a write evaluates, with a reason and a hint for each part. */
import { describe, expect, test } from "bun:test";
import {
  hintOf,
  requireWritable,
  unwritableTables,
  withCopy,
} from "../../../src/schema/classify/writable.ts";
import { createObject, withScratch } from "../../../src/schema/scratch.ts";
import { builtElsewhere } from "../../../src/schema/selection.ts";
import type { SchemaObject } from "../../../src/sqlite/schema.ts";

/** Each statement makes one table, or an index, a trigger or a view of one. */
function objectsOf(...statements: string[]): SchemaObject[] {
  return statements.map((sql) => {
    const [, kind, name] = /CREATE\s+(?:UNIQUE\s+|VIRTUAL\s+)?(TABLE|INDEX|TRIGGER|VIEW)\s+(\w+)/i.exec(sql)!;
    const tableName = /\bON\s+(\w+)/.exec(sql)?.[1] ?? name!;
    return { kind: kind!.toLowerCase() as SchemaObject["kind"], name: name!, tableName, sql };
  });
}

const reasonsOf = (...statements: string[]): string[] =>
  withCopy(objectsOf(...statements), (copy) =>
    [...unwritableTables(copy).values()].flat().map((u) => u.reason),
  );

describe("a table can be written", () => {
  test.each([
    "CREATE TABLE t(id INTEGER PRIMARY KEY, v CHECK (v REGEXP 'x'), w DEFAULT (myfn(1)), x)",
    "CREATE TABLE t(id INTEGER PRIMARY KEY, v, g AS (myfn(v)) VIRTUAL NOT NULL)",
    "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT COLLATE unicase, CHECK (v COLLATE unicase > 'a'))",
  ])("%s", (sql) => {
    expect(reasonsOf(sql)).toEqual([]);
    withScratch((db) => {
      const [object] = objectsOf(sql);
      db.exec("BEGIN; PRAGMA ignore_check_constraints = ON");
      createObject(db, object!);
      expect(db.prepare("SELECT sql FROM sqlite_schema WHERE name = 't'").get()).toEqual({ sql });
      const more = sql.includes("w DEFAULT") ? ", w" : "";
      db.exec(`INSERT OR REPLACE INTO t(id, v${more}) VALUES(1, 'x'${more && ", 2"})`);
      db.exec("COMMIT");
      expect(db.prepare("PRAGMA integrity_check").get()).toEqual({ integrity_check: "ok" });
    });
  });
});

describe("a table cannot be written", () => {
  const t =
    "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, c TEXT COLLATE unicase, g AS (myfn(v)), h AS (g || 'x'))";
  test.each([
    [
      ["CREATE TABLE t(id INTEGER PRIMARY KEY, v, g AS (myfn(v)) STORED)"],
      "its stored generated column g calls myfn",
    ],
    [
      ["CREATE TABLE t(id INTEGER PRIMARY KEY, v, g AS (myfn(v)), s AS (g) STORED)"],
      "its stored generated column s calls myfn",
    ],
    [[t, "CREATE INDEX i ON t(myfn(v))"], "its index i calls myfn"],
    [[t, "CREATE INDEX i ON t(v) WHERE myfn(v)"], "its index i calls myfn"],
    [[t, "CREATE UNIQUE INDEX i ON t(h)"], "its unique index i calls myfn"],
    [[t, "CREATE INDEX i ON t(c)"], "its index i needs the collation unicase"],
    [[t, "CREATE INDEX i ON t(v COLLATE [unicase] DESC)"], "its index i needs the collation unicase"],
    [[t, "CREATE INDEX i ON t(v) WHERE c = 'x'"], "its index i needs the collation unicase"],
    [
      ["CREATE TABLE t(k PRIMARY KEY, v COLLATE unicase) WITHOUT ROWID"],
      "it compares with the collation unicase",
    ],
    [
      ["CREATE TABLE t(id INTEGER PRIMARY KEY, v, g AS (nullif(myfn(v), 0)) NOT NULL)"],
      "its generated column g, which is NOT NULL, calls myfn",
    ],
    [
      ["CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, g TEXT AS (myfn(v))) STRICT"],
      "its generated column g, of a STRICT table, calls myfn",
    ],
  ])("%j", (statements, reason) => {
    expect(reasonsOf(...statements)).toEqual([`${reason}, which only the application has`]);
    expect(() => requireWritable(objectsOf(...statements))).toThrow(`t (${reason}`);
  });

  test("the hint names what to give once, and each thing to drop", () => {
    const objects = objectsOf(t, "CREATE INDEX i ON t(myfn(v))", "CREATE INDEX j ON t(myfn(c))");
    const [reasons] = withCopy(objects, (copy) => [...unwritableTables(copy).values()]);
    expect(hintOf(reasons!)).toBe(
      `give it to marmot with --functions FILE.js or --load-extension FILE, or drop the index: DROP INDEX "i" and drop the index: DROP INDEX "j"`,
    );
  });
});

test("tables that are left out are built elsewhere only for views and triggers of others", () => {
  const objects = objectsOf(
    "CREATE TABLE t(id INTEGER PRIMARY KEY)",
    "CREATE VIRTUAL TABLE vec USING vec0(e)",
    "CREATE TABLE local(v)",
    "CREATE INDEX local_v ON local(v)",
    "CREATE TRIGGER own AFTER INSERT ON local BEGIN INSERT INTO vec VALUES(1); END",
    "CREATE TABLE log(v)",
    "CREATE TRIGGER logs AFTER INSERT ON t BEGIN INSERT INTO log VALUES(NEW.id); END",
  );
  const names = builtElsewhere(objects, { tables: null, exclude: ["VEC", "local", "log"] }).map(
    (o) => o.name,
  );
  expect(names).toEqual(["t", "log", "logs"]);
});

/** Triggers and tables that older replicators left in a file: refused by name, and removed with the printed command. */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { marmot } from "./lab.ts";

let folder = "";
let path = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-leftovers-"));
  path = join(folder, "app.db");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const APPLICATION = `CREATE TABLE books(id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT);
  INSERT INTO books(title) VALUES('a');`;

const replicator = (prefix: string): string => `
  CREATE TABLE ${prefix}_change_log_global(id INTEGER PRIMARY KEY AUTOINCREMENT, change_table_id INTEGER, table_name TEXT);
  CREATE TABLE ${prefix}books_change_log(id INTEGER PRIMARY KEY AUTOINCREMENT, val_id TEXT, val_title TEXT, type TEXT,
    created_at INTEGER, state INTEGER);
  CREATE INDEX ${prefix}books_change_log_state_index ON ${prefix}books_change_log(state);
  CREATE TRIGGER ${prefix}books_change_log_on_insert AFTER INSERT ON books BEGIN
    INSERT INTO ${prefix}books_change_log(val_id, val_title, type, created_at, state) VALUES(NEW.id, NEW.title, 'insert', 0, 0);
    INSERT INTO ${prefix}_change_log_global(change_table_id, table_name) VALUES(last_insert_rowid(), 'books'); END;`;

function fill(sql: string): string {
  const db = new Database(path, { create: true });
  db.exec(APPLICATION);
  const before = schema(db);
  db.exec(sql);
  db.close();
  return before;
}

const schema = (db: Database): string =>
  JSON.stringify(db.query("SELECT type, name, sql FROM sqlite_schema ORDER BY rowid").values());

function schemaNow(): string {
  const db = new Database(path);
  try {
    return schema(db);
  } finally {
    db.close();
  }
}

/** Runs the command of the last hint as it was printed. */
async function runHint(out: string): Promise<void> {
  const command = /marmot (cleanup [^\n]+)/.exec(out)![1]!;
  expect((await marmot(command.split(" "))).code).toBe(0);
}

test.each([
  ["__marmot__", "maxpert/marmot"],
  ["__harmonylite__", "HarmonyLite"],
])("change logs with the prefix %s are named as %s's, and the hint removes them", async (prefix, origin) => {
  const before = fill(replicator(prefix));
  const { code, out } = await marmot(["doctor", "--db", path]);
  expect(code).toBe(1);
  expect(out).toContain(`${prefix}books_change_log`);
  expect(out).toContain(origin);
  await runHint(out);
  // `sqlite_sequence` remains where there was an AUTOINCREMENT table before.
  expect(schemaNow()).toBe(before);
  expect((await marmot(["doctor", "--db", path])).code).toBe(0);
});

test("cleanup without an option removes the ancestor's, and names the option for HarmonyLite's", async () => {
  fill(replicator("__marmot__") + replicator("__harmonylite__"));
  const { code, out, err } = await marmot(["cleanup", "--db", path]);
  expect(code).toBe(0);
  expect(out).toContain("removed 1 triggers and 2 tables that older replicators had left");
  expect(err).toContain("3 triggers and tables of HarmonyLite are still there");
  await runHint(err);
  expect(schemaNow()).not.toContain("change_log");
});

test("a trigger whose change log is gone is refused, too", async () => {
  fill(
    replicator("__marmot__") +
      "DROP TABLE __marmot__books_change_log; DROP TABLE __marmot___change_log_global",
  );
  const { code, out } = await marmot(["doctor", "--db", path]);
  expect(code).toBe(1);
  expect(out).toContain("it is a trigger that maxpert/marmot");
  await runHint(out);
  expect((await marmot(["doctor", "--db", path])).code).toBe(0);
});

test("a table of the application under a reserved name is not taken for a leftover", async () => {
  fill("CREATE TABLE __marmot__x_change_log(id INTEGER PRIMARY KEY, note TEXT)");
  const { code, out } = await marmot(["doctor", "--db", path]);
  expect(code).toBe(1);
  expect(out).toContain("rename it");
  await marmot(["cleanup", "--db", path, "--also-others"]);
  expect(schemaNow()).toContain("__marmot__x_change_log");
});

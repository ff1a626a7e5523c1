/** Each kind of DDL, made with plain statements on a captured file and migrated to another file and to a replica. */
import { describe, expect, test } from "bun:test";
import { copyFileSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import type { SchemaChange } from "../../../src/schema/diff/change.ts";
import { compareCatalogues, readRecorders, tablesOf } from "../../../src/schema/diff/diff.ts";
import { sameSchema } from "../../../src/schema/diff/evolve.ts";
import { uninstall } from "../../../src/capture/install.ts";
import { isVirtual } from "../../../src/schema/virtual-tables.ts";
import { queryOf } from "../../../src/sqlite/query.ts";
import {
  apply,
  capture,
  checkReplica,
  inFolder,
  integrity,
  open,
  replicaOf,
  rowsOf,
  stateOf,
} from "./cases.ts";

const BASE = `
  CREATE TABLE parent(id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE, "of" TEXT);
  CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT, b INTEGER, c REAL DEFAULT 1.5,
    p INTEGER REFERENCES parent(id), g TEXT AS (a || '!') VIRTUAL, CHECK(b < 1000));
  CREATE TABLE keyed(k TEXT, l INTEGER, v, PRIMARY KEY(k, l)) WITHOUT ROWID;
  CREATE TABLE keyless(x TEXT, y);
  CREATE UNIQUE INDEX t_a ON t(a);
  CREATE INDEX t_b ON t(b, lower(a)) WHERE b > 0;
  CREATE VIEW v AS SELECT a, b FROM t;
  CREATE TRIGGER first AFTER UPDATE OF b ON t BEGIN UPDATE parent SET id = id WHERE id = NEW.p; END;
  CREATE TRIGGER second AFTER UPDATE OF b ON t BEGIN UPDATE parent SET id = id WHERE id = NEW.p; END;
  INSERT INTO parent VALUES(1, 'one', 'x'), (7, 'seven', NULL);
  INSERT INTO t(id, a, b, p) VALUES(1, 'a', 1, 1), (5, 'b', 2, NULL), (9, 'c', NULL, 7);
  DELETE FROM t WHERE id = 9;
  INSERT INTO keyed VALUES('k', 1, x'00'), ('k', 2, 1.0);
  INSERT INTO keyless(rowid, x, y) VALUES(1, 'x', 1), (2, 'x', 1);`;

const REBUILD = `
  DROP VIEW v; CREATE TABLE new_t(id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT NOT NULL, b TEXT, c REAL DEFAULT 1.5, p INTEGER REFERENCES parent(id), d TEXT DEFAULT 'd');
  INSERT INTO new_t(id, a, b, c, p) SELECT id, a, b, c, p FROM t;
  DROP TABLE t; ALTER TABLE new_t RENAME TO t; CREATE INDEX t_b ON t(b);
  CREATE VIEW v AS SELECT a, b FROM t`;

/** The DDL's name, its statements, and the expected changes (op, name and method). */
const KINDS: readonly (readonly [name: string, sql: string, changes: readonly string[]])[] = [
  ["nothing", "ANALYZE; REINDEX", []],
  ["create table", "CREATE TABLE n(a, b DEFAULT 'x')", ["createTable n"]],
  ["create table as select", "CREATE TABLE n AS SELECT a, b FROM t WHERE 0", ["createTable n"]],
  ["drop table", "DROP VIEW v; DROP TABLE t", ["drop v", "dropTable t"]],
  ["rename table", "ALTER TABLE keyed RENAME TO [key ed]", ["renameTable keyed"]],
  ["add column", "ALTER TABLE t ADD COLUMN d TEXT NOT NULL DEFAULT 'x, y'", ["alterTable t text"]],
  ["add column to WITHOUT ROWID", "ALTER TABLE keyed ADD d", ["alterTable keyed text"]],
  ["rename key column", "ALTER TABLE keyed RENAME COLUMN k TO key", ["alterTable keyed text"]],
  ["drop column", "ALTER TABLE t DROP COLUMN c", ["alterTable t drop"]],
  [
    "drop and add",
    "ALTER TABLE keyless DROP COLUMN x; ALTER TABLE keyless ADD xx",
    ["alterTable keyless drop"],
  ],
  [
    "rename and add",
    "ALTER TABLE keyless RENAME x TO xx; ALTER TABLE keyless ADD x",
    ["alterTable keyless text"],
  ],
  [
    "swap two columns",
    "ALTER TABLE keyless RENAME x TO z; ALTER TABLE keyless RENAME y TO x; ALTER TABLE keyless RENAME z TO y",
    ["alterTable keyless text"],
  ],
  [
    "drop one, give its name to another",
    "ALTER TABLE parent DROP COLUMN name; ALTER TABLE parent RENAME [of] TO name",
    ["alterTable parent drop"],
  ],
  [
    "rename a table and make another of its name",
    "ALTER TABLE keyless RENAME TO old; CREATE TABLE keyless(z)",
    ["renameTable keyless", "createTable keyless"],
  ],
  [
    "two tables change names",
    "ALTER TABLE keyed RENAME TO z; ALTER TABLE keyless RENAME TO keyed; ALTER TABLE z RENAME TO keyless",
    ["renameTable keyed", "renameTable keyless", "renameTable __marmot__aside_1"],
  ],
  ["drop index", "DROP INDEX t_b", ["drop t_b"]],
  ["change index", "DROP INDEX t_b; CREATE INDEX t_b ON t(b)", ["replace t_b"]],
  ["unique index becomes plain", "DROP INDEX t_a; CREATE INDEX t_a ON t(a)", ["replace t_a", "order"]],
  ["create unique index", "CREATE UNIQUE INDEX u ON parent(lower(name)) WHERE id > 0", ["create u"]],
  ["change view", "DROP VIEW v; CREATE VIEW v AS SELECT a FROM t", ["replace v"]],
  ["trigger of a view", "CREATE TRIGGER vt INSTEAD OF INSERT ON v BEGIN SELECT 1; END", ["create vt"]],
  [
    "change trigger",
    "DROP TRIGGER first; CREATE TRIGGER first AFTER DELETE ON t BEGIN SELECT 1; END",
    ["replace first", "order"],
  ],
  ["drop triggers", "DROP TRIGGER first; DROP TRIGGER second", ["drop first", "drop second"]],
  [
    "versions",
    "PRAGMA user_version = 12; PRAGMA application_id = -5",
    ["userVersion 12", "applicationId -5"],
  ],
  ["vacuum", "VACUUM", []],
  [
    "full-text index",
    "CREATE VIRTUAL TABLE f USING fts5(name, content='parent', content_rowid='id')",
    ["createTable f"],
  ],
  ["rebuild", REBUILD, ["drop first", "drop second", "drop t_a", "alterTable t rebuild", "replace t_b"]],
  [
    "rebuild of a table without a key",
    "CREATE TABLE n(y, x TEXT); INSERT INTO n(rowid, x, y) SELECT rowid, x, y FROM keyless; DROP TABLE keyless; ALTER TABLE n RENAME TO keyless",
    ["alterTable keyless rebuild"],
  ],
];

const told = (changes: readonly SchemaChange[]): string[] =>
  changes.map((c) => {
    if (c.op === "order") return "order";
    if (c.op === "userVersion" || c.op === "applicationId") return `${c.op} ${c.value}`;
    return `${c.op} ${c.name}${c.op === "alterTable" ? ` ${c.method}` : ""}`;
  });

const allRows = (db: DatabaseSync): unknown =>
  [...tablesOf(stateOf(db)).values()]
    .filter((t) => !isVirtual(t))
    .map((t) => [t.name, rowsOf(db, t.name)])
    .sort();

describe.each([
  ["ON", "ON"],
  ["ON", "OFF"],
  ["OFF", "ON"],
  ["OFF", "OFF"],
])("legacy_alter_table %s, foreign_keys %s", (legacy, foreign) => {
  test.each(KINDS)("%s", (_name, sql, expected) => {
    inFolder((path) => {
      const built = open(path("x.db"));
      built.exec(BASE);
      const names = capture(built);
      const base = stateOf(built);
      built.close();
      copyFileSync(path("x.db"), path("y.db"));
      const origin = open(path("x.db"));
      origin.exec(`PRAGMA legacy_alter_table = ${legacy}; PRAGMA foreign_keys = ${foreign}`);
      // With enforcement a table that others refer to is not dropped.
      const child = /DROP TABLE/.test(sql) && foreign === "ON" ? "PRAGMA defer_foreign_keys = ON;" : "";
      origin.exec(child + sql);
      const to = stateOf(origin);
      const changes = compareCatalogues(base, to, readRecorders(queryOf(origin), names));
      expect(told(changes)).toEqual([...expected]);

      const appDb = open(path("y.db"));
      const { db: replica, objects } = replicaOf(appDb, path("y.db"), path("s.db"));
      const applied = apply(appDb, changes, "app-db");
      expect(sameSchema(stateOf(appDb), to)).toBe(true);
      expect(sameSchema(applied.state, to)).toBe(true);
      expect(integrity(appDb)).toBe('[["ok"]]');
      expect(allRows(appDb)).toEqual(allRows(origin));
      // Plain statements forget the ids of deleted rows; after a migration no id is given twice.
      const sequence = queryOf(appDb)("SELECT name, seq FROM sqlite_sequence");
      const isThere = tablesOf(to).has("t");
      expect(sequence).toEqual(isThere ? [["t", 9]] : []);
      // Marmot's remaining triggers can be uninstalled.
      uninstall(appDb);
      expect(
        queryOf(appDb)(
          "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '\\_\\_marmot%' ESCAPE '\\'",
        ),
      ).toEqual([]);

      apply(replica, changes, "replica", { ...base, objects });
      expect(integrity(replica)).toBe('[["ok"]]');
      checkReplica(replica, to);
    });
  });
});

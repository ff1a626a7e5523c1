/** The effects of a migration on rows and on the connection. */
import { expect, test } from "bun:test";
import { DatabaseSync } from "node:sqlite";
import { UserError } from "../../../src/base/errors.ts";
import { TextBytes } from "../../../src/change/value.ts";
import { type ApplyOptions, applySchemaChanges } from "../../../src/schema/migrate/migrate.ts";
import type { RejectedRow, SchemaChange } from "../../../src/schema/diff/change.ts";
import { compareCatalogues } from "../../../src/schema/diff/diff.ts";
import { queryOf } from "../../../src/sqlite/query.ts";
import { capture, inFolder, integrity, open, stateOf } from "./cases.ts";

function memory(sql: string): DatabaseSync {
  const db = new DatabaseSync(":memory:", { enableForeignKeyConstraints: false });
  db.exec(sql);
  return db;
}

/** The changes from one schema to the other; tables and columns are matched by name. */
const between = (from: string, to: string) =>
  compareCatalogues(stateOf(memory(from)), stateOf(memory(to)), []);

function change(db: DatabaseSync, from: string, to: string, options: Partial<ApplyOptions> = {}) {
  const rejected: RejectedRow[] = [];
  db.exec("BEGIN IMMEDIATE");
  const applied = applySchemaChanges(db, between(from, to), {
    role: "app-db",
    rejected: (row) => rejected.push(row),
    ...options,
  });
  db.exec("COMMIT");
  expect(integrity(db)).toBe('[["ok"]]');
  return { ...applied, rejected };
}

const all = (db: DatabaseSync, sql: string): unknown => queryOf(db)(sql);

test("a row with NULL in a column that becomes NOT NULL is rejected and reported with exact values", () => {
  const from = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b, c)";
  const db = memory(from);
  db.exec("INSERT INTO t VALUES(1, 'x', 1, 1.0), (2, NULL, CAST(x'61ff' AS TEXT), 1.0), (3, NULL, x'00', 7)");
  const { rejected, tables } = change(db, from, from.replace("a TEXT", "a TEXT NOT NULL"));
  expect(all(db, "SELECT id, a FROM t")).toEqual([[1, "x"]]);
  expect(tables).toMatchObject([{ from: "t", to: "t", rejected: 2 }]);
  const reason = "it has NULL in a column that is NOT NULL now";
  expect(rejected).toEqual([
    {
      from: "t",
      table: "t",
      columns: ["id", "a", "b", "c"],
      values: [3n, null, new Uint8Array([0]), 7n],
      rowid: 3n,
      reason,
      gaveWayTo: null,
    },
    {
      from: "t",
      table: "t",
      columns: ["id", "a", "b", "c"],
      values: [2n, null, new TextBytes(new Uint8Array([0x61, 0xff])), 1],
      rowid: 2n,
      reason,
      gaveWayTo: null,
    },
  ]);
});

test("a default replaces NULL in a NOT NULL column; a new NOT NULL column without one is empty", () => {
  const from = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)";
  const db = memory(`${from}; INSERT INTO t VALUES(1, 'x'), (2, NULL)`);
  const to =
    "CREATE TABLE t(n INTEGER NOT NULL, id INTEGER PRIMARY KEY, a TEXT NOT NULL DEFAULT 'none', m TEXT NOT NULL)";
  expect(change(db, from, to).rejected).toEqual([]);
  expect(all(db, "SELECT * FROM t")).toEqual([
    [0, 1, "x", ""],
    [0, 2, "none", ""],
  ]);
});

test("a default without quotes or in double quotes is a text, even if a column has that name", () => {
  const from = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT)";
  const db = memory(`${from}; INSERT INTO t VALUES(1, NULL, NULL)`);
  const to =
    'CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT NOT NULL DEFAULT hello, b TEXT NOT NULL DEFAULT "id")';
  expect(change(db, from, to).rejected).toEqual([]);
  expect(all(db, "SELECT * FROM t")).toEqual([[1, "hello", "id"]]);
});

test("a default that depends on the moment is not evaluated by the migration", () => {
  const from = "CREATE TABLE t(id INTEGER PRIMARY KEY, a)";
  const to =
    "CREATE TABLE t(x DEFAULT (random()), y TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, z DEFAULT (1 + 2), id INTEGER PRIMARY KEY, a)";
  const db = memory(`${from}; INSERT INTO t VALUES(1, 'a')`);
  change(db, from, to);
  expect(all(db, "SELECT * FROM t")).toEqual([[null, "1970-01-01 00:00:00", 3, 1, "a"]]);
});

test("of clashing rows the latest is kept, also in a chain of clashes", () => {
  const from = "CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL, a, b)";
  const to = "CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL, a, b, UNIQUE(a), UNIQUE(b))";
  const rows = "INSERT INTO t VALUES('p', 1, 1), ('q', 1, 2), ('r', 2, 2), ('s', NULL, 3), ('t', NULL, 4)";
  const byKey = memory(`${from}; ${rows}`);
  expect(change(byKey, from, to).rejected.map((r) => r.values[0])).toEqual(["q"]);
  const byRank = memory(`${from}; ${rows}`);
  const rank = (table: string, [key]: readonly unknown[]) => (table === "t" && key === "q" ? 2 : 1);
  expect(change(byRank, from, to, { rank }).rejected.map((r) => r.values[0])).toEqual(["r", "p"]);
  expect(all(byRank, "SELECT k FROM t ORDER BY k")).toEqual([["q"], ["s"], ["t"]]);
});

test("a new UNIQUE index keeps the latest of clashing rows, fires no trigger and loses none", () => {
  const from = `CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b); CREATE TABLE log(x INTEGER PRIMARY KEY);
    CREATE TRIGGER one AFTER DELETE ON t BEGIN INSERT INTO log VALUES(NULL); END;
    CREATE TRIGGER two AFTER DELETE ON t BEGIN INSERT INTO log VALUES(NULL); END`;
  const db = memory(from);
  db.exec(
    "INSERT INTO t VALUES(1, 'x', 1), (2, 'X', 1), (3, 'x', 0), (4, NULL, 1), (5, NULL, 1), (6, 'y', 1)",
  );
  capture(db);
  const to = `${from}; CREATE UNIQUE INDEX u ON t(a COLLATE NOCASE DESC) WHERE b`;
  const { rejected, reinstall } = change(db, from, to, { rank: (_table, [id]) => -Number(id) });
  expect(rejected).toMatchObject([
    { from: "t", values: [2n, "X", 1n], reason: "another row has its unique value", gaveWayTo: [1n] },
  ]);
  expect(all(db, "SELECT id FROM t")).toEqual([[1], [3], [4], [5], [6]]);
  expect(all(db, "SELECT * FROM log")).toEqual([]);
  expect(
    all(db, "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 't' ORDER BY rowid"),
  ).toEqual([["one"], ["two"]]);
  expect(reinstall).toEqual(["t"]);
});

test("a row whose value does not fit a stricter type is rejected", () => {
  const from = "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, a)";
  const db = memory(`${from}; INSERT INTO t VALUES('7', '12'), ('8', 'x'), ('nine', '1')`);
  const { rejected } = change(db, from, "CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER) STRICT");
  expect(all(db, "SELECT * FROM t")).toEqual([[7, 12]]);
  expect(rejected.map((r) => [r.values[0], r.reason])).toEqual([
    ["nine", "its key is not an integer"],
    ["8", "it has a value of another type than its column"],
  ]);
});

test("rows copied before one that a STRICT column refuses are not copied twice", () => {
  const from = "CREATE TABLE t(k TEXT PRIMARY KEY, b) WITHOUT ROWID";
  const db = memory(`${from}; INSERT INTO t VALUES('a', 1), ('b', 2), ('c', 'no'), ('d', 4)`);
  const { rejected } = change(db, from, "CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, b INTEGER) STRICT");
  expect(rejected.map((r) => r.values[0])).toEqual(["c"]);
  expect(all(db, "SELECT k FROM t ORDER BY k")).toEqual([["a"], ["b"], ["d"]]);
});

test("a row that a declared conflict clause would drop is reported", () => {
  const from = "CREATE TABLE t(id INTEGER PRIMARY KEY, a)";
  const db = memory(`${from}; INSERT INTO t VALUES(1, 1), (2, 1), (3, NULL)`);
  const to =
    "CREATE TABLE t(z, id INTEGER PRIMARY KEY, a NOT NULL ON CONFLICT IGNORE UNIQUE ON CONFLICT REPLACE)";
  expect(change(db, from, to).rejected.map((r) => r.values[0])).toEqual([3n, 1n]);
  // Nothing else differs: SQLite copies such a table as a whole.
  const alike = memory(`${from}; INSERT INTO t VALUES(1, 1), (2, 1), (3, NULL)`);
  const { rejected } = change(alike, from, from.replace("a)", "a UNIQUE ON CONFLICT IGNORE)"));
  expect(rejected.map((r) => r.values[0])).toEqual([1n]);
});

test("nodes with different rowids keep the same rows", () => {
  const from = "CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL, a)";
  const [one, two] = ["(1, 'x', 1), (2, 'y', 1)", "(1, 'y', 1), (2, 'x', 1)"];
  for (const to of [from.replace("a)", "a, UNIQUE(a))"), `${from}; CREATE UNIQUE INDEX u ON t(a)`])
    for (const rows of [one, two]) {
      const db = memory(`${from}; INSERT INTO t(rowid, k, a) VALUES${rows}`);
      expect(change(db, from, to).rejected.map((r) => r.values[0])).toEqual(["x"]);
    }
});

test("a new constraint, reference or column type without violating rows touches no row", () => {
  const from = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b); CREATE INDEX i ON t(a)";
  const db = memory(from);
  db.exec("INSERT INTO t VALUES(1, 'x', 2), (2, 'y', 1)");
  const [[root]] = queryOf(db)("SELECT rootpage FROM sqlite_schema WHERE name = 't'") as [[number]];
  const to =
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a VARCHAR(9) REFERENCES t(a), b NOT NULL, CHECK(b > 0)); CREATE INDEX i ON t(a)";
  expect(change(db, from, to).tables).toMatchObject([{ method: "altered", rejected: 0 }]);
  expect(all(db, "SELECT rootpage FROM sqlite_schema WHERE name = 't'")).toEqual([[root]]);
  expect(() => db.exec("INSERT INTO t VALUES(3, 'z', -1)")).toThrow("CHECK");
});

test("a changed default of an added column rebuilds the table, because old rows are read with it", () => {
  const from = "CREATE TABLE t(id INTEGER PRIMARY KEY)";
  const db = memory(`${from}; INSERT INTO t VALUES(1)`);
  const added = "CREATE TABLE t(id INTEGER PRIMARY KEY, a DEFAULT 'old')";
  expect(change(db, from, added).tables).toMatchObject([{ method: "altered" }]);
  expect(change(db, added, added.replace("old", "new")).tables).toMatchObject([{ method: "rebuilt" }]);
  expect(all(db, "SELECT * FROM t")).toEqual([[1, "old"]]);
});

test("another collation rebuilds the table and its indexes", () => {
  const from = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); CREATE INDEX i ON t(a, id)";
  const db = memory(`${from}; INSERT INTO t VALUES(1, 'b'), (2, 'A'), (3, 'C')`);
  const to = from.replace("a TEXT", "a TEXT COLLATE NOCASE");
  expect(change(db, from, to).tables).toMatchObject([{ method: "rebuilt" }]);
  expect(all(db, "SELECT id FROM t WHERE a = 'B'")).toEqual([[1]]);
});

test("a new INTEGER PRIMARY KEY numbers the rows in the same order on every node", () => {
  const from = "CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL, a)";
  const to = "CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, a NOT NULL)";
  const [one, two] = [memory(from), memory(from)];
  one.exec("INSERT INTO t(rowid, k, a) VALUES(5, 'x', 1), (7, 'y', 2), (9, 'z', 3)");
  two.exec("INSERT INTO t(rowid, k, a) VALUES(8, 'z', 3), (1, 'y', 2), (4, 'x', 1)");
  for (const db of [one, two]) change(db, from, to);
  expect(all(one, "SELECT * FROM t")).toEqual([
    [1, "z", 3],
    [2, "y", 2],
    [3, "x", 1],
  ]);
  expect(all(two, "SELECT * FROM t")).toEqual(all(one, "SELECT * FROM t"));
});

test("a rebuild keeps rowids and the AUTOINCREMENT sequence", () => {
  const from = "CREATE TABLE t(a, b); CREATE TABLE u(id INTEGER PRIMARY KEY AUTOINCREMENT, a, rowid)";
  const db = memory(from);
  db.exec(
    "INSERT INTO t(rowid, a) VALUES(4, 'x'), (9, 'x'); INSERT INTO u VALUES(3, 1, 'r'), (8, 2, 's'); DELETE FROM u WHERE id = 8",
  );
  const to = "CREATE TABLE t(b, a); CREATE TABLE u(rowid, id INTEGER PRIMARY KEY AUTOINCREMENT, a)";
  expect(change(db, from, to).tables.map((t) => t.method)).toEqual(["rebuilt", "rebuilt"]);
  expect(all(db, "SELECT rowid, a FROM t")).toEqual([
    [4, "x"],
    [9, "x"],
  ]);
  expect(all(db, "SELECT rowid, id, a FROM u")).toEqual([["r", 3, 1]]);
  expect(all(db, "SELECT * FROM sqlite_sequence")).toEqual([["u", 8]]);
});

test("a change with an unknown module fails with its name, and the rollback restores everything", () => {
  const from = "CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE VIEW v AS SELECT a FROM t";
  const db = memory(`${from}; INSERT INTO t VALUES(1, 2)`);
  const before = stateOf(db);
  const changes = [
    { op: "drop", kind: "view", name: "v" } as const,
    { op: "createTable", name: "u", sql: "CREATE VIRTUAL TABLE u USING of_the_application(a)" } as const,
  ];
  db.exec("BEGIN IMMEDIATE");
  let error: unknown;
  try {
    applySchemaChanges(db, changes, { role: "app-db" });
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(UserError);
  expect((error as UserError).message).toContain("no such module: of_the_application");
  db.exec("ROLLBACK");
  expect(stateOf(db)).toEqual(before);
  expect(all(db, "SELECT * FROM v")).toEqual([[2]]);
  expect(all(db, "PRAGMA legacy_alter_table")).toEqual([[0]]);
  expect(all(db, "PRAGMA ignore_check_constraints")).toEqual([[0]]);
  expect(() => db.exec("UPDATE sqlite_schema SET sql = sql")).toThrow();
  expect(() => applySchemaChanges(db, changes, { role: "app-db" })).toThrow("transaction");
});

test("a change that does not fit the schema is refused before the file is changed", () => {
  const db = memory("CREATE TABLE t(a)");
  db.exec("BEGIN");
  const missing = { op: "drop", kind: "index", name: "i" } as const;
  expect(() => applySchemaChanges(db, [missing], { role: "app-db" })).toThrow(UserError);
  const twice = { op: "createTable", name: "T", sql: "CREATE TABLE T(b)" } as const;
  expect(() => applySchemaChanges(db, [twice], { role: "app-db" })).toThrow(UserError);
  const newer = [{ op: "moveTable", name: "t" }] as unknown as SchemaChange[];
  expect(() => applySchemaChanges(db, newer, { role: "app-db" })).toThrow("moveTable");
  db.exec("COMMIT");
});

test("a migration beside an attached replica, in WAL mode and UTF-16, keeps prepared statements valid", () => {
  inFolder((path) => {
    const from = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); CREATE TABLE u(x REFERENCES t)";
    const replica = open(path("s.db"));
    replica.exec("PRAGMA encoding = 'UTF-16le'; CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)");
    replica.close();
    const db = open(path("x.db"));
    db.exec(`PRAGMA encoding = 'UTF-16le'; PRAGMA journal_mode = WAL; ${from}; INSERT INTO t VALUES(1, 'ä')`);
    db.exec(`ATTACH 'file:${path("s.db")}?mode=ro' AS replica`);
    const reader = new DatabaseSync(path("x.db"), { readOnly: true });
    const [mine, other] = [db.prepare("SELECT * FROM t"), reader.prepare("SELECT * FROM t")];
    expect(other.all()).toHaveLength(1);
    const to =
      "CREATE TABLE t(id INTEGER PRIMARY KEY, b TEXT, a TEXT); CREATE TABLE u(x REFERENCES t(id), CHECK(x > 0))";
    change(db, from, to);
    expect(mine.all().map((r) => Object.values(r))).toEqual([[1, null, "ä"]]);
    expect(other.all().map((r) => Object.values(r))).toEqual([[1, null, "ä"]]);
    expect(all(db, "SELECT count(*) FROM replica.t")).toEqual([[0]]);
    expect(all(db, "SELECT count(*) FROM replica.sqlite_schema")).toEqual([[1]]);
    reader.close();
    db.close();
  });
});

test("names are compared as SQLite compares them: É differs from é, A equals a", () => {
  const from = "CREATE TABLE É(id INTEGER PRIMARY KEY, A, ä, Ä); CREATE TABLE é(x)";
  const db = memory(from);
  db.exec("INSERT INTO É VALUES(1, 2, 3, 4)");
  change(db, from, "CREATE TABLE É(id INTEGER PRIMARY KEY, Ä, a, ä); CREATE TABLE é(x, y)");
  expect(all(db, "SELECT * FROM É")).toEqual([[1, 4, 2, 3]]);
});

test("a replica's indexes for foreign keys are dropped when the keys get other numbers", () => {
  const from =
    "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE c(id INTEGER PRIMARY KEY, a, b REFERENCES t)";
  const db = memory(from);
  const own = "SELECT name FROM sqlite_schema WHERE name LIKE '\\_\\_marmot%' ESCAPE '\\'";
  db.exec('CREATE INDEX "__marmot__fk_2_0" ON c(b)');
  const state = stateOf(memory(from));
  change(db, from, from.replace("a,", "a CHECK(a > 0),"), { role: "replica", state });
  expect(all(db, own)).toEqual([["__marmot__fk_2_0"]]);
  change(db, from, from.replace("a,", "a REFERENCES t,"), { role: "replica", state });
  expect(all(db, own)).toEqual([]);
});

test("a new full-text index is filled, and no change names its shadow tables", () => {
  const from = "CREATE TABLE docs(id INTEGER PRIMARY KEY, body TEXT)";
  const to = `${from}; CREATE VIRTUAL TABLE f USING fts5(body, content='docs', content_rowid='id')`;
  expect(between(from, to).map((c) => c.op)).toEqual(["createTable"]);
  const db = memory(`${from}; INSERT INTO docs VALUES(1, 'one two'), (2, 'three')`);
  change(db, from, to);
  expect(all(db, "SELECT rowid FROM f WHERE f MATCH 'three'")).toEqual([[2]]);
  change(db, to, from);
  expect(all(db, "SELECT name FROM sqlite_schema")).toEqual([["docs"]]);
});

test.each([
  ["a UNIQUE index rejects rows", "docs", (sql: string) => `${sql}; CREATE UNIQUE INDEX i ON docs(body)`],
  [
    "a UNIQUE index rejects rows under a view with the content",
    "shown",
    (sql: string) => `${sql}; CREATE UNIQUE INDEX i ON docs(body)`,
  ],
  [
    "a rebuild rejects rows and replaces NULL by defaults",
    "docs",
    (sql: string) => sql.replace("body TEXT, tag TEXT", "body TEXT UNIQUE, tag TEXT NOT NULL DEFAULT 'none'"),
  ],
])("a full-text index is filled again when %s", (_case, content, changed) => {
  const from = `CREATE TABLE docs(id INTEGER PRIMARY KEY, body TEXT, tag TEXT); CREATE VIEW shown AS SELECT * FROM docs;
    CREATE VIRTUAL TABLE f USING fts5(body, tag, content='${content}', content_rowid='id')`;
  const db = memory(`${from}; INSERT INTO docs VALUES(1, 'one', NULL), (2, 'one', 'x'), (3, 'three', NULL);
    INSERT INTO f(f) VALUES('rebuild')`);
  const { rejected } = change(db, from, changed(from));
  expect(rejected.length).toBe(1);
  expect(all(db, "SELECT rowid FROM f WHERE f MATCH 'one'")).toEqual([[2]]);
  db.exec("INSERT INTO f(f, rank) VALUES('integrity-check', 1)");
});

test("a full-text index that names a dropped column of its content does not stop the migration", () => {
  const from = `CREATE TABLE docs(id INTEGER PRIMARY KEY, body TEXT, tag TEXT);
    CREATE VIRTUAL TABLE f USING fts5(body, tag, content='docs', content_rowid='id')`;
  const db = memory(`${from}; INSERT INTO docs VALUES(1, 'one', 'x')`);
  change(db, from, from.replace("body TEXT, tag TEXT", "body TEXT UNIQUE"));
  expect(all(db, "SELECT id, body FROM docs")).toEqual([[1, "one"]]);
});

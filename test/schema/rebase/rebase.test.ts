/** This node's changes put on top of others', case by case: what is still proposed, what the file becomes, what is told. */
import { describe, expect, test } from "bun:test";
import { DatabaseSync } from "node:sqlite";
import type { SchemaState } from "../../../src/schema/diff/change.ts";
import { compareCatalogues, readRecorders } from "../../../src/schema/diff/diff.ts";
import { changeCatalogue, sameSchema } from "../../../src/schema/diff/evolve.ts";
import { type Rebased, rebaseChanges } from "../../../src/schema/rebase/rebase.ts";
import { queryOf } from "../../../src/sqlite/query.ts";
import { apply, capture, integrity, stateOf } from "../migrate/cases.ts";

const BASE = `
  CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INTEGER, CHECK(b > 0));
  CREATE TABLE child(id INTEGER PRIMARY KEY, t_id REFERENCES t(id));
  CREATE INDEX t_a ON t(a);
  CREATE VIEW v AS SELECT a FROM t;
  CREATE TRIGGER tr AFTER UPDATE OF a ON t BEGIN UPDATE child SET t_id = NEW.id WHERE t_id = OLD.id; END;`;

interface Outcome extends Rebased {
  readonly appDb: Rebased["appDb"];
  readonly file: DatabaseSync;
}

function made(sql: string): { db: DatabaseSync; base: SchemaState; names: Map<number, string> } {
  const db = new DatabaseSync(":memory:", { enableForeignKeyConstraints: false });
  db.exec(BASE);
  const names = capture(db);
  const base = stateOf(db);
  db.exec(`INSERT INTO t VALUES(1, 'x', 1), (2, 'y', 2); INSERT INTO child VALUES(1, 1)`);
  db.exec(sql);
  return { db, base, names };
}

/** `theirs` is first in the order; `ours` was made meanwhile. Both files must come to the target. */
function rebase(theirs: string, ours: string): Outcome {
  const [there, here] = [made(theirs), made(ours)];
  const changesOf = ({ db, base, names }: ReturnType<typeof made>) =>
    compareCatalogues(base, stateOf(db), readRecorders(queryOf(db), names));
  const onto = stateOf(there.db);
  const rebased = rebaseChanges({
    base: there.base,
    pending: changesOf(here),
    onto,
    theirs: changesOf(there),
  });
  expect(sameSchema(changeCatalogue(onto, rebased.changes), rebased.target)).toBe(true);
  for (const [db, changes] of [
    [there.db, rebased.changes],
    [here.db, rebased.appDb],
  ] as const) {
    apply(db, changes, "app-db");
    expect(sameSchema(stateOf(db), rebased.target)).toBe(true);
    expect(integrity(db)).toBe('[["ok"]]');
  }
  return { ...rebased, file: here.db };
}

const columnsOf = ({ file }: Outcome, table: string): unknown =>
  queryOf(file)("SELECT name FROM pragma_table_xinfo(?) ORDER BY cid", table).map(([name]) => name);
const rows = ({ file }: Outcome, sql: string): unknown => queryOf(file)(sql);
const reasons = ({ lost }: Outcome): string[] => lost.map((l) => l.reason);

test("nothing of ours: the file follows theirs", () => {
  const outcome = rebase("ALTER TABLE t RENAME COLUMN a TO aa; ALTER TABLE child RENAME TO kid", "ANALYZE");
  expect(outcome.changes).toEqual([]);
  expect(outcome.lost).toEqual([]);
  expect(rows(outcome, "SELECT aa FROM t")).toEqual([["x"], ["y"]]);
});

test("the same on both sides leaves nothing, whatever the style of its text", () => {
  for (const sql of [
    "ALTER TABLE t ADD c TEXT",
    "ALTER TABLE t RENAME TO u",
    "CREATE TABLE n(a)",
    "DROP VIEW v",
    "PRAGMA user_version = 3",
    "DROP INDEX t_a; ALTER TABLE t DROP COLUMN b",
  ]) {
    // The CHECK names b.
    const statements = sql.includes("DROP COLUMN b") ? "CREATE INDEX i ON child(t_id)" : sql;
    const outcome = rebase(statements, statements);
    expect([outcome.changes, outcome.appDb, outcome.lost]).toEqual([[], [], []]);
  }
  const outcome = rebase("ALTER TABLE t RENAME a TO aa", 'ALTER TABLE t RENAME a TO "aa"');
  expect([outcome.changes, outcome.lost]).toEqual([[], []]);
});

describe("columns", () => {
  test("one added there and one here: both, theirs first, rows and all", () => {
    const outcome = rebase(
      "ALTER TABLE t ADD COLUMN c TEXT DEFAULT 'c, (' NOT NULL",
      "ALTER TABLE t ADD COLUMN [d d] INT DEFAULT (2) /* ours */ CHECK([d d] < 9); UPDATE t SET [d d] = 7 WHERE id = 2",
    );
    expect(outcome.lost).toEqual([]);
    expect(outcome.changes).toMatchObject([{ op: "alterTable", name: "t", method: "text" }]);
    expect(columnsOf(outcome, "t")).toEqual(["id", "a", "b", "c", "d d"]);
    expect(rows(outcome, "SELECT * FROM t")).toEqual([
      [1, "x", 1, "c, (", 2],
      [2, "y", 2, "c, (", 7],
    ]);
  });

  test("renamed there, added here", () => {
    const outcome = rebase("ALTER TABLE t RENAME COLUMN a TO aa", "ALTER TABLE t ADD COLUMN d AS (a || '!')");
    expect(outcome.lost).toEqual([]);
    expect(columnsOf(outcome, "t")).toEqual(["id", "aa", "b", "d"]);
    expect(rows(outcome, "SELECT d FROM t")).toEqual([["x!"], ["y!"]]);
  });

  test("added there, renamed here", () => {
    const outcome = rebase("ALTER TABLE t ADD COLUMN c", "ALTER TABLE t RENAME COLUMN a TO aa");
    expect(outcome.lost).toEqual([]);
    expect(columnsOf(outcome, "t")).toEqual(["id", "aa", "b", "c"]);
    expect(rows(outcome, "SELECT aa FROM t")).toEqual([["x"], ["y"]]);
  });

  test("renamed differently: theirs stands", () => {
    const outcome = rebase("ALTER TABLE t RENAME a TO a1", "ALTER TABLE t RENAME a TO a2");
    expect(columnsOf(outcome, "t")).toEqual(["id", "a1", "b"]);
    expect(outcome.changes).toEqual([]);
    expect(reasons(outcome)).toEqual([
      "its column's name a2 does not stand: it has another name elsewhere, or the name is taken",
    ]);
    expect(rows(outcome, "SELECT a1 FROM t")).toEqual([["x"], ["y"]]);
  });

  test("a name that went to another column there is not ours any more", () => {
    const outcome = rebase("ALTER TABLE t RENAME a TO n", "ALTER TABLE t ADD n DEFAULT 'mine'");
    expect(columnsOf(outcome, "t")).toEqual(["id", "n", "b"]);
    expect(rows(outcome, "SELECT n FROM t")).toEqual([["x"], ["y"]]);
    expect(outcome.lost).toMatchObject([{ table: "t", columns: ["n"] }]);
  });

  test("dropped there: what we made on it is told", () => {
    const outcome = rebase(
      "DROP TRIGGER tr; DROP INDEX t_a; DROP VIEW v; ALTER TABLE t DROP COLUMN a",
      "CREATE INDEX more ON t(b, a)",
    );
    expect(outcome.changes).toEqual([]);
    expect(outcome.lost).toMatchObject([{ change: { op: "create", name: "more" }, table: null }]);
  });

  test("dropped here, used there: it stays", () => {
    const outcome = rebase(
      "CREATE INDEX more ON t(b, a)",
      "DROP TRIGGER tr; DROP INDEX t_a; DROP VIEW v; ALTER TABLE t DROP COLUMN a",
    );
    expect(columnsOf(outcome, "t")).toEqual(["id", "a", "b"]);
    expect(reasons(outcome)[0]).toContain("does not go together");
  });
});

describe("tables", () => {
  test("dropped here, altered there: ours comes later", () => {
    const outcome = rebase("ALTER TABLE child ADD c", "DROP TRIGGER tr; DROP TABLE child");
    expect(outcome.changes).toMatchObject([
      { op: "drop", name: "tr" },
      { op: "dropTable", name: "child" },
    ]);
    expect(outcome.lost).toEqual([]);
  });

  test("altered here, dropped there: told with its rows", () => {
    const outcome = rebase("DROP TRIGGER tr; DROP TABLE child", "ALTER TABLE child ADD c");
    expect(outcome.changes).toEqual([]);
    expect(outcome.lost).toMatchObject([{ table: "child", reason: "the table child was dropped elsewhere" }]);
    expect(rows(outcome, "SELECT name FROM sqlite_schema WHERE name = 'child'")).toEqual([]);
  });

  test("renamed there, altered, indexed and watched here", () => {
    const outcome = rebase(
      "ALTER TABLE t RENAME TO u; ALTER TABLE u RENAME a TO aa",
      `ALTER TABLE t ADD d; CREATE INDEX more ON t(a, d);
       CREATE TRIGGER again AFTER INSERT ON t BEGIN UPDATE t SET d = NEW.a WHERE id = NEW.id; END`,
    );
    expect(outcome.lost).toEqual([]);
    expect(columnsOf(outcome, "u")).toEqual(["id", "aa", "b", "d"]);
    outcome.file.exec("INSERT INTO u(id, aa, b) VALUES(3, 'new', 3)");
    expect(rows(outcome, "SELECT d FROM u WHERE id = 3")).toEqual([["new"]]);
  });

  test("renamed differently: theirs stands", () => {
    const outcome = rebase("ALTER TABLE t RENAME TO t1", "ALTER TABLE t RENAME TO t2");
    expect(rows(outcome, "SELECT a FROM t1")).toEqual([["x"], ["y"]]);
    expect(outcome.lost).toHaveLength(1);
  });

  test("two change names here, one of them is renamed there: no rows go", () => {
    const outcome = rebase(
      "ALTER TABLE child RENAME TO kid",
      "ALTER TABLE t RENAME TO x; ALTER TABLE child RENAME TO t; ALTER TABLE x RENAME TO child",
    );
    expect(outcome.changes.some((c) => c.op === "dropTable" || c.op === "createTable")).toBe(false);
    expect(outcome.appDb.some((c) => c.op === "dropTable" || c.op === "createTable")).toBe(false);
    expect(rows(outcome, "SELECT a FROM child")).toEqual([["x"], ["y"]]);
    expect(rows(outcome, "SELECT t_id FROM kid")).toEqual([[1]]);
  });

  test("made differently: theirs stands, ours is told with its rows", () => {
    const outcome = rebase("CREATE TABLE n(a, b)", "CREATE TABLE n(a PRIMARY KEY); INSERT INTO n VALUES(1)");
    expect(outcome.changes).toEqual([]);
    expect(outcome.lost).toMatchObject([{ table: "n", columns: null, change: { op: "createTable" } }]);
    expect(outcome.appDb.map((c) => c.op)).toEqual(["dropTable", "createTable"]);
    expect(rows(outcome, "SELECT * FROM n")).toEqual([]);
  });

  test("the same migrations on both, one further through: the table is altered, and keeps its rows", () => {
    const first = "CREATE TABLE n(id INTEGER PRIMARY KEY, a TEXT)";
    const second =
      "ALTER TABLE n ADD COLUMN b DEFAULT 3; CREATE INDEX n_b ON n(b); INSERT INTO n VALUES(1, 'x', 2)";
    const ours = rebase(first, `${first}; ${second}`);
    expect(ours.lost).toEqual([]);
    expect(ours.changes).toMatchObject([
      { op: "alterTable", name: "n", method: "text" },
      { op: "create", name: "n_b" },
    ]);
    expect(rows(ours, "SELECT * FROM n")).toEqual([[1, "x", 2]]);
    const theirs = rebase(`${first}; ${second}`, `${first}; INSERT INTO n VALUES(7, 'y')`);
    expect([theirs.changes, theirs.lost]).toEqual([[], []]);
    expect(rows(theirs, "SELECT * FROM n")).toEqual([[7, "y", 3]]);
  });

  test("a name that went to another table there is not ours any more", () => {
    const outcome = rebase("ALTER TABLE t RENAME TO n", "CREATE TABLE n(x); INSERT INTO n VALUES(1)");
    expect(rows(outcome, "SELECT a FROM n")).toEqual([["x"], ["y"]]);
    expect(outcome.lost).toMatchObject([{ table: "n", columns: null }]);
  });

  test("rebuilt with another constraint here, a column added there", () => {
    const outcome = rebase(
      "ALTER TABLE t ADD c DEFAULT 1",
      `DROP TRIGGER tr; DROP VIEW v; CREATE TABLE n(id INTEGER PRIMARY KEY, a TEXT NOT NULL, b INTEGER, UNIQUE(a));
       INSERT INTO n SELECT * FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t`,
    );
    expect(outcome.lost).toEqual([]);
    expect(columnsOf(outcome, "t")).toEqual(["id", "a", "b", "c"]);
    expect(outcome.target.objects.find((o) => o.name === "t")!.sql).toContain("UNIQUE(a)");
    expect(outcome.target.objects.find((o) => o.name === "t")!.sql).not.toContain("CHECK");
  });
});

test("a column that both added is one: the definition first in the order stands, with what was written here", () => {
  const outcome = rebase(
    "ALTER TABLE t ADD c TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE t ADD c; UPDATE t SET c = 'of ' || a WHERE id = 1",
  );
  expect(rows(outcome, "SELECT id, c FROM t")).toEqual([
    [1, "of x"],
    [2, ""],
  ]);
  expect(outcome.lost).toMatchObject([
    { reason: "its column c was added otherwise elsewhere", table: null, columns: null },
  ]);
  // What is computed here holds nothing that could stay.
  const computed = rebase("ALTER TABLE t ADD c TEXT", "ALTER TABLE t ADD c AS (a || '!')");
  expect(rows(computed, "SELECT id, c FROM t")).toEqual([
    [1, null],
    [2, null],
  ]);
  expect(computed.lost).toMatchObject([{ table: "t", columns: ["c"] }]);
});

test("views, triggers and indexes changed differently: theirs stands", () => {
  const outcome = rebase(
    "DROP VIEW v; CREATE VIEW v AS SELECT b FROM t; DROP INDEX t_a; CREATE INDEX t_a ON t(a DESC)",
    "DROP VIEW v; CREATE VIEW v AS SELECT id FROM t; DROP INDEX t_a; CREATE UNIQUE INDEX t_a ON t(a)",
  );
  expect(outcome.changes).toEqual([]);
  expect(reasons(outcome)).toEqual([
    "view v was changed otherwise elsewhere",
    "index t_a was changed otherwise elsewhere",
  ]);
});

test("dropped there and changed here, what holds no rows is made again; unchanged it is gone", () => {
  const outcome = rebase(
    "DROP VIEW v; DROP INDEX t_a; DROP TRIGGER tr",
    "DROP VIEW v; CREATE VIEW v AS SELECT b FROM t; DROP INDEX t_a; CREATE INDEX t_a ON t(b)",
  );
  expect(outcome.lost).toEqual([]);
  expect(outcome.changes).toMatchObject([
    { op: "create", kind: "view", name: "v" },
    { op: "create", kind: "index", name: "t_a" },
  ]);
});

test("a name is given once, whatever kind of object has it", () => {
  const outcome = rebase("CREATE VIEW n AS SELECT 1", "CREATE TABLE n(a)");
  expect(outcome.lost).toMatchObject([{ table: "n" }]);
  expect(outcome.changes).toEqual([]);
});

test("a trigger that theirs left broken, which SQLite therefore does not rename, keeps its table", () => {
  const swap = "ALTER TABLE t RENAME TO x; ALTER TABLE child RENAME TO t; ALTER TABLE x RENAME TO child";
  const outcome = rebase(
    `CREATE TABLE gone(a); CREATE TRIGGER broken AFTER INSERT ON t BEGIN DELETE FROM gone; END;
     PRAGMA legacy_alter_table = ON; DROP TABLE gone`,
    swap,
  );
  expect(outcome.lost.length).toBeGreaterThan(0);
  expect(rows(outcome, "SELECT a FROM t")).toEqual([["x"], ["y"]]);
  expect(rows(outcome, "SELECT tbl_name FROM sqlite_schema WHERE name = 'broken'")).toEqual([["t"]]);
});

test("of two versions the greater stands, of two application ids theirs", () => {
  const outcome = rebase(
    "PRAGMA user_version = 5; PRAGMA application_id = 1",
    "PRAGMA user_version = 7; PRAGMA application_id = 2",
  );
  expect([outcome.target.userVersion, outcome.target.applicationId]).toEqual([7, 1]);
  expect(outcome.changes).toEqual([{ op: "userVersion", value: 7 }]);
});

test("without knowing what they did, names alone are compared", () => {
  const { db, base } = made("ALTER TABLE t ADD d");
  const onto = stateOf(made("ALTER TABLE t ADD c").db);
  const pending = compareCatalogues(base, stateOf(db), []);
  const { target } = rebaseChanges({ base, pending, onto });
  expect(target.objects[0]!.sql).toBe(
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INTEGER, c, d, CHECK(b > 0))",
  );
});

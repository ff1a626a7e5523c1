/** This node's changes rebased on those of the cluster, case by case. In names, "they" are the cluster and "we" this node. */
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

/** `theirs` is first in the log, `ours` was made at the same time. Both files must get the target schema. */
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
const reasons = ({ rejected }: Outcome): string[] => rejected.map((l) => l.reason);

test("without changes of ours the file gets theirs", () => {
  const outcome = rebase("ALTER TABLE t RENAME COLUMN a TO aa; ALTER TABLE child RENAME TO kid", "ANALYZE");
  expect(outcome.changes).toEqual([]);
  expect(outcome.rejected).toEqual([]);
  expect(rows(outcome, "SELECT aa FROM t")).toEqual([["x"], ["y"]]);
});

test("the same change on both sides leaves nothing to do, even if its text is styled differently", () => {
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
    expect([outcome.changes, outcome.appDb, outcome.rejected]).toEqual([[], [], []]);
  }
  const outcome = rebase("ALTER TABLE t RENAME a TO aa", 'ALTER TABLE t RENAME a TO "aa"');
  expect([outcome.changes, outcome.rejected]).toEqual([[], []]);
});

describe("columns", () => {
  test("both sides add a column: the table gets both, theirs first, with their rows", () => {
    const outcome = rebase(
      "ALTER TABLE t ADD COLUMN c TEXT DEFAULT 'c, (' NOT NULL",
      "ALTER TABLE t ADD COLUMN [d d] INT DEFAULT (2) /* ours */ CHECK([d d] < 9); UPDATE t SET [d d] = 7 WHERE id = 2",
    );
    expect(outcome.rejected).toEqual([]);
    expect(outcome.changes).toMatchObject([{ op: "alterTable", name: "t", method: "text" }]);
    expect(columnsOf(outcome, "t")).toEqual(["id", "a", "b", "c", "d d"]);
    expect(rows(outcome, "SELECT * FROM t")).toEqual([
      [1, "x", 1, "c, (", 2],
      [2, "y", 2, "c, (", 7],
    ]);
  });

  test("they rename a column, we add a generated one over it: ours follows the rename", () => {
    const outcome = rebase("ALTER TABLE t RENAME COLUMN a TO aa", "ALTER TABLE t ADD COLUMN d AS (a || '!')");
    expect(outcome.rejected).toEqual([]);
    expect(columnsOf(outcome, "t")).toEqual(["id", "aa", "b", "d"]);
    expect(rows(outcome, "SELECT d FROM t")).toEqual([["x!"], ["y!"]]);
  });

  test("they add a column, we rename one: both are kept", () => {
    const outcome = rebase("ALTER TABLE t ADD COLUMN c", "ALTER TABLE t RENAME COLUMN a TO aa");
    expect(outcome.rejected).toEqual([]);
    expect(columnsOf(outcome, "t")).toEqual(["id", "aa", "b", "c"]);
    expect(rows(outcome, "SELECT aa FROM t")).toEqual([["x"], ["y"]]);
  });

  test("both rename a column differently: their name wins", () => {
    const outcome = rebase("ALTER TABLE t RENAME a TO a1", "ALTER TABLE t RENAME a TO a2");
    expect(columnsOf(outcome, "t")).toEqual(["id", "a1", "b"]);
    expect(outcome.changes).toEqual([]);
    expect(reasons(outcome)).toEqual([
      "the column name a2 was rejected: it has another name on another node, or the name is taken",
    ]);
    expect(rows(outcome, "SELECT a1 FROM t")).toEqual([["x"], ["y"]]);
  });

  test("they rename a column to a name that we added: our column is rejected with its values", () => {
    const outcome = rebase("ALTER TABLE t RENAME a TO n", "ALTER TABLE t ADD n DEFAULT 'mine'");
    expect(columnsOf(outcome, "t")).toEqual(["id", "n", "b"]);
    expect(rows(outcome, "SELECT n FROM t")).toEqual([["x"], ["y"]]);
    expect(outcome.rejected).toMatchObject([{ table: "t", columns: ["n"] }]);
  });

  test("they drop a column: our index on it is rejected", () => {
    const outcome = rebase(
      "DROP TRIGGER tr; DROP INDEX t_a; DROP VIEW v; ALTER TABLE t DROP COLUMN a",
      "CREATE INDEX more ON t(b, a)",
    );
    expect(outcome.changes).toEqual([]);
    expect(outcome.rejected).toMatchObject([{ change: { op: "create", name: "more" }, table: null }]);
  });

  test("we drop a column that they use: it is kept", () => {
    const outcome = rebase(
      "CREATE INDEX more ON t(b, a)",
      "DROP TRIGGER tr; DROP INDEX t_a; DROP VIEW v; ALTER TABLE t DROP COLUMN a",
    );
    expect(columnsOf(outcome, "t")).toEqual(["id", "a", "b"]);
    expect(reasons(outcome)[0]).toContain("it conflicts with schema changes of other nodes");
  });
});

describe("tables", () => {
  test("we drop a table that they alter: it is dropped", () => {
    const outcome = rebase("ALTER TABLE child ADD c", "DROP TRIGGER tr; DROP TABLE child");
    expect(outcome.changes).toMatchObject([
      { op: "drop", name: "tr" },
      { op: "dropTable", name: "child" },
    ]);
    expect(outcome.rejected).toEqual([]);
  });

  test("they drop a table that we alter: our change is rejected with the rows", () => {
    const outcome = rebase("DROP TRIGGER tr; DROP TABLE child", "ALTER TABLE child ADD c");
    expect(outcome.changes).toEqual([]);
    expect(outcome.rejected).toMatchObject([
      { table: "child", reason: "the table child was dropped on another node" },
    ]);
    expect(rows(outcome, "SELECT name FROM sqlite_schema WHERE name = 'child'")).toEqual([]);
  });

  test("they rename a table that we alter, index and give a trigger: ours follows the rename", () => {
    const outcome = rebase(
      "ALTER TABLE t RENAME TO u; ALTER TABLE u RENAME a TO aa",
      `ALTER TABLE t ADD d; CREATE INDEX more ON t(a, d);
       CREATE TRIGGER again AFTER INSERT ON t BEGIN UPDATE t SET d = NEW.a WHERE id = NEW.id; END`,
    );
    expect(outcome.rejected).toEqual([]);
    expect(columnsOf(outcome, "u")).toEqual(["id", "aa", "b", "d"]);
    outcome.file.exec("INSERT INTO u(id, aa, b) VALUES(3, 'new', 3)");
    expect(rows(outcome, "SELECT d FROM u WHERE id = 3")).toEqual([["new"]]);
  });

  test("both rename a table differently: their name wins", () => {
    const outcome = rebase("ALTER TABLE t RENAME TO t1", "ALTER TABLE t RENAME TO t2");
    expect(rows(outcome, "SELECT a FROM t1")).toEqual([["x"], ["y"]]);
    expect(outcome.rejected).toHaveLength(1);
  });

  test("we swap the names of two tables of which they rename one: no rows are deleted", () => {
    const outcome = rebase(
      "ALTER TABLE child RENAME TO kid",
      "ALTER TABLE t RENAME TO x; ALTER TABLE child RENAME TO t; ALTER TABLE x RENAME TO child",
    );
    expect(outcome.changes.some((c) => c.op === "dropTable" || c.op === "createTable")).toBe(false);
    expect(outcome.appDb.some((c) => c.op === "dropTable" || c.op === "createTable")).toBe(false);
    expect(rows(outcome, "SELECT a FROM child")).toEqual([["x"], ["y"]]);
    expect(rows(outcome, "SELECT t_id FROM kid")).toEqual([[1]]);
  });

  test("both create a table differently: theirs wins, ours is rejected with its rows", () => {
    const outcome = rebase("CREATE TABLE n(a, b)", "CREATE TABLE n(a PRIMARY KEY); INSERT INTO n VALUES(1)");
    expect(outcome.changes).toEqual([]);
    expect(outcome.rejected).toMatchObject([{ table: "n", columns: null, change: { op: "createTable" } }]);
    expect(outcome.appDb.map((c) => c.op)).toEqual(["dropTable", "createTable"]);
    expect(rows(outcome, "SELECT * FROM n")).toEqual([]);
  });

  test("both ran the same migrations and one ran more: the table is altered and keeps its rows", () => {
    const first = "CREATE TABLE n(id INTEGER PRIMARY KEY, a TEXT)";
    const second =
      "ALTER TABLE n ADD COLUMN b DEFAULT 3; CREATE INDEX n_b ON n(b); INSERT INTO n VALUES(1, 'x', 2)";
    const ours = rebase(first, `${first}; ${second}`);
    expect(ours.rejected).toEqual([]);
    expect(ours.changes).toMatchObject([
      { op: "alterTable", name: "n", method: "text" },
      { op: "create", name: "n_b" },
    ]);
    expect(rows(ours, "SELECT * FROM n")).toEqual([[1, "x", 2]]);
    const theirs = rebase(`${first}; ${second}`, `${first}; INSERT INTO n VALUES(7, 'y')`);
    expect([theirs.changes, theirs.rejected]).toEqual([[], []]);
    expect(rows(theirs, "SELECT * FROM n")).toEqual([[7, "y", 3]]);
  });

  test("they rename a table to a name that we created: our table is rejected with its rows", () => {
    const outcome = rebase("ALTER TABLE t RENAME TO n", "CREATE TABLE n(x); INSERT INTO n VALUES(1)");
    expect(rows(outcome, "SELECT a FROM n")).toEqual([["x"], ["y"]]);
    expect(outcome.rejected).toMatchObject([{ table: "n", columns: null }]);
  });

  test("we rebuild a table with another constraint, they add a column: both are merged", () => {
    const outcome = rebase(
      "ALTER TABLE t ADD c DEFAULT 1",
      `DROP TRIGGER tr; DROP VIEW v; CREATE TABLE n(id INTEGER PRIMARY KEY, a TEXT NOT NULL, b INTEGER, UNIQUE(a));
       INSERT INTO n SELECT * FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t`,
    );
    expect(outcome.rejected).toEqual([]);
    expect(columnsOf(outcome, "t")).toEqual(["id", "a", "b", "c"]);
    expect(outcome.target.objects.find((o) => o.name === "t")!.sql).toContain("UNIQUE(a)");
    expect(outcome.target.objects.find((o) => o.name === "t")!.sql).not.toContain("CHECK");
  });
});

test("both add the same column differently: their definition wins and our values are kept", () => {
  const outcome = rebase(
    "ALTER TABLE t ADD c TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE t ADD c; UPDATE t SET c = 'of ' || a WHERE id = 1",
  );
  expect(rows(outcome, "SELECT id, c FROM t")).toEqual([
    [1, "of x"],
    [2, ""],
  ]);
  expect(outcome.rejected).toMatchObject([
    { reason: "its column c was added differently on another node", table: null, columns: null },
  ]);
  // Our generated column has no stored values to keep.
  const computed = rebase("ALTER TABLE t ADD c TEXT", "ALTER TABLE t ADD c AS (a || '!')");
  expect(rows(computed, "SELECT id, c FROM t")).toEqual([
    [1, null],
    [2, null],
  ]);
  expect(computed.rejected).toMatchObject([{ table: "t", columns: ["c"] }]);
});

test("both change a view and an index differently: theirs wins", () => {
  const outcome = rebase(
    "DROP VIEW v; CREATE VIEW v AS SELECT b FROM t; DROP INDEX t_a; CREATE INDEX t_a ON t(a DESC)",
    "DROP VIEW v; CREATE VIEW v AS SELECT id FROM t; DROP INDEX t_a; CREATE UNIQUE INDEX t_a ON t(a)",
  );
  expect(outcome.changes).toEqual([]);
  expect(reasons(outcome)).toEqual([
    "view v was changed differently on another node",
    "index t_a was changed differently on another node",
  ]);
});

test("they drop a view and an index that we change: ours are created again; the unchanged trigger is dropped", () => {
  const outcome = rebase(
    "DROP VIEW v; DROP INDEX t_a; DROP TRIGGER tr",
    "DROP VIEW v; CREATE VIEW v AS SELECT b FROM t; DROP INDEX t_a; CREATE INDEX t_a ON t(b)",
  );
  expect(outcome.rejected).toEqual([]);
  expect(outcome.changes).toMatchObject([
    { op: "create", kind: "view", name: "v" },
    { op: "create", kind: "index", name: "t_a" },
  ]);
});

test("they create a view with the name of our new table: our table is rejected", () => {
  const outcome = rebase("CREATE VIEW n AS SELECT 1", "CREATE TABLE n(a)");
  expect(outcome.rejected).toMatchObject([{ table: "n" }]);
  expect(outcome.changes).toEqual([]);
});

test("a trigger that was broken on their side remains on its table", () => {
  const swap = "ALTER TABLE t RENAME TO x; ALTER TABLE child RENAME TO t; ALTER TABLE x RENAME TO child";
  const outcome = rebase(
    `CREATE TABLE gone(a); CREATE TRIGGER broken AFTER INSERT ON t BEGIN DELETE FROM gone; END;
     PRAGMA legacy_alter_table = ON; DROP TABLE gone`,
    swap,
  );
  expect(outcome.rejected.length).toBeGreaterThan(0);
  expect(rows(outcome, "SELECT a FROM t")).toEqual([["x"], ["y"]]);
  expect(rows(outcome, "SELECT tbl_name FROM sqlite_schema WHERE name = 'broken'")).toEqual([["t"]]);
});

test("the greater user_version wins, and of two application ids theirs", () => {
  const outcome = rebase(
    "PRAGMA user_version = 5; PRAGMA application_id = 1",
    "PRAGMA user_version = 7; PRAGMA application_id = 2",
  );
  expect([outcome.target.userVersion, outcome.target.applicationId]).toEqual([7, 1]);
  expect(outcome.changes).toEqual([{ op: "userVersion", value: 7 }]);
});

test("without the list of their changes, tables and columns are matched by name", () => {
  const { db, base } = made("ALTER TABLE t ADD d");
  const onto = stateOf(made("ALTER TABLE t ADD c").db);
  const pending = compareCatalogues(base, stateOf(db), []);
  const { target } = rebaseChanges({ base, pending, onto });
  expect(target.objects[0]!.sql).toBe(
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INTEGER, c, d, CHECK(b > 0))",
  );
});

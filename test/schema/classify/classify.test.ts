/** Which tables of a schema replicate and which are refused: the classification behind `doctor` and `run`. */
import { expect, test } from "bun:test";
import { DatabaseSync } from "node:sqlite";
import { type ClassifiedTable, classify } from "../../../src/schema/classify/classify.ts";
import { shapeOf } from "../../../src/schema/read-shape.ts";
import { queryOf } from "../../../src/sqlite/query.ts";
import { readTable } from "../../../src/sqlite/schema.ts";

function classified(schema: string, exclude: readonly string[] = []): Map<string, ClassifiedTable> {
  const db = new DatabaseSync(":memory:");
  db.exec(schema);
  const tables = classify(queryOf(db), { tables: null, exclude });
  db.close();
  return new Map(tables.map((t) => [t.name, t]));
}
const verdicts = (schema: string, exclude: readonly string[] = []): Record<string, string> =>
  Object.fromEntries([...classified(schema, exclude)].map(([name, { verdict }]) => [name, verdict]));

const TABLES = `CREATE TABLE t(id TEXT NOT NULL PRIMARY KEY, a) WITHOUT ROWID; CREATE TABLE u(id TEXT NOT NULL PRIMARY KEY, n);
  CREATE TABLE local(x);`;

test("a table is accepted with triggers that write replicated tables and with triggers that write local ones", () => {
  for (const body of [
    "INSERT INTO u VALUES(NEW.id, 1)",
    "DELETE FROM u WHERE id = OLD.id",
    "UPDATE u SET id = NEW.id WHERE id = OLD.id",
    "SELECT RAISE(ABORT, 'no') WHERE NEW.a > 3",
    "INSERT INTO local VALUES(NEW.id); DELETE FROM local WHERE x = OLD.id",
    "INSERT INTO u VALUES(NEW.id, 1); INSERT INTO local VALUES(NEW.id)",
  ])
    expect(verdicts(`${TABLES} CREATE TRIGGER w AFTER UPDATE ON t BEGIN ${body}; END`, ["local"])).toEqual({
      t: "replicates",
      u: "replicates",
      local: "skipped",
    });
});

test("a trigger with an effect for one node and an effect for every node is refused, and the hint says to split it", () => {
  for (const [body, word] of [
    ["DELETE FROM u; INSERT INTO local VALUES(1)", "deletes from u"],
    ["UPDATE u SET id = 5; INSERT INTO local VALUES(1)", "changes keys of u"],
    ["INSERT INTO local VALUES(1); SELECT RAISE(IGNORE)", "uses RAISE"],
  ] as const) {
    const { t, u } = Object.fromEntries(
      classified(`${TABLES} CREATE TRIGGER w AFTER INSERT ON t BEGIN ${body}; END`, ["local"]),
    );
    expect(t?.verdict).toBe("refused");
    expect(t?.reason).toContain(word);
    expect(t?.hint).toContain("split w into two triggers");
    expect(u?.verdict).toBe("replicates");
  }
});

test("a trigger with functions of the application is accepted only if it writes replicated tables alone", () => {
  const behind = `${TABLES} CREATE TRIGGER w AFTER DELETE ON t BEGIN INSERT INTO local VALUES(OLD.a); END;`;
  for (const trigger of [
    "CREATE TRIGGER x AFTER INSERT ON local BEGIN INSERT INTO u VALUES(my_function(NEW.x), 1); END",
    "CREATE TRIGGER x AFTER INSERT ON u WHEN My_Function(NEW.n, 1) BEGIN DELETE FROM t WHERE id = other_one(); END",
    "CREATE TRIGGER x BEFORE INSERT ON u BEGIN SELECT RAISE(ABORT, 'no') WHERE my_function(NEW.n); END",
  ])
    expect(verdicts(`${behind} ${trigger};`, ["local"])).toMatchObject({ t: "replicates", u: "replicates" });
  // Both triggers call the function: each is classified.
  for (const table of ["t", "u"]) {
    const found = classified(
      `${TABLES} CREATE TRIGGER one AFTER INSERT ON t BEGIN UPDATE u SET n = my_function(NEW.a); END;
       CREATE TRIGGER two AFTER INSERT ON ${table} BEGIN INSERT INTO local VALUES(my_function(NEW.id)); END;`,
      ["local"],
    );
    expect(found.get(table)?.reason).toContain(
      "writes local, which does not replicate, and also calls my_function",
    );
    expect(found.get(table)?.hint).toContain("SQLite's own functions");
  }
});

test("a trigger with a collation of the application is refused, also if another trigger fires it", () => {
  const schema = `${TABLES} CREATE TRIGGER w AFTER DELETE ON t BEGIN INSERT INTO local VALUES(OLD.a); END;
    CREATE TRIGGER x AFTER INSERT ON local BEGIN UPDATE u SET n = 1 WHERE id = NEW.x COLLATE my_collation; END;`;
  const found = classified(schema, ["local"]);
  expect(found.get("t")?.reason).toContain("my_collation");
  expect(found.get("u")?.verdict).toBe("replicates");
});

test("a trigger OF a generated column, a missing column or the rowid counts only where SQLite fires it", () => {
  const schema = `CREATE TABLE t(id TEXT NOT NULL PRIMARY KEY, a, g AS (a * 2), s AS (a * 3) STORED);
    CREATE VIEW v AS SELECT id, a, a + 1 AS g FROM t; CREATE TABLE u(id TEXT NOT NULL PRIMARY KEY, n);`;
  for (const trigger of [
    "CREATE TRIGGER w AFTER UPDATE OF g ON t BEGIN DELETE FROM u; INSERT INTO local VALUES(1); END",
    "CREATE TRIGGER w AFTER UPDATE OF s ON t BEGIN INSERT INTO local VALUES(my_function(NEW.s)); END",
    "CREATE TRIGGER w BEFORE UPDATE OF g, s, gone ON t BEGIN DELETE FROM u; SELECT RAISE(ABORT, 'no'); END",
    "CREATE TRIGGER w INSTEAD OF UPDATE OF gone ON v BEGIN DELETE FROM u; END",
    "CREATE TRIGGER w AFTER UPDATE OF rowid ON t BEGIN DELETE FROM u; END",
    'CREATE TRIGGER "insert" AFTER /* DELETE */ UPDATE OF _rowid_ ON t BEGIN DELETE FROM u; END',
  ])
    expect(verdicts(`${schema} CREATE TABLE local(x); ${trigger};`, ["local"])).toEqual({
      t: "replicates",
      u: "replicates",
      local: "skipped",
    });
  // A trigger that fires is classified by its effects, also if only an UPDATE of the rowid fires it.
  for (const of of ["g, a", "a", "rowid", "OID"]) {
    const found = classified(
      `${schema} CREATE TABLE local(x); CREATE TRIGGER w AFTER UPDATE OF ${of} ON t BEGIN DELETE FROM u; INSERT INTO local VALUES(1); END;`,
      ["local"],
    );
    expect(found.get("t")?.hint).toContain("split w into two triggers");
  }
});

test("a trigger's upsert may name the columns of a UNIQUE index", () => {
  const upsert = "INSERT INTO u VALUES(NEW.id, NEW.a) ON CONFLICT(n) DO UPDATE SET n = -n";
  const schema = `${TABLES} CREATE UNIQUE INDEX u_n ON u(n); CREATE TRIGGER w AFTER INSERT ON t BEGIN ${upsert}; END`;
  expect(verdicts(schema, ["local"])).toEqual({ t: "replicates", u: "replicates", local: "skipped" });
  expect(classified(schema.replace("UNIQUE ", ""), ["local"]).get("t")?.reason).toContain("ON CONFLICT");
});

test("a unique index over constants needs no search, because it holds one row at most", () => {
  const found = (index: string) =>
    classified(
      `CREATE TABLE t(id TEXT NOT NULL PRIMARY KEY, a, chosen); CREATE UNIQUE INDEX one ON t${index};`,
    ).get("t");
  for (const index of ["((1)) WHERE chosen", "(1)", "('x' || 'y', 2) WHERE chosen = 1 AND a IS NOT NULL"])
    expect(found(index)?.verdict).toBe("replicates");
  // Any number of NULLs are distinct from each other.
  for (const index of ["((NULL)) WHERE chosen", "(1, nullif(2, 2))"]) {
    expect(found(index)?.verdict).toBe("refused");
    expect(found(index)?.reason).toContain("unique index one");
  }
});

test("a partial unique index with an always-true part of its condition is refused, and the hint names that part", () => {
  const found = (where: string) =>
    classified(
      `CREATE TABLE t(id INTEGER PRIMARY KEY, a, b NOT NULL, gone); CREATE UNIQUE INDEX one ON t(a) WHERE ${where};`,
    ).get("t");
  for (const where of ["1", "b IS NOT NULL AND gone IS NULL", "id IS NOT NULL", "0"]) {
    expect(found(where)?.verdict).toBe("refused");
    expect(found(where)?.hint).toContain("without that part (IS NOT NULL of a NOT NULL column");
  }
  for (const where of ["gone IS NULL", "a IS NOT NULL AND gone IS NULL"])
    expect(found(where)?.verdict).toBe("care");
});

const FTS = (content: string): string =>
  `CREATE TABLE t(id INTEGER NOT NULL, a NOT NULL, PRIMARY KEY(id, a)); CREATE VIEW v AS SELECT id AS rowid, a FROM t;
   CREATE VIRTUAL TABLE f USING fts5(a, tokenize = 'porter', ${content});`;
const KEEP = `CREATE TRIGGER i AFTER INSERT ON t BEGIN INSERT INTO f(rowid, a) VALUES(NEW.id, NEW.a); END;
   CREATE TRIGGER d AFTER DELETE ON t BEGIN INSERT INTO f(f, rowid, a) VALUES('delete', OLD.id, OLD.a); END;
   CREATE TRIGGER c AFTER UPDATE ON t BEGIN INSERT INTO f(f, rowid, a) VALUES('delete', OLD.id, OLD.a); INSERT INTO f(rowid, a) VALUES(NEW.id, NEW.a); END;`;

/** Triggers that keep an index with its own rows: FTS deletes by rowid there. */
const KEEP_OWN = `CREATE TRIGGER i AFTER INSERT ON t BEGIN INSERT INTO f(rowid, a) VALUES(NEW.id, NEW.a); END;
   CREATE TRIGGER d AFTER DELETE ON t BEGIN DELETE FROM f WHERE rowid = OLD.id; END;
   CREATE TRIGGER c AFTER UPDATE ON t BEGIN UPDATE f SET a = NEW.a WHERE rowid = NEW.id; END;`;

test("an index with its own rows is local if triggers keep it on INSERT, UPDATE and DELETE", () => {
  const rtree = `CREATE TABLE t(id INTEGER NOT NULL, a NOT NULL, PRIMARY KEY(id, a)); CREATE VIRTUAL TABLE f USING rtree(rowid, a, b);`;
  const keepTree = KEEP_OWN.replace("f(rowid, a) VALUES(NEW.id, NEW.a)", "f VALUES(NEW.id, NEW.a, NEW.a)");
  for (const schema of [
    `${FTS("prefix='2'")} ${KEEP_OWN}`,
    `${FTS("content=''")} ${KEEP}`,
    `${rtree} ${keepTree}`,
  ])
    expect(verdicts(schema)).toMatchObject({ t: "replicates", f: "local" });
  const calling = KEEP_OWN.replace("VALUES(NEW.id, NEW.a)", "VALUES(NEW.id, stem(NEW.a))");
  expect(classified(`${FTS("prefix='2'")} ${calling}`).get("f")?.hint).toContain("--functions");
  const halfKept = classified(`${FTS("prefix='2'")} ${KEEP_OWN.split("CREATE TRIGGER c")[0]!}`).get("f");
  expect(halfKept?.verdict).toBe("refused");
  expect(halfKept?.hint).toContain("on INSERT, UPDATE and DELETE");
  expect(verdicts(`${FTS("prefix='2'")} ${KEEP_OWN}`, ["t"])).toMatchObject({ t: "skipped", f: "refused" });
});

test("a full-text index is local with external content and triggers, and refused without either", () => {
  for (const content of ["content='t'", "content = t", 'content="t"', "CONTENT=[t]", "content='v'"])
    expect(verdicts(`${FTS(content)} ${KEEP}`)).toMatchObject({
      t: "replicates",
      f: "local",
      f_data: "skipped",
    });
  const unkept = classified(FTS("content='t'")).get("f");
  expect(unkept?.verdict).toBe("refused");
  expect(unkept?.reason).toContain("INSERT, UPDATE, DELETE");
  expect(classified(FTS("content=''")).get("f")?.hint).toContain("content=");
  expect(classified(FTS("prefix='2'")).get("f")?.verdict).toBe("refused");
  expect(verdicts(`${FTS("content='t'")} ${KEEP}`, ["t"])).toMatchObject({ t: "skipped", f: "skipped" });
  expect(verdicts("CREATE VIRTUAL TABLE r USING rtree(id, x, y)")).toMatchObject({ r: "refused" });
});

test("a table of the application with Marmot's prefix is refused; Marmot's own tables are not listed", () => {
  expect(verdicts("CREATE TABLE __marmot__x(id INT PRIMARY KEY)")).toEqual({ __marmot__x: "refused" });
  expect(
    verdicts(`CREATE TABLE t(id INT NOT NULL PRIMARY KEY); CREATE TABLE __marmot__table(id, name, log);
      CREATE TABLE __marmot__t_change_log(id); INSERT INTO __marmot__table VALUES(1, 't', '__marmot__t_change_log')`),
  ).toEqual({ t: "replicates" });
});

test("a SERIAL primary key counts as no key, because SQLite leaves it empty", () => {
  const found = classified(`
    CREATE TABLE a(id SERIAL PRIMARY KEY, v); INSERT INTO a(v) VALUES(1), (2);
    CREATE TABLE b(id bigserial PRIMARY KEY NOT NULL, v);
    CREATE TABLE c(id SERIAL, v, PRIMARY KEY(id, v)); INSERT INTO c(v) VALUES(1)`);
  expect(found.get("a")).toMatchObject({
    verdict: "care",
    reason: expect.stringContaining("leaves its primary key empty"),
  });
  expect(found.get("b")?.verdict).toBe("replicates");
  expect(found.get("c")?.verdict).toBe("refused");
});

test("without a declared key the rowid is the key, under a free name; without a free name the table is refused", () => {
  const found = classified(
    `CREATE TABLE plain(a); CREATE TABLE two(rowid, _rowid_); CREATE TABLE all3(rowid, OID, "_ROWID_"); CREATE TABLE child(p REFERENCES plain)`,
  );
  for (const name of ["plain", "two", "child"]) {
    expect(found.get(name)?.verdict).toBe("care");
    expect(found.get(name)?.reason).toContain("no declared primary key");
  }
  expect(found.get("all3")).toMatchObject({
    verdict: "refused",
    hint: "give it a PRIMARY KEY, rename one of these columns, or leave it out: --exclude all3",
  });
  const db = new DatabaseSync(":memory:");
  db.exec("CREATE TABLE plain(a UNIQUE); CREATE TABLE two(_rowid_ INT, oid AS (_rowid_), b)");
  const shapes = ["plain", "two"].map((name, i) => shapeOf(readTable(queryOf(db), name), i + 1));
  expect(shapes.map((s) => s.columns.map((c) => c.name))).toEqual([
    ["_rowid_", "a"],
    ["rowid", "_rowid_", "b"],
  ]);
  for (const shape of shapes)
    expect(shape).toMatchObject({ key: [0], rowidKey: true, integerKey: true, routedByName: true });
  expect(shapes[0]!.uniques[0]!.terms[0]!.column).toBe(1);
  db.close();
});

test("a table with unique indexes is accepted before and after ANALYZE", () => {
  const schema = `CREATE TABLE t(a NOT NULL PRIMARY KEY, b, c UNIQUE); CREATE UNIQUE INDEX i ON t(b + 0 COLLATE NOCASE DESC) WHERE b <> 'b';
    CREATE TABLE u(a NOT NULL PRIMARY KEY, b, UNIQUE(b)) WITHOUT ROWID; INSERT INTO t VALUES(1, 2, 3); INSERT INTO u VALUES(1, 2)`;
  const both = { t: "replicates", u: "replicates" };
  expect(verdicts(schema)).toEqual(both);
  expect(verdicts(`${schema}; ANALYZE`)).toEqual(both);
});

test("a table whose changes cascade to a trigger with RAISE(FAIL) needs care", () => {
  const schema = (action: string, body: string): string => `
    CREATE TABLE top(id TEXT NOT NULL PRIMARY KEY); CREATE TABLE middle(id TEXT NOT NULL PRIMARY KEY REFERENCES Top ON UPDATE CASCADE);
    CREATE TABLE low(id TEXT NOT NULL PRIMARY KEY, m REFERENCES middle(id) ${action}); CREATE TABLE other(id TEXT NOT NULL PRIMARY KEY REFERENCES low);
    CREATE TRIGGER w BEFORE DELETE ON low BEGIN SELECT ${body}; END`;
  const care = classified(schema("ON DELETE CASCADE", "raise ( FAIL, 'no')"));
  for (const name of ["top", "middle"]) {
    expect(care.get(name)!.verdict).toBe("care");
    expect(care.get(name)!.reason).toContain("low, of which a trigger uses RAISE(FAIL)");
    expect(care.get(name)!.hint).toContain("RAISE(ABORT)");
  }
  expect(care.get("low")!.verdict).toBe("replicates");
  expect(care.get("other")!.verdict).toBe("replicates");
  for (const harmless of [schema("ON DELETE CASCADE", "RAISE(ABORT, 'no')"), schema("", "RAISE(FAIL, 'no')")])
    expect([...classified(harmless).values()].map((t) => t.verdict)).toEqual(Array(4).fill("replicates"));
});

test("a table whose changed rows would need more than 2000 result columns is refused", () => {
  const columns = (n: number): string => Array.from({ length: n }, (_, i) => `c${i} INT`).join(", ");
  for (const [key, accepted] of [
    ["id INTEGER PRIMARY KEY", 1994],
    ["id TEXT PRIMARY KEY", 1994],
    ["id INT", 1993],
  ] as const) {
    expect(verdicts(`CREATE TABLE t(${key}, ${columns(accepted)})`).t).not.toBe("refused");
    const refused = classified(`CREATE TABLE t(${key}, ${columns(accepted + 1)})`).get("t")!;
    expect([refused.verdict, refused.reason]).toEqual(["refused", expect.stringContaining("1 column more")]);
  }
});

/** Expressions whose stored values show how SQLite formats a REAL: refused where the application's SQLite does it otherwise. */
import { expect, test } from "bun:test";
import { DatabaseSync } from "node:sqlite";
import { ALL, classify } from "../../../src/schema/classify/classify.ts";
import { queryOf } from "../../../src/sqlite/query.ts";
import { formatsAlike } from "../../../src/sqlite/versions/real-format.ts";

const OLD = 3_040_001;

function verdict(schema: string, application: number | null = OLD): string {
  const db = new DatabaseSync(":memory:");
  try {
    db.exec(schema);
    const [table] = classify(queryOf(db), ALL, application);
    return table!.verdict === "refused" ? `${table!.reason} / ${table!.hint}` : "replicates";
  } finally {
    db.close();
  }
}

const COLUMNS =
  "k TEXT PRIMARY KEY NOT NULL, price REAL, cost DECIMAL(10, 2), n INTEGER, at DATETIME, name TEXT, x";
const stored = (expression: string, type = "TEXT"): string =>
  `CREATE TABLE t(${COLUMNS}, g ${type} GENERATED ALWAYS AS (${expression}) STORED)`;
const indexed = (term: string, where = ""): string =>
  `CREATE TABLE t(${COLUMNS}); CREATE INDEX i ON t(${term}) ${where}`;

for (const expression of [
  "CAST(price AS TEXT)",
  "price || ''",
  "name || '/' || cost",
  "printf('%.2f', price)",
  "printf('%!.17g', price)",
  "format('%s', cost)",
  "length(price)",
  "substr(price, 1, 3)",
  "quote(price)",
  "hex(price)",
  "json_array(price)",
  "json_object('p', price) ->> '$.p' || ''",
  "replace(price, '.', ',')",
  "instr(price, '5')",
  "price LIKE '%.5'",
  "CASE WHEN name = 'big' THEN price || '' END",
  "CASE typeof(price) WHEN 'real' THEN price || 'r' ELSE price END",
  "coalesce(name, price || '')",
  "upper(price)",
  "round(price, 2)",
  "(n / 3.0) || ''",
  "CAST(price * n AS TEXT)",
  "concat(price, name)",
])
  test(`shows: ${expression}`, () => {
    expect(verdict(stored(expression, ""))).toContain("its stored generated column g has REAL values of");
    expect(verdict(indexed(`(${expression})`))).toContain("its index i has REAL values of");
  });

for (const expression of [
  "price * 2",
  "cost + n",
  "abs(price)",
  "CAST(price AS INTEGER)",
  "CAST(price * 100 AS INTEGER)",
  "price > 10",
  "max(price, cost)",
  "typeof(price)",
  "coalesce(price, 0)",
  "lower(name)",
  "name || '/' || n",
  "name || '/' || k",
  "substr(at, 1, 10)",
  "date(at)",
  "strftime('%Y', at)",
  "json_extract(name, '$.id')",
  "name ->> '$.email'",
  "CASE WHEN price > 0 THEN lower(name) END",
  "lower(x)",
  "printf('%d', n)",
])
  test(`does not show: ${expression}`, () => {
    expect(verdict(stored(expression, ""))).toBe("replicates");
    expect(verdict(indexed(`(${expression})`))).toBe("replicates");
  });

test("a number that a generated column of type TEXT takes is text", () => {
  expect(verdict(stored("price * 2"))).toContain("stored generated column g");
  expect(verdict(stored("price * 2", "REAL"))).toBe("replicates");
});

test("an index of a virtual generated column, and a condition of an index, show it; a virtual column alone does not", () => {
  const virtual = `CREATE TABLE t(${COLUMNS}, v TEXT AS (price))`;
  expect(verdict(virtual)).toBe("replicates");
  expect(verdict(`${virtual}; CREATE INDEX i ON t(v)`)).toContain("its index i has REAL values of price");
  expect(verdict(indexed("name", "WHERE price || '' > '1'"))).toContain(
    "its index i has REAL values of price",
  );
});

test("a full-text index has the values of its columns as text", () => {
  const triggers = `CREATE TRIGGER a AFTER INSERT ON t BEGIN INSERT INTO f(rowid, name, price) VALUES(new.rowid, new.name, new.price); END;
    CREATE TRIGGER b AFTER DELETE ON t BEGIN INSERT INTO f(f, rowid, name, price) VALUES('delete', old.rowid, old.name, old.price); END;
    CREATE TRIGGER c AFTER UPDATE ON t BEGIN INSERT INTO f(f, rowid, name, price) VALUES('delete', old.rowid, old.name, old.price);
      INSERT INTO f(rowid, name, price) VALUES(new.rowid, new.name, new.price); END;`;
  const search = (price: string): string =>
    `CREATE TABLE t(${COLUMNS}); CREATE VIRTUAL TABLE f USING fts5(name, ${price}, content='t'); ${triggers}`;
  expect(verdict(search("price"))).toContain("its full-text index f has REAL values of price");
  expect(verdict(search("price UNINDEXED"))).toBe("replicates");
});

test("columns without a numeric type count where the file has a REAL in them", () => {
  const untyped = indexed("(x || '')");
  expect(verdict(untyped)).toBe("replicates");
  expect(verdict(`${untyped}; INSERT INTO t(k, x) VALUES('a', 0.5)`)).toContain("REAL values of x");
});

test("an application that formats as Marmot does, or is unknown, has every such table; the hint names its version", () => {
  expect(verdict(indexed("(price || '')"), 3_053_002)).toBe("replicates");
  expect(verdict(indexed("(price || '')"), null)).toBe("replicates");
  expect(verdict(indexed("(price || '')"))).toEndWith(
    'SQLite 3.53.0 or later and run REINDEX there, or drop the index: DROP INDEX "i", or leave it out: --exclude t',
  );
});

test("versions format alike within the measured ranges", () => {
  expect([3_040_001, 3_042_000].map((v) => formatsAlike(v, 3_041_002))).toEqual([true, true]);
  expect([3_042_000, 3_050_004, 3_052_000].map((v) => formatsAlike(v, 3_051_003))).toEqual([
    false,
    true,
    true,
  ]);
  expect([3_051_003, 3_053_000, 3_060_000].map((v) => formatsAlike(v, 3_054_001))).toEqual([
    false,
    true,
    true,
  ]);
});

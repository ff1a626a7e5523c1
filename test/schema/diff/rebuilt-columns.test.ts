/** Renames that a rebuild hides: found by definition, confirmed by the values of the columns. */
import { expect, test } from "bun:test";
import { DatabaseSync } from "node:sqlite";
import { readCatalogue } from "../../../src/schema/catalogue.ts";
import { holdsSameIn, rebuiltRecorders } from "../../../src/schema/diff/rebuilt-columns.ts";
import { queryOf } from "../../../src/sqlite/query.ts";

/** The present names of the older columns; null: no rename was found. */
function recorded(before: string, after: string): readonly string[] | null {
  const [old, now] = [before, after].map((sql) => {
    const db = new DatabaseSync(":memory:");
    db.exec(sql);
    return queryOf(db);
  }) as [ReturnType<typeof queryOf>, ReturnType<typeof queryOf>];
  const [from, to] = [readCatalogue(old), readCatalogue(now)];
  return rebuiltRecorders(from, to, [], holdsSameIn(now, old))[0]?.columns ?? null;
}

const rows = (table: string, ...values: string[]): string =>
  `INSERT INTO ${table} VALUES${values.map((v) => `(${v})`).join(", ")};`;

test("a column with the same definition and values is the renamed one", () => {
  const before = `CREATE TABLE t(id INTEGER PRIMARY KEY, name varchar(100)  NOT NULL, n INT); ${rows("t", "1, 'a', 1", "2, 'b', 2")}`;
  const after = `CREATE TABLE t("id" INTEGER PRIMARY KEY, extra varchar(30) NOT NULL, "full name" VARCHAR(100) NOT NULL, n INT); ${rows("t", "1, '', 'a', 1", "2, '', 'b', 2", "3, '', 'c', 3")}`;
  expect(recorded(before, after)).toEqual(["id", "full name", "n"]);
});

test("a column with other values, another definition or no rows is not the renamed one", () => {
  const before = "CREATE TABLE t(k TEXT PRIMARY KEY, a TEXT, b INT);";
  const after = "CREATE TABLE t(k TEXT PRIMARY KEY, c TEXT, b INT);";
  expect(recorded(before + rows("t", "'x', 'secret', 1"), after + rows("t", "'x', 'nick', 1"))).toBeNull();
  expect(recorded(before + rows("t", "'x', NULL, 1"), after + rows("t", "'x', NULL, 1"))).toBeNull();
  expect(recorded(before, after)).toBeNull();
  const other = "CREATE TABLE t(k TEXT PRIMARY KEY, c INT, b INT);";
  expect(recorded(before + rows("t", "'x', '1', 1"), other + rows("t", "'x', 1, 1"))).toBeNull();
});

test("two renamed columns of a composite-key table are matched by values of every storage class", () => {
  const before = `CREATE TABLE t(a, b, c BLOB, d BLOB, PRIMARY KEY(a, b)) WITHOUT ROWID; ${rows("t", "1, 'x', x'00ff', 1.5", "1, 'y', 7, -0.0", "2.5, x'01', 'text', NULL")}`;
  const after = `CREATE TABLE t(a, b, d2 BLOB, c2 BLOB, PRIMARY KEY(a, b)) WITHOUT ROWID; ${rows("t", "1, 'x', 1.5, x'00ff'", "1, 'y', -0.0, 7", "2.5, x'01', NULL, 'text'")}`;
  expect(recorded(before, after)).toEqual(["a", "b", "c2", "d2"]);
});

test("one tenth of the rows may differ, because the application may have written them since", () => {
  const many = (wrong: number) =>
    Array.from({ length: 20 }, (_, i) => `${i}, '${i < wrong ? "new" : `v${i}`}'`);
  const before = `CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); ${rows("t", ...many(0))}`;
  const after = (wrong: number) =>
    `CREATE TABLE t(id INTEGER PRIMARY KEY, w TEXT); ${rows("t", ...many(wrong))}`;
  expect(recorded(before, after(2))).toEqual(["id", "w"]);
  expect(recorded(before, after(3))).toBeNull();
});

test("a key is renamed if its values are found again; a table with another key is no error", () => {
  const before = `CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); ${rows("t", "1, 'a'", "2, 'b'")}`;
  const after = "CREATE TABLE t(number INTEGER PRIMARY KEY, v TEXT);";
  expect(recorded(before, after + rows("t", "1, 'a'", "2, 'b'"))).toEqual(["number", "v"]);
  expect(recorded(before, after + rows("t", "7, 'a'", "8, 'b'"))).toBeNull();
  expect(recorded(before, "CREATE TABLE t(k TEXT PRIMARY KEY, w TEXT)")).toBeNull();
  expect(
    recorded(`${before.replace("v TEXT)", "v TEXT) WITHOUT ROWID")}`, "CREATE TABLE t(w TEXT)"),
  ).toBeNull();
});

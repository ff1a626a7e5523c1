/** Rows of both SQLite modules with their types checked cell by cell. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { DatabaseSync } from "node:sqlite";
import {
  bigInteger,
  blob,
  CellError,
  flag,
  integer,
  nullable,
  oneOf,
  readRow,
  readRows,
  readTuple,
  readTuples,
  text,
} from "../../src/sqlite/typed-rows.ts";

const SQL = `SELECT 1 AS id, 'a' AS name, x'0102' AS data, NULL AS parent
  UNION ALL SELECT 2, 'b', x'', 1`;
const COLUMNS = { id: integer, name: text, data: blob, parent: nullable(integer) };
const EXPECTED = [
  { id: 1, name: "a", data: new Uint8Array([1, 2]), parent: null },
  { id: 2, name: "b", data: new Uint8Array(0), parent: 1 },
];
const plain = (rows: readonly { data: Uint8Array }[]): unknown[] =>
  rows.map((row) => ({ ...row, data: new Uint8Array(row.data) }));

test("rows as objects have the types of their readers, from node:sqlite and from bun:sqlite", () => {
  const node = new DatabaseSync(":memory:");
  expect(plain(readRows(node.prepare(SQL).all(), COLUMNS))).toEqual(EXPECTED);
  const bun = new Database(":memory:");
  expect(plain(readRows(bun.prepare(SQL).all(), COLUMNS))).toEqual(EXPECTED);
  node.close();
  bun.close();
});

test("rows as arrays are read by position", () => {
  const bun = new Database(":memory:");
  expect(readTuples(bun.prepare("SELECT 1, 'a' UNION ALL SELECT 2, 'b'").values(), integer, text)).toEqual([
    [1, "a"],
    [2, "b"],
  ]);
  bun.close();
});

test("an integer comes as a number from a statement that returns bigint, up to 53 bits", () => {
  expect(integer(7n)).toBe(7);
  expect(integer(-(2 ** 53 - 1))).toBe(-(2 ** 53 - 1));
  expect(() => integer(2n ** 53n)).toThrow("at most 53 bits");
  expect(bigInteger(2n ** 63n - 1n)).toBe(2n ** 63n - 1n);
});

test("a cell of another type is refused with its column and its type", () => {
  expect(() => readRow({ id: "1" }, { id: integer })).toThrow(
    new CellError("column id: expected an integer, got a text"),
  );
  expect(() => readTuple([1, null], integer, text)).toThrow("column 2: expected a text, got NULL");
  expect(() => readTuple([1.5], integer)).toThrow("expected an integer, got a real number");
  expect(() => readRow({}, { id: integer })).toThrow("column id: expected an integer, got no such column");
  expect(() => blob("x")).toThrow("expected a blob, got a text");
  expect(() => bigInteger(1)).toThrow(CellError);
});

test("a flag is an integer, an enumeration one of its texts", () => {
  expect([flag(0), flag(1), flag(2n)]).toEqual([false, true, true]);
  const kind = oneOf("table", "view");
  expect(kind("view")).toBe("view");
  expect(() => kind("index")).toThrow("expected table or view, got a text");
});

import { expect, test } from "bun:test";
import { type Condition, failureOf } from "../../../src/sqlite/ddl-text/can-fail.ts";
import { checksOf } from "../../../src/sqlite/ddl-text/checks.ts";
import { collationsIn, namesOtherCollation } from "../../../src/sqlite/ddl-text/collations.ts";

test("an expression of SQLite's own functions never fails, one of unknown functions may", () => {
  for (const text of [
    "lower(a) || 'json_extract(x)'",
    "a IN (1, 2)",
    "CAST(a AS TEXT)",
    "coalesce(a, (b + 1))",
  ])
    expect([text, failureOf(text).fails]).toEqual([text, "never"]);
  for (const text of [
    "myfn(a)",
    "json_extract(a, b)",
    "json_extract(json(a), '$.x')",
    "f(a) -> '$.b'",
    "a.b ->> 'c'",
  ])
    expect([text, failureOf(text).fails]).toEqual([text, "unknown"]);
});

test("functions that read JSON do not fail on valid JSON", () => {
  const valid = (name: string): Condition => ({
    safe: `coalesce(json_valid(${name}), 1)`,
    maybe: `(typeof(${name}) = 'blob' OR ltrim(${name}) GLOB '[{[]*')`,
  });
  expect(failureOf("json_extract(data, '$.a', '$.b')")).toEqual({
    fails: "unless",
    conditions: [valid("data")],
  });
  expect(failureOf(`"d" -> '$.a' ->> 0`)).toEqual({ fails: "unless", conditions: [valid('"d"')] });
});

test("CHECK constraints of columns and of the table are found, and words in quotes are not", () => {
  const sql = `CREATE TABLE t(a CHECK (a > ')') DEFAULT 'CHECK (x)', "CHECK" INT, b check/* here */(b), CONSTRAINT c CHECK(a < (b)))`;
  expect(checksOf(sql)).toEqual(["a > ')'", "b", "a < (b)"]);
});

test("collations are found behind COLLATE, with and without quotes", () => {
  expect(collationsIn(`a COLLATE nocase, b collate "my coll", 'COLLATE x'`).map((c) => c.name)).toEqual([
    "nocase",
    "my coll",
  ]);
  expect(namesOtherCollation("a COLLATE NoCase")).toBe(false);
  expect(namesOtherCollation("a COLLATE [unicase]")).toBe(true);
});

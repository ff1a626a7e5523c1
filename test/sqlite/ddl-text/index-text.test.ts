import { expect, test } from "bun:test";
import { generationOf, mentions, parseIndex } from "../../../src/sqlite/ddl-text/index-text.ts";

test("parseIndex returns terms and condition verbatim, also with quoted brackets and commas", () => {
  expect(parseIndex("CREATE UNIQUE INDEX i ON t(a, b DESC)")).toEqual({ terms: ["a", "b"], where: null });
  expect(
    parseIndex(`CREATE UNIQUE INDEX "i(" ON "t)"("a,b", lower("c)") COLLATE NOCASE ASC) WHERE d > '(' AND e`),
  ).toEqual({
    terms: [`"a,b"`, `lower("c)") COLLATE NOCASE`],
    where: `d > '(' AND e`,
  });
  expect(parseIndex("CREATE UNIQUE INDEX i ON t(f(a, g(b, 1)), [x,y]) -- (\nWHERE x IS NOT NULL")).toEqual({
    terms: ["f(a, g(b, 1))", "[x,y]"],
    where: "x IS NOT NULL",
  });
  expect(parseIndex("CREATE UNIQUE INDEX i ON t(j->>'$.k' COLLATE NOCASE)").terms).toEqual([
    "j->>'$.k' COLLATE NOCASE",
  ]);
});

test("parseIndex accepts an unclosed comment at the end", () => {
  expect(parseIndex("CREATE INDEX i ON t(a) /* and so on").terms).toEqual(["a"]);
});

test("mentions finds a column as a whole token only, quoted or not", () => {
  expect(mentions("lower(name) || x", "name")).toBe(true);
  expect(mentions(`"na me"`, "na me")).toBe(true);
  expect(mentions("surname", "name")).toBe(false);
  expect(mentions("NAME", "name")).toBe(true);
  expect(mentions(`lower("q""c")`, 'q"c')).toBe(true);
  expect(mentions("`a``b` + 1", "a`b")).toBe(true);
});

test("generationOf returns the expression in the bracket after AS", () => {
  const of = (sql: string): string | null => generationOf(sql);
  expect(of("g AS (a + 1)")).toBe("a + 1");
  expect(
    of(`"as" DECIMAL(10, 2) CHECK("as" > 1) GENERATED ALWAYS as -- (no)\n(coalesce(a, ')')) STORED`),
  ).toBe("coalesce(a, ')')");
  expect(of("alias DEFAULT (1 + 1)")).toBeNull();
  expect(of(`t "AS" (3)`)).toBeNull();
});

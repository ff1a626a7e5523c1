import { expect, test } from "bun:test";
import { parseTable, sameTokens, tableText, updateOf } from "../../../src/sqlite/ddl-text/table-text.ts";

const SQL = `CREATE TABLE "a (b" -- the (first, table
 ("x""y" INTEGER PRIMARY KEY, -- a comment, with ( and '
  [c d] TEXT DEFAULT 'a, (b)' /* in, between */ NOT NULL, \`e\`\`f\` DECIMAL(5, 2) CHECK(\`e\`\`f\` > (1 + 2)),
  'g' AS (x || ')' ) STORED, as_is TEXT, unique_id, h
  , CONSTRAINT "u, (" UNIQUE(h), CHECK ("x""y" <> ','), FOREIGN KEY(h) REFERENCES t(a, b) ON DELETE CASCADE -- the end
  ) /* and */ WITHOUT ROWID, STRICT`;

test("parseTable returns the parts verbatim, also with quoted brackets, commas and comments", () => {
  const { head, columns, constraints, options } = parseTable(SQL);
  expect(head).toBe(`CREATE TABLE "a (b" -- the (first, table\n `);
  expect(columns.map((c) => c.name)).toEqual(['x"y', "c d", "e`f", "g", "as_is", "unique_id", "h"]);
  expect(columns.map((c) => c.generated)).toEqual([false, false, false, true, false, false, false]);
  expect(columns[1]!.sql).toBe(`[c d] TEXT DEFAULT 'a, (b)' /* in, between */ NOT NULL`);
  expect(columns[2]!.definition).toBe("DECIMAL(5, 2) CHECK(`e``f` > (1 + 2))");
  expect(constraints).toEqual([
    `CONSTRAINT "u, (" UNIQUE(h)`,
    `CHECK ("x""y" <> ',')`,
    `FOREIGN KEY(h) REFERENCES t(a, b) ON DELETE CASCADE`,
  ]);
  expect(options).toBe("WITHOUT ROWID, STRICT");
});

test("tableText of the parsed parts has the same tokens", () => {
  expect(sameTokens(tableText(parseTable(SQL)), SQL)).toBe(true);
  expect(sameTokens("CREATE TABLE t(a TEXT)", 'create table [T] ( "a"\ntext ) -- x')).toBe(true);
  expect(sameTokens("CREATE TABLE t(a DEFAULT 'x')", "CREATE TABLE t(a DEFAULT 'X')")).toBe(false);
  expect(sameTokens("CREATE TABLE t(a)", "CREATE TABLE t(a, b)")).toBe(false);
});

test("updateOf reads the UPDATE OF list as SQLite rewrites it", () => {
  const sql = `CREATE TRIGGER "__marmot__1_columns" AFTER UPDATE OF "id","on" , b,[c d] ON "t ""x" WHEN 0 BEGIN SELECT 1; END`;
  expect(updateOf(sql)).toEqual({ columns: ["id", "on", "b", "c d"], table: 't "x' });
  expect(updateOf("CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END")).toBeNull();
});

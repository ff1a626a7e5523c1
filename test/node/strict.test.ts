/** STRICT tables with a further UNIQUE constraint: statements of an application are taken and refused as without Marmot. */
import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { Lab } from "./lab.ts";

const SCHEMA = `CREATE TABLE s(id INTEGER PRIMARY KEY, u INT UNIQUE, n TEXT NOT NULL, c INT CHECK(c > 0), r REAL, b BLOB, a ANY UNIQUE) STRICT;
  CREATE TABLE g(id INTEGER PRIMARY KEY, u INT, n INT NOT NULL DEFAULT 4, g INT AS (u + 1) UNIQUE) STRICT;
  CREATE TABLE w(k TEXT PRIMARY KEY, u INT UNIQUE, n INT NOT NULL) STRICT, WITHOUT ROWID;`;
const COLUMNS = { s: ["u", "n", "c", "r", "b", "a"], g: ["u", "n"], w: ["k", "u", "n"] };
const VALUES = ["NULL", "1", "'2'", "'abc'", "2.5", "x'00'", "-3"];

let lab: Lab | null = null;
afterEach(() => {
  lab?.close();
  lab = null;
});

test("a row that breaks one rule is treated as without Marmot; one that breaks type and NOT NULL is refused for its type", async () => {
  lab = await Lab.create(SCHEMA, 1);
  lab.settle();
  const { app } = lab.nodes[0]!;
  const plain = new Database(":memory:", { safeIntegers: true });
  plain.exec(SCHEMA);
  const random = new Random(11);
  const pick = <T>(of: readonly T[]): T => of[random.below(of.length)]!;
  const run = (db: Database, sql: string): string => {
    try {
      db.exec(sql);
      return "taken";
    } catch (error) {
      return (error as Error).message;
    }
  };
  let same = 0;
  let otherWords = 0;
  for (let i = 0; i < 3000; i++) {
    const table = pick(["s", "g", "w"] as const);
    const columns = COLUMNS[table];
    const or = pick(["", "OR IGNORE ", "OR REPLACE ", "OR FAIL "]);
    const sql =
      random.below(3) > 0
        ? `INSERT ${or}INTO ${table}(${columns.join(", ")}) VALUES(${columns.map(() => pick(VALUES)).join(", ")})`
        : `UPDATE ${or}${table} SET ${pick(columns)} = ${pick(VALUES)}`;
    const [here, there] = [run(app, sql), run(plain, sql)];
    if (here === there) same++;
    else {
      otherWords++;
      expect([sql, here]).toEqual([sql, expect.stringMatching(/^cannot store /)]);
      expect([sql, there]).toEqual([
        sql,
        expect.stringMatching(or === "OR IGNORE " ? /^taken$/ : /^NOT NULL /),
      ]);
    }
    const rows = [app, plain].map((db) => db.query(`SELECT * FROM ${table} ORDER BY 1`).values());
    expect(rows[0]).toEqual(rows[1]!);
  }
  plain.close();
  expect([same > 2000, otherWords > 50]).toEqual([true, true]);
});

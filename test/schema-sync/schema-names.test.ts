/**
 * Names that differ in the case of letters outside A to Z, or contain characters that look like a blank, are different
 * names.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { DatabaseSync } from "node:sqlite";
import { ALL, classify } from "../../src/schema/classify/classify.ts";
import { queryOf } from "../../src/sqlite/query.ts";
import { Lab, type LabNode } from "../node/lab.ts";
import { expectEqual } from "./schema-lab.ts";

const SCHEMA = `CREATE TABLE "Ä"("É" INTEGER PRIMARY KEY, "é" TEXT UNIQUE, x INT DEFAULT 1);
  CREATE TABLE "ä"("é" TEXT PRIMARY KEY, "É" INT REFERENCES "Ä"("É")) WITHOUT ROWID;
  CREATE TABLE "Ö"("Ü", "ü"); CREATE TABLE "ö"(id INTEGER PRIMARY KEY AUTOINCREMENT, "Ü" TEXT);
  CREATE TABLE log(\u00a0a INT, a\u00a0 INT, at TEXT NOT NULL PRIMARY KEY);
  CREATE VIEW "Ï" AS SELECT * FROM "Ä"; CREATE TABLE "ï"(id INTEGER PRIMARY KEY, v);
  CREATE TRIGGER "Ñ" AFTER UPDATE OF "é" ON "Ä" BEGIN INSERT INTO "ö"("Ü") VALUES(NEW."é"); END;
  CREATE TRIGGER "ñ" AFTER INSERT ON "ä" BEGIN UPDATE "Ö" SET "ü" = NEW."É"; END;
  INSERT INTO "Ä" VALUES(1, 'one', 2); INSERT INTO "ä" VALUES('k', 1), ('K', 1); INSERT INTO "Ö" VALUES(1, 2);
  INSERT INTO "ï" VALUES(1, 'i');`;

let lab: Lab | null = null;
afterEach(() => {
  lab?.close();
  lab = null;
});

const WRITES = [
  `INSERT INTO "Ä" VALUES(2, 'two', 3)`,
  `UPDATE "Ä" SET "é" = 'uno' WHERE "É" = 1`,
  `INSERT INTO "ä" VALUES('q', 2)`,
  `UPDATE "ä" SET "É" = 2 WHERE "é" = 'k'`,
  `INSERT INTO "Ö" VALUES('a', 'b')`,
  `INSERT INTO log VALUES(1, 2, 'now')`,
  `DELETE FROM "ï"`,
];

test("names that differ in the case of non-ASCII letters are different tables", () => {
  const db = new DatabaseSync(":memory:");
  db.exec(SCHEMA);
  const verdicts = (tables: readonly string[] | null, exclude: readonly string[]) =>
    classify(queryOf(db), { tables, exclude }).flatMap((t) => (t.verdict === "skipped" ? [] : [t.name]));
  const all = classify(queryOf(db), ALL);
  expect(all.filter((t) => t.verdict === "refused")).toEqual([]);
  expect(verdicts(["Ä", "log"], [])).toEqual(["Ä", "log"]);
  expect(verdicts(null, ["ä"])).toEqual(["Ä", "Ö", "ö", "log", "ï"]);
  db.close();
});

describe.each([1, 16])("%d shards", (shards) => {
  test("tables whose names differ in the case of non-ASCII letters replicate, before and after schema changes", async () => {
    lab = await Lab.create(SCHEMA, 3, shards);
    const [first, second, third] = lab.nodes as [LabNode, LabNode, LabNode];
    first.run(...WRITES);
    expectEqual(lab, first);
    expect(third.query(`SELECT "é", "É" FROM "ä" ORDER BY 1`)).toEqual([
      ["K", 1n],
      ["k", 2n],
      ["q", 2n],
    ]);
    second.run(`INSERT INTO "ä" VALUES('late', 2)`, `UPDATE "Ä" SET "é" = 'spät', x = 7 WHERE "É" = 2`);
    first.run(
      `ALTER TABLE "ä" ADD COLUMN "Ö" TEXT DEFAULT 'o'`,
      `ALTER TABLE "ä" ADD COLUMN "ö" TEXT`,
      `ALTER TABLE "Ä" RENAME COLUMN x TO "ÿ"`,
      `ALTER TABLE "Ä" ADD COLUMN "Ÿ"`,
      `UPDATE "ä" SET "ö" = "é"`,
      `CREATE UNIQUE INDEX "ÏI" ON "ä"("ö")`,
      `CREATE INDEX "ïi" ON "Ä"("Ÿ")`,
      `CREATE TABLE "ő"(id INTEGER PRIMARY KEY, "Á", "á")`,
      `CREATE TABLE "Ő"(id INTEGER PRIMARY KEY, "á" UNIQUE)`,
      `INSERT INTO "ő" VALUES(1, 2, 3)`,
      `INSERT INTO "Ő" VALUES(1, 5)`,
    );
    expectEqual(lab, first);
    first.run(
      `PRAGMA legacy_alter_table = ON; BEGIN; CREATE TABLE n("é" TEXT, "É" INTEGER PRIMARY KEY, "ÿ" INT, "Ÿ"); INSERT INTO n SELECT "é", "É", "ÿ", "Ÿ" FROM "Ä"; DROP TABLE "Ä";
       ALTER TABLE n RENAME TO "Ä"; COMMIT; PRAGMA legacy_alter_table = OFF`,
      `ALTER TABLE "ö" RENAME TO "Õ"`,
      `ALTER TABLE log RENAME COLUMN \u00a0a TO "b"`,
    );
    expectEqual(lab, first);
    expect(third.query(`SELECT "É", "é", "ÿ", "Ÿ" FROM "Ä" ORDER BY 1`)).toEqual([
      [1n, "uno", 2n, null],
      [2n, "spät", 7n, null],
    ]);
    expect(third.query(`SELECT "é", "É", "Ö" FROM "ä" WHERE "é" = 'late'`)).toEqual([["late", 2n, "o"]]);
    for (const node of lab.nodes)
      node.run(
        `INSERT INTO "Ő" VALUES(${10 + node.number}, ${node.number})`,
        `INSERT INTO "ő" VALUES(${10 + node.number}, ${node.number}, 0)`,
        `INSERT INTO "ä" VALUES('n${node.number}', 1, 'O', 'o${node.number}')`,
      );
    expectEqual(lab, second);
    expect(first.query(`SELECT count(*) FROM "Ő"`)).toEqual([[4n]]);
    // Two nodes create them at the same time: they are different tables.
    first.run(`CREATE TABLE "Ç"(id INTEGER PRIMARY KEY, a)`, `INSERT INTO "Ç" VALUES(1, 'first')`);
    second.run(`CREATE TABLE "ç"(id TEXT PRIMARY KEY, b)`, `INSERT INTO "ç" VALUES('k', 'second')`);
    third.run(`ALTER TABLE "Ä" ADD COLUMN "Ý" DEFAULT 1`, `ALTER TABLE "Ő" RENAME COLUMN "á" TO "Á"`);
    expectEqual(lab, third);
    expect(third.query(`SELECT a, b, (SELECT max("Ý") FROM "Ä") FROM "Ç", "ç"`)).toEqual([
      ["first", "second", 1n],
    ]);
  });
});

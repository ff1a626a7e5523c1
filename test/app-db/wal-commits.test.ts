/** The tables that each commit of a WAL wrote, by the pages of their logs. */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hasAllSince, type LogPages, tablesByCommit, walState } from "../../src/app-db/wal-commits.ts";
import { Random } from "../../src/base/random.ts";

let folder = "";
let db: Database;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-wal-"));
});
afterEach(() => {
  db.close();
  rmSync(folder, { recursive: true, force: true });
});

function open(pageSize: number): string {
  const path = join(folder, "app.db");
  db = new Database(path, { create: true });
  db.exec(`PRAGMA page_size = ${pageSize}; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0`);
  for (const log of ["l1", "l2", "l3"]) db.exec(`CREATE TABLE ${log}(id INTEGER PRIMARY KEY, k1, v)`);
  db.exec("CREATE TABLE other(id INTEGER PRIMARY KEY, x)");
  return `${path}-wal`;
}

const pagesOf = (log: string): Set<number> =>
  new Set(
    db
      .query("SELECT pageno FROM dbstat WHERE name = ?")
      .values(log)
      .map(([page]) => Number(page)),
  );
const newest = (log: string): number =>
  Number((db.query(`SELECT coalesce(max(id), 0) FROM ${log}`).values() as [[number]])[0][0]);
const range = (table: number, from: number): LogPages => {
  const to = newest(`l${table}`);
  return { table, from, to, pages: pagesOf(`l${table}`), rows: to - from };
};

test.each([512, 4096, 16384])(
  "pages of %i bytes: each commit has the tables whose rows it wrote",
  (pageSize) => {
    const wal = open(pageSize);
    const random = new Random(pageSize);
    db.exec("BEGIN");
    for (let i = 0; i < 300; i++)
      db.exec("INSERT INTO l1(k1) VALUES('before'); INSERT INTO l2(k1) VALUES('before')");
    db.exec("COMMIT");
    const [from1, from2] = [newest("l1"), newest("l2")];
    const wrote: number[][] = [];
    for (let i = 0; i < 100; i++) {
      const tables = [1, 2, 3].filter(() => random.below(3) === 0);
      db.exec("BEGIN");
      for (const table of tables)
        for (let n = random.below(20); n >= 0; n--)
          db.exec(`INSERT INTO l${table}(k1) VALUES('${"k".repeat(random.below(40))}')`);
      db.exec("INSERT INTO other(x) VALUES(randomblob(100)); COMMIT");
      if (tables.length > 0) wrote.push(tables);
    }
    const commits = tablesByCommit(wal, [range(1, from1), range(2, from2), range(3, 0)])!;
    // A row that only moved to another page names its table once more.
    let at = 0;
    for (const tables of commits) {
      const next = wrote[at];
      if (next !== undefined && tables.size > 0 && next.every((t) => tables.has(t))) at++;
    }
    expect(at).toBe(wrote.length);
    const together = (a: number, b: number): number => commits.filter((c) => c.has(a) && c.has(b)).length;
    expect(together(1, 2)).toBeGreaterThanOrEqual(wrote.filter((t) => t.includes(1) && t.includes(2)).length);
  },
);

test("two commits of one row each are two; one commit of both is one", () => {
  const wal = open(4096);
  db.exec("INSERT INTO l1(k1) VALUES(NULL)");
  db.exec("INSERT INTO l2(k1) VALUES('a')");
  expect(tablesByCommit(wal, [range(1, 0), range(2, 0)])!.filter((c) => c.size > 0)).toEqual([
    new Set([1]),
    new Set([2]),
  ]);
  db.exec("BEGIN; INSERT INTO l1(k1) VALUES(NULL); INSERT INTO l2(k1) VALUES('b'); COMMIT");
  db.exec("BEGIN; INSERT INTO l1(k1) VALUES(NULL); INSERT INTO l3(k1) VALUES('b'); ROLLBACK");
  const commits = tablesByCommit(wal, [range(1, 0), range(2, 0), range(3, 0)])!;
  expect(commits.filter((c) => c.size > 0)).toEqual([new Set([1]), new Set([2]), new Set([1, 2])]);
});

test("rows that the WAL does not have make the answer unknown", () => {
  const wal = open(4096);
  db.exec("INSERT INTO l1(k1) VALUES('a')");
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  db.exec("INSERT INTO l2(k1) VALUES('b')");
  expect(tablesByCommit(wal, [range(1, 0), range(2, 0)])).toBeNull();
  expect(tablesByCommit(join(folder, "none"), [range(2, 0)])).toBeNull();
});

test("a WAL has all commits since a state unless it was written from its start again in between", () => {
  const wal = open(4096);
  const write = (): unknown => db.exec("INSERT INTO l1(k1) VALUES('a')");
  const none = walState(join(folder, "none"), null);
  const first = walState(wal, null);
  expect([none.isEmpty, first.isEmpty, first.isFirst]).toEqual([true, false, true]);
  expect([hasAllSince(none, first), hasAllSince(first, first), hasAllSince(first, none)]).toEqual([
    true,
    true,
    false,
  ]);
  write();
  expect(hasAllSince(first, walState(wal, first))).toBe(true);
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  const empty = walState(wal, first);
  write();
  const second = walState(wal, empty);
  expect([hasAllSince(empty, second), hasAllSince(first, second), hasAllSince(none, second)]).toEqual([
    true,
    false,
    false,
  ]);
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  write();
  expect(hasAllSince(empty, walState(wal, second))).toBe(false);
});

/**
 * Measures a schema change of a large table as Marmot applies it to an app database and to a replica, against the same
 * change by plain statements (create, copy, drop, rename, indexes).
 *
 *   bun scripts/bench-schema.ts [--rows 1000000] [--runs 3]
 */
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { readCatalogue } from "../src/schema/catalogue.ts";
import { applySchemaChanges } from "../src/schema/migrate/migrate.ts";
import { compareCatalogues } from "../src/schema/diff/diff.ts";
import { queryOf } from "../src/sqlite/query.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, {
  rows: { type: "string", default: "1000000" },
  runs: { type: "string", default: "3" },
});

const INDEXES = ["CREATE INDEX i_name ON t(name)", "CREATE UNIQUE INDEX i_code ON t(code)"];
const OLD = "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, code TEXT, amount REAL, note TEXT)";
const COLUMNS = "id, name, code, amount, note";

/** Each: a label, the text of the new table, and the columns that an ORM copies. */
const CASES: readonly (readonly [string, string, string])[] = [
  ["another type and default", OLD.replace("amount REAL", "amount TEXT DEFAULT 'none'"), COLUMNS],
  ["a column in the middle", OLD.replace("code TEXT", "born TEXT DEFAULT 'x', code TEXT"), COLUMNS],
  ["a column less", OLD.replace(", amount REAL", ""), "id, name, code, note"],
  ["AUTOINCREMENT", OLD.replace("PRIMARY KEY", "PRIMARY KEY AUTOINCREMENT"), COLUMNS],
  ["a CHECK and a reference", OLD.replace("note TEXT", "note TEXT REFERENCES u, CHECK(amount > 0)"), COLUMNS],
];

const folder = mkdtempSync(join(tmpdir(), "bench-schema-"));
const file = (name: string): string => join(folder, name);

function open(name: string): DatabaseSync {
  const db = new DatabaseSync(file(name), { enableForeignKeyConstraints: false });
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8000");
  return db;
}

interface Spent {
  readonly ms: number;
  /** CPU time of this process alone: other work on the machine does not change it. */
  readonly cpu: number;
}

function timed(db: DatabaseSync, work: () => void): Spent {
  const [begun, used] = [performance.now(), process.cpuUsage()];
  db.exec("BEGIN IMMEDIATE");
  work();
  db.exec("COMMIT");
  const { user, system } = process.cpuUsage(used);
  return { ms: performance.now() - begun, cpu: (user + system) / 1000 };
}

const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[list.length >> 1]!;

function fill(name: string, indexes: readonly string[]): void {
  const db = open(name);
  db.exec(OLD);
  db.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${Number(values.rows)})
    INSERT INTO t SELECT i, 'name ' || (i * 7919 % 1000003), 'code ' || (i * 104729 % 1299709 + i * 1300000), i * 0.5, 'a note of some length that says nothing ' || i FROM n`);
  for (const sql of indexes) db.exec(sql);
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  db.close();
}

try {
  fill("app-db.db", INDEXES);
  fill("replica.db", INDEXES.slice(1));
  for (const [what, sql, copied] of CASES) {
    const [plain, appDb, replica]: Spent[][] = [[], [], []];
    for (let run = 0; run < Number(values.runs); run++) {
      copyFileSync(file("app-db.db"), file("plain.db"));
      const db = open("plain.db");
      const before = readCatalogue(queryOf(db));
      plain!.push(
        timed(db, () => {
          db.exec(sql.replace("TABLE t(", "TABLE new_t("));
          db.exec(
            `INSERT INTO new_t(${copied}) SELECT ${copied} FROM t; DROP TABLE t; ALTER TABLE new_t RENAME TO t`,
          );
          for (const index of INDEXES) db.exec(index);
        }),
      );
      const changes = compareCatalogues(before, readCatalogue(queryOf(db)), []);
      db.close();
      for (const [role, times] of [
        ["app-db", appDb],
        ["replica", replica],
      ] as const) {
        copyFileSync(file(`${role}.db`), file("copy.db"));
        const copy = open("copy.db");
        times!.push(timed(copy, () => applySchemaChanges(copy, changes, { role, state: before })));
        copy.close();
      }
    }
    const [p, l, r] = [plain!, appDb!, replica!].map((list) => ({
      ms: Math.round(median(list.map((t) => t.ms))),
      cpu: Math.round(median(list.map((t) => t.cpu))),
    })) as [Spent, Spent, Spent];
    const ratio = ({ ms, cpu }: Spent): Spent => ({
      ms: Number((ms / p.ms).toFixed(2)),
      cpu: Number((cpu / p.cpu).toFixed(2)),
    });
    console.log(
      JSON.stringify({
        change: what,
        plain: p,
        appDb: l,
        replica: r,
        live_by_plain: ratio(l),
        replica_by_plain: ratio(r),
      }),
    );
  }
} finally {
  rmSync(folder, { recursive: true });
}

/**
 * Measures how long the other nodes hold the write lock of their files while a large table is rebuilt, against the same
 * migration on a plain SQLite file with the machine to itself. Needs dist/marmot.
 *
 *   bun scripts/bench-migration.ts [--rows 1000000] [--runs 3]
 */
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TestCluster, until } from "../test/cluster/lab.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, {
  rows: { type: "string", default: "1000000" },
  runs: { type: "string", default: "3" },
});

const LOOK_MS = 2;
const SHOWN_MS = 300_000;

const SCHEMA = `CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, code TEXT, amount REAL, note TEXT);
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${Number(values.rows)})
    INSERT INTO t SELECT i, 'name ' || (i * 7919 % 1000003), 'code ' || i, i * 0.5, 'a note of some length ' || i FROM n;
  CREATE INDEX i_name ON t(name); CREATE UNIQUE INDEX i_code ON t(code)`;

/** As ORMs do it: create, copy, drop, rename, indexes, in one transaction. */
const migration = (run: number): string => `PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE;
  CREATE TABLE new_t(id INTEGER PRIMARY KEY, name TEXT, code TEXT, amount TEXT DEFAULT '${run}', note TEXT);
  INSERT INTO new_t SELECT id, name, code, amount, note FROM t; DROP TABLE t; ALTER TABLE new_t RENAME TO t;
  CREATE INDEX i_name ON t(name); CREATE UNIQUE INDEX i_code ON t(code); COMMIT`;

/** In another process, as an application. Returns milliseconds. */
async function migrate(file: string, run: number): Promise<number> {
  const code = `const { Database } = require("bun:sqlite");
    const db = new Database(${JSON.stringify(file)});
    db.exec("PRAGMA busy_timeout = 60000; PRAGMA synchronous = NORMAL");
    const start = performance.now();
    db.exec(${JSON.stringify(migration(run))});
    console.log(performance.now() - start);`;
  const child = Bun.spawn([process.execPath, "-e", code], { stdout: "pipe", stderr: "inherit" });
  const text = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error(`the migration of ${file} failed`);
  return Number(text);
}

/** Takes the write lock repeatedly until `stop`; returns the longest time without it, in milliseconds. */
function watchLock(file: string): { stop(): Promise<number> } {
  const db = new Database(file);
  db.exec("PRAGMA busy_timeout = 0");
  let [running, longest, since] = [true, 0, performance.now()];
  const watching = (async () => {
    for (;;) {
      try {
        db.exec("BEGIN IMMEDIATE");
        longest = Math.max(longest, performance.now() - since);
        db.exec("ROLLBACK");
        since = performance.now();
        if (!running) break; // only after the lock was taken once more
      } catch (error) {
        if (!/locked|busy/i.test(String(error))) throw error;
      }
      await Bun.sleep(LOOK_MS);
    }
    db.close();
  })();
  return {
    async stop() {
      running = false;
      await watching;
      return longest;
    },
  };
}

const hasDefault = (file: string, run: number): boolean => {
  const db = new Database(file, { readonly: true });
  try {
    const [[sql] = [""]] = db.query("SELECT sql FROM sqlite_schema WHERE name = 't'").values() as [string][];
    return sql.includes(`DEFAULT '${run}'`);
  } finally {
    db.close();
  }
};

async function plain(runs: number): Promise<number[]> {
  const folder = mkdtempSync(join(tmpdir(), "bench-migration-"));
  try {
    const file = join(folder, "plain.db");
    const db = new Database(file, { create: true });
    db.exec(`PRAGMA journal_mode = WAL; ${SCHEMA}`);
    db.close();
    const times: number[] = [];
    for (let run = 1; run <= runs; run++) times.push(await migrate(file, run));
    return times;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[list.length >> 1]!;

const runs = Number(values.runs);
const alone = median(await plain(runs));
console.log(JSON.stringify({ measure: "plain SQLite", rows: Number(values.rows), ms: Math.round(alone) }));
const cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, quiet: true });
try {
  const [first, ...others] = cluster.nodes;
  const held: number[] = [];
  for (let run = 1; run <= runs; run++) {
    const locks = others.map(({ db }) => watchLock(db));
    const own = await migrate(first!.db, run);
    await until(() => others.every(({ db }) => hasDefault(db, run)), "the migration is shown", SHOWN_MS);
    const longest = await Promise.all(locks.map((lock) => lock.stop()));
    held.push(...longest);
    const ms = longest.map(Math.round);
    const byPlain = longest.map((l) => Number((l / alone).toFixed(2)));
    console.log(
      JSON.stringify({ measure: "migration", own_ms: Math.round(own), held_ms: ms, by_plain: byPlain }),
    );
  }
  console.log(
    JSON.stringify({
      measure: "write lock held on other nodes",
      by_plain: Number((median(held) / alone).toFixed(2)),
    }),
  );
} finally {
  await cluster.stop();
}

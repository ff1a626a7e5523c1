/**
 * `history.db`: the last entries that this node applied, with the rows before and after each. Local to the node, and no part of the
 * replica: without it nothing is lost but the past. It is committed before the replica is, so entries that the replica lost in a crash are
 * removed when it is opened, and are recorded again.
 */
import { rmSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { openDatabase } from "../../sqlite/open.ts";
import { integer, readTuples } from "../../sqlite/typed-rows.ts";

/** 3: parts that refer to values in the log. A file of format 2 is taken over, one of another format is made again. */
const FORMAT = 3;
const FORMAT_OF_COPIES = 2;

/** Entries of the log that entries of the history refer to, with the last such entry. */
const REFERENCES = `
  CREATE TABLE "kept"("shard" INTEGER, "idx" INTEGER, "id" INTEGER, PRIMARY KEY("shard", "idx")) WITHOUT ROWID;
  CREATE INDEX "kept_id" ON "kept"("id");
`;

/** Readers go on after the last id that they saw, so no id comes twice, also after all entries were removed. */
const SCHEMA = `
  CREATE TABLE "fact"("name" TEXT PRIMARY KEY, "value") WITHOUT ROWID;
  CREATE TABLE "reach"("shard" INTEGER PRIMARY KEY, "from_idx" INTEGER, "to_idx" INTEGER);
  CREATE TABLE "entry"("id" INTEGER PRIMARY KEY AUTOINCREMENT, "shard" INTEGER, "idx" INTEGER, "last" INTEGER, "time" INTEGER, "origin" INTEGER, "version" INTEGER, "position" TEXT, "data" BLOB, "referred" INTEGER NOT NULL DEFAULT 0);
  CREATE INDEX "entry_position" ON "entry"("shard", "idx");
  CREATE TABLE "shape"("version" INTEGER, "tbl" INTEGER, "name" TEXT, "columns" TEXT, "key" TEXT, PRIMARY KEY("version", "tbl")) WITHOUT ROWID;
  ${REFERENCES}
`;

/** Opens or makes the file. One that cannot be read, or is of another cluster, is made again: it is of use to no one. */
export function openHistoryFile(path: string, clusterId: string): DatabaseSync {
  try {
    const db = open(path);
    const facts = hasTables(db) ? new Map(readTuplesOf(db)) : new Map<string, unknown>();
    const format = Number(facts.get("format"));
    if (facts.get("cluster") === clusterId && (format === FORMAT || format === FORMAT_OF_COPIES)) {
      if (format === FORMAT_OF_COPIES) takeOver(db);
      return db;
    }
    db.close();
  } catch {
    // a damaged file
  }
  for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix, { force: true });
  const db = open(path);
  db.exec(`BEGIN; ${SCHEMA}`);
  const put = db.prepare(`INSERT INTO "fact" VALUES(?, ?)`);
  put.run("format", FORMAT);
  put.run("cluster", clusterId);
  db.exec("COMMIT");
  return db;
}

function takeOver(db: DatabaseSync): void {
  db.exec(
    `BEGIN; ALTER TABLE "entry" ADD COLUMN "referred" INTEGER NOT NULL DEFAULT 0; ${REFERENCES}
     UPDATE "fact" SET "value" = ${FORMAT} WHERE "name" = 'format'; COMMIT`,
  );
}

function open(path: string): DatabaseSync {
  const db = openDatabase(path, { timeout: 1000 });
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -2000");
  return db;
}

const hasTables = (db: DatabaseSync): boolean =>
  db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'fact'").get() !== undefined;

const readTuplesOf = (db: DatabaseSync): [string, unknown][] =>
  db
    .prepare(`SELECT "name", "value" FROM "fact"`)
    .all()
    .map((row) => [String(row.name), row.value]);

/** Positions between which the history has every entry: after `from`, up to `to`. */
export interface Reach {
  readonly from: readonly number[];
  readonly to: readonly number[];
}

export function readReach(db: DatabaseSync): Reach {
  const select = db.prepare(`SELECT "from_idx", "to_idx" FROM "reach" ORDER BY "shard"`);
  select.setReturnArrays(true);
  const rows = readTuples(select.all(), integer, integer);
  return { from: rows.map(([from]) => from), to: rows.map(([, to]) => to) };
}

/** The history of a node that starts, beside its replica and its log: what they do not have is removed. */
import type { DatabaseSync } from "node:sqlite";
import { integer, readTuples } from "../../sqlite/typed-rows.ts";
import { readReach } from "./history-tables.ts";

/** Notes the time of the newest entry that is not kept. */
export const REMOVED_UP_TO = `INSERT INTO "fact" VALUES('removed up to', ?) ON CONFLICT DO UPDATE SET "value" = max("value", excluded."value")`;

/** Removes entries that the replica does not have yet, or everything if entries are missing between the two. */
export function meetReplica(db: DatabaseSync, positions: readonly number[]): void {
  const { to } = readReach(db);
  db.exec("BEGIN IMMEDIATE");
  const isWhole = to.length === positions.length && positions.every((index, shard) => to[shard]! >= index);
  if (isWhole) {
    const drop = db.prepare(`DELETE FROM "entry" WHERE "shard" = ? AND "idx" > ?`);
    const set = db.prepare(
      `UPDATE "reach" SET "to_idx" = ?, "from_idx" = min("from_idx", ?) WHERE "shard" = ?`,
    );
    positions.forEach((index, shard) => {
      drop.run(shard, index);
      set.run(index, index, shard);
    });
    db.exec(`DELETE FROM "kept" WHERE "id" NOT IN (SELECT "id" FROM "entry")`);
  } else {
    db.exec(`DELETE FROM "entry"; DELETE FROM "shape"; DELETE FROM "reach"; DELETE FROM "kept"`);
    // A history that was switched off for a while lacks entries up to now.
    if (to.length > 0) db.prepare(REMOVED_UP_TO).run(Date.now());
    const put = db.prepare(`INSERT INTO "reach" VALUES(?, ?, ?)`);
    positions.forEach((index, shard) => put.run(shard, index, index));
  }
  db.exec("COMMIT");
}

/**
 * Removes all entries up to the last one that refers to an entry which the log lacks: a power cut took their removal back, and
 * left that of the log's entries.
 */
export function meetLog(db: DatabaseSync, has: (shard: number, index: number) => boolean): void {
  const select = db.prepare(`SELECT "id", "shard", "idx" FROM "kept" ORDER BY "id" DESC`);
  select.setReturnArrays(true);
  const kept = readTuples(select.all(), integer, integer, integer);
  const [upTo] = kept.find(([, shard, index]) => !has(shard, index)) ?? [0];
  if (upTo === 0) return;
  db.exec("BEGIN IMMEDIATE");
  const newest = `(SELECT max("idx") FROM "entry" WHERE "shard" = "reach"."shard" AND "id" <= ?)`;
  db.prepare(`UPDATE "reach" SET "from_idx" = max("from_idx", coalesce(${newest}, 0))`).run(upTo);
  const time = db.prepare(`SELECT max("time") FROM "entry" WHERE "id" <= ?`);
  time.setReturnArrays(true);
  db.prepare(REMOVED_UP_TO).run(...readTuples([time.get(upTo)!], integer)[0]!);
  for (const table of ["entry", "kept"]) db.prepare(`DELETE FROM "${table}" WHERE "id" <= ?`).run(upTo);
  db.exec("COMMIT");
}

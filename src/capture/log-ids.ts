/**
 * Ids of a change log are never used twice. Row 0 marks the log as complete: an application that empties the log deletes it.
 * A log that lost rows gets a row without a change at the highest id that was ever used, and goes on above it.
 */
import type { DatabaseSync } from "node:sqlite";
import { readChangeLogs, STORE_ACKNOWLEDGED } from "../rows/change-logs.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";

/** Id of the row that marks a log as complete. */
const MARK = 0;

/** A row that counts as no change. */
const blank = (db: DatabaseSync, log: string, id: number): void =>
  void db.prepare(`INSERT OR IGNORE INTO ${quoteIdentifier(log)}(id, v) VALUES(?, 0)`).run(BigInt(id));

const highestId = (db: DatabaseSync, log: string): number =>
  Number(db.prepare(`SELECT max(id) FROM ${quoteIdentifier(log)}`).get()!["max(id)"] ?? -1);

/** Marks a log as complete: it is new, or of an older build. */
export const markLog = (db: DatabaseSync, log: string): void => blank(db, log, MARK);

/** No row of the log up to `floor` is missing because someone deleted it. */
export function isLogComplete(db: DatabaseSync, log: string, floor: number): boolean {
  const mark = db.prepare(`SELECT 1 FROM ${quoteIdentifier(log)} WHERE id = ${MARK}`).get();
  return mark !== undefined && highestId(db, log) >= floor;
}

/** The next row gets an id above `floor`, and the log counts as complete from now on. */
export function continueLog(db: DatabaseSync, log: string, floor: number): void {
  markLog(db, log);
  if (highestId(db, log) < floor) blank(db, log, floor);
}

/** More ids than a node has in flight. */
const SKIPPED = 1 << 16;

/**
 * In a file that was built or brought back: no id that this node ever used, or has in flight, comes again, and all log rows
 * up to there count as acknowledged.
 */
export function skipIds(db: DatabaseSync, used: (table: number) => number): void {
  const acknowledge = db.prepare(STORE_ACKNOWLEDGED);
  for (const { id, name, log } of readChangeLogs(db)) {
    const floor = Math.max(used(id), highestId(db, log), 0) + SKIPPED;
    continueLog(db, log, floor);
    acknowledge.run(name, BigInt(floor));
  }
}

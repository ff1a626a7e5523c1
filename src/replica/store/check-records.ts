/** Checksums recorded at check entries, so that nodes can compare their replicas at one position. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { integer, readRow, text } from "../../sqlite/typed-rows.ts";

/** Records kept per shard. */
const RECORDS_KEPT = 16;

export class CheckRecords {
  readonly #insert: StatementSync;
  readonly #trim: StatementSync;
  readonly #select: StatementSync;

  constructor(db: DatabaseSync) {
    this.#insert = db.prepare(`INSERT OR REPLACE INTO "__marmot__check" VALUES(?, ?, ?, ?)`);
    this.#trim = db.prepare(
      `DELETE FROM "__marmot__check" WHERE "shard" = ?1 AND "idx" NOT IN
         (SELECT "idx" FROM "__marmot__check" WHERE "shard" = ?1 ORDER BY "idx" DESC LIMIT ${RECORDS_KEPT})`,
    );
    this.#select = db.prepare(`SELECT "idx", "sums" FROM "__marmot__check" WHERE "note" = ? AND "shard" = ?`);
  }

  /** `sums`: pairs of table and sum, at the check entry (shard, index). */
  record(note: string, shard: number, index: number, sums: readonly [number, string][]): void {
    this.#insert.run(note, shard, index, JSON.stringify(sums));
    this.#trim.run(shard);
  }

  /** The sums recorded for `note` in a shard; null: the entry is not applied yet, or the record was trimmed. */
  find(note: string, shard: number): { index: number; sums: [number, string][] } | null {
    const row = this.#select.get(note, shard);
    if (row === undefined) return null;
    const { idx, sums } = readRow(row, { idx: integer, sums: text });
    return { index: idx, sums: JSON.parse(sums) as [number, string][] };
  }
}

/** The entries of the log that the history refers to. They stay in the log as long as the history has such an entry. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Image } from "../../change/value.ts";
import { integer, readTuples } from "../../sqlite/typed-rows.ts";
import { meetLog } from "./meet-replica.ts";
import type { Piece } from "./record.ts";
import { type EntrySource, piecesOf } from "./shared-values.ts";

/** The log of this node. */
export interface HistoryLog {
  has(shard: number, index: number): boolean;
  /** The history does not refer to the entry any more. */
  release(shard: number, index: number): void;
}

export class SharedEntries {
  readonly #log: HistoryLog | null;
  readonly #put: StatementSync;
  readonly #has: StatementSync;
  readonly #kept: StatementSync;
  readonly #old: StatementSync;
  readonly #drop: StatementSync;
  #source: EntrySource | null = null;
  /** Entries that the open part refers to. */
  #used = new Set<EntrySource>();
  /** Entries whose release is not committed. */
  #released: (readonly [shard: number, index: number])[] = [];

  /** `log`: null: values are copied. */
  constructor(db: DatabaseSync, log: HistoryLog | null) {
    this.#log = log;
    if (log !== null) meetLog(db, (shard, index) => log.has(shard, index));
    const arrays = (sql: string): StatementSync => {
      const statement = db.prepare(sql);
      statement.setReturnArrays(true);
      return statement;
    };
    this.#put = db.prepare(`INSERT OR REPLACE INTO "kept" VALUES(?, ?, ?)`);
    this.#has = db.prepare(`SELECT 1 FROM "kept" WHERE "shard" = ? AND "idx" = ?`);
    this.#kept = arrays(
      `SELECT "idx" FROM "kept" WHERE "shard" = ? AND "idx" > ? AND "idx" <= ? ORDER BY "idx"`,
    );
    this.#old = arrays(`SELECT "shard", "idx" FROM "kept" WHERE "id" <= ?`);
    this.#drop = db.prepare(`DELETE FROM "kept" WHERE "id" <= ?`);
  }

  /** Rows of this entry follow; null: of one that may not be in the log. */
  from(source: EntrySource | null): void {
    this.#source = this.#log === null ? null : source;
  }

  /** The pieces of an encoded image; null: it is stored whole. */
  piecesOf(encoded: Uint8Array, image: Image): Piece[] | null {
    if (this.#source === null) return null;
    const pieces = piecesOf(encoded, image, this.#source);
    if (pieces !== null) this.#used.add(this.#source);
    return pieces;
  }

  /** Bytes of entries that only the open part refers to. */
  get bytes(): number {
    let bytes = 0;
    for (const { shard, index, data } of this.#used)
      if (this.#has.get(shard, index) === undefined) bytes += data.length;
    return bytes;
  }

  /** The open part is stored under the id. */
  store(id: number): void {
    for (const { shard, index } of this.#used) this.#put.run(shard, index, id);
    this.#used.clear();
  }

  /** Entries of the history up to the id are removed. */
  trim(upTo: number): void {
    this.#released.push(...readTuples(this.#old.all(upTo), integer, integer));
    this.#drop.run(upTo);
  }

  committed(): void {
    for (const [shard, index] of this.#released.splice(0)) this.#log?.release(shard, index);
  }

  /** Indexes in (after, upTo] of entries that the history refers to, in rising order. */
  kept(shard: number, after: number, upTo: number): number[] {
    try {
      return readTuples(this.#kept.all(shard, after, upTo), integer).map(([index]) => index);
    } catch {
      return []; // a history that cannot be read is of no use, and never stops the log
    }
  }
}

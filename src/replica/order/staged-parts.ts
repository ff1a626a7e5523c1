/**
 * Parts of changesets that wait for their last part. Replicated state. Most changesets are whole before their parts must be
 * stored: parts stay in memory until then, with the positions behind them, and are often never written.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { type BatchHead, decodeBatchHead } from "../../change/codec.ts";
import { readMarking } from "../../change/marking.ts";
import type { Entry } from "../../raft/model/types.ts";
import type { EntrySource } from "../history/shared-values.ts";
import { blob, readTuple } from "../../sqlite/typed-rows.ts";

/** Bytes of parts stored between two yields. */
const SLICE_BYTES = 1 << 20;

/** Parts of small rows, which come by the million, count as more than their bytes. */
const SMALL_ROW_BYTES = 4096;
const SMALL_ROW_WEIGHT = 4;

interface Part {
  readonly shard: number;
  readonly index: number;
  readonly place: Pick<BatchHead, "origin" | "incarnation" | "csn" | "part">;
  readonly data: Uint8Array;
  readonly cost: number;
}

/** A part of a changeset. */
export interface StagedPart {
  readonly head: BatchHead;
  /** Its entry in the log; null: the part was stored, and its entry may be gone. */
  readonly source: EntrySource | null;
}

export class StagedParts {
  readonly #insert: StatementSync;
  readonly #select: StatementSync;
  readonly #delete: StatementSync;
  /** Parts that are not stored yet, in their order. */
  #unstored: Part[] = [];
  #unstoredBytes = 0;

  constructor(db: DatabaseSync) {
    const where = `WHERE "peer" = ? AND "shard" = ?`;
    this.#insert = db.prepare(`INSERT INTO "__marmot__staged" VALUES(?, ?, ?, ?, ?, ?)`);
    this.#select = db.prepare(
      `SELECT "data" FROM "__marmot__staged" ${where} AND "incarnation" = ? AND "csn" = ? ORDER BY "part"`,
    );
    this.#select.setReturnArrays(true);
    this.#delete = db.prepare(`DELETE FROM "__marmot__staged" ${where}`);
  }

  /** Bytes of parts that are only in memory. */
  get unstoredBytes(): number {
    return this.#unstoredBytes;
  }

  /** The same, with more for small rows. */
  get unstoredCost(): number {
    return this.#unstored.reduce((sum, { cost }) => sum + cost, 0);
  }

  add(shard: number, head: BatchHead, { index, data }: Entry): void {
    const { origin, incarnation, csn, part } = head;
    const rows = head.packedTables.reduce((sum, table) => sum + table.rows, 0);
    const weight = rows * SMALL_ROW_BYTES > data.length ? SMALL_ROW_WEIGHT : 1;
    const place = { origin, incarnation, csn, part };
    this.#unstored.push({ shard, index, place, data, cost: weight * data.length });
    this.#unstoredBytes += data.length;
  }

  /** Stores all parts, in the open transaction. */
  *store(): Generator<void, void> {
    let bytes = 0;
    while (this.#unstored.length > 0) {
      const { shard, place, data } = this.#unstored.shift()!;
      this.#unstoredBytes -= data.length;
      this.#insert.run(place.origin, shard, place.incarnation, place.csn, place.part, data);
      bytes += data.length;
      if (bytes < SLICE_BYTES) continue;
      bytes = 0;
      yield;
    }
  }

  /** The staged parts of the batch's changeset, in order. */
  *of(shard: number, head: BatchHead): Iterable<StagedPart> {
    const { origin, incarnation, csn } = head;
    const rows = this.#select.iterate(origin, shard, incarnation, csn);
    for (const row of rows) {
      const [data] = readTuple(row, blob);
      yield { head: decodeBatchHead(readMarking(data).batch), source: null };
    }
    for (const source of this.#unstored) {
      const { place, data } = source;
      const isOf = place.origin === origin && place.incarnation === incarnation && place.csn === csn;
      if (isOf && source.shard === shard) yield { head: decodeBatchHead(readMarking(data).batch), source };
    }
  }

  /** Drops all staged parts of an origin in a shard. */
  drop(shard: number, origin: string): void {
    this.#delete.run(origin, shard);
    const isKept = (part: Part): boolean => part.shard !== shard || part.place.origin !== origin;
    this.#unstored = this.#unstored.filter(isKept);
    this.#unstoredBytes = this.#unstored.reduce((sum, { data }) => sum + data.length, 0);
  }
}

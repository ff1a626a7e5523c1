/** Parts of changesets that wait for their last part. Replicated state. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { type BatchHead, decodeBatchHead } from "../../change/codec.ts";
import { readMarking } from "../../change/marking.ts";
import { blob, readTuple } from "../../sqlite/typed-rows.ts";

export class StagedParts {
  readonly #insert: StatementSync;
  readonly #select: StatementSync;
  readonly #delete: StatementSync;

  constructor(db: DatabaseSync) {
    const where = `WHERE "peer" = ? AND "shard" = ?`;
    this.#insert = db.prepare(`INSERT INTO "__marmot__staged" VALUES(?, ?, ?, ?, ?, ?)`);
    this.#select = db.prepare(
      `SELECT "data" FROM "__marmot__staged" ${where} AND "incarnation" = ? AND "csn" = ? ORDER BY "part"`,
    );
    this.#select.setReturnArrays(true);
    this.#delete = db.prepare(`DELETE FROM "__marmot__staged" ${where}`);
  }

  /** `data`: the data of the log entry. */
  add(shard: number, head: BatchHead, data: Uint8Array): void {
    this.#insert.run(head.origin, shard, head.incarnation, head.csn, head.part, data);
  }

  /** The staged parts of the batch's changeset, in order. */
  *of(shard: number, head: BatchHead): Iterable<BatchHead> {
    const rows = this.#select.iterate(head.origin, shard, head.incarnation, head.csn);
    for (const row of rows) {
      const [data] = readTuple(row, blob);
      yield decodeBatchHead(readMarking(data).batch);
    }
  }

  /** Drops all staged parts of an origin in a shard. */
  drop(shard: number, origin: string): void {
    this.#delete.run(origin, shard);
  }
}

/**
 * Redirected rowids: rows that the replica has under another rowid than their origin gave them. A record is kept until
 * the origin's app database is known to have the row under the new rowid. Replicated state.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { PositionVector } from "../../change/batch.ts";
import type { RedirectedRow } from "../../change/changed-rows.ts";
import { prepareExact } from "../../rows/exact-values.ts";
import { lazily, type LazyStatement } from "../../sqlite/lazy.ts";
import { type ChangesetContext, covers } from "./changeset.ts";
import { bigInteger, integer, readTuples } from "../../sqlite/typed-rows.ts";

export class RedirectedRowids {
  readonly #peer: number;
  readonly #insert: LazyStatement;
  readonly #drop: LazyStatement;
  readonly #select: StatementSync;
  /** "origin/shard" of all records. */
  readonly #recorded = new Set<string>();
  #pending: RedirectedRow[] = [];
  /** The position of the app database. After a power cut it may be ahead of the replica. */
  #reflected: PositionVector = [];

  /** `peer`: this node's hash. */
  constructor(db: DatabaseSync, peer: number) {
    this.#peer = peer;
    this.#insert = lazily(db, `INSERT INTO "__marmot__moved" VALUES(?, ?, ?, ?, ?, ?)`);
    this.#drop = lazily(
      db,
      `DELETE FROM "__marmot__moved" WHERE "origin" = ? AND "shard" = ? AND "idx" <= ?`,
    );
    this.#select = prepareExact(
      db,
      `SELECT "tbl", "from_rowid", "to_rowid", "shard", "idx" FROM "__marmot__moved" WHERE "origin" = ?`,
    );
    const recorded = prepareExact(db, `SELECT DISTINCT "origin", "shard" FROM "__marmot__moved"`);
    for (const [origin, shard] of readTuples(recorded.all(), integer, integer))
      this.#recorded.add(`${origin}/${shard}`);
  }

  /** Own rows that the app database does not have under their new rowids yet. */
  get pending(): readonly RedirectedRow[] {
    return this.#pending;
  }

  /** After a start: the app database reflects `position`. */
  recall(position: PositionVector): void {
    const rows = readTuples(this.#select.all(this.#peer), integer, bigInteger, bigInteger, integer, integer);
    this.#pending = rows.map(([table, from, to, shard, index]) => ({ table, from, to, shard, index }));
    this.reflected(position);
  }

  /** The app database reflects `position`. */
  reflected(position: PositionVector): void {
    this.#reflected = position;
    if (this.#pending.length > 0) this.#pending = this.#pending.filter((row) => this.#isPending(row));
  }

  #isPending(row: RedirectedRow): boolean {
    return !covers(this.#reflected, row);
  }

  /** A changeset is taken. Its origin synced the rows of its base position before it sent the changeset. */
  dropShown({ origin, shard, bases }: ChangesetContext): void {
    if (bases.length === 0 || !this.#recorded.has(`${origin}/${shard}`)) return;
    this.#drop.run(origin, shard, Math.max(...bases.map((base) => base[shard] ?? 0)));
  }

  add(row: RedirectedRow, { origin, own }: ChangesetContext): void {
    this.#recorded.add(`${origin}/${row.shard}`);
    this.#insert.run(origin, row.shard, row.index, row.table, row.from, row.to);
    if (own && this.#isPending(row)) this.#pending.push(row);
  }

  /** The table was dropped. */
  forgetTable(table: number): void {
    this.#pending = this.#pending.filter((row) => row.table !== table);
  }
}

/** The applied position of each shard: index and term of the last log entry that the replica has applied. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { assert } from "../../base/assert.ts";
import { integer, readRows } from "../../sqlite/typed-rows.ts";

interface Position {
  index: number;
  term: number;
}

function selectPositions(db: DatabaseSync): Position[] {
  const rows = db.prepare(`SELECT "idx", "term" FROM "__marmot__position" ORDER BY "shard"`).all();
  return readRows(rows, { idx: integer, term: integer }).map(({ idx, term }) => ({ index: idx, term }));
}

/** The applied index of every shard, read from a replica's file. */
export const readPositions = (db: DatabaseSync): number[] => selectPositions(db).map(({ index }) => index);

/** The positions in memory. Changes are stored in the transaction of the rows, by `flush`. */
export class AppliedPositions {
  readonly #positions: Position[];
  readonly #dirty = new Set<number>();
  readonly #store: StatementSync;

  constructor(db: DatabaseSync, shards: number) {
    this.#positions = selectPositions(db);
    assert(this.#positions.length === shards, "the replica has a position for every shard");
    this.#store = db.prepare(`UPDATE "__marmot__position" SET "idx" = ?, "term" = ? WHERE "shard" = ?`);
  }

  index(shard: number): number {
    return this.#positions[shard]!.index;
  }

  term(shard: number): number {
    return this.#positions[shard]!.term;
  }

  all(): number[] {
    return this.#positions.map(({ index }) => index);
  }

  /** The next entry of the shard is applied. */
  advance(shard: number, { index, term }: Readonly<Position>): void {
    const position = this.#positions[shard]!;
    assert(index === position.index + 1, `shard ${shard} applies entries one after the other`);
    position.index = index;
    position.term = term;
    this.#dirty.add(shard);
  }

  flush(): void {
    for (const shard of this.#dirty) {
      const { index, term } = this.#positions[shard]!;
      this.#store.run(index, term, shard);
    }
    this.#dirty.clear();
  }
}

/** The one order as an onlooker knows it: committed entries of every shard, the same wherever they are read. */
import { type BatchHead, decodeBatchHead, decodeTables } from "../../src/change/codec.ts";
import { BatchKind, type PositionVector, type RowChange } from "../../src/change/batch.ts";
import type { TableShape } from "../../src/change/shape.ts";
import { type Entry, EntryType } from "../../src/raft/types.ts";

interface Seen {
  readonly entry: Entry;
  readonly hash: number;
}

export interface TakenRow {
  readonly shard: number;
  readonly index: number;
  readonly origin: string;
  readonly table: TableShape;
  readonly row: RowChange;
  /** What its writer had seen. */
  readonly base: PositionVector;
}

const hashOf = (entry: Entry): number => Bun.hash.xxHash32(entry.data, entry.term * 2 + entry.type);

export class Order {
  readonly #shards: Map<number, Seen>[];
  readonly #last: number[];

  constructor(shards: number) {
    this.#shards = Array.from({ length: shards }, () => new Map());
    this.#last = Array.from({ length: shards }, () => 0);
  }

  /** Says what is wrong with the entry, or null. */
  note(node: string, shard: number, entry: Entry): string | null {
    const known = this.#shards[shard]!.get(entry.index);
    const hash = hashOf(entry);
    if (known === undefined) {
      this.#shards[shard]!.set(entry.index, { entry, hash });
      this.#last[shard] = Math.max(this.#last[shard]!, entry.index);
      return null;
    }
    if (known.hash === hash && known.entry.term === entry.term) return null;
    return `state machine safety: ${node} has another entry ${entry.index} of shard ${shard} committed (term ${entry.term}, elsewhere ${known.entry.term})`;
  }

  last(shard: number): number {
    return this.#last[shard]!;
  }

  termAt(shard: number, index: number): number | undefined {
    return this.#shards[shard]!.get(index)?.entry.term;
  }

  /**
   * Every row that takes effect, in the order of its shard: batches that continue what was last taken from their origin
   * there, each once. Told anew here, apart from the replica's own judge.
   */
  *taken(shapes: ReadonlyMap<number, TableShape>): Generator<TakenRow, void> {
    for (const [shard, entries] of this.#shards.entries()) {
      const memory = new Map<string, { incarnation: number; csn: number; parts: BatchHead[] }>();
      for (const index of [...entries.keys()].sort((a, b) => a - b)) {
        const { entry } = entries.get(index)!;
        if (entry.type !== EntryType.normal || entry.data.length === 0) continue;
        const head = decodeBatchHead(entry.data);
        if (head.kind === BatchKind.check) continue;
        const own = memory.get(head.origin) ?? { incarnation: 0, csn: 0, parts: [] };
        memory.set(head.origin, own);
        if (head.incarnation > own.incarnation && head.previousCsn === 0) {
          Object.assign(own, { incarnation: head.incarnation, csn: head.csn, parts: [] });
          continue;
        }
        if (head.incarnation !== own.incarnation || head.previousCsn !== own.csn) continue;
        if (head.part !== own.parts.length + 1) continue;
        own.parts.push(head);
        if (head.part !== head.parts) continue;
        for (const part of own.parts)
          for (const { table, rows } of decodeTables(part, (id) => shapes.get(id)))
            for (const row of rows) {
              const base = part.bases[row.base] ?? [];
              yield { shard, index, origin: head.origin, table: shapes.get(table)!, row, base };
            }
        Object.assign(own, { csn: head.csn, parts: [] });
      }
    }
  }
}

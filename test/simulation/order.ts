/** The one order as an onlooker knows it: committed entries of every shard, the same wherever they are read. */
import { type BatchHead, decodeBatchHead, decodeTables } from "../../src/change/codec.ts";
import { BatchKind, type PositionVector, type RowChange } from "../../src/change/batch.ts";
import { type Marking, readMarking } from "../../src/change/marking.ts";
import type { TableShape } from "../../src/change/shape.ts";
import { type Entry, EntryType } from "../../src/raft/model/types.ts";
import { RowidOrder } from "./keyless.ts";

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

  /** Returns a violation of state machine safety, or null. */
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
   * Every row that takes effect, with the key under which it does, in a valid order: each batch once, when it
   * continues the last accepted batch of its origin in its shard. Written a second time here, independent of batch
   * acceptance and delivery rule of the replica.
   */
  *taken(shapes: ReadonlyMap<number, TableShape>): Generator<TakenRow, void> {
    const memory = new Map<string, Memory>();
    const rowids = new RowidOrder();
    let version = 1;
    const memoryOf = (shard: number, origin: string): Memory => {
      const name = `${shard}/${origin}`;
      let own = memory.get(name);
      if (own === undefined) memory.set(name, (own = { incarnation: 0, csn: 0, parts: [], ended: false }));
      return own;
    };
    for (const { shard, index, head, names } of this.#passed()) {
      const own = memoryOf(shard, head.origin);
      const opens =
        head.incarnation > own.incarnation && head.previousCsn === 0 && head.part === 1 && head.parts === 1;
      if (opens) Object.assign(own, { incarnation: head.incarnation, csn: head.csn, parts: [] });
      else {
        if (own.ended && head.incarnation === own.incarnation) continue;
        if (head.incarnation !== own.incarnation || head.previousCsn !== own.csn) continue;
        if (head.part !== own.parts.length + 1) continue;
        // No table is another thing after any change here: only changes themselves can be of an older schema.
        if (head.schema !== undefined && head.schemaVersion !== version) {
          Object.assign(own, { parts: [], ended: true });
          continue;
        }
        own.parts.push(head);
        if (head.part !== head.parts) continue;
      }
      if (head.schema !== undefined) version++;
      let ended = false;
      for (const part of opens ? [head] : own.parts)
        for (const { table: id, rows: sent } of decodeTables(part, (table) => shapes.get(table))) {
          const table = shapes.get(id)!;
          const at = { shard, index, origin: head.origin };
          const placed = table.rowidKey
            ? rowids.place(table, sent, part.bases, at)
            : { rows: sent, moved: false };
          if (placed.moved) ended = true;
          for (const row of placed.rows) yield { ...at, table, row, base: part.bases[row.base] ?? [] };
        }
      own.ended = ended;
      for (const at of [shard, ...names]) {
        const there = memoryOf(at, head.origin);
        if (there.incarnation > head.incarnation) continue;
        Object.assign(there, { incarnation: head.incarnation, csn: head.csn, parts: [] });
      }
    }
  }

  /** Entries with a batch, as a node passes them that has all logs at once. */
  *#passed(): Generator<{ shard: number; index: number; head: BatchHead; names: readonly number[] }, void> {
    const at = this.#shards.map((entries) => Math.min(...entries.keys()));
    const read = (shard: number): Entry | undefined => this.#shards[shard]!.get(at[shard]!)?.entry;
    const marking = (entry: Entry): Marking =>
      entry.type === EntryType.normal
        ? readMarking(entry.data)
        : { names: [], marker: null, batch: new Uint8Array(0) };
    for (let moved = true; moved;) {
      moved = false;
      for (let shard = 0; shard < at.length; shard++) {
        for (let entry = read(shard); entry !== undefined; entry = read(shard)) {
          const { names, marker, batch } = marking(entry);
          const head = batch.length === 0 ? null : decodeBatchHead(batch);
          if (marker !== null && at[0]! <= marker) break;
          if (head?.after.some((index, other) => at[other]! <= index)) break;
          const asked = names.some((named) => {
            const next = read(named);
            return next === undefined || (marking(next).marker ?? 0) < entry!.index;
          });
          if (asked) break;
          at[shard]!++;
          moved = true;
          if (head !== null && head.kind !== BatchKind.check)
            yield { shard, index: entry.index, head, names };
        }
      }
    }
  }
}

interface Memory {
  incarnation: number;
  csn: number;
  parts: BatchHead[];
  /** Rows of the last changeset went in under other rowids than their own. */
  ended: boolean;
}

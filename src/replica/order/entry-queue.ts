/**
 * Committed entries that the replica has not applied, per shard, and the choice of the next one. The marking of an entry is
 * read once, when it is added; its batch is decoded once, when it becomes the next of its shard.
 */
import { EntryError } from "../../base/halt.ts";
import { type BatchHead, CodecError, decodeBatchHead } from "../../change/codec.ts";
import { type Marking, readMarking, UNMARKED } from "../../change/marking.ts";
import { type Entry, EntryType } from "../../raft/model/types.ts";
import { mayApply, type DeliverableEntry, type DeliveryView, unmarked } from "./delivery-rule.ts";

/** A committed entry with its marking. */
export interface CommittedEntry extends Entry, Marking {}

export function committedEntry({ index, term, type, data }: Entry): CommittedEntry {
  const { names, marker, batch } = type === EntryType.normal ? readMarking(data) : UNMARKED;
  return { index, term, type, data, names, marker, batch };
}

export interface NextEntry extends DeliverableEntry {
  readonly entry: Entry;
  /** null: no batch (a marker, a configuration change, a leader's empty entry). */
  readonly head: BatchHead | null;
}

interface ShardQueue {
  entries: CommittedEntry[];
  /** Entries before this place are applied. */
  at: number;
  next: NextEntry | null;
  /** An entry whose head was asked for before it became the next one. */
  ahead: { readonly index: number; readonly head: BatchHead } | null;
}

/** Applied entries kept before an array is cut. */
const CUT_AT = 1000;

function decoded(shard: number, index: number, batch: Uint8Array): BatchHead {
  try {
    return decodeBatchHead(batch, `entry ${index} of shard ${shard}`);
  } catch (error) {
    throw error instanceof CodecError ? new EntryError(shard, index, error) : error;
  }
}

export class EntryQueue implements DeliveryView {
  readonly #queues: ShardQueue[];
  readonly #position: (shard: number) => number;
  #bytes = 0;
  /** The shard at which the search for the next entry begins, so that all shards take turns. */
  #turn = 0;

  constructor(shards: number, position: (shard: number) => number) {
    this.#queues = Array.from({ length: shards }, () => ({ entries: [], at: 0, next: null, ahead: null }));
    this.#position = position;
  }

  get size(): number {
    return this.#queues.reduce((sum, q) => sum + q.entries.length - q.at, 0);
  }

  /** Bytes of the entries. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Index of the shard's last entry; null: there is none. */
  lastIndex(shard: number): number | null {
    const { entries, at } = this.#queues[shard]!;
    return at < entries.length ? entries.at(-1)!.index : null;
  }

  /** Returns the entries with their markings. */
  add(shard: number, entries: readonly Entry[]): CommittedEntry[] {
    const committed = entries.map(committedEntry);
    const queue = this.#queues[shard]!;
    for (const entry of committed) {
      queue.entries.push(entry);
      this.#bytes += entry.data.length;
    }
    return committed;
  }

  /** The head of a queued entry's batch, which is not decoded again later; null: it has none. */
  head(shard: number, { index, batch }: CommittedEntry): BatchHead | null {
    if (batch.length === 0) return null;
    const queue = this.#queues[shard]!;
    if (queue.next?.index === index) return queue.next.head;
    if (queue.ahead?.index !== index) queue.ahead = { index, head: decoded(shard, index, batch) };
    return queue.ahead.head;
  }

  position(shard: number): number {
    return this.#position(shard);
  }

  next(shard: number): NextEntry | null {
    const queue = this.#queues[shard];
    const entry = queue?.entries[queue.at];
    if (queue === undefined || entry === undefined) return null;
    queue.next ??= this.#decode(shard, entry);
    return queue.next;
  }

  #decode(shard: number, entry: CommittedEntry): NextEntry {
    const { index } = entry;
    const nothing = { entry, index, head: null, after: [], names: [], marker: null };
    if (entry.type !== EntryType.normal || entry.data.length === 0) return nothing;
    const { names, marker, batch } = entry;
    if (marker !== null) return { ...nothing, marker: shard === 0 ? null : marker };
    const { ahead } = this.#queues[shard]!;
    const head = ahead?.index === index ? ahead.head : decoded(shard, index, batch);
    const others = shard === 0 ? names.filter((n) => n > 0 && n < this.#queues.length) : [];
    const after = head.after.slice(0, this.#queues.length);
    return { entry, index, head, after, names: others, marker: null };
  }

  /** A shard whose next entry may be applied; null: there is none. */
  deliverable(): number | null {
    const count = this.#queues.length;
    for (let i = 0; i < count; i++) {
      const shard = (this.#turn + i) % count;
      const next = this.next(shard);
      if (next !== null && mayApply(shard, next, this)) return shard;
    }
    return null;
  }

  /** The shard's next entry is applied. */
  applied(shard: number): void {
    const queue = this.#queues[shard]!;
    this.#bytes -= queue.entries[queue.at]!.data.length;
    if (queue.ahead?.index === queue.next?.index) queue.ahead = null;
    queue.next = null;
    this.#turn = shard + 1;
    if (++queue.at < Math.min(CUT_AT, queue.entries.length)) return;
    queue.entries = queue.entries.slice(queue.at);
    queue.at = 0;
  }

  /** Shards whose marker the next entry of shard 0 waits for. */
  awaited(): number[] {
    const next = this.next(0);
    return next === null ? [] : unmarked(next, this);
  }
}

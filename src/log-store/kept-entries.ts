/**
 * Entries that stay on disk when the log is compacted, because the history refers to their values. To the log they are
 * compacted like all others.
 */
import type { Database, Statement } from "bun:sqlite";
import type { LogIndex } from "../base/ids.ts";
import type { ShardId } from "../shard/seams.ts";
import { blob, integer, readTuples } from "../sqlite/typed-rows.ts";
import { SHARD_SPAN } from "./log-format.ts";

/** Bytes of an entry's data. */
export interface EntryPart {
  readonly shard: ShardId;
  readonly index: LogIndex;
  readonly offset: number;
  readonly length: number;
}

export interface EntryKeeper {
  /** Indexes in (after, upTo] of entries that must stay, in rising order. */
  kept(shard: ShardId, after: LogIndex, upTo: LogIndex): readonly LogIndex[];
}

export class KeptEntries {
  readonly #compactedIndex: (shard: ShardId) => LogIndex;
  readonly #statements: Record<"has" | "part" | "remove" | "ids", Statement>;
  #keeper: EntryKeeper | null = null;
  #released: { readonly shard: ShardId; readonly index: LogIndex }[] = [];

  constructor(db: Database, compactedIndex: (shard: ShardId) => LogIndex) {
    this.#compactedIndex = compactedIndex;
    this.#statements = {
      has: db.prepare("SELECT id FROM entry WHERE id = ?"),
      part: db.prepare("SELECT substr(data, ?, ?) FROM entry WHERE id = ?"),
      remove: db.prepare("DELETE FROM entry WHERE id > ? AND id <= ?"),
      ids: db.prepare("SELECT id FROM entry WHERE id > ? AND id <= ? ORDER BY id"),
    };
  }

  /** From now on. null: nothing is kept. Each compacted entry that is still on disk is looked at again. */
  keepFor(keeper: EntryKeeper | null, shards: number): void {
    this.#keeper = keeper;
    for (let shard = 0; shard < shards; shard++) {
      const base = shard * SHARD_SPAN;
      const upTo = this.#compactedIndex(shard);
      for (const [id] of readTuples(this.#statements.ids.values(base, base + upTo), integer))
        this.#released.push({ shard, index: id - base });
    }
  }

  has(shard: ShardId, index: LogIndex): boolean {
    return this.#statements.has.values(shard * SHARD_SPAN + index).length > 0;
  }

  /** null: the log has no such entry. */
  part({ shard, index, offset, length }: EntryPart): Uint8Array | null {
    const rows = this.#statements.part.values(offset + 1, length, shard * SHARD_SPAN + index);
    const [[bytes] = [null]] = readTuples(rows, blob);
    return bytes;
  }

  /** Removes the entries in (after, upTo] that do not stay, in the open transaction. */
  compact(shard: ShardId, after: LogIndex, upTo: LogIndex): void {
    const base = shard * SHARD_SPAN;
    let from = after;
    for (const index of this.#keeper?.kept(shard, after, upTo) ?? []) {
      if (index > from + 1) this.#statements.remove.run(base + from, base + index - 1);
      from = index;
    }
    if (upTo > from) this.#statements.remove.run(base + from, base + upTo);
  }

  /** The entry need not stay any more. It is removed later. */
  release(shard: ShardId, index: LogIndex): void {
    this.#released.push({ shard, index });
  }

  get hasReleased(): boolean {
    return this.#released.length > 0;
  }

  /** Removes released entries that are compacted, in the open transaction. */
  removeReleased(): void {
    for (const { shard, index } of this.#released.splice(0)) {
      if (index > this.#compactedIndex(shard)) continue; // compaction removes it
      if ((this.#keeper?.kept(shard, index - 1, index) ?? []).length > 0) continue;
      const id = shard * SHARD_SPAN + index;
      this.#statements.remove.run(id - 1, id);
    }
  }
}

/**
 * Where the first entry of a new epoch goes, in each shard. All entries of the surviving member count as committed, and the
 * replica must be able to apply them. An entry can wait for positions of other shards that only lost members had reached;
 * and a cross-shard marker for an entry of shard 0 that only they had. The new epoch begins after such a position: empty
 * entries fill the gap. So an entry over several shards takes effect whole, or not at all. Pure.
 */
import type { LogIndex } from "../../base/ids.ts";
import { decodeBatchHead } from "../../change/codec.ts";
import { type Entry, EntryType } from "../../raft/model/types.ts";
import { committedEntry } from "../../replica/order/entry-queue.ts";

/** The log of a shard, and the entries that the replica has not applied. */
export interface ShardTail {
  readonly lastIndex: LogIndex;
  readonly unapplied: Iterable<Entry>;
}

export function epochStarts(tails: readonly ShardTail[]): LogIndex[] {
  const starts = tails.map(({ lastIndex }) => lastIndex + 1);
  const needs = (shard: number, index: LogIndex): void => {
    if (shard < starts.length) starts[shard] = Math.max(starts[shard]!, index);
  };
  for (const { unapplied } of tails)
    for (const entry of unapplied) {
      if (entry.type !== EntryType.normal || entry.data.length === 0) continue;
      const { marker, batch } = committedEntry(entry);
      if (marker !== null) needs(0, marker);
      else decodeBatchHead(batch).after.forEach((index, shard) => needs(shard, index));
    }
  return starts;
}

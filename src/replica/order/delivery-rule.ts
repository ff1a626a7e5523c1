/**
 * The delivery rule: when the replica may apply the next entry of a shard. It makes a changeset over several shards take
 * effect at one moment on every node. Pure.
 *
 * An entry of shard 0 at index g names its other shards. It is applied when in each of them the next entry is a marker
 * u ≥ g: entries before the marker have taken effect, entries after it have not. A marker u is applied when the position
 * in shard 0 is at least u. Every entry waits for the positions that its origin had reached (`after`).
 *
 * All conditions are lower bounds on positions, so an entry that may be applied stays so until it is. The order in which
 * a node visits its logs therefore does not matter. At equal positions all nodes have applied the same entries. Entries
 * of a shard, and those of shard 0 that name it, are applied in one order everywhere. If two nodes reached two vectors of
 * positions, a third node can reach the vector of their maxima.
 *
 * No entry waits without end while every group can commit. Suppose that no shard could continue. An `after` was reached by
 * some node, so by the last paragraph an entry can be applied on the way to it: no entry waits for an `after`. A marker
 * waits for an entry of shard 0 that is committed, because markers are made of committed entries only. Shard 0 waits for
 * the marker of a shard behind entries that, as shown, wait for nothing. If the marker is not proposed yet, the leader of
 * its shard proposes it until it is committed.
 */
import type { PositionVector } from "../../change/batch.ts";

/** The fields of an entry that the rule depends on. */
export interface DeliverableEntry {
  readonly index: number;
  /** Positions that its origin had reached; empty: no condition. */
  readonly after: PositionVector;
  /** In shard 0: the other shards that the entry touches. */
  readonly names: readonly number[];
  /** In other shards: a marker's index in shard 0; null: no marker. */
  readonly marker: number | null;
}

export interface DeliveryView {
  /** The replica's position in a shard. */
  position(shard: number): number;
  /** The next entry of a shard; null: it has not arrived. */
  next(shard: number): DeliverableEntry | null;
}

export function mayApply(shard: number, entry: DeliverableEntry, view: DeliveryView): boolean {
  if (shard !== 0 && entry.marker !== null) return view.position(0) >= entry.marker;
  if (entry.after.some((index, at) => view.position(at) < index)) return false;
  return shard !== 0 || unmarked(entry, view).length === 0;
}

/** Named shards whose next entry is not a marker for this entry of shard 0 or a later one. */
export function unmarked(entry: DeliverableEntry, view: DeliveryView): number[] {
  return entry.names.filter((shard) => {
    const marker = view.next(shard)?.marker ?? null;
    return marker === null || marker < entry.index;
  });
}

/** Named shards whose marker serves no later entry than this one: the marker is applied together with the entry. */
export function markersOf(entry: DeliverableEntry, view: DeliveryView): number[] {
  return entry.names.filter((shard) => (view.next(shard)?.marker ?? Number.POSITIVE_INFINITY) <= entry.index);
}

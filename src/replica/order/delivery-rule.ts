/**
 * When the replica may pass the next entry of a shard: the rule by which changesets over several shards take effect at
 * one moment everywhere. Pure.
 *
 * An entry of shard 0 at index g that names other shards passes when in each of them the next entry is a marker u ≥ g;
 * what is before the marker has then taken effect, what is behind it has not. A marker u passes when the replica stands
 * in shard 0 at u or later. Every entry waits for the positions that its origin had seen (`after`).
 *
 * Only positions that grew are asked for, and an entry that may pass stays so until it does. So the order in which
 * a node looks at its logs does not matter: at equal positions it has passed the same entries, those of one shard and
 * those of shard 0 that name it always in one order. And what two nodes reached, a third can reach: the greater position
 * in each shard.
 *
 * Nothing waits for ever while every group can commit. Suppose that no shard could go on. An entry waits for an `after`
 * that some node had reached: then, as just said, something can pass here on the way there. So nobody waits for that.
 * A marker waits for shard 0, which has its entry, as markers are made of committed ones only. And shard 0 waits for a
 * shard's marker behind entries that, as just shown, wait for nothing: or the marker is still to be proposed, which its
 * leader does until it is there.
 */
import type { PositionVector } from "../../change/batch.ts";

/** What the rule needs to know of an entry. */
export interface PassingEntry {
  readonly index: number;
  /** Positions that its origin had reached; empty: none are asked for. */
  readonly after: PositionVector;
  /** In shard 0: the other shards that it touches. */
  readonly names: readonly number[];
  /** In other shards: a marker's index in shard 0. */
  readonly marker: number | null;
}

export interface PassingView {
  /** Where the replica stands in a shard. */
  position(shard: number): number;
  /** The next entry of a shard; null: it has not come. */
  next(shard: number): PassingEntry | null;
}

export function mayPass(shard: number, entry: PassingEntry, view: PassingView): boolean {
  if (shard !== 0 && entry.marker !== null) return view.position(0) >= entry.marker;
  if (entry.after.some((index, at) => view.position(at) < index)) return false;
  return shard !== 0 || unmarked(entry, view).length === 0;
}

/** Named shards in which the next entry is no marker of this entry of shard 0 or of a later one. */
export function unmarked(entry: PassingEntry, view: PassingView): number[] {
  return entry.names.filter((shard) => {
    const marker = view.next(shard)?.marker ?? null;
    return marker === null || marker < entry.index;
  });
}

/** Named shards whose marker serves no later entry than this one: they are passed together with it. */
export function passedWith(entry: PassingEntry, view: PassingView): number[] {
  return entry.names.filter((shard) => (view.next(shard)?.marker ?? Number.POSITIVE_INFINITY) <= entry.index);
}

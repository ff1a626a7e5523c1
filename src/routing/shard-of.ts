/**
 * Row ─▶ shard: a consistent hash on a ring. It depends only on the table's name, the row's folded key and the number of
 * shards. So it is the same on every node and platform, and does not change with the groups' leaders.
 *
 * The hash is defined as the xxh32 of xxhashjs, and the ring is computed with xxhashjs itself: a row must never change its
 * shard because a runtime changed its built-in hash. Rows are hashed with Bun's built-in, which gives the same result
 * thirty times faster. A test compares the two.
 */
import XXH from "xxhashjs";

/** Points per shard. More points give more equal shares and a longer search. */
const POINTS = 160;

interface Ring {
  /** Sorted. */
  readonly points: Uint32Array;
  /** Shard that owns the arc which ends at the point of the same position in `points`. */
  readonly owners: Uint8Array;
}

const rings = new Map<number, Ring>();

function makeRing(shards: number): Ring {
  const all: { point: number; shard: number }[] = [];
  for (let shard = 0; shard < shards; shard++)
    for (let i = 0; i < POINTS; i++)
      all.push({ point: XXH.h32(`shard ${shard} point ${i}`, 0).toNumber(), shard });
  all.sort((a, b) => a.point - b.point || a.shard - b.shard);
  return { points: Uint32Array.from(all, (a) => a.point), owners: Uint8Array.from(all, (a) => a.shard) };
}

/** `key`: the folded key; "" for a table whose rows share one shard. `shards`: 1 to 64. */
export function shardOf(table: string, key: string, shards: number): number {
  if (shards === 1) return 0;
  let ring = rings.get(shards);
  if (ring === undefined) rings.set(shards, (ring = makeRing(shards)));
  const hash = Bun.hash.xxHash32(`${table}\0${key}`, 0);
  const { points, owners } = ring;
  let low = 0;
  let high = points.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (points[middle]! < hash) low = middle + 1;
    else high = middle;
  }
  return owners[low === points.length ? 0 : low]!;
}

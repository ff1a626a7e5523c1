/**
 * A position of the log as one short text: `c:812`, or with several shards the index in each, `c:812.40.7`. One comparison
 * per shard decides whether a node has reached it.
 */

/** Raft indexes are whole numbers; longer ones cannot be compared exactly. */
const TOKEN = /^c:(\d{1,15}(?:\.\d{1,15})*)$/;
/** More shards than any cluster has. */
const MAX_SHARDS = 64;

export const showPosition = (positions: readonly number[]): string => `c:${positions.join(".")}`;

/** The index in each shard; null: the text is no position. */
export function parsePosition(text: string): readonly number[] | null {
  const indexes = TOKEN.exec(text)?.[1]?.split(".").map(Number);
  return indexes === undefined || indexes.length > MAX_SHARDS ? null : indexes;
}

/** Every shard is at the position or past it. */
export const hasReached = (at: readonly number[], position: readonly number[]): boolean =>
  position.every((index, shard) => (at[shard] ?? 0) >= index);

/**
 * Whether the log has everything that this node once had in it: each entry is durable there before replica and file show
 * it. A log that ends earlier lost entries, and perhaps votes; the node must not vote with it. Pure.
 */
import type { Halt } from "../../base/halt.ts";

export interface LogEndFacts {
  /** Folder of the log, for the message. */
  readonly log: string;
  /** Per shard. */
  readonly groups: readonly { readonly compactedIndex: number; readonly lastIndex: number }[];
  readonly replica: readonly number[];
  /** Positions of the snapshot that the replica was made from; the log begins there after the next start. */
  readonly received: readonly number[];
  /** Positions that the application's file shows. */
  readonly reflected: readonly number[];
}

export function logEndHalt(facts: LogEndFacts, hint: string): Halt | null {
  const { log, groups, replica, received, reflected } = facts;
  for (const [shard, { compactedIndex, lastIndex }] of groups.entries()) {
    const position = replica[shard] ?? 0;
    if (position === received[shard]) continue;
    const seen = Math.max(position, reflected[shard] ?? 0);
    if (seen > lastIndex)
      return {
        name: "log-lost",
        reason: `${log} ends at entry ${lastIndex} of shard ${shard}, but this node had entry ${seen}: its newest entries and votes are lost`,
        hint,
      };
    if (position < compactedIndex)
      return {
        name: "went-back",
        reason: `the replica ends at entry ${position} of shard ${shard}, before ${log} begins (${compactedIndex}): it is an older copy`,
        hint,
      };
  }
  return null;
}

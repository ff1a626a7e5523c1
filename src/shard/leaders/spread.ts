/**
 * The voter that should lead a group, if there are several groups: spread evenly, with the same result on every node.
 */
import type { MemberId } from "../../raft/model/types.ts";
import type { ShardId } from "../../base/ids.ts";

/** `voters` sorted. The groups of a voter that is not live fall to the ones after it. 0: no voter is live. */
export function preferredLeader(
  shard: ShardId,
  voters: readonly MemberId[],
  isLive: (voter: MemberId) => boolean = () => true,
): MemberId {
  for (let i = 0; i < voters.length; i++) {
    const voter = voters[(shard + i) % voters.length]!;
    if (isLive(voter)) return voter;
  }
  return 0;
}

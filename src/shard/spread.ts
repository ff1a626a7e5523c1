/**
 * The voter that should lead a group, if there are several groups: spread evenly, with the same result on every node.
 */
import type { MemberId } from "../raft/model/types.ts";
import type { ShardId } from "./seams.ts";

/** `voters` sorted. 0: no voters. */
export function preferredLeader(shard: ShardId, voters: readonly MemberId[]): MemberId {
  return voters.length === 0 ? 0 : voters[shard % voters.length]!;
}

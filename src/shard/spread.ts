/** Which voter should lead a group when there are several groups: spread evenly, the same choice on every node. */
import type { MemberId } from "../raft/model/types.ts";
import type { ShardId } from "./seams.ts";

/** `voters` sorted. 0: there are none. */
export function preferredLeader(shard: ShardId, voters: readonly MemberId[]): MemberId {
  return voters.length === 0 ? 0 : voters[shard % voters.length]!;
}

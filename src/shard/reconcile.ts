/** The next simple change that makes a group's configuration more like group 0's. Pure. */
import { ConfigChangeType, type ConfigChangeStep, type MemberId } from "../raft/model/types.ts";
import type { GroupConfiguration } from "./seams.ts";

/** `caughtUp`: the member's log is close to the leader's end. Null: no change now. */
export function nextStep(
  wanted: GroupConfiguration,
  current: GroupConfiguration,
  caughtUp: (member: MemberId) => boolean,
): ConfigChangeStep | null {
  const want = wanted.configuration;
  const have = current.configuration;
  if (have.votersOutgoing.length > 0 || want.votersOutgoing.length > 0) return null;
  const all = (c: typeof want): MemberId[] => [...c.voters, ...c.learners, ...c.learnersNext];
  for (const member of all(want))
    if (!all(have).includes(member)) return { type: ConfigChangeType.addLearner, member };
  for (const member of want.voters)
    if (have.learners.includes(member) && caughtUp(member))
      return { type: ConfigChangeType.addVoter, member };
  for (const member of all(have))
    if (!all(want).includes(member)) return { type: ConfigChangeType.removeMember, member };
  for (const member of want.learners)
    if (have.voters.includes(member)) return { type: ConfigChangeType.addLearner, member };
  return null;
}

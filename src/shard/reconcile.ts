/** The next change that makes a group's configuration more like group 0's. Pure. */
import {
  ConfigChangeType,
  type ConfigChangeStep,
  type Configuration,
  type MemberId,
} from "../raft/model/types.ts";
import type { GroupConfiguration } from "./seams.ts";

/** One simple change: a step, or the removal of a member together with the addition of the one that replaces it. */
export interface NextChange {
  readonly steps: readonly ConfigChangeStep[];
  /** The member that the context describes. */
  readonly member: MemberId;
}

const all = ({ voters, learners, learnersNext }: Configuration): MemberId[] => [
  ...voters,
  ...learners,
  ...learnersNext,
];

/** `caughtUp`: the member's log is close to the leader's end. Null: no change now. */
export function nextChange(
  wanted: GroupConfiguration,
  current: GroupConfiguration,
  caughtUp: (member: MemberId) => boolean,
): NextChange | null {
  const want = wanted.configuration;
  const have = current.configuration;
  if (have.votersOutgoing.length > 0 || want.votersOutgoing.length > 0) return null;
  const one = (type: ConfigChangeStep["type"], member: MemberId): NextChange => ({
    steps: [{ type, member }],
    member,
  });
  for (const member of all(want)) if (!all(have).includes(member)) return added(wanted, current, member);
  for (const member of want.voters)
    if (have.learners.includes(member) && caughtUp(member)) return one(ConfigChangeType.addVoter, member);
  for (const member of all(have))
    if (!all(want).includes(member) && isRemovable(have, member))
      return one(ConfigChangeType.removeMember, member);
  for (const member of want.learners)
    if (have.voters.includes(member) && isRemovable(have, member))
      return one(ConfigChangeType.addLearner, member);
  return null;
}

/** A group is never left without a voter. */
const isRemovable = ({ voters }: Configuration, member: MemberId): boolean =>
  voters.some((voter) => voter !== member);

/** The addition of a learner; earlier ids of its peer leave in the same change. */
function added(wanted: GroupConfiguration, current: GroupConfiguration, member: MemberId): NextChange {
  const { peerId } = wanted.members.find((m) => m.id === member) ?? {};
  const replaced = current.members
    .filter((m) => m.peerId === peerId && !all(wanted.configuration).includes(m.id))
    .filter((m) => isRemovable(current.configuration, m.id));
  const removals = replaced.map((m) => ({ type: ConfigChangeType.removeMember, member: m.id }));
  return { steps: [...removals, { type: ConfigChangeType.addLearner, member }], member };
}

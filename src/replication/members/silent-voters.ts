/**
 * A voter that is silent for long gives its place to a learner, in one change: it becomes a learner itself, and asks for its
 * vote again when it is back. A learner by choice keeps its role, and gives the vote back when enough other voters are
 * there. Pure.
 */
import type { MemberInfo } from "../../shard/seams.ts";

/** A member as the leader of group 0 sees it. */
export interface SeenMember {
  readonly member: MemberInfo;
  readonly isVoter: boolean;
  /** Milliseconds since it was last connected to the leader; 0: it is. */
  readonly silentMs: number;
  /** Entries that its log lacks. */
  readonly behind: number;
  /** The list of admitted peers lets it vote. */
  readonly mayVote: boolean;
}

export type VoterChange =
  | { readonly kind: "replace"; readonly voter: MemberInfo; readonly learner: MemberInfo }
  | { readonly kind: "give back"; readonly voter: MemberInfo };

/** A learner whose log lacks more entries does not get a vote. */
const MAX_BEHIND = 2000;
/** Voters without which a learner by choice keeps its vote: of three, one may fail. */
const ENOUGH_VOTERS = 3;

/** A learner by choice that has a vote, in the place of a silent voter or after a recovery. */
const isStandIn = ({ isVoter, member }: SeenMember): boolean => isVoter && member.role === "learner";

/** null: none is due. `afterMs`: 0: voters are never replaced. */
export function dueVoterChange(members: readonly SeenMember[], afterMs: number): VoterChange | null {
  const voters = members.filter(({ isVoter }) => isVoter);
  const standIn = voters.find(isStandIn);
  const others = voters.filter((seen) => !isStandIn(seen) && seen.silentMs === 0);
  if (standIn !== undefined && others.length >= ENOUGH_VOTERS)
    return { kind: "give back", voter: standIn.member };
  const silent = voters.reduce<SeenMember | null>(
    (most, seen) => (seen.silentMs > (most?.silentMs ?? 0) ? seen : most),
    null,
  );
  if (afterMs === 0 || silent === null || silent.silentMs < afterMs) return null;
  const [learner] = members.filter(canStandIn).sort((a, b) => rank(a) - rank(b));
  return learner === undefined ? null : { kind: "replace", voter: silent.member, learner: learner.member };
}

/** The file of a reader refuses writes, and stays as it is. */
const canStandIn = ({ member, isVoter, silentMs, behind, mayVote }: SeenMember): boolean =>
  !isVoter && member.reader !== true && mayVote && silentMs === 0 && behind <= MAX_BEHIND;

/** A learner that waits for a vote comes first, then the one that has most of the log. */
const rank = ({ member, behind }: SeenMember): number =>
  (member.role === "learner" ? MAX_BEHIND + 1 : 0) + behind;

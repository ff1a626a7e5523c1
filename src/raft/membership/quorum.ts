/**
 * Majorities: the index that acknowledgements commit, the result that votes give. A configuration always has two sets
 * of
 * voters; the second is empty unless it is joint, and then both sets must agree (thesis §4.3).
 */
import type { MemberId } from "../model/types.ts";

export type VoteResult = "won" | "lost" | "pending";

/** The voters of a configuration. */
export interface Electorate {
  readonly voters: readonly MemberId[];
  readonly votersOutgoing: readonly MemberId[];
}

/** Members needed for a majority of `size`. */
export const majority = (size: number): number => Math.floor(size / 2) + 1;

const byNumber = (a: number, b: number): number => a - b;

/** The highest index that a majority of `voters` has reached; `Infinity` without voters, since none objects. */
export function majorityIndex(voters: readonly MemberId[], reached: (member: MemberId) => number): number {
  const size = voters.length;
  if (size === 0) return Infinity;
  if (size === 1) return reached(voters[0] as MemberId);
  if (size === 3) {
    const [a, b, c] = voters as readonly [MemberId, MemberId, MemberId];
    return middle(reached(a), reached(b), reached(c));
  }
  const sorted = voters.map(reached).sort(byNumber);
  return sorted[size - majority(size)] as number;
}

const middle = (a: number, b: number, c: number): number =>
  Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));

/** The highest index that every majority has reached. */
export function quorumIndex(electorate: Electorate, reached: (member: MemberId) => number): number {
  return Math.min(
    majorityIndex(electorate.voters, reached),
    majorityIndex(electorate.votersOutgoing, reached),
  );
}

/** A member that is missing from `votes` has not voted yet. Without voters the vote is won. */
export function majorityVote(
  voters: readonly MemberId[],
  vote: (member: MemberId) => boolean | undefined,
): VoteResult {
  if (voters.length === 0) return "won";
  let granted = 0;
  let missing = 0;
  for (const member of voters) {
    const answer = vote(member);
    if (answer === undefined) missing += 1;
    else if (answer) granted += 1;
  }
  const needed = majority(voters.length);
  if (granted >= needed) return "won";
  return granted + missing >= needed ? "pending" : "lost";
}

/** Lost in one set is lost; won needs both. */
export function quorumVote(
  electorate: Electorate,
  vote: (member: MemberId) => boolean | undefined,
): VoteResult {
  const incoming = majorityVote(electorate.voters, vote);
  const outgoing = majorityVote(electorate.votersOutgoing, vote);
  if (incoming === outgoing) return incoming;
  return incoming === "lost" || outgoing === "lost" ? "lost" : "pending";
}

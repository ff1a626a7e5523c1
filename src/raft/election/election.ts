/** Campaigns and votes (paper §5.2, §5.4.1), with pre-vote (thesis §9.6) and the vote that a transfer asks for (§3.10). */
import { EMPTY_BYTES } from "../../base/bytes.ts";
import type { Core } from "../core/core.ts";
import { becomeCandidate, becomeFollower, becomeLeader, becomePreCandidate } from "./roles.ts";
import { type Entry, EntryType, type MemberId, type Message, MessageType } from "../model/types.ts";

/** `transfer`: requested by the leader, so it skips the pre-vote and the voters ignore their leases. */
export type CampaignKind = "preVote" | "vote" | "transfer";

/** Context of a vote request that a leadership transfer causes. */
const TRANSFER_CONTEXT = new Uint8Array([1]);

const isConfigChange = (entry: Entry): boolean => entry.type === EntryType.configChange;

/**
 * True: a configuration change is committed but not yet applied. Votes would be counted in the wrong configuration.
 */
export function hasUnappliedChange(core: Core): boolean {
  return core.log.someCommitted(core.configurationIndex, isConfigChange);
}

/** Starts an election if this member may. */
export function campaign(core: Core, kind: CampaignKind): void {
  if (core.isLeader || !core.promotable || hasUnappliedChange(core)) return;
  if (kind === "preVote") {
    becomePreCandidate(core);
    requestVotes(core, MessageType.preVote, core.term + 1, EMPTY_BYTES);
    // A pre-vote promises nothing, so the own one counts at once.
    countVote(core, core.id, true);
  } else {
    // Its vote for itself counts once it is on disk (`handleSelfVotePersisted`).
    becomeCandidate(core);
    requestVotes(core, MessageType.vote, core.term, kind === "transfer" ? TRANSFER_CONTEXT : EMPTY_BYTES);
  }
}

/**
 * Vote requests leave after the write, as votes do. A candidate that lost its term and newest entries in a crash
 * could return
 * under the same term with a shorter log. It would then count a vote that was given to the longer log.
 */
function requestVotes(core: Core, type: MessageType, term: number, context: Uint8Array): void {
  const { log, configuration } = core;
  const voters = new Set([...configuration.voters, ...configuration.votersOutgoing]);
  for (const to of voters) {
    if (to === core.id) continue;
    const position = { index: log.lastIndex, logTerm: log.lastTerm };
    core.sendAfterPersist({ type, to, term, ...position, ...commitPosition(core), context });
  }
}

/**
 * Commit index and its term. They let a candidate or voter with an older commit index advance (liveness gap of thesis
 * §9.6).
 */
function commitPosition(core: Core): { commit: number; commitTerm: number } {
  const { log } = core;
  return { commit: log.commit, commitTerm: Math.max(log.term(log.commit), 0) };
}

/** True: the request belongs to a leadership transfer. */
export const isTransferVote = (message: Message): boolean => message.context.length > 0;

/** A vote or pre-vote request whose term is this member's, or, for a pre-vote, may be higher. */
export function handleVoteRequest(core: Core, message: Message): void {
  const isPreVote = message.type === MessageType.preVote;
  const mayVote =
    core.vote === message.from ||
    (core.vote === 0 && core.leader === 0) ||
    (isPreVote && message.term > core.term);
  // Learners vote: the candidate may know of a promotion that has not arrived here.
  if (!mayVote || !core.log.isUpToDate(message.logTerm, message.index)) {
    refuseVote(core, message);
    adoptCommit(core, message);
    return;
  }
  // A grant carries the request's term: a pre-candidate's own term may be lower than this member's.
  core.sendAfterPersist({ type: responseTo(message), to: message.from, term: message.term });
  if (isPreVote) return;
  core.vote = message.from;
  core.resetElectionTimer();
}

const responseTo = (request: Message): MessageType =>
  request.type === MessageType.preVote ? MessageType.preVoteResponse : MessageType.voteResponse;

/** Carries this member's own term and commit index. */
export function refuseVote(core: Core, message: Message): void {
  core.sendAfterPersist({
    type: responseTo(message),
    to: message.from,
    reject: true,
    ...commitPosition(core),
  });
}

/** A vote counts only in the round that requested it; the commit index in the answer is valid in any round. */
export function handleVoteResponse(core: Core, message: Message): void {
  const expected = core.role === "preCandidate" ? MessageType.preVoteResponse : MessageType.voteResponse;
  const campaigning = core.role === "preCandidate" || core.role === "candidate";
  if (campaigning && message.type === expected) countVote(core, message.from, !message.reject);
  adoptCommit(core, message);
}

/** A candidate's vote for itself in `term` is on disk. Ignored unless it is still a candidate in that term. */
export function handleSelfVotePersisted(core: Core, term: number): void {
  if (core.role === "candidate" && core.term === term) countVote(core, core.id, true);
}

function countVote(core: Core, from: MemberId, granted: boolean): void {
  if (!core.votes.has(from)) core.votes.set(from, granted);
  const result = core.tallyVotes();
  if (result === "lost") becomeFollower(core, core.term, 0);
  if (result !== "won") return;
  if (core.role === "preCandidate") campaign(core, "vote");
  else becomeLeader(core);
}

/**
 * Adopts the commit index of a vote message if this log holds that very entry. A candidate that learns of a committed
 * change
 * this way has campaigned in the wrong configuration and gives up.
 */
function adoptCommit(core: Core, message: Message): void {
  const { commit, commitTerm } = message;
  if (core.isLeader || commit <= core.log.commit || !core.log.matches(commit, commitTerm)) return;
  core.log.commitTo(commit);
  if (core.role !== "follower" && hasUnappliedChange(core)) becomeFollower(core, core.term, 0);
}

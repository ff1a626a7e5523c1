/** The four roles and the steps between them (paper §5.1, figure 4). Illegal steps assert. */
import { assert } from "../../base/assert.ts";
import { EMPTY_BYTES } from "../../base/bytes.ts";
import type { Core } from "../core/core.ts";
import { Inflights } from "../core/inflights.ts";
import { membersOf } from "../membership/membership.ts";
import { AppendReason, Progress } from "../core/member-progress.ts";
import { appendOwn } from "../requests/proposals.ts";
import { failReads } from "../requests/reads.ts";
import { EntryType, type MemberId } from "../model/types.ts";

/** `leader`: 0 if unknown. */
export function becomeFollower(core: Core, term: number, leader: MemberId): void {
  enterTerm(core, term);
  core.role = "follower";
  core.leader = leader;
}

/** Only the role changes: a pre-vote raises no term and keeps every vote (thesis §9.6). */
export function becomePreCandidate(core: Core): void {
  assert(core.role !== "leader", "a leader does not become a candidate");
  core.role = "preCandidate";
  core.leader = 0;
  core.votes.clear();
  core.resetElectionTimer();
}

export function becomeCandidate(core: Core): void {
  assert(core.role !== "leader", "a leader does not become a candidate");
  enterTerm(core, core.term + 1);
  core.role = "candidate";
  core.vote = core.id;
}

/** Appends the empty entry of the new term, with which everything before it commits (paper §5.4.2, §8). */
export function becomeLeader(core: Core): void {
  assert(core.role === "candidate", "only a candidate becomes leader");
  enterTerm(core, core.term);
  core.role = "leader";
  core.leader = core.id;
  for (const member of membersOf(core.configuration)) trackMember(core, member, member === core.id);
  // The tail may contain a configuration change; waiting for all of the tail is always safe.
  core.pendingConfigIndex = core.log.lastIndex;
  appendOwn(core, EntryType.normal, EMPTY_BYTES);
}

/** The leader's initial view of a member whose log it does not know. */
export function trackMember(core: Core, member: MemberId, recentActive: boolean): void {
  const isSelf = member === core.id;
  const { maxInflightMessages, maxInflightBytes } = core.options;
  const progress = new Progress({
    match: isSelf ? core.log.stable : 0,
    next: core.log.lastIndex + 1,
    isLearner: core.configuration.learners.includes(member),
    recentActive,
    inflights: new Inflights(maxInflightMessages, maxInflightBytes),
  });
  if (isSelf) progress.becomeReplicate();
  core.progress.set(member, progress);
}

/** Every new role and term begins with this. */
function enterTerm(core: Core, term: number): void {
  assert(term >= core.term, "terms only grow");
  if (term !== core.term) {
    core.term = term;
    core.vote = 0;
  }
  core.leader = 0;
  core.votes.clear();
  core.progress.clear();
  failReads(core);
  core.appendReason = AppendReason.none;
  core.transferee = 0;
  core.pendingConfigIndex = 0;
  core.uncommittedBytes = 0;
  core.heartbeatElapsed = 0;
  core.resetElectionTimer();
}

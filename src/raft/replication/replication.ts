/** The leader's side of replication (paper §5.3): what members answer, and what that commits (§5.4.2). */
import { appendToAll } from "./appends.ts";
import type { Core } from "../core/core.ts";
import { AppendReason, type Progress } from "../core/member-progress.ts";
import { quorumIndex, quorumVote } from "../membership/quorum.ts";
import { handleReadConfirmation } from "../requests/reads.ts";
import { becomeFollower } from "../election/roles.ts";
import { continueTransfer } from "../election/leader-transfer.ts";
import type { MemberId, Message } from "../model/types.ts";

/** Election timeouts after which a snapshot that nobody reported on is offered again. */
const SNAPSHOT_RETRY_ELECTION_TIMEOUTS = 4;

export function handleAppendResponse(core: Core, message: Message): void {
  const progress = core.progress.get(message.from);
  if (progress === undefined) return;
  progress.recentActive = true;
  if (message.reject) handleRejection(core, progress, message);
  else if (message.index <= core.log.lastIndex)
    handleAcknowledgement(core, message.from, progress, message.index);
}

/**
 * The logs differ before what was sent. The follower names the highest index at which its term is at most that of the
 * append; of what lies below, all that has a higher term in the leader's log cannot agree either, and is skipped.
 */
function handleRejection(core: Core, progress: Progress, message: Message): void {
  const { rejectHint, logTerm } = message;
  const hint = logTerm > 0 ? core.log.possibleMatch(rejectHint, logTerm).index : rejectHint;
  if (!progress.reject(message.index, hint)) return;
  if (progress.state === "replicate") progress.becomeProbe();
  progress.because(AppendReason.answer);
}

function handleAcknowledgement(core: Core, from: MemberId, progress: Progress, index: number): void {
  const news = progress.acknowledge(index);
  // A probe's empty append is answered with what is known already, and still ends the probing.
  if (!news && !(progress.state === "probe" && progress.match === index)) return;
  if (progress.state === "probe") {
    progress.becomeReplicate();
  } else if (progress.state === "replicate") {
    progress.inflights.freeTo(index);
  } else if (progress.match + 1 >= core.log.firstIndex) {
    // Wherever the snapshot stood that it installed: the log goes on from there.
    progress.becomeProbe();
    progress.becomeReplicate();
  }
  maybeCommit(core);
  progress.because(AppendReason.commit);
  continueTransfer(core, from, progress);
}

/** A heartbeat's answer lets a paused member be asked again, also when all that filled its window was lost. */
export function handleHeartbeatResponse(core: Core, message: Message): void {
  const progress = core.progress.get(message.from);
  if (progress === undefined) return;
  progress.recentActive = true;
  progress.resume();
  // What it has committed agrees with this log. It may have installed the snapshot and had no occasion to say so.
  if (progress.state === "snapshot" && message.index <= core.log.lastIndex)
    handleAcknowledgement(core, message.from, progress, message.index);
  handleReadConfirmation(core, message);
  if (progress.match < core.log.lastIndex || progress.state === "probe")
    progress.because(AppendReason.answer);
}

/** The own log counts as far as it is on disk. */
export function acknowledgeSelf(core: Core): void {
  const progress = core.progress.get(core.id);
  if (progress?.acknowledge(core.log.stable) === true) maybeCommit(core);
}

/**
 * Commits what a quorum has, if that ends with an entry of this term: counting replicas of older entries could commit
 * what a later leader overwrites (paper, figure 8). What lies before commits with it.
 */
export function maybeCommit(core: Core): boolean {
  const index = quorumIndex(core.configuration, (member) => core.progress.get(member)?.match ?? 0);
  if (index <= core.log.commit || !core.log.matches(index, core.term)) return false;
  core.log.commitTo(index);
  appendToAll(core, AppendReason.commit);
  return true;
}

/** Each election timeout: who has heard from no quorum since the last one is leader no more (thesis §6.2). */
export function checkQuorum(core: Core): void {
  const heard = quorumVote(core.configuration, (member) => core.progress.get(member)?.recentActive ?? false);
  if (heard !== "won") {
    becomeFollower(core, core.term, 0);
    return;
  }
  for (const [member, progress] of core.progress) {
    if (member !== core.id) progress.recentActive = false;
  }
}

/** Each election timeout: an offer, or the report on it, may have been lost. */
export function ageSnapshots(core: Core): void {
  for (const progress of core.progress.values()) {
    if (progress.state !== "snapshot") continue;
    progress.snapshotAge += 1;
    if (progress.snapshotAge < SNAPSHOT_RETRY_ELECTION_TIMEOUTS) continue;
    failSnapshot(progress);
  }
}

/** Appends to this member were probably lost. */
export function reportUnreachable(core: Core, member: MemberId): void {
  const progress = core.progress.get(member);
  if (member !== core.id && progress?.state === "replicate") progress.becomeProbe();
}

/** The member has installed the offered snapshot, or has not. Either way the next word is its own. */
export function reportSnapshot(core: Core, member: MemberId, ok: boolean): void {
  const progress = core.progress.get(member);
  if (progress?.state !== "snapshot") return;
  if (!ok) {
    failSnapshot(progress);
    return;
  }
  progress.becomeProbe();
  progress.pause();
}

/** Back to where the member is known to be, and not at once again. */
function failSnapshot(progress: Progress): void {
  progress.pendingSnapshot = 0;
  progress.becomeProbe();
  progress.pause();
}

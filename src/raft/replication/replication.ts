/** The leader's side of replication (paper §5.3): answers of members, and the entries that they commit (§5.4.2). */
import { appendToAll } from "./appends.ts";
import type { Core } from "../core/core.ts";
import { AppendReason, type Progress } from "../core/member-progress.ts";
import { quorumIndex, quorumVote } from "../membership/quorum.ts";
import { handleReadConfirmation } from "../requests/reads.ts";
import { becomeFollower } from "../election/roles.ts";
import { continueTransfer } from "../election/leader-transfer.ts";
import type { MemberId, Message } from "../model/types.ts";

/** Election timeouts after which an unreported snapshot is offered again. */
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
 * The logs differ before the sent entries. The follower returns the highest index at which its term is at most that
 * of the
 * append. Entries of this log below that index with a higher term cannot agree either, and are skipped.
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
  // The answer to a probe's empty append may bring no news, and still ends the probing.
  if (!news && !(progress.state === "probe" && progress.match === index)) return;
  if (progress.state === "probe") {
    progress.becomeReplicate();
  } else if (progress.state === "replicate") {
    progress.inflights.freeTo(index);
  } else if (progress.match + 1 >= core.log.firstIndex) {
    // At whichever index the snapshot was installed, the log continues from there.
    progress.becomeProbe();
    progress.becomeReplicate();
  }
  maybeCommit(core);
  progress.because(AppendReason.commit);
  continueTransfer(core, from, progress);
}

/** A heartbeat's answer ends a member's pause, even if every append in its window was lost. */
export function handleHeartbeatResponse(core: Core, message: Message): void {
  const progress = core.progress.get(message.from);
  if (progress === undefined) return;
  progress.recentActive = true;
  progress.resume();
  // The member's committed entries agree with this log. It may have installed the snapshot without another message
  // about it.
  if (progress.state === "snapshot" && message.index <= core.log.lastIndex)
    handleAcknowledgement(core, message.from, progress, message.index);
  handleReadConfirmation(core, message);
  if (progress.match < core.log.lastIndex || progress.state === "probe")
    progress.because(AppendReason.answer);
}

/** The leader's own log counts only as far as it is on disk. */
export function acknowledgeSelf(core: Core): void {
  const progress = core.progress.get(core.id);
  if (progress?.acknowledge(core.log.stable) === true) maybeCommit(core);
}

/**
 * Commits the entries that a quorum has, if the last one is of this term; earlier ones commit with it. Counting
 * replicas of
 * an older entry could commit one that a later leader overwrites (paper, figure 8).
 */
export function maybeCommit(core: Core): boolean {
  const index = quorumIndex(core.configuration, (member) => core.progress.get(member)?.match ?? 0);
  if (index <= core.log.commit || !core.log.matches(index, core.term)) return false;
  core.log.commitTo(index);
  appendToAll(core, AppendReason.commit);
  return true;
}

/**
 * Each election timeout: a leader that heard from no quorum since the last one steps down (thesis §6.2). A busy member
 * counts as heard.
 */
export function checkQuorum(core: Core): void {
  const heard = quorumVote(
    core.configuration,
    (member) => core.busy.has(member) || (core.progress.get(member)?.recentActive ?? false),
  );
  if (heard !== "won") {
    becomeFollower(core, core.term, 0);
    return;
  }
  for (const [member, progress] of core.progress) {
    if (member !== core.id) progress.recentActive = false;
  }
}

/** Each election timeout: a snapshot offer, or the report on it, may have been lost. */
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

/**
 * The member has installed the offered snapshot, or failed to. In both cases the leader waits for its next message.
 */
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

/** Returns to the member's last known index, and pauses first. */
function failSnapshot(progress: Progress): void {
  progress.pendingSnapshot = 0;
  progress.becomeProbe();
  progress.pause();
}

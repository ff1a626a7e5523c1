/** Leadership transfer (thesis §3.10): stop accepting proposals, bring the target up to date, tell it to campaign. */
import type { Core } from "../core/core.ts";
import { isVoter } from "../membership/membership.ts";
import { AppendReason, type Progress } from "../core/member-progress.ts";
import { type MemberId, type Message, MessageType } from "../model/types.ts";

/**
 * Requests that `to` becomes leader. A follower forwards the request to its leader; without a leader nothing happens.
 */
export function transferLeader(core: Core, to: MemberId): void {
  if (core.isLeader) startTransfer(core, to);
  else if (core.leader !== 0)
    core.send({ type: MessageType.transferLeader, to: core.leader, term: 0, index: to });
}

/** `index` names the target. */
export function handleTransferRequest(core: Core, message: Message): void {
  if (core.isLeader) startTransfer(core, message.index);
  else if (core.leader !== 0 && core.leader !== message.from) {
    const { from, index } = message;
    core.send({ type: MessageType.transferLeader, from, to: core.leader, term: 0, index });
  }
}

/** A repeated request for the same target does not extend the deadline; another target replaces the first. */
function startTransfer(core: Core, to: MemberId): void {
  const progress = core.progress.get(to);
  if (progress === undefined || !isVoter(core.configuration, to) || to === core.transferee) return;
  core.transferee = 0;
  if (to === core.id) return;
  // The transfer must complete within one election timeout.
  core.electionElapsed = 0;
  core.transferee = to;
  if (!sendTimeoutNowIfCaughtUp(core, to, progress)) progress.because(AppendReason.answer);
}

/** The target acknowledged something. */
export function continueTransfer(core: Core, from: MemberId, progress: Progress): void {
  if (core.transferee === from) sendTimeoutNowIfCaughtUp(core, from, progress);
}

function sendTimeoutNowIfCaughtUp(core: Core, to: MemberId, progress: Progress): boolean {
  if (progress.match !== core.log.lastIndex) return false;
  core.send({ type: MessageType.timeoutNow, to });
  return true;
}

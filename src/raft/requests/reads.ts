/**
 * Reads by index (thesis §6.4). The leader notes its commit index and sends a round of heartbeats. Once a quorum has
 * answered
 * them, its leadership at that moment is proven, and the index is the answer. No clock is trusted: no reads by lease.
 *
 * A heartbeat and its answer carry a counter of this leadership, never the caller's context. Contexts may repeat, and
 * an
 * answer to an older heartbeat must not confirm a newer read.
 */
import type { Core } from "../core/core.ts";
import { decodeRound } from "../core/read-queue.ts";
import { quorumIndex } from "../membership/quorum.ts";
import { type MemberId, type Message, MessageType } from "../model/types.ts";

/**
 * `accepted`: waits here, on the leader. `forwarded`: sent to the leader. Both end as a `ReadState` in a ready,
 * within an
 * election timeout. `dropped`: definite, because no leader is known or too many reads wait.
 */
export type ReadResult = "accepted" | "forwarded" | "dropped";

export function readIndex(core: Core, context: Uint8Array): ReadResult {
  const mayForward = core.leader !== 0 && core.role === "follower";
  if (!core.isLeader && !mayForward) return "dropped";
  const token = core.reads.begin(context, core.options.electionTicks);
  if (token === null) return "dropped";
  if (core.isLeader) {
    enqueue(core, core.id, token);
    return "accepted";
  }
  core.send({ type: MessageType.readIndex, to: core.leader, term: 0, context: token });
  return "forwarded";
}

function enqueue(core: Core, from: MemberId, token: Uint8Array): void {
  if (!core.reads.enqueue(from, token, core.options.electionTicks)) refuse(core, from, token);
}

/** From a follower or learner. A former leader forwards it to the newer leader, as it does with proposals. */
export function handleReadIndex(core: Core, message: Message): void {
  const { from, context } = message;
  if (core.isLeader) enqueue(core, from, context);
  else if (core.leader === 0 || core.leader === from) refuse(core, from, context);
  else core.send({ type: MessageType.readIndex, from, to: core.leader, term: 0, context });
}

export function handleReadIndexResponse(core: Core, message: Message): void {
  core.reads.end(message.context, message.reject ? null : message.index);
}

/**
 * Until the first entry of its term is committed, a leader does not know the commit index of earlier leaders (thesis
 * §6.4,
 * step 1): reads wait until then.
 */
export const mayAskForReads = (core: Core): boolean =>
  core.isLeader && core.reads.hasUnasked && core.log.matches(core.log.commit, core.term);

/** Everything asked for since the last ready shares one round. True: its heartbeats are to be sent now. */
export function askForReads(core: Core): boolean {
  if (!mayAskForReads(core)) return false;
  core.reads.ask(core.log.commit);
  confirmReads(core);
  return core.reads.hasAsked;
}

/** A member answered the heartbeat of a round: it followed this leader when the heartbeat arrived. */
export function handleReadConfirmation(core: Core, message: Message): void {
  const progress = core.progress.get(message.from);
  const { context } = message;
  if (progress === undefined) return;
  const round = decodeRound(context);
  if (!(round > progress.readRound && round <= core.reads.round)) return;
  progress.readRound = round;
  confirmReads(core);
}

/** Answers all reads whose round a quorum has confirmed. Also called when the quorum changes. */
export function confirmReads(core: Core): void {
  if (!core.reads.hasAsked) return;
  const round = quorumIndex(core.configuration, (member) =>
    member === core.id ? Infinity : (core.progress.get(member)?.readRound ?? 0),
  );
  for (const { from, token, index } of core.reads.confirm(round)) {
    if (from === core.id) core.reads.end(token, index);
    else core.send({ type: MessageType.readIndexResponse, to: from, index, context: token });
  }
}

/** Leadership is lost: reads that are not confirmed fail. */
export function failReads(core: Core): void {
  for (const { from, token } of core.reads.drain()) refuse(core, from, token);
}

function refuse(core: Core, from: MemberId, token: Uint8Array): void {
  if (from === core.id) core.reads.end(token, null);
  else core.sendAfterPersist({ type: MessageType.readIndexResponse, to: from, reject: true, context: token });
}

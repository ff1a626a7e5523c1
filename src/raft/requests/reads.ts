/**
 * Reads by index (thesis §6.4): a leader that hears, after the read was asked for, from a quorum that it still leads names
 * its commit index of that moment. No clock is trusted: there are no reads by lease.
 *
 * What a heartbeat carries and its answer repeats is a counter of this leadership. The caller's context stays with the
 * member that was asked: it may be repeated, and an answer to an older heartbeat must not confirm a newer read.
 */
import type { Core } from "../core/core.ts";
import { decodeRound } from "../core/read-queue.ts";
import { quorumIndex } from "../membership/quorum.ts";
import { type MemberId, type Message, MessageType } from "../model/types.ts";

/**
 * `accepted`: waits here, on the leader. `forwarded`: sent on to the leader. Both end as a `ReadState` in a ready, at the
 * latest after an election timeout. `dropped`: definite, nobody was asked: no leader is known or too many reads wait.
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

/** From a follower or learner. One that has lost its leadership sends it on, as it does with proposals. */
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
 * Before the first entry of its term is committed a leader does not know what earlier leaders committed (thesis §6.4,
 * step 1): until then reads are held.
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

/** A member answered the heartbeat of this round: it followed this leader when that arrived. */
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

/** It leads no more: what was not confirmed cannot be now. */
export function failReads(core: Core): void {
  for (const { from, token } of core.reads.drain()) refuse(core, from, token);
}

function refuse(core: Core, from: MemberId, token: Uint8Array): void {
  if (from === core.id) core.reads.end(token, null);
  else core.sendAfterPersist({ type: MessageType.readIndexResponse, to: from, reject: true, context: token });
}

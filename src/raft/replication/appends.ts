/**
 * Messages of a leader: entries, commit indexes, snapshots, heartbeats. Reasons to send are only recorded when they
 * arise.
 * Appends are built when a ready is taken, so all proposals of a turn leave in one message per member.
 */
import { EMPTY_BYTES } from "../../base/bytes.ts";
import type { Core } from "../core/core.ts";
import { NO_TERM } from "../log/log.ts";
import { AppendReason, type Progress } from "../core/member-progress.ts";
import { encodeRound } from "../core/read-queue.ts";
import { entryBytes } from "../log/tail.ts";
import { type Entry, type MemberId, MessageType } from "../model/types.ts";

const NO_ENTRIES: readonly Entry[] = [];
/** Larger entries are not sent as probes. */
const LARGE_ENTRY_BYTES = 1 << 20;

/** True: a ready taken now would carry an append. Exact except for members that need a snapshot. */
export function wantsAppends(core: Core): boolean {
  for (const [member, progress] of core.progress) {
    if (member !== core.id && wantsAppend(core, progress)) return true;
  }
  return false;
}

/** Records a reason that applies to all members. */
export function appendToAll(core: Core, reason: AppendReason): void {
  if (reason > core.appendReason) core.appendReason = reason;
}

function wantsAppend(core: Core, progress: Progress): boolean {
  const reason = Math.max(core.appendReason, progress.reason);
  if (reason === AppendReason.none || progress.paused) return false;
  if (reason === AppendReason.answer) return true;
  if (progress.next <= core.log.lastIndex && progress.hasRoom) return true;
  return reason === AppendReason.commit && progress.canBumpCommit(core.log.commit);
}

/** Builds every append that has a reason, as many per member as its window allows. */
export function flushAppends(core: Core): void {
  for (const [member, progress] of core.progress) {
    if (member !== core.id && wantsAppend(core, progress)) {
      let sent = sendAppend(core, member, progress);
      while (
        sent &&
        !progress.paused &&
        progress.state === "replicate" &&
        progress.next <= core.log.lastIndex
      ) {
        sent = progress.hasRoom && sendAppend(core, member, progress);
      }
    }
    progress.reason = AppendReason.none;
  }
  core.appendReason = AppendReason.none;
}

/** Sends one append, or a snapshot if the entry before it is compacted. False: nothing could be sent. */
function sendAppend(core: Core, to: MemberId, progress: Progress): boolean {
  const { log } = core;
  const index = progress.next - 1;
  const logTerm = log.term(index);
  if (logTerm === NO_TERM || progress.next < log.firstIndex) return offerSnapshot(core, to, progress);
  const limit = core.options.maxMessageBytes;
  const found = progress.hasRoom ? log.entries(progress.next, log.lastIndex + 1, limit) : NO_ENTRIES;
  // Probes are repeated at each heartbeat: a large entry leaves once the follower has answered one without entries.
  const isLarge = found.length > 0 && entryBytes(found[0]!) > LARGE_ENTRY_BYTES;
  const entries = progress.state === "probe" && isLarge ? NO_ENTRIES : found;
  core.send({ type: MessageType.append, to, index, logTerm, entries, commit: log.commit });
  let bytes = 0;
  for (const entry of entries) bytes += entryBytes(entry);
  progress.sent(entries.length, bytes, log.commit);
  return true;
}

/** Only to a member that answered recently: it must fetch the contents. */
function offerSnapshot(core: Core, to: MemberId, progress: Progress): boolean {
  if (!progress.recentActive) return false;
  const snapshot = core.log.offeredSnapshot();
  if (snapshot === null) return false;
  progress.becomeSnapshot(snapshot.index);
  core.send({ type: MessageType.snapshot, to, snapshot });
  return true;
}

/**
 * Heartbeats carry no entries, and a commit index only up to the member's `match`. While reads wait, they carry a
 * round too.
 */
export function broadcastHeartbeat(core: Core): void {
  const context = core.reads.hasAsked ? encodeRound(core.reads.round) : EMPTY_BYTES;
  for (const [to, progress] of core.progress) {
    if (to === core.id) continue;
    const commit = Math.min(progress.match, core.log.commit);
    core.send({ type: MessageType.heartbeat, to, commit, context });
    progress.sentHeartbeat(commit);
  }
}

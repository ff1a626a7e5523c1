/** The follower's side of replication (paper §5.3, §7): messages of this term's leader. */
import type { Core } from "../core/core.ts";
import { becomeFollower } from "../election/roles.ts";
import { useConfiguration } from "./reconfigure.ts";
import { type Entry, type Message, MessageType, type SnapshotMetadata } from "../model/types.ts";

/** The sender is the leader of this term; a candidate of the same term has lost. */
export function followLeader(core: Core, message: Message): void {
  if (core.role !== "follower") becomeFollower(core, core.term, message.from);
  core.leader = message.from;
  core.electionElapsed = 0;
}

export function handleAppend(core: Core, message: Message): void {
  const { log } = core;
  const { from: to, index, entries } = message;
  if (!areConsecutive(entries, index, message.term)) return; // No leader sends this.
  if (index < log.commit) {
    core.acknowledge(to, log.commit);
    return;
  }
  if (log.matches(index, message.logTerm)) {
    log.merge(entries);
    const agreed = index + entries.length;
    log.commitTo(Math.min(message.commit, agreed));
    core.acknowledge(to, agreed);
    return;
  }
  const hint = log.possibleMatch(Math.min(index, log.lastIndex), message.logTerm);
  core.sendAfterPersist({
    type: MessageType.appendResponse,
    to,
    index,
    reject: true,
    rejectHint: hint.index,
    logTerm: hint.term,
  });
}

function areConsecutive(entries: readonly Entry[], after: number, term: number): boolean {
  for (let i = 0; i < entries.length; i += 1) {
    const entry = entries[i] as Entry;
    if (entry.index !== after + 1 + i || entry.term > term) return false;
  }
  return true;
}

export function handleHeartbeat(core: Core, message: Message): void {
  core.log.commitTo(message.commit);
  // The leader may not know yet that this member has installed a state: the answer carries the commit index.
  const { commit } = core.log;
  core.send({
    type: MessageType.heartbeatResponse,
    to: message.from,
    index: commit,
    context: message.context,
  });
}

/**
 * The state of the snapshot is installed already; this brings the log in line with it. Afterwards the commit index is
 * at
 * least the snapshot's. The sender may have lost its leadership since; there is none if the snapshot was not offered.
 *
 * A Marmot node installs a state by starting again with a log that begins there. Only snapshots at or below its
 * commit index
 * arrive here; restoring is kept because the algorithm and its simulation need it.
 */
export function handleSnapshot(core: Core, message: Message): void {
  if (message.snapshot === null) return; // No leader sends this.
  const restored = restore(core, message.snapshot);
  if (message.from !== 0) core.acknowledge(message.from, restored ? core.log.lastIndex : core.log.commit);
}

/**
 * False: the log is kept, because it reaches as far as the snapshot. If it holds the snapshot's last entry,
 * everything up to
 * it is committed, and nothing else changes: configuration changes in between are handed out as usual.
 */
function restore(core: Core, snapshot: SnapshotMetadata): boolean {
  const { log } = core;
  if (snapshot.index <= log.commit) return false;
  if (log.matches(snapshot.index, snapshot.term)) {
    log.commitTo(snapshot.index);
    return false;
  }
  // A candidate campaigned with the log that is now replaced.
  if (core.role !== "follower") becomeFollower(core, core.term, 0);
  log.restore(snapshot);
  if (snapshot.index > core.configurationIndex)
    useConfiguration(core, snapshot.configuration, snapshot.index);
  return true;
}

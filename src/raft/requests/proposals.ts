/** Proposals: appended by the leader, forwarded to it by a follower, or refused for certain. */
import type { Core } from "../core/core.ts";
import { decodeConfigChange, encodeConfigChange } from "../membership/config-change.ts";
import { changeConfiguration } from "../membership/membership.ts";
import { AppendReason } from "../core/member-progress.ts";
import { type ConfigChange, type Entry, EntryType, type Message, MessageType } from "../model/types.ts";

/**
 * `accepted`: appended here, by the leader. `forwarded`: sent to the leader; the outcome is unknown. `dropped`:
 * definite,
 * this call put the proposal into no log.
 */
export type ProposeResult = "accepted" | "forwarded" | "dropped";

export function propose(core: Core, type: EntryType, data: Uint8Array): ProposeResult {
  if (core.isLeader) return admit(core, type, data) ? "accepted" : "dropped";
  if (core.leader === 0 || core.role !== "follower" || core.options.disableProposalForwarding === true) {
    return "dropped";
  }
  core.send({
    type: MessageType.propose,
    to: core.leader,
    term: 0,
    entries: [{ term: 0, index: 0, type, data }],
  });
  return "forwarded";
}

export function proposeConfigChange(core: Core, change: ConfigChange): ProposeResult {
  return propose(core, EntryType.configChange, encodeConfigChange(change));
}

/** From a follower. A former leader forwards it to the newer leader: terms grow along the way, so this ends. */
export function handleForwarded(core: Core, message: Message): void {
  if (core.isLeader) {
    for (const entry of message.entries) admit(core, entry.type, entry.data);
    return;
  }
  if (core.leader === 0 || core.leader === message.from || core.options.disableProposalForwarding === true)
    return;
  core.send({
    type: MessageType.propose,
    from: message.from,
    to: core.leader,
    term: 0,
    entries: message.entries,
  });
}

/** Appends at the end of the leader's log; the next ready sends it, together with all other entries of the turn. */
export function appendOwn(core: Core, type: EntryType, data: Uint8Array): Entry {
  const entry: Entry = { term: core.term, index: core.log.lastIndex + 1, type, data };
  core.log.push(entry);
  core.uncommittedBytes += data.length;
  if (core.appendReason < AppendReason.entries) core.appendReason = AppendReason.entries;
  return entry;
}

function admit(core: Core, type: EntryType, data: Uint8Array): boolean {
  if (core.transferee !== 0 || !hasQuota(core, data.length)) return false;
  if (type === EntryType.normal) {
    appendOwn(core, type, data);
    return true;
  }
  if (!mayChangeConfiguration(core, data)) return false;
  core.pendingConfigIndex = appendOwn(core, type, data).index;
  return true;
}

/** A proposal larger than the whole quota passes when nothing else is in flight; one without data always does. */
function hasQuota(core: Core, bytes: number): boolean {
  return (
    bytes === 0 ||
    core.uncommittedBytes === 0 ||
    core.uncommittedBytes + bytes <= core.options.maxUncommittedBytes
  );
}

/** One change at a time, and only a change with a valid result. */
function mayChangeConfiguration(core: Core, data: Uint8Array): boolean {
  if (core.pendingConfigIndex > core.configurationIndex) return false;
  try {
    const change = decodeConfigChange(data);
    return changeConfiguration(core.configuration, change, core.log.lastIndex + 1) !== null;
  } catch (error) {
    if (error instanceof RangeError) return false; // A peer forwarded bytes that encode no change.
    throw error;
  }
}

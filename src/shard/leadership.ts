/** Which voter leads which group: spread over the live voters, and handed over by a node that stops. */
import type { MemberId } from "../raft/model/types.ts";
import type { Group } from "./group.ts";
import type { PeerId } from "./seams.ts";
import { preferredLeader } from "./leaders/spread.ts";

/** Ticks of leadership after which it may be transferred to the preferred node. */
const SPREAD_AFTER_TICKS = 30;
/** Ticks of leadership after which it may be transferred to the voter that writes most. */
const FOLLOW_AFTER_TICKS = 100;
/** Entries that the next leader may lack. */
const MAX_MISSING = 100;

/** The voter is in contact and has nearly all of the log. */
function canLead({ raft }: Group, voter: MemberId): boolean {
  const one = raft.status().progress?.get(voter);
  if (one === undefined || !one.recentActive || one.state !== "replicate") return false;
  return raft.lastIndex - one.match <= MAX_MISSING;
}

/**
 * Transfers a group that this node leads to the voter that writes most to it. False: no voter does, and the leaders are
 * spread.
 */
function followWriter(group: Group, self: MemberId): boolean {
  const writer = group.writers.lasting;
  if (!group.configuration.configuration.voters.includes(writer)) return false;
  if (writer === self || group.ticksLed < FOLLOW_AFTER_TICKS || !canLead(group, writer)) return true;
  group.ticksLed = 0;
  group.raft.transferLeader(writer);
  return true;
}

/** Transfers a group that this node leads to the preferred one of the live voters. `self`: this node's member id. */
function spreadLeader(group: Group, self: MemberId, connected: readonly PeerId[]): void {
  if (group.ticksLed < SPREAD_AFTER_TICKS) return;
  const preferred = preferredLeader(group.shard, group.configuration.configuration.voters, (voter) => {
    const peer = group.peerOf(voter);
    return voter === self || (peer !== undefined && connected.includes(peer));
  });
  if (preferred === 0 || preferred === self || !canLead(group, preferred)) return;
  group.ticksLed = 0;
  group.raft.transferLeader(preferred);
}

export interface LeaderPlace {
  /** This node's member id. */
  readonly self: MemberId;
  readonly connected: readonly PeerId[];
  /** The leader moves to the voter that writes most. */
  readonly followsWriter: boolean;
  /** The leaders of several groups are spread. */
  readonly isSpread: boolean;
}

/** Every few ticks, for a group that this node leads. */
export function moveLeader(group: Group, { self, connected, followsWriter, isSpread }: LeaderPlace): void {
  group.writers.look();
  if (followsWriter && followWriter(group, self)) return;
  if (isSpread) spreadLeader(group, self, connected);
}

/**
 * Asks other voters to take over the groups that this node leads, each group another one, so that they stay spread. Returns
 * the number of groups that a voter can still take over.
 */
export function handOver(groups: readonly Group[], self: MemberId): number {
  let left = 0;
  for (const group of groups) {
    if (!group.raft.isLeader) continue;
    const others = group.configuration.configuration.voters.filter((voter) => voter !== self);
    const next = preferredLeader(group.shard, others, (voter) => canLead(group, voter));
    if (next === 0) continue;
    left++;
    group.raft.transferLeader(next);
  }
  return left;
}

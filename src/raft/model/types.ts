/**
 * What goes into the Raft machine and what comes out. Values only: no clock, disk, network or randomness.
 * Field names are those of the Raft paper (Ongaro & Ousterhout 2014) where it has one.
 */
import type { LogIndex } from "../../base/ids.ts";

/** A member of a group. The id is the index of the entry that admitted it, so it is never used twice. 0: nobody. */
export type MemberId = number;

export const EntryType = { normal: 0, configChange: 1 } as const;
export type EntryType = (typeof EntryType)[keyof typeof EntryType];

export interface Entry {
  readonly term: number;
  readonly index: LogIndex;
  readonly type: EntryType;
  /** Opaque to Raft for `normal`; an encoded `ConfigChange` for `configChange`. Never mutated once it is here. */
  readonly data: Uint8Array;
}

/** What must be on disk before any message that depends on it leaves. */
export interface HardState {
  readonly term: number;
  readonly vote: MemberId;
  readonly commit: LogIndex;
}

/** A configuration. `votersOutgoing` is empty unless joint. Lists are sorted and without repeats. */
export interface Configuration {
  readonly voters: readonly MemberId[];
  readonly votersOutgoing: readonly MemberId[];
  readonly learners: readonly MemberId[];
  /** Voters that become learners when the joint configuration is left. */
  readonly learnersNext: readonly MemberId[];
  readonly autoLeave: boolean;
}

/** Where a snapshot stands. Its contents travel outside of Raft. */
export interface SnapshotMetadata {
  readonly index: LogIndex;
  readonly term: number;
  readonly configuration: Configuration;
}

export const ConfigChangeType = { addVoter: 0, removeMember: 1, addLearner: 2 } as const;
export type ConfigChangeType = (typeof ConfigChangeType)[keyof typeof ConfigChangeType];

export interface ConfigChangeStep {
  readonly type: ConfigChangeType;
  /** 0 with `addLearner` or `addVoter`: the index of the entry itself becomes the id. */
  readonly member: MemberId;
}

export const ConfigChangeTransition = {
  /** Simple if at most one voter differs, else `jointImplicit`. */
  auto: 0,
  /** Joint in any case, and left by itself. */
  jointImplicit: 1,
  /** Joint in any case, until a change without steps is proposed. */
  jointExplicit: 2,
} as const;
export type ConfigChangeTransition = (typeof ConfigChangeTransition)[keyof typeof ConfigChangeTransition];

export interface ConfigChange {
  /** None, with `auto`: leaves the joint configuration. */
  readonly steps: readonly ConfigChangeStep[];
  /** Default `auto`. */
  readonly transition?: ConfigChangeTransition;
  /** Opaque to Raft: for whoever applies the change (peer id, name, …). */
  readonly context: Uint8Array;
}

export const MessageType = {
  /** Forwarded proposals: `entries` without term and index. */
  propose: 0,
  append: 1,
  appendResponse: 2,
  vote: 3,
  voteResponse: 4,
  preVote: 5,
  preVoteResponse: 6,
  heartbeat: 7,
  heartbeatResponse: 8,
  /**
   * Says where a snapshot stands. It is stepped once the state it stands for is installed, with the position of what was
   * installed, which may be another one than was offered; its term may be out of date by then. From 0: not offered to
   * this group, installed along with another's.
   */
  snapshot: 9,
  /** From a leader that hands over: campaign at once. */
  timeoutNow: 10,
  /** Asks the leader to hand over to `index`. */
  transferLeader: 11,
  /** Asks the leader for its commit index. `context` names the read; so it does in the answer, with `index` or `reject`. */
  readIndex: 12,
  readIndexResponse: 13,
} as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

/** One message between two members of one group. Fields that a type does not use are 0, false, empty or null. */
export interface Message {
  readonly type: MessageType;
  readonly from: MemberId;
  readonly to: MemberId;
  /** 0 for forwarded proposals and reads: they carry no term. */
  readonly term: number;
  /** Term of the entry at `index` (append), of the candidate's last entry (vote), or the hint's term (rejection). */
  readonly logTerm: number;
  readonly index: LogIndex;
  readonly commit: LogIndex;
  /** Term of the entry at `commit`, in requests for votes and their refusals, so that who is behind advances; else 0. */
  readonly commitTerm: number;
  readonly reject: boolean;
  /** In a rejected append response: the follower's best guess of where the logs agree. */
  readonly rejectHint: number;
  readonly entries: readonly Entry[];
  readonly snapshot: SnapshotMetadata | null;
  /** Private to who sent it (leader transfer, reads). */
  readonly context: Uint8Array;
}

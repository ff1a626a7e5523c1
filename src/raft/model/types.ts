/**
 * Inputs and outputs of the Raft state machine. Values only: no clock, disk, network or randomness. Field names are
 * those of
 * the Raft paper (Ongaro & Ousterhout 2014) where it has one.
 */
import type { LogIndex } from "../../base/ids.ts";

/**
 * A member of a group. The id is the index of the entry that admitted it, so it is never used twice. 0: no member.
 */
export type MemberId = number;

export const EntryType = { normal: 0, configChange: 1 } as const;
export type EntryType = (typeof EntryType)[keyof typeof EntryType];

export interface Entry {
  readonly term: number;
  readonly index: LogIndex;
  readonly type: EntryType;
  /** Opaque to Raft for `normal`; an encoded `ConfigChange` for `configChange`. Never mutated. */
  readonly data: Uint8Array;
}

/** Must be on disk before any message that depends on it leaves. */
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

/** Position of a snapshot. Its contents are transferred outside of Raft. */
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
  /** Always joint, and left automatically. */
  jointImplicit: 1,
  /** Always joint, until a change without steps is proposed. */
  jointExplicit: 2,
} as const;
export type ConfigChangeTransition = (typeof ConfigChangeTransition)[keyof typeof ConfigChangeTransition];

export interface ConfigChange {
  /** Empty, with `auto`: leaves the joint configuration. */
  readonly steps: readonly ConfigChangeStep[];
  /** Default `auto`. */
  readonly transition?: ConfigChangeTransition;
  /** Opaque to Raft: for the owner that applies the change (peer id, name, …). */
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
   * Position of a snapshot. A follower steps it only after the state is installed, with the position of the installed
   * state.
   * That position may differ from the offered one, and the message's term may be out of date by then. From 0: this
   * group's
   * leader offered nothing, the state came along with another group's.
   */
  snapshot: 9,
  /** From a leader that transfers its leadership: campaign at once. */
  timeoutNow: 10,
  /** Requests a leadership transfer to the member `index`. */
  transferLeader: 11,
  /**
   * Requests the leader's commit index. `context` identifies the read, and so it does in the answer, with `index` or
   * `reject`.
   */
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
  /**
   * Term of the entry at `index` (append), of the candidate's last entry (vote), or of the entry at the hint
   * (rejection).
   */
  readonly logTerm: number;
  readonly index: LogIndex;
  readonly commit: LogIndex;
  /**
   * Term of the entry at `commit`, in vote requests and refusals, so that a member with an older commit index
   * advances; else 0.
   */
  readonly commitTerm: number;
  readonly reject: boolean;
  /** In a rejected append response: the follower's best guess of where the logs agree. */
  readonly rejectHint: number;
  readonly entries: readonly Entry[];
  readonly snapshot: SnapshotMetadata | null;
  /** Private to the sender (leadership transfer, reads). */
  readonly context: Uint8Array;
}

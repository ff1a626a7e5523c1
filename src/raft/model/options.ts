/** Options of a Raft state machine: its id, the reading side of its log, its limits. Checked once, at start. */
import { assert } from "../../base/assert.ts";
import type { LogIndex } from "../../base/ids.ts";
import type { Random } from "../../base/random.ts";
import type { Configuration, Entry, HardState, MemberId, SnapshotMetadata } from "./types.ts";

/**
 * The reading side of one group's log on disk. The state machine never writes: `Ready` carries the data to write, and
 * `advance` confirms the write. Entries below `firstIndex` are compacted; the term of `firstIndex − 1` is kept.
 */
export interface RaftStorage {
  /** Read once, at start. */
  readonly hardState: HardState;
  firstIndex(): LogIndex;
  /** `firstIndex() − 1` when there are no entries. */
  lastIndex(): LogIndex;
  /** Throws `RangeError` outside [firstIndex − 1, lastIndex]. */
  term(index: LogIndex): number;
  /** Entries in [from, to): at least one, then as many as fit in `maxBytes`. */
  entries(from: LogIndex, to: LogIndex, maxBytes: number): Entry[];
  /** Position of a snapshot that can be offered to a follower now; null: none yet, ask again later. */
  snapshot(): SnapshotMetadata | null;
}

export interface RaftOptions {
  readonly id: MemberId;
  readonly storage: RaftStorage;
  /** The newest configuration known: that of an entry past `applied`, perhaps even past the log's end. */
  readonly configuration: Configuration;
  /**
   * Index of the entry that made `configuration`; default `applied`. Changes at and below it that are handed out again
   * after a restart leave the configuration as it is.
   */
  readonly configurationIndex?: number;
  /** Index of the last entry applied before this start. Everything after it is handed out (again). */
  readonly applied: number;
  /** An index up to which the log is known to be committed, even if a lower one was saved. Default `applied`. */
  readonly committed?: number;
  /**
   * Term of the entry at `applied`, if the state keeps it: asserted against the log. After a crash a state that was
   * installed
   * from outside may be ahead of the log. The owner then replaces the log by a snapshot at the state's position
   * first.
   */
  readonly appliedTerm?: number;
  /** Ticks. A follower that hears nothing campaigns after [electionTicks, 2 × electionTicks − 1]. Greater than heartbeatTicks. */
  readonly electionTicks: number;
  /** Ticks between a leader's heartbeats. At least 1. */
  readonly heartbeatTicks: number;
  /**
   * Bytes of entries in one append message; one entry always fits. A low value costs messages, a high one delays
   * others.
   */
  readonly maxMessageBytes: number;
  /** Appends to one follower that are not yet acknowledged. At least 1. */
  readonly maxInflightMessages: number;
  /** Bytes of entries in unacknowledged appends. A message that starts below the limit may exceed it. */
  readonly maxInflightBytes: number;
  /**
   * Bytes of committed entries handed out and not yet applied. Below the limit, at least one more entry is handed
   * out.
   */
  readonly maxApplyBytes: number;
  /**
   * Bytes of a leader's entries that are not yet committed and handed out; above the limit, proposals are dropped.
   */
  readonly maxUncommittedBytes: number;
  /** Asks whether an election could be won before raising the term (thesis §9.6). */
  readonly preVote: boolean;
  /**
   * A leader that hears from no quorum for an election timeout steps down; a member that hears its leader grants no
   * votes (§6.2).
   */
  readonly checkQuorum: boolean;
  readonly random: Random;
  /** Drops proposals at a follower instead of forwarding them to the leader. Default false. */
  readonly disableProposalForwarding?: boolean;
}

/** Asserts, because options come from the program, not from a user. */
export function checkOptions(options: RaftOptions): void {
  assert(Number.isSafeInteger(options.id) && options.id > 0, "a member id is a positive integer");
  assert(options.heartbeatTicks >= 1, "heartbeatTicks is at least 1");
  assert(options.electionTicks > options.heartbeatTicks, "electionTicks is greater than heartbeatTicks");
  assert(options.maxInflightMessages >= 1, "maxInflightMessages is at least 1");
  assert(options.maxInflightBytes >= options.maxMessageBytes, "maxInflightBytes is at least maxMessageBytes");
  assert(options.maxMessageBytes > 0 && options.maxApplyBytes > 0, "byte limits are positive");
  assert(options.maxUncommittedBytes > 0, "maxUncommittedBytes is positive");
}

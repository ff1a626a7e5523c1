/** The status of a state machine for display and tests. Built on request, not at every tick. */
import type { Configuration, MemberId } from "./types.ts";

export type Role = "follower" | "preCandidate" | "candidate" | "leader";
export type ProgressState = "probe" | "replicate" | "snapshot";

/** One member as its leader sees it. `match < next` always. */
export interface ProgressStatus {
  readonly match: number;
  readonly next: number;
  readonly state: ProgressState;
  /** Heard from within the last election timeout. */
  readonly recentActive: boolean;
  readonly isLearner: boolean;
  /** Nothing is sent until an answer comes. */
  readonly paused: boolean;
  /** Index of the snapshot it is expected to install; 0: none. */
  readonly pendingSnapshot: number;
  /** Appends under way. */
  readonly inflight: number;
}

export interface RaftStatus {
  readonly id: MemberId;
  readonly term: number;
  readonly vote: MemberId;
  readonly commit: number;
  readonly applied: number;
  readonly lastIndex: number;
  readonly role: Role;
  /** 0: unknown. */
  readonly leader: MemberId;
  readonly configuration: Configuration;
  /** On a leader only; includes itself. */
  readonly progress?: ReadonlyMap<MemberId, ProgressStatus>;
  /** Target of a leadership transfer in progress; 0: none. */
  readonly transferee: MemberId;
  /** Reads by index that hold memory. */
  readonly reads: number;
}

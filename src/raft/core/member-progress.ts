/**
 * A leader's knowledge of one member's log, and whether it may send to that member now.
 *
 * - `probe`: the last common index is unknown; one append, then wait for its answer or a heartbeat's.
 * - `replicate`: the logs agree; entries are sent before earlier ones are acknowledged, as far as the window allows.
 * - `snapshot`: the next entry is compacted; nothing is sent until the member has a snapshot.
 */
import { assert } from "../../base/assert.ts";
import { Inflights } from "./inflights.ts";
import type { ProgressState, ProgressStatus } from "../model/raft-status.ts";

/** Why an append should leave with the next ready. A larger reason replaces a smaller one. */
export const AppendReason = {
  none: 0,
  /** If there are entries to send. */
  entries: 1,
  /** Also without entries, if it can advance the member's commit index. */
  commit: 2,
  /** Also without entries: the answer is needed. */
  answer: 3,
} as const;
export type AppendReason = (typeof AppendReason)[keyof typeof AppendReason];

export class Progress {
  /** Up to here its log is known to be the leader's. Always below `next`. */
  match: number;
  /** The next entry to send. Entries in (match, next) are in flight. */
  next: number;
  state: ProgressState = "probe";
  /** In `snapshot`: the index it is expected to reach. */
  pendingSnapshot = 0;
  /** In `snapshot`: election timeouts since the offer. */
  snapshotAge = 0;
  recentActive: boolean;
  isLearner: boolean;
  reason: AppendReason = AppendReason.none;
  readonly inflights: Inflights;
  /** The newest round of reads whose heartbeat it answered. */
  readRound = 0;
  #paused = false;
  /** Highest commit index in flight to the member. */
  #sentCommit = 0;

  constructor(init: {
    readonly match: number;
    readonly next: number;
    readonly isLearner: boolean;
    readonly recentActive: boolean;
    readonly inflights: Inflights;
  }) {
    assert(init.match < init.next, "match < next");
    this.match = init.match;
    this.next = init.next;
    this.isLearner = init.isLearner;
    this.recentActive = init.recentActive;
    this.inflights = init.inflights;
  }

  get paused(): boolean {
    return this.#paused || this.state === "snapshot";
  }

  /** A probe's pause ends with an answer, or with a heartbeat's, in case the probe was lost. */
  resume(): void {
    this.#paused = false;
  }

  pause(): void {
    this.#paused = true;
  }

  because(reason: AppendReason): void {
    if (reason > this.reason) this.reason = reason;
  }

  /** After an installed snapshot, probing starts at the entry that follows it. */
  becomeProbe(): void {
    const from = this.state === "snapshot" ? Math.max(this.match, this.pendingSnapshot) : this.match;
    this.#enter("probe");
    this.next = from + 1;
    this.#sentCommit = Math.min(this.#sentCommit, from);
  }

  becomeReplicate(): void {
    this.#enter("replicate");
    this.next = this.match + 1;
  }

  /** `index`: of the snapshot that was offered. */
  becomeSnapshot(index: number): void {
    this.#enter("snapshot");
    this.pendingSnapshot = index;
    this.next = Math.max(this.match, index) + 1;
    this.#sentCommit = index;
  }

  #enter(state: ProgressState): void {
    this.state = state;
    this.pendingSnapshot = 0;
    this.snapshotAge = 0;
    this.#paused = false;
    this.inflights.reset();
  }

  /** True: an append may carry entries. */
  get hasRoom(): boolean {
    return this.state !== "replicate" || !this.inflights.full;
  }

  /** An append with `count` entries from `next` on, `bytes` in total, and this commit index was sent. */
  sent(count: number, bytes: number, commit: number): void {
    assert(this.state !== "snapshot", "nothing is sent to a member that waits for a snapshot");
    this.#sentCommit = commit;
    if (this.state === "probe") {
      if (count > 0) this.#paused = true;
      return;
    }
    if (count > 0) {
      this.next += count;
      this.inflights.add(this.next - 1, bytes);
    }
    this.#paused = this.inflights.full;
  }

  sentHeartbeat(commit: number): void {
    this.#sentCommit = commit;
  }

  /** True: this commit index is higher than the one in flight, as far as the member's log can use it. */
  canBumpCommit(commit: number): boolean {
    return commit > this.#sentCommit && this.#sentCommit < this.next - 1;
  }

  /** Its log agrees up to `index`. False: this was known. */
  acknowledge(index: number): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.#paused = false;
    return true;
  }

  /**
   * The member rejected an append after `rejected`; the logs may agree at `hint`. False: the rejection is out of
   * date. The
   * rejected entry was acknowledged since, or is not the one being probed.
   */
  reject(rejected: number, hint: number): boolean {
    if (this.state === "replicate") {
      if (rejected <= this.match) return false;
      this.next = this.match + 1;
    } else {
      if (rejected !== this.next - 1) return false;
      this.next = Math.max(Math.min(rejected, hint + 1), this.match + 1);
      this.#paused = false;
    }
    this.#sentCommit = Math.min(this.#sentCommit, this.next - 1);
    return true;
  }

  status(): ProgressStatus {
    return {
      match: this.match,
      next: this.next,
      state: this.state,
      recentActive: this.recentActive,
      isLearner: this.isLearner,
      paused: this.paused,
      pendingSnapshot: this.pendingSnapshot,
      inflight: this.inflights.count,
    };
  }
}

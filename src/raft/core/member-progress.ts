/**
 * What a leader knows of one member's log, and whether it may send there now.
 *
 * - `probe`: where the logs agree is not known; one append, then wait for its answer or a heartbeat's.
 * - `replicate`: they agree; entries are sent ahead of their acknowledgement, as far as the window allows.
 * - `snapshot`: what it needs is compacted; nothing is sent until it has a snapshot.
 */
import { assert } from "../../base/assert.ts";
import { Inflights } from "./inflights.ts";
import type { ProgressState, ProgressStatus } from "../model/raft-status.ts";

/** Why an append should leave with the next ready. A later reason replaces a smaller one. */
export const AppendReason = {
  none: 0,
  /** If there are entries to send. */
  entries: 1,
  /** Also without entries, if it can move the member's commit index. */
  commit: 2,
  /** Also without entries: the answer is what matters. */
  answer: 3,
} as const;
export type AppendReason = (typeof AppendReason)[keyof typeof AppendReason];

export class Progress {
  /** Up to here its log is known to be the leader's. Always below `next`. */
  match: number;
  /** The next entry to send. Entries in (match, next) are under way. */
  next: number;
  state: ProgressState = "probe";
  /** In `snapshot`: the index it is expected to reach. */
  pendingSnapshot = 0;
  /** In `snapshot`: election timeouts since it was offered. */
  snapshotAge = 0;
  recentActive: boolean;
  isLearner: boolean;
  reason: AppendReason = AppendReason.none;
  readonly inflights: Inflights;
  /** The newest round of reads whose heartbeat it answered. */
  readRound = 0;
  #paused = false;
  /** Highest commit index under way to it. */
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

  /** After a snapshot that was installed, probing starts behind it. */
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

  /** May entries, and not just an empty append, go along? */
  get hasRoom(): boolean {
    return this.state !== "replicate" || !this.inflights.full;
  }

  /** An append with `count` entries from `next` on, of `bytes` in all, and this commit index has left. */
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

  /** Would sending this commit index now tell it more than what is under way? */
  canBumpCommit(commit: number): boolean {
    return commit > this.#sentCommit && this.#sentCommit < this.next - 1;
  }

  /** Its log agrees up to `index`. False: known already. */
  acknowledge(index: number): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.#paused = false;
    return true;
  }

  /**
   * It rejected an append after `rejected`; the logs may agree at `hint`. False: the rejection is out of date, because
   * what it rejects was acknowledged meanwhile, or is not what is being probed.
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

/**
 * The commit index of a group that a quorum confirmed after this node last lost touch with it (ReadIndex, thesis §6.4).
 * A follower's own commit index proves nothing after a silence: the leader's first heartbeat names only the entries
 * that the follower has. One read follows each silence or change of leader; an idle group sends none.
 */
import type { LogIndex } from "../base/ids.ts";
import type { Raft, ReadState } from "../raft/raft.ts";
import type { MemberId } from "../raft/model/types.ts";

const CONTEXT_BYTES = 1;

export class ConfirmedCommit {
  readonly #raft: Raft;
  /** Ticks without a message of the leader after which it may have been replaced. */
  readonly #silentTicks: number;
  #index: LogIndex | null = null;
  /** The leader that was known at the last look. */
  #leader: MemberId = 0;
  /** Context of the read that waits, compared by identity: an answer to an earlier read proves too little. */
  #pending: Uint8Array | null = null;

  constructor(raft: Raft, silentTicks: number) {
    this.#raft = raft;
    this.#silentTicks = silentTicks;
  }

  /** Null: no quorum has confirmed one since the last silence. */
  get index(): LogIndex | null {
    return this.#index;
  }

  /** The node was stopped, or the leader changed or is silent: the index must be confirmed again. */
  forget(): void {
    this.#index = null;
    this.#pending = null;
  }

  /** After each turn: a leader that is new to this node is asked at once. */
  afterTurn(): void {
    const { leader } = this.#raft;
    if (leader === this.#leader) return;
    this.#leader = leader;
    this.forget();
    this.#ask();
  }

  /** Each tick: notices a silent leader, and repeats a read that failed. A learner never campaigns, so only ticks show the silence. */
  tick(): void {
    if (this.#index !== null && this.#raft.silentTicks >= this.#silentTicks) this.forget();
    if (this.#index === null && this.#pending === null) this.#ask();
  }

  ended(reads: readonly ReadState[]): void {
    for (const { context, index } of reads) {
      if (context !== this.#pending) continue;
      this.#pending = null;
      this.#index = index;
    }
  }

  #ask(): void {
    if (this.#raft.leader === 0) return;
    const context = new Uint8Array(CONTEXT_BYTES);
    if (this.#raft.readIndex(context) !== "dropped") this.#pending = context;
  }
}

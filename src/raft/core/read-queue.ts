/**
 * The reads that wait. On every member: its own reads, until their outcome is known. On a leader: the reads of all
 * members,
 * until a quorum confirms its leadership. Holds no rules except the limits; the rules are in reads.ts.
 */
import { bytesEqual } from "../../base/bytes.ts";
import type { Random } from "../../base/random.ts";
import type { ReadState } from "../model/ready.ts";
import type { MemberId } from "../model/types.ts";

/** Own reads that may wait; further ones are refused. */
const OWN_MAX = 4096;
/** Reads of all members that wait on a leader. */
const QUEUE_MAX = 16_384;
const TOKEN_BYTES = 8;
const ROUND_BYTES = 8;

/** The context of a heartbeat while reads wait. */
export function encodeRound(round: number): Uint8Array {
  const bytes = new Uint8Array(ROUND_BYTES);
  new DataView(bytes.buffer).setFloat64(0, round);
  return bytes;
}

/** 0: the context names no round. */
export const decodeRound = (context: Uint8Array): number =>
  context.length === ROUND_BYTES ? new DataView(context.buffer, context.byteOffset).getFloat64(0) : 0;

interface OwnRead {
  readonly token: Uint8Array;
  readonly context: Uint8Array;
  /** The read fails at this tick. */
  readonly deadline: number;
}

interface QueuedRead {
  readonly from: MemberId;
  readonly token: Uint8Array;
  readonly deadline: number;
  /** The round of heartbeats whose answers confirm it; 0: none has left yet. */
  round: number;
  /** The commit index when that round began. */
  index: number;
}

export class ReadQueue {
  readonly #random: Random;
  /** Drawn at the first read, so that an answer to a read before a restart does not match one after it. */
  #nonce: number | null = null;
  #tokens = 0;
  #ticks = 0;
  /** By the number in the token, which is the order of their deadlines. */
  readonly #own = new Map<number, OwnRead>();
  /** In the order of rounds; reads without a round are last. */
  #queue: QueuedRead[] = [];
  #asked = 0;
  /** The newest round of heartbeats. Never the caller's context: callers may repeat theirs. */
  round = 0;
  /** Outcomes that no ready has taken yet. */
  outcomes: ReadState[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  /** Number of reads that hold memory. */
  get size(): number {
    return this.#own.size + this.#queue.length;
  }

  /** True: a read is not covered by any round of heartbeats yet. */
  get hasUnasked(): boolean {
    return this.#asked < this.#queue.length;
  }

  /** True: a round waits for its answers. */
  get hasAsked(): boolean {
    return this.#asked > 0;
  }

  /** Starts a read of this member, with a token that no other read had. Null: too many reads wait. */
  begin(context: Uint8Array, patience: number): Uint8Array | null {
    if (this.#own.size >= OWN_MAX) return null;
    this.#nonce ??= this.#random.next();
    this.#tokens += 1;
    const token = new Uint8Array(TOKEN_BYTES);
    const view = new DataView(token.buffer);
    view.setUint32(0, this.#nonce);
    view.setUint32(4, this.#tokens);
    this.#own.set(this.#tokens, { token, context, deadline: this.#ticks + patience });
    return token;
  }

  /** Ends an own read, once. An unknown token is ignored. */
  end(token: Uint8Array, index: number | null): void {
    if (token.length !== TOKEN_BYTES) return;
    const number = new DataView(token.buffer, token.byteOffset).getUint32(4);
    const own = this.#own.get(number);
    if (own === undefined || !bytesEqual(own.token, token)) return;
    this.#own.delete(number);
    this.outcomes.push({ context: own.context, index });
  }

  /** False: too many wait. */
  enqueue(from: MemberId, token: Uint8Array, patience: number): boolean {
    if (this.#queue.length >= QUEUE_MAX) return false;
    this.#queue.push({ from, token, deadline: this.#ticks + patience, round: 0, index: 0 });
    return true;
  }

  /** Starts a round that covers all reads without one. */
  ask(index: number): void {
    this.round += 1;
    for (const read of this.#queue.slice(this.#asked)) {
      read.round = this.round;
      read.index = index;
    }
    this.#asked = this.#queue.length;
  }

  /** Removes and returns the reads that rounds up to this one confirm. */
  confirm(round: number): readonly QueuedRead[] {
    let count = 0;
    while (count < this.#asked && (this.#queue[count] as QueuedRead).round <= round) count += 1;
    this.#asked -= count;
    return this.#queue.splice(0, count);
  }

  /** Removes and returns all reads. */
  drain(): readonly QueuedRead[] {
    const all = this.#queue;
    this.#queue = [];
    this.#asked = 0;
    return all;
  }

  /** Both the member that asked and the leader drop a read after the same number of ticks. */
  tick(): void {
    this.#ticks += 1;
    for (const { token, deadline } of this.#own.values()) {
      if (deadline > this.#ticks) break;
      this.end(token, null);
    }
    let late = 0;
    while (late < this.#queue.length && (this.#queue[late] as QueuedRead).deadline <= this.#ticks) late += 1;
    this.#queue.splice(0, late);
    this.#asked = Math.max(0, this.#asked - late);
  }
}

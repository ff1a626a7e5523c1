/**
 * Which member writes most to a group, as its leader sees it: entries by proposer, where older ones count less and less. A
 * leader beside the application saves each of its commits a way over the network. Pure.
 */
import type { MemberId } from "../../raft/model/types.ts";

/** The part of a count that is left after one look; looks are 0.5 s apart, so after 10 s about a third is. */
const KEPT = 0.95;
/** Fewer counted entries say nothing: about one in a second. */
const MIN_ENTRIES = 10;
/** The share of all entries with which a member writes most. */
const SHARE = 0.6;
/** Looks in a row at which it does, before the leader moves. */
const LASTING_LOOKS = 10;
/** Empty entries of a leader and cross-shard markers are no writes. */
const MARKER_BYTES = 16;

export class Writers {
  readonly #entries = new Map<MemberId, number>();
  #most: MemberId = 0;
  #looks = 0;

  proposed(by: MemberId, bytes: number): void {
    if (bytes > MARKER_BYTES) this.#entries.set(by, (this.#entries.get(by) ?? 0) + 1);
  }

  forget(): void {
    this.#entries.clear();
    this.#most = 0;
    this.#looks = 0;
  }

  /** Every few ticks. */
  look(): void {
    const most = this.#writesMost();
    this.#looks = most !== 0 && most === this.#most ? this.#looks + 1 : 0;
    this.#most = most;
    for (const [member, count] of this.#entries) this.#entries.set(member, count * KEPT);
  }

  /** The member that has written most for some time; 0: there is none. */
  get lasting(): MemberId {
    return this.#looks >= LASTING_LOOKS ? this.#most : 0;
  }

  #writesMost(): MemberId {
    const all = this.#entries.values().reduce((sum, count) => sum + count, 0);
    if (all < MIN_ENTRIES) return 0;
    for (const [member, count] of this.#entries) if (count >= SHARE * all) return member;
    return 0;
  }
}

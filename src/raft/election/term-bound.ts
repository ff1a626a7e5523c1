/**
 * Bounds the terms that messages of others may have. An election raises the term by one and takes an election timeout, so
 * since the last contact only so many can have happened. A term beyond is believed when as many voters as make a majority
 * tell one: this node may have been suspended, which its ticks do not count. Pure.
 */
import type { MemberId } from "../model/types.ts";

/** Elections beyond those that the time allows: several candidates in one election, and terms that were never told. */
const SLACK = 1000;
/** Before the first contact since the start, nothing is known about the time since the last one. */
const UNKNOWN_TIME = 1_000_000;
/** A claim of a far term counts for so many ticks. */
const CLAIM_TICKS = 100;

export interface TermBoundOptions {
  readonly electionTicks: number;
}

/** The group when a message arrives. */
export interface TermView {
  /** This node's term. */
  readonly term: number;
  readonly ticks: number;
  readonly voters: readonly MemberId[];
  readonly self: MemberId;
}

export class TermBound {
  readonly #electionTicks: number;
  /** The tick of the last message with an acceptable term; null: there was none since the start. */
  #heardAt: number | null = null;
  /** Voters that told a far term, with the tick. */
  readonly #claims = new Map<MemberId, number>();

  constructor({ electionTicks }: TermBoundOptions) {
    this.#electionTicks = electionTicks;
  }

  /** False: the message must be dropped. */
  accepts(from: MemberId, term: number, view: TermView): boolean {
    if (term <= view.term) {
      if (term === view.term) this.#heardAt = view.ticks;
      return true;
    }
    if (term <= view.term + this.#allowance(view) || this.#isClaimed(from, view)) {
      this.#heardAt = view.ticks;
      this.#claims.clear();
      return true;
    }
    return false;
  }

  #allowance({ ticks, voters }: TermView): number {
    if (this.#heardAt === null) return UNKNOWN_TIME;
    const elections = Math.ceil((ticks - this.#heardAt) / this.#electionTicks);
    return SLACK + elections * Math.max(1, voters.length);
  }

  #isClaimed(from: MemberId, { ticks, voters, self }: TermView): boolean {
    if (!voters.includes(from)) return false;
    this.#claims.set(from, ticks);
    const recent = voters.filter((voter) => ticks - (this.#claims.get(voter) ?? -Infinity) <= CLAIM_TICKS);
    const others = voters.filter((voter) => voter !== self).length;
    return recent.length >= Math.min(others, Math.floor(voters.length / 2) + 1);
  }
}

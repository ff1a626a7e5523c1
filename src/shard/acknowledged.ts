/**
 * The promises that each member of a group made to this node: its highest term, and the highest index that it has on disk
 * in that term. A member that comes back with less has lost a part of its log, and perhaps a vote.
 */
import type { LogIndex } from "../base/ids.ts";
import { type MemberId, type Message, MessageType } from "../raft/model/types.ts";

/** The end of a log: its term is that of the hard state. */
export interface LogEnd {
  readonly term: number;
  readonly lastIndex: LogIndex;
}

export class Acknowledged {
  readonly #ends = new Map<MemberId, LogEnd>();

  /** Only messages that leave after a durable write are promises. */
  note({ type, from, term, index, reject }: Message): void {
    const isVote = type === MessageType.voteResponse || type === MessageType.vote;
    if (reject || (!isVote && type !== MessageType.appendResponse)) return;
    const known = this.#ends.get(from);
    if (known !== undefined && term < known.term) return;
    const lastIndex = isVote ? 0 : index;
    const before = known?.term === term ? known.lastIndex : 0;
    this.#ends.set(from, { term, lastIndex: Math.max(before, lastIndex) });
  }

  /** Within one term a log never loses acknowledged entries; a later term may replace those that were not committed. */
  isKeptBy(member: MemberId, end: LogEnd): boolean {
    const known = this.#ends.get(member);
    if (known === undefined || end.term > known.term) return true;
    return end.term === known.term && end.lastIndex >= known.lastIndex;
  }
}

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
  /** The highest index that the member had on disk and that was committed. */
  readonly #committed = new Map<MemberId, LogIndex>();

  /** Only messages that leave after a durable write are promises. */
  note(message: Message): void {
    const { type, from, term, index, reject } = message;
    if (type === MessageType.append || type === MessageType.heartbeat) {
      // A leader has written an entry before the answers come that commit it.
      this.has(from, message.commit);
      this.#promise(from, term, 0);
      return;
    }
    const isVote = type === MessageType.voteResponse || type === MessageType.vote;
    if (reject || (!isVote && type !== MessageType.appendResponse)) return;
    this.#promise(from, term, isVote ? 0 : index);
  }

  #promise(member: MemberId, term: number, lastIndex: LogIndex): void {
    const known = this.#ends.get(member);
    if (known !== undefined && term < known.term) return;
    const before = known?.term === term ? known.lastIndex : 0;
    this.#ends.set(member, { term, lastIndex: Math.max(before, lastIndex) });
  }

  /** The member has committed entries up to `index` on disk. */
  has(member: MemberId, index: LogIndex): void {
    if (index > (this.#committed.get(member) ?? 0)) this.#committed.set(member, index);
  }

  /**
   * Within one term a log never loses acknowledged entries; a later term may replace those that were not committed.
   */
  isKeptBy(member: MemberId, end: LogEnd): boolean {
    if (end.lastIndex < (this.#committed.get(member) ?? 0)) return false;
    const known = this.#ends.get(member);
    if (known === undefined || end.term > known.term) return true;
    return end.term === known.term && end.lastIndex >= known.lastIndex;
  }
}

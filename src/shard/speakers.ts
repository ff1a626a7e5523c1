/**
 * Decides which messages of peers count. A member with changed code may send any; see "Members that do not keep to the
 * protocol" in docs/protocol.md.
 */
import { type MemberId, type Message, MessageType } from "../raft/model/types.ts";
import type { Group } from "./group.ts";
import type { PeerId, ShardId } from "./seams.ts";

/** A member without a vote raises the term at most once in so many ticks. */
const RAISE_TICKS = 600;

const OF_LEADERS: ReadonlySet<MessageType> = new Set([
  MessageType.append,
  MessageType.heartbeat,
  MessageType.snapshot,
  MessageType.timeoutNow,
]);
const OF_CANDIDATES: ReadonlySet<MessageType> = new Set([MessageType.vote, MessageType.preVote]);

export interface Vouchers {
  /** A member tells that the peer is the member of that id, which this node's configuration does not have yet. */
  isVouched(id: MemberId, peer: PeerId): boolean;
  /** A voter tells that the member leads the shard, and this node's configuration does not have it as a voter yet. */
  isLeader(shard: ShardId, id: MemberId): boolean;
}

export class Speakers {
  readonly #groups: readonly Group[];
  readonly #self: MemberId;
  readonly #vouchers: Vouchers | null;
  /** When a member without a vote raised the term last. */
  readonly #raisedAt = new Map<MemberId, number>();

  constructor(groups: readonly Group[], self: MemberId, vouchers: Vouchers | null) {
    this.#groups = groups;
    this.#self = self;
    this.#vouchers = vouchers;
  }

  /** `ticks`: of this node until now. */
  accepts(group: Group, message: Message, peer: PeerId, ticks: number): boolean {
    const { voters } = group.configuration.configuration;
    const view = { term: group.raft.term, ticks, voters, self: this.#self };
    return (
      this.#isFrom(group, message, peer) &&
      this.#mayLead(group, message, ticks) &&
      group.terms.accepts(message.from, message.term, view)
    );
  }

  /**
   * The sender's id is that of the peer, in the group or in group 0. Ids are indexes of group 0: an unknown id up to its
   * configuration was removed, or never admitted. A higher one may belong to a member that this node does not know yet: its
   * admission is in this node's log, or a member vouches for it.
   */
  #isFrom(group: Group, { from: id }: Message, peer: PeerId): boolean {
    const first = this.#groups[0]!;
    const known = group.peerOf(id) ?? first.peerOf(id);
    if (known !== undefined) return known === peer;
    if (id <= first.configuration.index) return false;
    return first.admits(id, peer) || (this.#vouchers?.isVouched(id, peer) ?? false);
  }

  /**
   * Followers follow only voters. One whose promotion this node does not know yet is followed on the word of a voter. A vote for
   * it needs none: the vote may be missing for the promotion, and does no harm while there is a leader.
   */
  #mayLead(group: Group, { type, from, term }: Message, ticks: number): boolean {
    const { voters, votersOutgoing } = group.configuration.configuration;
    if (voters.length === 0 || voters.includes(from) || votersOutgoing.includes(from)) return true;
    if (OF_LEADERS.has(type)) return this.#vouchers?.isLeader(group.shard, from) ?? false;
    if (term <= group.raft.term || OF_CANDIDATES.has(type)) return true;
    // A former voter may be in a term that no one else has reached: then its leader needs to hear of it.
    if (ticks - (this.#raisedAt.get(from) ?? Number.NEGATIVE_INFINITY) < RAISE_TICKS) return false;
    this.#raisedAt.set(from, ticks);
    return true;
  }
}

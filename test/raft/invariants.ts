/**
 * Invariants of every group at every moment: figure 3 of the paper, and those of etcd-io/raft's TLA+ model. The
 * observer sees
 * memory and disk of all members. Invariants about quorums are in quorum-invariants.ts.
 */
import type { Raft, ReadState, Ready } from "../../src/raft/raft.ts";
import {
  type Configuration,
  type Entry,
  type MemberId,
  type Message,
  MessageType,
  type SnapshotMetadata,
} from "../../src/raft/model/types.ts";
import { text } from "./harness.ts";
import type { MemoryStorage } from "./memory-storage.ts";
import { fail, holds, type Position, QuorumInvariants, quorumsOverlap } from "./quorum-invariants.ts";

interface Seen {
  readonly storage: MemoryStorage;
  term: number;
  commit: number;
  handedOut: number;
  readonly votes: Map<number, MemberId>;
  /** The term for which its leader completeness was checked. */
  ledTerm: number;
  /** Where its log ended when it was last seen to lead, and in which term. */
  ownLog: Position;
  /** Up to where it has told the leader of this term that it has the log. */
  promised: Position;
  configuration: Configuration;
}

/** A committed entry, and a term in which that was so at the latest. */
interface Committed {
  readonly entry: Entry;
  readonly by: number;
}

export class Invariants {
  readonly #genesis: Position;
  readonly #leaders = new Map<number, MemberId>();
  /** By "index/term": there is one such entry, and one term before it. Log matching follows by induction. */
  readonly #entries = new Map<string, { data: string; before: number }>();
  /** The entries that any member handed out, from the beginning. */
  readonly #committed: Committed[] = [];
  #configurations: { index: number; configuration: Configuration }[];
  readonly #seen = new Map<MemberId, Seen>();
  readonly #quorums: QuorumInvariants;
  /** Reads in progress: the commit index when each one started, by its context. */
  readonly #reads = new Map<string, number>();
  /** How many reads were answered: to see that the check is one. */
  readsAnswered = 0;
  /** Members that were admitted after the group was formed. */
  readonly admitted = new Set<MemberId>();

  constructor(genesis: Position, configuration: Configuration) {
    this.#genesis = genesis;
    this.#configurations = [{ index: genesis.index, configuration }];
    this.#quorums = new QuorumInvariants((id) => this.#seen.get(id)?.storage);
  }

  /** Terms, votes and commit indexes that were on disk outlive a crash. */
  started(id: MemberId, raft: Raft, storage: MemoryStorage): void {
    const seen = this.#seen.get(id);
    if (seen !== undefined && raft.term < seen.term) fail(`${id} forgot term ${seen.term}`);
    if (raft.commit < storage.hardState.commit)
      fail(`${id} forgot that ${storage.hardState.commit} is committed`);
    this.#seen.set(id, {
      storage,
      term: raft.term,
      commit: raft.commit,
      handedOut: raft.applied,
      votes: seen?.votes ?? new Map<number, MemberId>(),
      ledTerm: seen?.ledTerm ?? 0,
      ownLog: { index: 0, term: 0 },
      promised: seen?.promised ?? { index: 0, term: 0 },
      configuration: raft.configuration,
    });
  }

  /**
   * After a write: one vote per term, terms and commit indexes on disk only grow, an entry is the same on every
   * member.
   */
  written(id: MemberId, ready: Ready): void {
    const seen = this.#of(id);
    const { storage } = seen;
    if (ready.hardState !== null) {
      const { term, vote, commit } = ready.hardState;
      if (term < seen.term) fail(`${id} writes term ${term} after ${seen.term}`);
      if (commit < seen.commit && commit < storage.hardState.commit)
        fail(`${id} lowers its commit to ${commit}`);
      seen.term = term;
      const before = seen.votes.get(term) ?? 0;
      if (before !== 0 && before !== vote) fail(`${id} votes for ${before} and ${vote} in term ${term}`);
      seen.votes.set(term, vote);
    }
    for (const entry of ready.entries) this.#match(id, entry, storage.term(entry.index - 1));
    this.#keepsPromise(id, seen, ready);
  }

  /** Entries acknowledged to the leader of this term stay here, unless a later term's leader replaces them. */
  #keepsPromise(id: MemberId, seen: Seen, ready: Ready): void {
    const { promised, storage } = seen;
    if (promised.term !== storage.hardState.term) return;
    const first = ready.entries[0]?.index ?? Infinity;
    if (first <= promised.index || storage.lastIndex() < promised.index)
      fail(`${id} promised ${promised.index} in term ${promised.term} and writes over it from ${first} on`);
  }

  #match(id: MemberId, entry: Entry, before: number): void {
    const key = `${entry.index}/${entry.term}`;
    const data = text(entry.data);
    const known = this.#entries.get(key);
    if (known === undefined) this.#entries.set(key, { data, before });
    else if (known.data !== data || known.before !== before)
      fail(`log matching: ${id} holds another entry ${key}`);
  }

  /** Messages that leave after the write promise only data on disk. */
  promised(id: MemberId, messages: readonly Message[]): void {
    const seen = this.#of(id);
    const { hardState } = seen.storage;
    for (const message of messages) {
      const { type, term, index, reject, to } = message;
      if (type === MessageType.appendResponse && !reject) {
        const end = seen.storage.lastIndex();
        if (index > end) fail(`${id} acknowledges ${index}, its log on disk ends at ${end}`);
        if (term !== seen.promised.term || index > seen.promised.index) seen.promised = { index, term };
      }
      const voter = type === MessageType.vote ? id : type === MessageType.voteResponse && !reject ? to : 0;
      if (voter !== 0 && term === hardState.term && hardState.vote !== voter)
        fail(`${id} speaks of a vote for ${voter} in term ${term}, on disk is one for ${hardState.vote}`);
      if (term > hardState.term && type !== MessageType.preVote && !isPreVoteGrant(message))
        fail(`${id} speaks in term ${term} and has ${hardState.term} on disk`);
    }
  }

  /** After every step of a member. */
  observe(id: MemberId, raft: Raft): void {
    const seen = this.#of(id);
    if (raft.commit < seen.commit) fail(`${id} lowers its commit from ${seen.commit} to ${raft.commit}`);
    if (raft.applied > raft.commit) fail(`${id} has applied ${raft.applied} of ${raft.commit}`);
    if (raft.isLeader) {
      const ledBefore = seen.ownLog.term === raft.term;
      this.#leads(id, raft, seen);
      if (ledBefore && raft.commit > seen.commit)
        this.#quorums.committedIsDurable(id, raft, [seen.configuration, raft.configuration]);
    }
    seen.commit = raft.commit;
    seen.configuration = raft.configuration;
    const known = this.#committed[seen.handedOut - this.#genesis.index - 1];
    if (known !== undefined) this.#quorums.quorumLog(id, raft, known.entry);
    const newest = this.#committed.at(-1);
    if (newest !== undefined) this.#quorums.moreUpToDate(id, raft, seen.handedOut, newest.entry);
  }

  /** Election safety, leader completeness, leader append-only. */
  #leads(id: MemberId, raft: Raft, seen: Seen): void {
    const { term, lastIndex } = raft;
    const leader = this.#leaders.get(term) ?? id;
    if (leader !== id) fail(`election safety: ${leader} and ${id} lead term ${term}`);
    this.#leaders.set(term, id);
    if (seen.ownLog.term === term && lastIndex < seen.ownLog.index)
      fail(`leader append-only: ${id} shortens its log from ${seen.ownLog.index} to ${lastIndex}`);
    seen.ownLog = { index: lastIndex, term };
    if (seen.ledTerm === term) return;
    seen.ledTerm = term;
    const before = this.#committed.findLast(({ by }) => by < term)?.entry;
    if (before !== undefined && !holds(seen.storage, before))
      fail(`leader completeness: ${id} leads term ${term} without committed ${before.index}/${before.term}`);
  }

  /** `after`: the configuration that the entry made, if it is a change that was new to this member. */
  handedOut(id: MemberId, raft: Raft, entry: Entry, after: Configuration | null): void {
    const seen = this.#of(id);
    if (!holds(seen.storage, entry)) fail(`${id} hands out ${entry.index}, which is not on its disk`);
    const at = entry.index - this.#genesis.index - 1;
    const known = this.#committed[at]?.entry;
    if (known === undefined) {
      if (at !== this.#committed.length)
        fail(`${id} hands out ${entry.index}, no member has the entry before`);
      this.#committed.push({ entry, by: raft.term });
    } else if (known.term !== entry.term || text(known.data) !== text(entry.data)) {
      fail(`state machine safety: ${id} hands out ${entry.index}/${entry.term}, others had ${known.term}`);
    }
    seen.handedOut = entry.index;
    if (after !== null) this.#configured(id, entry.index, after);
  }

  #configured(id: MemberId, index: number, configuration: Configuration): void {
    const known = this.#configurations.find((one) => one.index === index);
    if (known === undefined) {
      this.#configurations.push({ index, configuration });
      this.#configurations.sort((a, b) => a.index - b.index);
      this.#configurations.reduce((before, after) => {
        if (!quorumsOverlap(before.configuration, after.configuration))
          fail(`the configurations of ${before.index} and ${after.index} have quorums that do not overlap`);
        return after;
      });
      if (configuration.learners.includes(index)) this.admitted.add(index);
    } else if (JSON.stringify(known.configuration) !== JSON.stringify(configuration)) {
      fail(`${id} makes another configuration of entry ${index}`);
    }
  }

  /** A read is asked for under this context, which no other one has. */
  readAsked(context: string): void {
    this.#reads.set(context, this.#committed.at(-1)?.entry.index ?? this.#genesis.index);
  }

  /** The index of a read covers every entry that any member handed out before the read; and a read ends once. */
  readEnded({ context, index }: ReadState): void {
    const floor = this.#reads.get(text(context));
    if (floor === undefined) return fail(`a read ends twice: ${text(context)}`);
    this.#reads.delete(text(context));
    if (index === null) return;
    this.readsAnswered += 1;
    if (index < floor) fail(`stale read: ${text(context)} sees ${index}, ${floor} was committed before it`);
  }

  handedOutTo(id: MemberId): number {
    return this.#of(id).handedOut;
  }

  snapshotAt(index: number): SnapshotMetadata {
    const { index: base, term: baseTerm } = this.#genesis;
    const term = index === base ? baseTerm : this.#committed[index - base - 1]?.entry.term;
    const configured = this.#configurations.findLast((one) => one.index <= index);
    if (term === undefined || configured === undefined) return fail(`nothing is known of ${index}`);
    return { index, term, configuration: configured.configuration };
  }

  /** The last index at which this text is committed; 0: nowhere. */
  indexOf(data: string): number {
    return this.#committed.findLast(({ entry }) => text(entry.data) === data)?.entry.index ?? 0;
  }

  /** Dropped for certain means: in no log. */
  finish(dropped: ReadonlySet<string>): void {
    for (const [key, { data }] of this.#entries)
      if (dropped.has(data)) fail(`dropped, and in a log: ${data} at ${key}`);
  }

  #of(id: MemberId): Seen {
    return this.#seen.get(id) ?? fail(`${id} was never started`);
  }
}

const isPreVoteGrant = (message: Message): boolean =>
  message.type === MessageType.preVoteResponse && !message.reject;

/** What must hold at every moment in every group (paper, figure 3), judged by somebody who sees all members. */
import type { Raft, Ready } from "../../src/raft/raft.ts";
import {
  type Configuration,
  type Entry,
  type MemberId,
  type Message,
  MessageType,
  type SnapshotMetadata,
} from "../../src/raft/types.ts";
import { text } from "./harness.ts";
import type { MemoryStorage } from "./memory-storage.ts";

interface Seen {
  term: number;
  commit: number;
  handedOut: number;
  readonly votes: Map<number, MemberId>;
  /** The term for which its leader completeness was checked. */
  ledTerm: number;
}

const fail = (message: string): never => {
  throw new Error(message);
};

export class Invariants {
  readonly #genesis: { index: number; term: number };
  readonly #leaders = new Map<number, MemberId>();
  /** By "index/term": there is one such entry, and one term before it. Log matching follows by induction. */
  readonly #entries = new Map<string, { data: string; before: number }>();
  /** What was handed out anywhere, from genesis on. */
  readonly #committed: Entry[] = [];
  #configurations: { index: number; configuration: Configuration }[];
  readonly #seen = new Map<MemberId, Seen>();
  /** Members that were admitted after genesis. */
  readonly admitted = new Set<MemberId>();

  constructor(genesis: { index: number; term: number }, configuration: Configuration) {
    this.#genesis = genesis;
    this.#configurations = [{ index: genesis.index, configuration }];
  }

  started(id: MemberId, raft: Raft): void {
    const seen = this.#seen.get(id);
    if (seen !== undefined && raft.term < seen.term) fail(`${id} forgot term ${seen.term}`);
    const votes = seen?.votes ?? new Map<number, MemberId>();
    this.#seen.set(id, {
      term: raft.term,
      commit: raft.commit,
      handedOut: raft.applied,
      votes,
      ledTerm: seen?.ledTerm ?? 0,
    });
  }

  /** After a write: one vote per term, terms and commit on disk only grow, entries are what they are everywhere. */
  written(id: MemberId, ready: Ready, storage: MemoryStorage): void {
    const seen = this.#of(id);
    if (ready.hardState !== null) {
      const { term, vote, commit } = ready.hardState;
      if (term < seen.term) fail(`${id} writes term ${term} after ${seen.term}`);
      if (commit < seen.commit) fail(`${id} lowers its commit from ${seen.commit} to ${commit}`);
      seen.term = term;
      seen.commit = commit;
      const before = seen.votes.get(term) ?? 0;
      if (before !== 0 && before !== vote) fail(`${id} votes for ${before} and ${vote} in term ${term}`);
      seen.votes.set(term, vote);
    }
    for (const entry of ready.entries) this.#match(id, entry, storage.term(entry.index - 1));
  }

  #match(id: MemberId, entry: Entry, before: number): void {
    const key = `${entry.index}/${entry.term}`;
    const data = text(entry.data);
    const known = this.#entries.get(key);
    if (known === undefined) this.#entries.set(key, { data, before });
    else if (known.data !== data || known.before !== before)
      fail(`log matching: ${id} holds another entry ${key}`);
  }

  /** Messages that leave after the write promise only what is on disk. */
  promised(id: MemberId, storage: MemoryStorage, messages: readonly Message[]): void {
    for (const message of messages) {
      if (
        message.type === MessageType.appendResponse &&
        !message.reject &&
        message.index > storage.lastIndex()
      ) {
        fail(`${id} acknowledges ${message.index}, its log on disk ends at ${storage.lastIndex()}`);
      }
      if (
        message.term > storage.hardState.term &&
        message.type !== MessageType.preVote &&
        !isPreVoteGrant(message)
      ) {
        fail(`${id} speaks in term ${message.term} and has ${storage.hardState.term} on disk`);
      }
    }
  }

  observe(id: MemberId, raft: Raft, storage: MemoryStorage): void {
    const seen = this.#of(id);
    if (raft.commit < seen.commit) fail(`${id} lowers its commit from ${seen.commit} to ${raft.commit}`);
    seen.commit = raft.commit;
    if (!raft.isLeader) return;
    const { term } = raft;
    const leader = this.#leaders.get(term) ?? id;
    if (leader !== id) fail(`election safety: ${leader} and ${id} lead term ${term}`);
    this.#leaders.set(term, id);
    if (seen.ledTerm === term) return;
    seen.ledTerm = term;
    for (const entry of this.#committed) {
      if (entry.index < storage.firstIndex()) continue;
      if (entry.index > storage.lastIndex() || storage.term(entry.index) !== entry.term) {
        fail(
          `leader completeness: ${id} leads term ${term} without committed entry ${entry.index}/${entry.term}`,
        );
      }
    }
  }

  /** `after`: the configuration that the entry made, if it is a change that was new to this member. */
  handedOut(id: MemberId, entry: Entry, after: Configuration | null): void {
    const seen = this.#of(id);
    const at = entry.index - this.#genesis.index - 1;
    const known = this.#committed[at];
    if (known === undefined) {
      if (at !== this.#committed.length) fail(`${id} hands out ${entry.index}, nobody has what is before`);
      this.#committed.push(entry);
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
      if (configuration.learners.includes(index)) this.admitted.add(index);
    } else if (JSON.stringify(known.configuration) !== JSON.stringify(configuration)) {
      fail(`${id} makes another configuration of entry ${index}`);
    }
  }

  handedOutTo(id: MemberId): number {
    return this.#of(id).handedOut;
  }

  snapshotAt(index: number): SnapshotMetadata {
    const { index: base, term: baseTerm } = this.#genesis;
    const term = index === base ? baseTerm : this.#committed[index - base - 1]?.term;
    const configured = this.#configurations.findLast((one) => one.index <= index);
    if (term === undefined || configured === undefined) return fail(`nothing is known of ${index}`);
    return { index, term, configuration: configured.configuration };
  }

  /** The last index at which this text is committed; 0: nowhere. */
  indexOf(data: string): number {
    return this.#committed.findLast((one) => text(one.data) === data)?.index ?? 0;
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

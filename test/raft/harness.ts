/**
 * A member with its storage and state, and a network that delivers at once and in order, except for links that tests
 * cut.
 */
import { Random } from "../../src/base/random.ts";
import {
  decodeConfigChange,
  newMessage,
  Raft,
  type ProgressStatus,
  type RaftOptions,
  type ReadState,
  type Ready,
} from "../../src/raft/raft.ts";
import {
  ConfigChangeType,
  type ConfigChange,
  type Configuration,
  type Entry,
  EntryType,
  type MemberId,
  type Message,
  MessageType,
} from "../../src/raft/model/types.ts";
import { MemoryStorage, type StorageInit } from "./memory-storage.ts";

const MAX_ROUNDS = 100_000;

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (data: Uint8Array): string => new TextDecoder().decode(data);

export const configuration = (
  voters: readonly MemberId[],
  learners: readonly MemberId[] = [],
  rest: Partial<Configuration> = {},
): Configuration => ({ voters, votersOutgoing: [], learners, learnersNext: [], autoLeave: false, ...rest });

export const entry = (term: number, index: number, data = ""): Entry => ({
  term,
  index,
  type: EntryType.normal,
  data: bytes(data),
});

/** Entries from index 1 on, with these terms. */
export const entriesOf = (...terms: number[]): Entry[] => terms.map((term, i) => entry(term, i + 1));

export const change = (...steps: readonly [keyof typeof ConfigChangeType, MemberId][]): ConfigChange => ({
  steps: steps.map(([type, member]) => ({ type: ConfigChangeType[type], member })),
  context: new Uint8Array(0),
});

export interface MemberInit extends Partial<Omit<RaftOptions, "storage" | "random" | "configuration">> {
  readonly storage?: StorageInit;
  readonly voters?: readonly MemberId[];
  readonly learners?: readonly MemberId[];
  readonly configuration?: Configuration;
  readonly seed?: number;
}

export class Member {
  readonly storage: MemoryStorage;
  init: MemberInit;
  raft: Raft;
  /** All that was handed out, in order. */
  committed: Entry[] = [];
  /** Every read that ended, in order. */
  reads: ReadState[] = [];
  /** Off: the test itself reports applied entries. */
  autoApply = true;
  /** The configuration that is on disk, and the index of the entry that made it. */
  saved: { configuration: Configuration; index: number };

  constructor(init: MemberInit) {
    this.init = init;
    this.storage = new MemoryStorage(init.storage);
    this.saved = {
      configuration: init.configuration ?? configuration(init.voters ?? [1], init.learners),
      index: init.configurationIndex ?? 0,
    };
    this.raft = this.#start(init.applied ?? this.storage.firstIndex() - 1);
  }

  #start(applied: number): Raft {
    const { storage: _storage, voters: _voters, learners: _learners, seed, ...options } = this.init;
    return new Raft({
      id: 1,
      electionTicks: 10,
      heartbeatTicks: 1,
      maxMessageBytes: 1 << 20,
      maxInflightMessages: 256,
      maxInflightBytes: 1 << 30,
      maxApplyBytes: 1 << 30,
      maxUncommittedBytes: 1 << 30,
      preVote: false,
      checkQuorum: false,
      random: new Random(seed ?? this.init.id ?? 1),
      ...options,
      applied,
      storage: this.storage,
      configuration: this.saved.configuration,
      configurationIndex: this.saved.index,
    });
  }

  get id(): MemberId {
    return this.raft.id;
  }

  /** Non-empty data of normal entries handed out. */
  get texts(): string[] {
    return this.committed
      .filter((one) => one.type === EntryType.normal && one.data.length > 0)
      .map((one) => text(one.data));
  }

  progress(member: MemberId): ProgressStatus {
    const progress = this.raft.status().progress?.get(member);
    if (progress === undefined) throw new Error(`${this.id} has no progress of ${member}`);
    return progress;
  }

  /** The whole log as "term" per index, from 1 on; "-" where it is compacted. */
  get terms(): number[] {
    return this.storage.all().map((one) => one.term);
  }

  step(fields: Partial<Message> & { readonly type: Message["type"]; readonly from: MemberId }): void {
    this.raft.step(newMessage({ to: this.id, term: this.raft.term, ...fields }));
  }

  /** Persists, applies and advances a ready; returns its messages in the order in which they may leave. */
  finish(ready: Ready): Message[] {
    this.storage.write(ready);
    this.reads.push(...ready.readStates);
    if (ready.snapshot !== null) {
      this.saved = { configuration: ready.snapshot.configuration, index: ready.snapshot.index };
    }
    for (const one of ready.committed) {
      if (one.type === EntryType.configChange) {
        const after = this.raft.applyConfigChange(decodeConfigChange(one.data), one.index);
        if (one.index > this.saved.index) this.saved = { configuration: after, index: one.index };
      }
      this.committed.push(one);
    }
    const last = ready.committed.at(-1);
    if (last !== undefined && this.autoApply) this.raft.appliedTo(last.index);
    this.raft.advance(ready);
    return [...ready.messages, ...ready.messagesAfterPersist];
  }

  /** Runs readies until there are none; gives all messages. */
  settle(): Message[] {
    const messages: Message[] = [];
    for (let round = 0; this.raft.hasReady(); round += 1) {
      if (round > MAX_ROUNDS) throw new Error(`${this.id} does not settle`);
      messages.push(...this.finish(this.raft.ready()));
    }
    return messages;
  }

  /** One message at most was sent. */
  settleToOne(): Message | undefined {
    const messages = this.settle();
    if (messages.length > 1)
      throw new Error(`${messages.length} messages: ${messages.map(describe).join(", ")}`);
    return messages[0];
  }

  tick(ticks = 1): void {
    for (let i = 0; i < ticks; i += 1) this.raft.tick();
  }

  read(context: string): string {
    return this.raft.readIndex(bytes(context));
  }

  /** Reads that ended, as "context@index"; "context@-" without an answer. */
  get readTexts(): string[] {
    return this.reads.map(({ context, index }) => `${text(context)}@${index ?? "-"}`);
  }

  propose(data: string): string {
    return this.raft.propose(bytes(data));
  }

  /** Wins an election with the votes of these members, or of all. */
  lead(voters: readonly MemberId[] = this.raft.configuration.voters): this {
    this.raft.campaign();
    this.settle();
    for (const type of [MessageType.preVoteResponse, MessageType.voteResponse]) {
      for (const from of voters) {
        if (from === this.id || this.raft.isLeader) continue;
        const term = this.raft.role === "preCandidate" ? this.raft.term + 1 : this.raft.term;
        this.step({ type, from, term });
      }
      this.settle();
    }
    if (!this.raft.isLeader) throw new Error(`${this.id} does not lead`);
    return this;
  }

  /** As leader: `member` has everything, and is being replicated to. */
  catchUp(member: MemberId): void {
    this.step({ type: MessageType.appendResponse, from: member, index: this.raft.lastIndex });
    this.settle();
  }

  /** Restarts with the state on disk, and perhaps other options. `applied`: the position of its state. */
  restart(applied = this.raft.applied, changed: MemberInit = {}): void {
    this.init = { ...this.init, ...changed };
    this.committed = this.committed.filter((one) => one.index <= applied);
    this.raft = this.#start(applied);
  }
}

/** A member whose log on disk has entries of these terms from index 1 on, and whose term is the last one's or `term`. */
export function withLog(
  id: MemberId,
  terms: readonly number[],
  init: MemberInit & { term?: number } = {},
): Member {
  const { term = terms.at(-1) ?? 0, ...rest } = init;
  const hardState = { term, vote: 0, commit: 0 };
  return new Member({ ...rest, id, storage: { entries: entriesOf(...terms), hardState } });
}

const NAMES = Object.fromEntries(Object.entries(MessageType).map(([name, value]) => [value, name]));

export function describe(message: Message): string {
  const { from, to, term, index, logTerm, entries, commit, reject } = message;
  const flags = reject ? " reject" : "";
  return `${NAMES[message.type]} ${from}→${to} t${term} (${logTerm}, ${index}) +${entries.length} c${commit}${flags}`;
}

export class Network {
  readonly members = new Map<MemberId, Member>();
  /** A message for which one of these holds is lost. */
  #filters: ((message: Message) => boolean)[] = [];
  /** Every message that was delivered, when recording. */
  recorded: Message[] | null = null;

  /** Members that are named and not given are down. */
  static of(size: number, init: MemberInit = {}, down: readonly MemberId[] = []): Network {
    const voters = init.voters ?? Array.from({ length: size }, (_, i) => i + 1);
    const network = new Network();
    for (let id = 1; id <= size; id += 1) {
      if (!down.includes(id)) network.add(new Member({ ...init, id, voters }));
    }
    return network;
  }

  static with(...members: readonly Member[]): Network {
    const network = new Network();
    for (const member of members) network.add(member);
    return network;
  }

  add(member: Member): Member {
    this.members.set(member.id, member);
    return member;
  }

  get(id: MemberId): Member {
    const member = this.members.get(id);
    if (member === undefined) throw new Error(`no member ${id}`);
    return member;
  }

  get leaders(): MemberId[] {
    return [...this.members.values()].filter((one) => one.raft.isLeader).map((one) => one.id);
  }

  /** Both ways. */
  cut(a: MemberId, b: MemberId): void {
    this.#filters.push(({ from, to }) => (from === a && to === b) || (from === b && to === a));
  }

  isolate(id: MemberId): void {
    this.#filters.push(({ from, to }) => from === id || to === id);
  }

  ignore(type: Message["type"]): void {
    this.#filters.push((message) => message.type === type);
  }

  drop(filter: (message: Message) => boolean): void {
    this.#filters.push(filter);
  }

  heal(): void {
    this.#filters = [];
  }

  /** Delivers until no member has a ready or a message. */
  run(first: readonly Message[] = []): void {
    const queue: Message[] = [...first];
    for (let round = 0; ; round += 1) {
      if (round > MAX_ROUNDS) throw new Error("the network does not settle");
      for (const member of this.members.values()) queue.push(...member.settle());
      const message = queue.shift();
      if (message === undefined) return;
      if (this.#filters.some((filter) => filter(message))) continue;
      this.recorded?.push(message);
      this.members.get(message.to)?.raft.step(message);
    }
  }

  campaign(id: MemberId): void {
    this.get(id).raft.campaign();
    this.run();
  }

  propose(id: MemberId, data: string): string {
    const result = this.get(id).propose(data);
    this.run();
    return result;
  }

  read(id: MemberId, context: string): string {
    const result = this.get(id).read(context);
    this.run();
    return result;
  }

  change(id: MemberId, what: ConfigChange): string {
    const result = this.get(id).raft.proposeConfigChange(what);
    this.run();
    return result;
  }

  /** One tick of one member after the other, messages delivered between ticks. */
  tick(ids: MemberId | readonly MemberId[] = [...this.members.keys()], ticks = 1): void {
    for (let i = 0; i < ticks; i += 1) {
      for (const id of typeof ids === "number" ? [ids] : ids) this.get(id).raft.tick();
      this.run();
    }
  }
}

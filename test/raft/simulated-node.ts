/**
 * A process of the simulation that may be down. On disk it has its log, its state's position and its configurations.
 * Its
 * writes may be slow: then messages and ticks arrive during a write, and a crash finds it done or not.
 */
import { Random } from "../../src/base/random.ts";
import { decodeConfigChange, newMessage, Raft, type Ready } from "../../src/raft/raft.ts";
import {
  type Configuration,
  EntryType,
  type MemberId,
  type Message,
  MessageType,
} from "../../src/raft/model/types.ts";
import type { Invariants } from "./invariants.ts";
import { MemoryStorage } from "./memory-storage.ts";

export const ELECTION_TICKS = 10;

export interface NodeInit {
  readonly id: MemberId;
  readonly storage: MemoryStorage;
  /** Position of its state, and the configuration there. */
  readonly at: number;
  readonly configuration: Configuration;
  readonly invariants: Invariants;
  readonly random: Random;
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  readonly send: (messages: readonly Message[]) => void;
  readonly trace: string[];
}

export class SimulatedNode {
  readonly id: MemberId;
  readonly storage: MemoryStorage;
  raft: Raft | null = null;
  /** Position of the state in memory, and the part of it that survives a crash. */
  applied: number;
  syncedApplied: number;
  readonly #init: NodeInit;
  /** Configurations on disk, newest last. */
  #configurations: { index: number; configuration: Configuration }[];
  /** Handed out, not applied yet. */
  #backlog: number[] = [];
  /** Is being written. */
  #out: Ready | null = null;

  constructor(init: NodeInit) {
    this.#init = init;
    this.id = init.id;
    this.storage = init.storage;
    this.applied = init.at;
    this.syncedApplied = init.at;
    this.#configurations = [{ index: init.at, configuration: init.configuration }];
    this.#start();
  }

  get #random(): Random {
    return this.#init.random;
  }

  get backlog(): number {
    return this.#backlog.length;
  }

  #start(): void {
    const { invariants, preVote, checkQuorum } = this.#init;
    const newest = this.#configurations.at(-1);
    if (newest === undefined) throw new Error("no configuration");
    this.raft = new Raft({
      id: this.id,
      storage: this.storage,
      configuration: newest.configuration,
      configurationIndex: newest.index,
      applied: this.applied,
      appliedTerm: invariants.snapshotAt(this.applied).term,
      electionTicks: ELECTION_TICKS,
      heartbeatTicks: 2,
      maxMessageBytes: 64,
      maxInflightMessages: 4,
      maxInflightBytes: 200,
      maxApplyBytes: 100,
      maxUncommittedBytes: 500,
      preVote,
      checkQuorum,
      random: this.#random.fork(),
    });
    invariants.started(this.id, this.raft, this.storage);
  }

  /** A write in progress is completed, or lost, as a whole. */
  crash(): void {
    this.#init.trace.push(`crash ${this.id}`);
    if (this.#out !== null && this.#random.chance(0.5)) this.#persist(this.#out);
    this.#out = null;
    this.raft = null;
  }

  /** Unsynced data is lost: of the state any suffix, of the configurations those that the state does not need. */
  restart(): void {
    if (this.raft !== null) return;
    const r = this.#random;
    this.applied = r.between(this.syncedApplied, this.applied);
    this.syncedApplied = this.applied;
    this.#backlog = [];
    const keep = this.#configurations.findLastIndex((one) => one.index <= this.applied) + 1;
    this.#configurations.length = r.between(keep, this.#configurations.length);
    this.#init.trace.push(`restart ${this.id} at ${this.applied}`);
    // A state was installed, and the crash came before the log followed: that is done now.
    const snapshot = this.#init.invariants.snapshotAt(this.applied);
    if (this.storage.lastIndex() < snapshot.index || this.storage.term(snapshot.index) !== snapshot.term) {
      this.storage.write({ snapshot, entries: [], hardState: null });
      this.#configurations = [snapshot];
    }
    this.#start();
  }

  /** Runs readies. `crash`: chance to die before or after each write; `slow`: chance that a write lasts until later. */
  turn(crash: number, slow: number): void {
    const { raft } = this;
    if (raft === null) return;
    this.#init.invariants.observe(this.id, raft);
    while (this.#out !== null || raft.hasReady()) {
      if (this.#out === null) {
        this.#out = raft.ready();
        this.#init.send(this.#out.messages);
        for (const read of this.#out.readStates) this.#init.invariants.readEnded(read);
      }
      if (this.#random.chance(crash)) return this.crash();
      if (this.#random.chance(slow)) return;
      const ready = this.#out;
      this.#persist(ready);
      this.#out = null;
      if (this.#random.chance(crash)) return this.crash();
      this.#init.invariants.promised(this.id, ready.messagesAfterPersist);
      this.#init.send(ready.messagesAfterPersist);
      this.#handOut(raft, ready);
      raft.advance(ready);
      this.#init.invariants.observe(this.id, raft);
    }
  }

  #persist(ready: Ready): void {
    this.storage.write(ready);
    if (ready.snapshot !== null) this.#configurations = [{ ...ready.snapshot }];
    this.#init.invariants.written(this.id, ready);
  }

  #handOut(raft: Raft, ready: Ready): void {
    for (const entry of ready.committed) {
      let after: Configuration | null = null;
      if (entry.type === EntryType.configChange) {
        after = raft.applyConfigChange(decodeConfigChange(entry.data), entry.index);
        const newest = this.#configurations.at(-1);
        if (newest === undefined || entry.index > newest.index) {
          this.#configurations.push({ index: entry.index, configuration: after });
        } else after = null; // An older one, again, after a restart.
      }
      this.#init.invariants.handedOut(this.id, raft, entry, after);
      if (entry.index > this.applied) this.#backlog.push(entry.index);
    }
  }

  apply(count: number): void {
    for (const index of this.#backlog.splice(0, count)) {
      if (index !== this.applied + 1) throw new Error(`${this.id} applies ${index} after ${this.applied}`);
      this.applied = index;
    }
    this.raft?.appliedTo(this.applied);
  }

  applySome(): void {
    if (this.raft === null || this.#backlog.length === 0 || this.#random.chance(0.5)) return;
    this.apply(this.#random.between(1, this.#backlog.length));
    if (this.#random.chance(0.1)) this.syncedApplied = this.applied;
  }

  compact(): void {
    const { invariants } = this.#init;
    const to = this.syncedApplied;
    if (to < this.storage.firstIndex() || this.#backlog.length > 0 || to > this.storage.lastIndex()) return;
    if (to > invariants.handedOutTo(this.id)) return;
    this.storage.compact(to, invariants.snapshotAt(to).configuration);
  }

  receive(message: Message, donor: SimulatedNode | null): void {
    if (message.type === MessageType.snapshot) this.#install(message, donor);
    else this.raft?.step(message);
  }

  /** The state comes from any donor, so it may be newer than the offered one. */
  #install(message: Message, donor: SimulatedNode | null): void {
    const { raft } = this;
    const index = donor?.applied ?? message.snapshot?.index ?? 0;
    if (raft === null) return;
    if (index <= this.applied) {
      raft.step(message);
      return;
    }
    const snapshot = this.#init.invariants.snapshotAt(index);
    raft.step(newMessage({ ...message, snapshot }));
    this.applied = index;
    this.syncedApplied = index;
    this.#backlog = this.#backlog.filter((one) => one > index);
    if (raft.commit >= index) raft.appliedTo(index);
  }
}

/**
 * A group under random faults, drawn from one seed: messages lost, doubled and overtaking each other, partitions, crashes
 * before and after the write, lagging applies, compaction, snapshots from elsewhere, membership changes, transfers.
 * Every rule of the paper's figure 3 is checked as it goes; at the end all heals and the group must get on.
 */
import { Random } from "../../src/base/random.ts";
import { decodeConfigChange, newMessage, Raft, type Ready } from "../../src/raft/raft.ts";
import {
  type ConfigChange,
  type Configuration,
  EntryType,
  type MemberId,
  type Message,
  MessageType,
} from "../../src/raft/types.ts";
import { bytes, change, configuration, describe } from "./harness.ts";
import { Invariants } from "./invariants.ts";
import { MemoryStorage } from "./memory-storage.ts";

const ELECTION_TICKS = 10;
const VOTERS_MAX = 5;
const IN_FLIGHT_MAX = 400;
/** Rounds in which a healed group must have elected, committed and spread an entry. */
const HEAL_ROUNDS_MAX = 600;

interface Faults {
  readonly drop: number;
  readonly duplicate: number;
  readonly crash: number;
  readonly partition: number;
  readonly compact: number;
  readonly membership: number;
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
}

/** A process that may be down. What it has on disk: its storage, its state's position, its configurations. */
class Node {
  readonly id: MemberId;
  readonly storage: MemoryStorage;
  raft: Raft | null = null;
  /** Position of the state in memory, and of what of it survives a crash. */
  applied: number;
  syncedApplied: number;
  /** Configurations on disk, newest last. */
  configurations: { index: number; configuration: Configuration }[];
  /** Handed out, not applied yet. */
  backlog: number[] = [];

  constructor(id: MemberId, storage: MemoryStorage, at: number, from: Configuration) {
    this.id = id;
    this.storage = storage;
    this.applied = at;
    this.syncedApplied = at;
    this.configurations = [{ index: at, configuration: from }];
  }
}

export class Simulation {
  readonly #random: Random;
  #faults: Faults;
  readonly #nodes = new Map<MemberId, Node>();
  readonly #invariants: Invariants;
  #inFlight: Message[] = [];
  /** Which side of the partition a node is on; empty: none. */
  #sides = new Map<MemberId, number>();
  #proposed = 0;
  readonly #dropped = new Set<string>();
  readonly trace: string[] = [];

  constructor(seed: number) {
    this.#random = new Random(seed);
    const r = this.#random;
    const [preVote, checkQuorum] = [r.chance(0.5), r.chance(0.5)];
    this.#faults = {
      drop: r.below(30) / 100,
      duplicate: r.below(30) / 100,
      crash: r.pick([0, 0.002, 0.01]),
      partition: r.pick([0, 0.002, 0.01]),
      compact: r.pick([0, 0.005, 0.02]),
      // Without either, a removed member that does not know it disrupts the others for ever (thesis §4.2.3).
      membership: preVote || checkQuorum ? r.pick([0, 0.005, 0.02]) : 0,
      preVote,
      checkQuorum,
    };
    const size = r.pick([1, 2, 3, 3, 3, 5]);
    const voters = Array.from({ length: size }, (_, i) => i + 1);
    // Index 1 is everybody's genesis; ids of later members are indexes of entries, so they start above these.
    const genesis = { index: 10, term: 1 };
    this.#invariants = new Invariants(genesis, configuration(voters));
    for (const id of voters) {
      const storage = new MemoryStorage({ compacted: genesis });
      storage.offered = { ...genesis, configuration: configuration(voters) };
      this.#start(new Node(id, storage, genesis.index, configuration(voters)));
    }
  }

  run(steps: number): void {
    for (let i = 0; i < steps; i += 1) this.#step();
    this.#heal();
  }

  #up(): Node[] {
    return [...this.#nodes.values()].filter((node) => node.raft !== null);
  }

  #step(): void {
    const r = this.#random;
    const faults = this.#faults;
    const nodes = this.#up();
    if (r.chance(faults.crash)) this.#crash(r.pick([...this.#nodes.values()]));
    if (r.chance(faults.partition)) this.#repartition();
    if (r.chance(0.02)) for (const node of this.#nodes.values()) if (node.raft === null) this.#restart(node);
    if (nodes.length === 0) return;
    const node = r.pick(nodes);
    if (node.raft === null) return;
    const dice = r.below(100);
    if (dice < 25) node.raft.tick();
    else if (dice < 40) this.#propose(node);
    else if (dice < 41) node.raft.transferLeader(r.pick([...this.#nodes.keys()]));
    else if (dice < 42) node.raft.reportUnreachable(r.pick([...this.#nodes.keys()]));
    else this.#deliver(faults.drop, faults.duplicate);
    if (r.chance(faults.membership)) this.#changeMembership(node);
    if (r.chance(faults.compact)) this.#compact(node);
    this.#turn(node, faults.crash * 5);
    this.#applySome(node);
  }

  // ------------------------------------------------------------------------------------------------ the network

  #send(messages: readonly Message[]): void {
    for (const message of messages) {
      if (this.#inFlight.length < IN_FLIGHT_MAX) this.#inFlight.push(message);
    }
  }

  /** Any message may come next: they overtake each other. */
  #deliver(drop: number, duplicate: number): void {
    if (this.#inFlight.length === 0) return;
    const r = this.#random;
    const at = r.below(this.#inFlight.length);
    const message = this.#inFlight[at] as Message;
    if (!r.chance(duplicate)) this.#inFlight.splice(at, 1);
    if (r.chance(drop) || this.#sides.get(message.from) !== this.#sides.get(message.to)) return;
    const node = this.#nodes.get(message.to);
    if (node?.raft == null) return;
    this.trace.push(describe(message));
    if (message.type === MessageType.snapshot) this.#install(node, message);
    else node.raft.step(message);
    this.#turn(node, this.#faults.crash * 5);
  }

  #repartition(): void {
    const sides = this.#random.chance(0.5) ? 1 : 2;
    this.#sides = new Map([...this.#nodes.keys()].map((id) => [id, this.#random.below(sides)]));
  }

  /** The state comes from any donor, so it may stand further on than what was offered. */
  #install(node: Node, message: Message): void {
    const offered = message.snapshot?.index ?? 0;
    const donors = this.#up().filter((donor) => donor.applied >= offered);
    const donor = donors.length > 0 && this.#random.chance(0.5) ? this.#random.pick(donors) : null;
    const index = donor?.applied ?? offered;
    if (index <= node.applied || node.raft === null) {
      node.raft?.step(message);
      return;
    }
    const snapshot = this.#invariants.snapshotAt(index);
    node.raft.step(newMessage({ ...message, snapshot }));
    node.applied = index;
    node.syncedApplied = index;
    node.backlog = node.backlog.filter((one) => one > index);
    if (node.raft.commit >= index) node.raft.appliedTo(index);
  }

  // ------------------------------------------------------------------------------------------------ one node

  #start(node: Node): void {
    this.#nodes.set(node.id, node);
    const newest = node.configurations.at(-1);
    if (newest === undefined) throw new Error("no configuration");
    node.raft = new Raft({
      id: node.id,
      storage: node.storage,
      configuration: newest.configuration,
      configurationIndex: newest.index,
      applied: node.applied,
      appliedTerm: this.#invariants.snapshotAt(node.applied).term,
      electionTicks: ELECTION_TICKS,
      heartbeatTicks: 2,
      maxMessageBytes: 64,
      maxInflightMessages: 4,
      maxInflightBytes: 200,
      maxApplyBytes: 100,
      maxUncommittedBytes: 500,
      preVote: this.#faults.preVote,
      checkQuorum: this.#faults.checkQuorum,
      random: this.#random.fork(),
    });
    this.#invariants.started(node.id, node.raft);
  }

  #crash(node: Node): void {
    this.trace.push(`crash ${node.id}`);
    node.raft = null;
  }

  /** What was not synced is gone: of the state any suffix, of the configurations those that the state does not need. */
  #restart(node: Node): void {
    node.applied = this.#random.between(node.syncedApplied, node.applied);
    node.syncedApplied = node.applied;
    node.backlog = [];
    const keep = node.configurations.findLastIndex((one) => one.index <= node.applied) + 1;
    node.configurations.length = this.#random.between(keep, node.configurations.length);
    this.trace.push(`restart ${node.id} at ${node.applied}`);
    // A state was installed, and the crash came before the log followed: that is done now.
    const snapshot = this.#invariants.snapshotAt(node.applied);
    const { storage } = node;
    if (storage.lastIndex() < snapshot.index || storage.term(snapshot.index) !== snapshot.term) {
      storage.write({ snapshot, entries: [], hardState: null });
      node.configurations = [snapshot];
    }
    this.#start(node);
  }

  #turn(node: Node, crash: number): void {
    while (node.raft?.hasReady() === true) {
      const ready = node.raft.ready();
      this.#send(ready.messages);
      if (this.#random.chance(crash)) return this.#crash(node);
      this.#persist(node, ready);
      if (this.#random.chance(crash)) return this.#crash(node);
      this.#invariants.promised(node.id, node.storage, ready.messagesAfterPersist);
      this.#send(ready.messagesAfterPersist);
      this.#handOut(node, node.raft, ready);
      node.raft.advance(ready);
      this.#invariants.observe(node.id, node.raft, node.storage);
    }
  }

  #persist(node: Node, ready: Ready): void {
    node.storage.write(ready);
    if (ready.snapshot !== null) node.configurations = [{ ...ready.snapshot }];
    this.#invariants.written(node.id, ready, node.storage);
  }

  #handOut(node: Node, raft: Raft, ready: Ready): void {
    for (const entry of ready.committed) {
      let after: Configuration | null = null;
      if (entry.type === EntryType.configChange) {
        after = raft.applyConfigChange(decodeConfigChange(entry.data), entry.index);
        const newest = node.configurations.at(-1);
        if (newest === undefined || entry.index > newest.index) {
          node.configurations.push({ index: entry.index, configuration: after });
        } else after = null; // An older one, again, after a restart.
      }
      this.#invariants.handedOut(node.id, entry, after);
      if (entry.index > node.applied) node.backlog.push(entry.index);
    }
  }

  #applySome(node: Node): void {
    if (node.raft === null || node.backlog.length === 0 || this.#random.chance(0.5)) return;
    this.#apply(node, node.raft, this.#random.between(1, node.backlog.length));
    if (this.#random.chance(0.1)) node.syncedApplied = node.applied;
  }

  #apply(node: Node, raft: Raft, count: number): void {
    for (const index of node.backlog.splice(0, count)) {
      if (index !== node.applied + 1) throw new Error(`${node.id} applies ${index} after ${node.applied}`);
      node.applied = index;
    }
    raft.appliedTo(node.applied);
  }

  #compact(node: Node): void {
    const to = node.syncedApplied;
    if (to < node.storage.firstIndex() || node.backlog.length > 0 || to > node.storage.lastIndex()) return;
    const handedOut = this.#invariants.handedOutTo(node.id);
    if (to > handedOut) return;
    node.storage.compact(to, this.#invariants.snapshotAt(to).configuration);
  }

  // ------------------------------------------------------------------------------------------------ clients

  #propose(node: Node): void {
    if (node.raft === null) return;
    this.#proposed += 1;
    const data = `p${this.#proposed}${"x".repeat(this.#random.below(30))}`;
    if (node.raft.propose(bytes(data)) === "dropped") this.#dropped.add(data);
  }

  #changeMembership(node: Node): void {
    const { raft } = node;
    if (raft === null || !raft.isLeader) return;
    const { voters, learners } = raft.configuration;
    const r = this.#random;
    const ideas: ConfigChange[] = [];
    if (voters.length + learners.length < VOTERS_MAX) ideas.push(change(["addLearner", 0]));
    if (learners.length > 0)
      ideas.push(change(["addVoter", r.pick(learners)]), change(["removeMember", r.pick(learners)]));
    if (voters.length > 1)
      ideas.push(change(["removeMember", r.pick(voters)]), change(["addLearner", r.pick(voters)]));
    if (voters.length > 2) {
      // Two at once, or one for another: joint.
      const [a, b] = [r.pick(voters), r.pick(voters)];
      ideas.push(change(["removeMember", a], ["addLearner", b]));
      if (learners.length > 0) ideas.push(change(["addVoter", r.pick(learners)], ["removeMember", a]));
    }
    if (ideas.length > 0) raft.proposeConfigChange(r.pick(ideas));
    this.#join();
  }

  /** Admitted members come up with a state from somewhere, which may be older than their admission. */
  #join(): void {
    for (const id of this.#invariants.admitted) {
      if (this.#nodes.has(id)) continue;
      const donors = this.#up();
      if (donors.length === 0) return;
      const snapshot = this.#invariants.snapshotAt(this.#random.pick(donors).applied);
      this.trace.push(`${id} joins at ${snapshot.index}`);
      const storage = new MemoryStorage();
      storage.write({ snapshot, entries: [], hardState: null });
      this.#start(new Node(id, storage, snapshot.index, snapshot.configuration));
    }
  }

  // ------------------------------------------------------------------------------------------------ the end

  /** No more faults: within bounds all members of the last configuration hold the same, newest entry. */
  #heal(): void {
    this.#faults = { ...this.#faults, crash: 0, drop: 0, duplicate: 0 };
    this.#sides.clear();
    this.#inFlight = [];
    for (const node of this.#nodes.values()) if (node.raft === null) this.#restart(node);
    const last = "the last one";
    for (let round = 0; round < HEAL_ROUNDS_MAX; round += 1) {
      this.#join();
      const nodes = this.#up();
      for (const node of nodes) {
        node.raft?.tick();
        this.#turn(node, 0);
        if (node.raft !== null) this.#apply(node, node.raft, node.backlog.length);
        node.syncedApplied = node.applied;
      }
      for (let i = 0; i < 200 && this.#inFlight.length > 0; i += 1) this.#deliver(0, 0);
      // Without check-quorum a leader of an older term may go on, unheard.
      const leader = nodes
        .filter((node) => node.raft?.isLeader)
        .sort((a, b) => (b.raft?.term ?? 0) - (a.raft?.term ?? 0))[0];
      if (leader?.raft == null) continue;
      if (round % 50 === 25) leader.raft.propose(bytes(last));
      const members = [...leader.raft.configuration.voters, ...leader.raft.configuration.learners];
      const end = this.#invariants.indexOf(last);
      const there = members.every((id) => (this.#nodes.get(id)?.applied ?? 0) >= end);
      if (end > 0 && there) return this.#invariants.finish(this.#dropped);
    }
    const stuck = this.#up().map((node) => {
      const status = node.raft?.status();
      const progress = [...(status?.progress ?? [])];
      return JSON.stringify({ ...status, progress, state: node.applied, first: node.storage.firstIndex() });
    });
    throw new Error(`not alive after healing:\n${stuck.join("\n")}`);
  }
}

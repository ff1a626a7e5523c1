/**
 * A group under random faults, drawn from one seed. Messages are lost, doubled and reordered. There are partitions
 * and one-way
 * cuts, crashes before, during and after the write, slow writes, uneven clocks and late applies. There are
 * compaction,
 * snapshots of other members, simple and joint changes, transfers and reads. The invariants are checked after every
 * step;
 * at the end all faults are healed and the group must make progress.
 */
import { Random } from "../../src/base/random.ts";
import {
  type ConfigChange,
  ConfigChangeTransition,
  type ConfigChangeType,
  type Configuration,
  type MemberId,
  type Message,
  MessageType,
} from "../../src/raft/model/types.ts";
import { bytes, change, configuration, describe } from "./harness.ts";
import { Invariants } from "./invariants.ts";
import { MemoryStorage } from "./memory-storage.ts";
import { SimulatedNode } from "./simulated-node.ts";

const VOTERS_MAX = 5;
const IN_FLIGHT_MAX = 400;
/** Rounds in which a healed group must have elected, committed and spread an entry. */
const HEAL_ROUNDS_MAX = 600;

type Step = [keyof typeof ConfigChangeType, MemberId];

interface Faults {
  readonly drop: number;
  readonly duplicate: number;
  readonly crash: number;
  readonly partition: number;
  readonly compact: number;
  readonly membership: number;
  readonly reads: number;
  readonly slow: number;
  /** Chance by which a node's clock ticks when it should. */
  readonly clocks: readonly number[];
}

export class Simulation {
  readonly #random: Random;
  readonly #faults: Faults;
  readonly #preVote: boolean;
  readonly #checkQuorum: boolean;
  readonly #nodes = new Map<MemberId, SimulatedNode>();
  readonly invariants: Invariants;
  #inFlight: Message[] = [];
  /** Which side of the partition a node is on; empty: none. */
  #sides = new Map<MemberId, number>();
  /** Directions in which nothing arrives. */
  readonly #cuts = new Set<string>();
  #proposed = 0;
  #asked = 0;
  readonly #dropped = new Set<string>();
  readonly trace: string[] = [];

  constructor(seed: number) {
    this.#random = new Random(seed);
    const r = this.#random;
    this.#preVote = r.chance(0.5);
    this.#checkQuorum = r.chance(0.5);
    this.#faults = {
      drop: r.below(30) / 100,
      duplicate: r.below(30) / 100,
      crash: r.pick([0, 0.002, 0.01]),
      partition: r.pick([0, 0.002, 0.01]),
      compact: r.pick([0, 0.005, 0.02]),
      // Without either, a removed member that does not know it disrupts the others again and again (thesis §4.2.3).
      membership: this.#preVote || this.#checkQuorum ? r.pick([0, 0.005, 0.02, 0.1]) : 0,
      reads: r.pick([0, 0.02, 0.1]),
      slow: r.pick([0, 0.1, 0.4]),
      clocks: r.pick([[1], [1, 0.8, 0.6], [1, 0.2]]),
    };
    const size = r.pick([1, 2, 3, 3, 3, 5]);
    const voters = Array.from({ length: size }, (_, i) => i + 1);
    // Every log begins at index 10; ids of later members are indexes of entries, so they are higher.
    const genesis = { index: 10, term: 1 };
    this.invariants = new Invariants(genesis, configuration(voters));
    for (const id of voters) {
      const storage = new MemoryStorage({ compacted: genesis });
      storage.offered = { ...genesis, configuration: configuration(voters) };
      this.#add(id, storage, genesis.index, configuration(voters));
    }
  }

  run(steps: number): void {
    for (let i = 0; i < steps; i += 1) this.#step();
    this.#heal();
  }

  #add(id: MemberId, storage: MemoryStorage, at: number, from: Configuration): void {
    const node = new SimulatedNode({
      id,
      storage,
      at,
      configuration: from,
      invariants: this.invariants,
      random: this.#random.fork(),
      preVote: this.#preVote,
      checkQuorum: this.#checkQuorum,
      send: (messages) => this.#send(messages),
      trace: this.trace,
    });
    this.#nodes.set(id, node);
  }

  #up(): SimulatedNode[] {
    return [...this.#nodes.values()].filter((node) => node.raft !== null);
  }

  #step(): void {
    const r = this.#random;
    const faults = this.#faults;
    const nodes = this.#up();
    if (r.chance(faults.crash)) r.pick([...this.#nodes.values()]).crash();
    if (r.chance(faults.partition)) this.#repartition();
    if (r.chance(0.02)) for (const node of this.#nodes.values()) node.restart();
    if (nodes.length === 0) return;
    const node = r.pick(nodes);
    if (node.raft === null) return;
    const dice = r.below(100);
    if (dice < 25) this.#tick(node);
    else if (dice < 40) this.#propose(node);
    else if (dice < 41) node.raft.transferLeader(r.pick([...this.#nodes.keys()]));
    else if (dice < 42) node.raft.reportUnreachable(r.pick([...this.#nodes.keys()]));
    else this.#deliver(faults.drop, faults.duplicate);
    if (r.chance(faults.reads)) this.#read(node);
    if (r.chance(faults.membership)) this.#changeMembership(node);
    if (r.chance(faults.compact)) node.compact();
    node.turn(faults.crash * 5, faults.slow);
    node.applySome();
  }

  #tick(node: SimulatedNode): void {
    const { clocks } = this.#faults;
    if (this.#random.chance(clocks[node.id % clocks.length] ?? 1)) node.raft?.tick();
  }

  // ------------------------------------------------------------------------------------------------ the network

  #send(messages: readonly Message[]): void {
    for (const message of messages) {
      if (this.#inFlight.length < IN_FLIGHT_MAX) this.#inFlight.push(message);
    }
  }

  #isCut({ from, to }: Message): boolean {
    return this.#sides.get(from) !== this.#sides.get(to) || this.#cuts.has(`${from}→${to}`);
  }

  /** Any message may come next: they overtake each other. */
  #deliver(drop: number, duplicate: number): void {
    if (this.#inFlight.length === 0) return;
    const r = this.#random;
    const at = r.below(this.#inFlight.length);
    const message = this.#inFlight[at] as Message;
    if (!r.chance(duplicate)) this.#inFlight.splice(at, 1);
    if (r.chance(drop) || this.#isCut(message)) return;
    const node = this.#nodes.get(message.to);
    if (node?.raft == null) return;
    this.trace.push(describe(message));
    node.receive(message, this.#donorFor(message));
    node.turn(this.#faults.crash * 5, this.#faults.slow);
  }

  /** The donor of the state when a snapshot is offered; null: the member that offers it. */
  #donorFor({ type, snapshot }: Message): SimulatedNode | null {
    if (type !== MessageType.snapshot) return null;
    const donors = this.#up().filter((donor) => donor.applied >= (snapshot?.index ?? 0));
    return donors.length > 0 && this.#random.chance(0.5) ? this.#random.pick(donors) : null;
  }

  /** Halves, or single directions, or nothing. */
  #repartition(): void {
    const r = this.#random;
    const sides = r.chance(0.5) ? 1 : 2;
    const ids = [...this.#nodes.keys()];
    this.#sides = new Map(ids.map((id) => [id, r.below(sides)]));
    this.#cuts.clear();
    if (r.chance(0.5)) return;
    for (const from of ids) for (const to of ids) if (r.chance(0.25)) this.#cuts.add(`${from}→${to}`);
  }

  // ------------------------------------------------------------------------------------------------ clients

  #propose(node: SimulatedNode): void {
    if (node.raft === null) return;
    this.#proposed += 1;
    const data = `p${this.#proposed}${"x".repeat(this.#random.below(30))}`;
    if (node.raft.propose(bytes(data)) === "dropped") this.#dropped.add(data);
  }

  #read(node: SimulatedNode): void {
    this.#asked += 1;
    const context = `r${this.#asked}`;
    this.invariants.readAsked(context);
    if (node.raft?.readIndex(bytes(context)) !== "dropped") return;
    this.invariants.readEnded({ context: bytes(context), index: null });
  }

  #changeMembership(node: SimulatedNode): void {
    const { raft } = node;
    if (raft === null || !raft.isLeader) return;
    const { voters, learners, votersOutgoing } = raft.configuration;
    const r = this.#random;
    const ideas: ConfigChange[] = [];
    if (votersOutgoing.length > 0) ideas.push(change());
    if (voters.length + learners.length < VOTERS_MAX) ideas.push(change(["addLearner", 0]));
    if (learners.length > 0)
      ideas.push(change(["addVoter", r.pick(learners)]), change(["removeMember", r.pick(learners)]));
    if (learners.length > 1) ideas.push(change(...learners.map((id): Step => ["addVoter", id])));
    if (voters.length > 1)
      ideas.push(change(["removeMember", r.pick(voters)]), change(["addLearner", r.pick(voters)]));
    if (voters.length > 2) {
      // All but one go, so that the halves decide by different members.
      const stays = r.pick(voters);
      const go = voters.filter((id) => id !== stays);
      ideas.push(change(...go.map((id): Step => [r.pick(["removeMember", "addLearner"]), id])));
      // Two at once, or one for another: joint.
      const [a, b] = [r.pick(voters), r.pick(voters)];
      ideas.push(change(["removeMember", a], ["addLearner", b]));
      if (learners.length > 0) ideas.push(change(["addVoter", r.pick(learners)], ["removeMember", a]));
    }
    if (ideas.length > 0) {
      const idea = r.pick(ideas);
      const { auto, jointImplicit, jointExplicit } = ConfigChangeTransition;
      const transition = idea.steps.length === 0 ? auto : r.pick([auto, auto, jointImplicit, jointExplicit]);
      raft.proposeConfigChange(transition === auto ? idea : { ...idea, transition });
    }
    this.#join();
  }

  /** Admitted members come up with a state from somewhere, which may be older than their admission. */
  #join(): void {
    for (const id of this.invariants.admitted) {
      if (this.#nodes.has(id)) continue;
      const donors = this.#up();
      if (donors.length === 0) return;
      const snapshot = this.invariants.snapshotAt(this.#random.pick(donors).applied);
      this.trace.push(`${id} joins at ${snapshot.index}`);
      const storage = new MemoryStorage();
      storage.write({ snapshot, entries: [], hardState: null });
      this.#add(id, storage, snapshot.index, snapshot.configuration);
    }
  }

  // ------------------------------------------------------------------------------------------------ the end

  /** No more faults: within bounds all members of the last configuration hold the same, newest entry, and can read it. */
  #heal(): void {
    this.#sides.clear();
    this.#cuts.clear();
    this.#inFlight = [];
    for (const node of this.#nodes.values()) node.restart();
    const last = "the last one";
    for (let round = 0; round < HEAL_ROUNDS_MAX; round += 1) {
      this.#healRound();
      const leader = this.#leader();
      if (leader?.raft == null) continue;
      if (leader.raft.configuration.votersOutgoing.length > 0) leader.raft.proposeConfigChange(change());
      if (round % 50 === 25) leader.raft.propose(bytes(last));
      const members = [...leader.raft.configuration.voters, ...leader.raft.configuration.learners];
      const end = this.invariants.indexOf(last);
      const there = members.every((id) => (this.#nodes.get(id)?.applied ?? 0) >= end);
      if (end > 0 && there) {
        this.#readEverywhere(members);
        return this.invariants.finish(this.#dropped);
      }
    }
    throw new Error(`not alive after healing:\n${this.#stuck()}`);
  }

  #healRound(): void {
    this.#join();
    for (const node of this.#up()) {
      node.raft?.tick();
      node.turn(0, 0);
      node.apply(node.backlog);
      node.syncedApplied = node.applied;
    }
    for (let i = 0; i < 200 && this.#inFlight.length > 0; i += 1) {
      const message = this.#inFlight.splice(this.#random.below(this.#inFlight.length), 1)[0] as Message;
      const node = this.#nodes.get(message.to);
      node?.receive(message, null);
      node?.turn(0, 0);
    }
  }

  /** Without check-quorum a leader of an older term may go on, unheard. */
  #leader(): SimulatedNode | undefined {
    const leaders = this.#up().filter((node) => node.raft?.isLeader);
    return leaders.sort((a, b) => (b.raft?.term ?? 0) - (a.raft?.term ?? 0))[0];
  }

  #readEverywhere(members: readonly MemberId[]): void {
    const before = this.invariants.readsAnswered;
    for (let round = 0; round < HEAL_ROUNDS_MAX; round += 1) {
      for (const id of members) this.#read(this.#nodes.get(id) as SimulatedNode);
      this.#healRound();
      if (this.invariants.readsAnswered >= before + members.length) return;
    }
    throw new Error(`nothing can be read after healing:\n${this.#stuck()}`);
  }

  #stuck(): string {
    const all = this.#up().map((node) => {
      const status = node.raft?.status();
      const progress = [...(status?.progress ?? [])];
      return JSON.stringify({ ...status, progress, state: node.applied, first: node.storage.firstIndex() });
    });
    return all.join("\n");
  }
}

/**
 * A member with changed code: beside the messages of an honest member it sends far terms, junk entries, votes under the ids
 * of others, old messages again, cut ones, offers of replicas that never come, and floods of joins. The others must go on: no
 * node halts or ends, terms grow only by elections, no entry of the hostile member but its own rows takes effect. One seed,
 * one course of events, as in simulation.ts.
 */
import { asPeerId } from "../../src/base/ids.ts";
import { encodeBatch } from "../../src/change/codec.ts";
import { EntryType, type Message, MessageType } from "../../src/raft/model/types.ts";
import { newMessage } from "../../src/raft/raft.ts";
import { type Control, encodeControl } from "../../src/replication/messages/control-messages.ts";
import { MessageKind } from "../../src/shard/frames.ts";
import { encodeMessages } from "../../src/shard/wire.ts";
import { hostile } from "../fuzz/mutate.ts";
import { CONTROLS } from "../fuzz/samples.ts";
import { batch } from "../replica/lab.ts";
import { Scenario, type ScenarioResult } from "./scenario.ts";
import type { SimNode } from "./sim-node.ts";
import { writeIdentity } from "./template.ts";

const ATTACK_MS = 12_000;
/** Messages that are sent again, or in parts. */
const RECORDED = 300;
/** Members of a cluster, at most. */
const MEMBERS = 64;
/** Elections, at most: a leader that is there is not disturbed. */
const ELECTIONS = 4;
/** A vote without a leader, and one answer of a learner a minute, may raise the term by so much. */
const RAISE = 500;
const FAR = [2000, 1e6, 2 ** 30, 2 ** 39] as const;

export const HOSTILE_ROLES = ["learner", "voter"] as const;

export async function sufferAMember(seed: number, verbose = false): Promise<ScenarioResult> {
  return new HostileRun(seed, verbose).play();
}

class HostileRun extends Scenario {
  readonly #role: (typeof HOSTILE_ROLES)[number];
  readonly #recorded: Uint8Array[] = [];
  #hostile: SimNode | null = null;
  #invented = 0;
  #restarts = 0;

  constructor(seed: number, verbose: boolean) {
    super(seed, verbose);
    this.#role = HOSTILE_ROLES[seed % HOSTILE_ROLES.length]!;
  }

  async act(): Promise<void> {
    const honest = [...this.nodes];
    const member = await this.#join();
    this.#hostile = member;
    const terms = honest.map(termsOf);
    const end = this.world.now + ATTACK_MS;
    while (this.world.now < end) {
      for (let i = this.random.between(1, 20); i > 0; i--) this.#attack(member, this.random.pick(honest));
      if (this.random.chance(0.1)) await this.write(this.random.pick(honest));
      if (this.random.chance(0.02)) await this.#restart(this.random.pick(honest));
      await this.pass(this.random.between(1, 100));
    }
    await this.write(this.random.pick(honest));
    await this.settle(honest);
    this.check(honest);
    this.#judge(honest, terms);
  }

  async #join(): Promise<SimNode> {
    const node = await this.node(this.nodes.length, this.folder, undefined, { role: this.#role });
    await writeIdentity(node.dataDir, this.nodes.length);
    this.nodes.push(node);
    this.start(node);
    await this.until(() => node.node?.api.notReady() === null, `${node.name} joins`);
    node.application.open();
    await this.settle(this.nodes);
    return node;
  }

  async #restart(node: SimNode): Promise<void> {
    this.#restarts++;
    await this.down(node);
    await this.up(node);
  }

  protected override onSend(node: SimNode, message: Uint8Array): void {
    if (node === this.#hostile && this.#recorded.length < RECORDED) this.#recorded.push(message.slice());
  }

  /** A hostile member's message may be none. */
  protected override onRefused(node: SimNode, from: string, error: unknown): void {
    if (from !== this.#hostile?.peerId) super.onRefused(node, from, error);
  }

  // ------------------------------------------------------------------------------------------ attacks

  #attack(by: SimNode, to: SimNode): void {
    if (by.member === null || to.member === null) return;
    const attacks = [
      () => this.#farTerm(by, to),
      () => this.#nextTerm(by, to),
      () => this.#stranger(by, to),
      () => this.#junkEntries(by, to),
      () => this.#offer(by, to),
      () => this.#joinFlood(by, to),
      () => this.#again(by, to),
      () => this.#control(by, to),
    ];
    this.random.pick(attacks)();
  }

  /** The fields that a message needs to be believed. */
  #frame(by: SimNode, to: SimNode): { shard: number; term: number; from: number; to: number } {
    const [mine, its] = [by.member!.runtime, to.member!.runtime];
    const shard = this.random.below(its.groups.length);
    return { shard, term: its.groups[shard]!.raft.term, from: mine.member, to: its.member };
  }

  #raft(by: SimNode, to: SimNode, shard: number, message: Message): void {
    this.#send(by, to, encodeMessages([{ shard, message }], MessageKind.raft));
  }

  #send(by: SimNode, to: SimNode, bytes: Uint8Array): void {
    this.network.send(by.peerId, to.peerId, bytes);
  }

  #farTerm(by: SimNode, to: SimNode): void {
    const { shard, term, ...ids } = this.#frame(by, to);
    const type = this.random.pick(Object.values(MessageType));
    this.#raft(
      by,
      to,
      shard,
      newMessage({ type, ...ids, term: term + this.random.pick(FAR), index: 1e9, commit: 1e9 }),
    );
  }

  /** Of a learner, a term that an election could have made: it is no candidate and no leader. */
  #nextTerm(by: SimNode, to: SimNode): void {
    if (this.#role === "learner") this.#leads(by, to, by.member!.runtime.member);
  }

  /** As a leader, a candidate or a follower of the term, or of a later one. */
  #leads(by: SimNode, to: SimNode, from: number): void {
    const { shard, term, ...ids } = { ...this.#frame(by, to), from };
    const { raft } = to.member!.runtime.groups[shard]!;
    const { heartbeat, append, vote, timeoutNow, appendResponse, heartbeatResponse } = MessageType;
    const type = this.random.pick([
      heartbeat,
      append,
      append,
      vote,
      timeoutNow,
      appendResponse,
      heartbeatResponse,
    ]);
    const next = term + this.random.pick([0, 1, 1, RAISE]);
    const index = this.random.chance(0.5) ? raft.lastIndex : raft.commit;
    const entry = { term: next, index: index + 1, type: EntryType.normal, data: this.#junkBatch(by) };
    const content =
      type === append
        ? { index, logTerm: term, commit: index + 1, entries: [entry] }
        : { index, commit: index };
    this.#raft(by, to, shard, newMessage({ type, ...ids, term: next, ...content }));
  }

  /** Under the id of another member, or of none. */
  #stranger(by: SimNode, to: SimNode): void {
    const others = this.nodes.filter((node) => node !== by && node !== to && node.member !== null);
    if (others.length === 0) return;
    this.#leads(by, to, this.random.chance(0.3) ? 900_000 : this.random.pick(others).member!.runtime.member);
  }

  #junkBatch(by: SimNode): Uint8Array {
    const origin = this.random.chance(0.5) ? by.peerId : this.nodes[0]!.peerId;
    const valid = encodeBatch(batch({ origin, writes: [{ k: 1, v: "junk" }] }));
    return this.random.chance(0.3) ? valid : hostile([valid], this.random);
  }

  #junkEntries(by: SimNode, to: SimNode): void {
    const { shard, term: _, ...ids } = this.#frame(by, to);
    const type = this.random.chance(0.2) ? EntryType.configChange : EntryType.normal;
    const entries = [{ term: 0, index: 0, type, data: this.#junkBatch(by) }];
    this.#raft(by, to, shard, newMessage({ type: MessageType.propose, ...ids, entries }));
  }

  #offer(by: SimNode, to: SimNode): void {
    const { shard, term, ...ids } = this.#frame(by, to);
    const empty = { votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false };
    const snapshot = { index: 1e9, term, configuration: { voters: [ids.from], ...empty } };
    const next = this.#role === "learner" ? term + this.random.below(2) : 1;
    this.#raft(by, to, shard, newMessage({ type: MessageType.snapshot, ...ids, term: next, snapshot }));
  }

  #joinFlood(by: SimNode, to: SimNode): void {
    const number = ++this.#invented;
    const request = { name: `j${number}`, role: "voter", nonce: `n${number}` } as const;
    const peerId = asPeerId(`invented-${number}`);
    for (const node of this.nodes)
      this.#send(by, node, encodeControl({ kind: "forward", peerId, ...request }));
    this.#send(by, to, encodeControl({ kind: "promote" }));
  }

  /** Whole, changed or cut. */
  #again(by: SimNode, to: SimNode): void {
    if (this.#recorded.length === 0) return;
    const message = this.random.pick(this.#recorded);
    this.#send(by, to, this.random.chance(0.5) ? message : hostile([message], this.random));
  }

  /** A member may change members, and a refusal of a member halts a node: see docs/security.md. */
  #control(by: SimNode, to: SimNode): void {
    const harmless = ({ kind }: Control): boolean => !["change", "join", "leave", "refused"].includes(kind);
    this.#send(by, to, encodeControl(this.random.pick(CONTROLS.filter(harmless))));
  }

  // ------------------------------------------------------------------------------------------ checks

  #judge(honest: readonly SimNode[], before: readonly (readonly number[])[]): void {
    honest.forEach((node, i) => {
      termsOf(node).forEach((term, shard) => {
        const grown = term - before[i]![shard]!;
        const raises = honest.length + this.#restarts;
        if (grown > ELECTIONS * (1 + this.#restarts) + RAISE * raises)
          this.problems.push(`${node.name}: the term of shard ${shard} grew by ${grown}`);
      });
      const { members } = node.member!.runtime.groups[0]!.configuration;
      if (members.length > MEMBERS) this.problems.push(`${node.name} has ${members.length} members`);
    });
  }
}

const termsOf = (node: SimNode): number[] => node.member!.runtime.groups.map((group) => group.raft.term);

/**
 * Runs with one kind of trouble each: those of hashicorp/raft's fuzzy tests, and canonical/raft's liveness under
 * disconnections. Each ends with equal logs, everything acknowledged present once, and the same sequence applied by all.
 * A failure names its seed.
 */
import { describe, expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { type MemberId, type Message, MessageType } from "../../src/raft/model/types.ts";
import { change, configuration, Member, type MemberInit, Network } from "./harness.ts";

const SEEDS = [1, 2, 3];
const HEAL_TICKS_MAX = 400;

/** A group with a client that proposes at the current leader, and remembers the entries committed there. */
class Group {
  readonly network: Network;
  readonly random: Random;
  readonly #init: MemberInit;
  readonly #acknowledged = new Set<string>();
  /** Held back: delivered when their time has come. */
  #late: { message: Message; ticks: number }[] = [];
  #proposed = 0;

  constructor(size: number, seed: number, init: MemberInit = {}) {
    this.random = new Random(seed);
    this.#init = { preVote: true, checkQuorum: true, ...init };
    const voters = Array.from({ length: size }, (_, i) => i + 1);
    this.network = Network.with(...voters.map((id) => this.member(id, voters)));
  }

  member(id: MemberId, voters: readonly MemberId[]): Member {
    return new Member({ ...this.#init, id, voters, seed: this.random.next() });
  }

  get ids(): MemberId[] {
    return [...this.network.members.keys()];
  }

  /** The leader of the newest term. */
  get leader(): Member | undefined {
    const leading = [...this.network.members.values()].filter(({ raft }) => raft.isLeader);
    return leading.sort((a, b) => b.raft.term - a.raft.term)[0];
  }

  /** Messages of these types take up to so many ticks. */
  slow(types: readonly Message["type"][], ticksMax: number): void {
    this.network.drop((message) => {
      if (!types.includes(message.type)) return false;
      this.#late.push({ message, ticks: this.random.below(ticksMax + 1) });
      return true;
    });
  }

  /** Members tick in any order; a client proposes now and then. */
  tick(ticks: number): void {
    for (let i = 0; i < ticks; i += 1) {
      const due = this.#late.filter(({ ticks: left }) => left === 0);
      this.#late = this.#late
        .filter(({ ticks: left }) => left > 0)
        .map((one) => ({ ...one, ticks: one.ticks - 1 }));
      for (const { message } of due) this.network.members.get(message.to)?.raft.step(message);
      const order = this.ids.sort(() => this.random.next() - 2 ** 31);
      this.network.tick(order, 1);
      const { leader } = this;
      if (leader === undefined) continue;
      if (this.random.chance(0.5)) {
        this.#proposed += 1;
        leader.propose(`p${this.#proposed}`);
        this.network.run();
      }
      for (const done of leader.texts) this.#acknowledged.add(done);
    }
  }

  /** All is well again: within bounds the members of the configuration agree. */
  finish(): void {
    this.network.heal();
    this.#late = [];
    const last = "the last one";
    for (let ticks = 0; ticks < HEAL_TICKS_MAX; ticks += 1) {
      this.network.tick(this.ids, 1);
      const { leader } = this;
      if (leader === undefined) continue;
      if (ticks % 40 === 20) leader.propose(last);
      this.network.run();
      const members = leader.raft.configuration.voters.map((id) => this.network.get(id));
      if (members.every(({ texts }) => texts.includes(last))) return this.#judge(members);
    }
    throw new Error("not alive after healing");
  }

  #judge(members: readonly Member[]): void {
    const [{ texts }] = members as [Member];
    expect(new Set(texts.slice(0, -1)).size).toBe(texts.length - 1);
    expect([...this.#acknowledged].filter((one) => !texts.includes(one))).toEqual([]);
    expect(this.#acknowledged.size).toBeGreaterThan(10);
    for (const member of members) {
      expect(member.texts).toEqual(texts);
      expect(member.terms).toEqual((members[0] as Member).terms);
    }
  }
}

describe("hashicorp/raft, fuzzy", () => {
  for (const seed of SEEDS) {
    test(`repeated leader partitions on five members, seed ${seed}`, () => {
      const group = new Group(5, seed);
      group.tick(40);
      for (let round = 0; round < 20; round += 1) {
        const { leader } = group;
        if (leader !== undefined) group.network.isolate(leader.id);
        if (group.random.chance(0.3)) group.network.isolate(group.random.pick(group.ids));
        group.tick(group.random.between(5, 40));
        group.network.heal();
        group.tick(group.random.between(5, 20));
      }
      group.finish();
    });
    for (const [name, types] of [
      ["slow vote requests", [MessageType.vote, MessageType.preVote]],
      ["slow votes", [MessageType.voteResponse, MessageType.preVoteResponse]],
    ] as const) {
      test(`${name}, seed ${seed}`, () => {
        const group = new Group(5, seed, { preVote: hasPreVote(seed), checkQuorum: false });
        group.slow(types, 12);
        group.tick(60);
        for (let round = 0; round < 8; round += 1) {
          const id = group.random.pick(group.ids);
          group.network.get(id).raft.campaign();
          group.tick(30);
        }
        group.finish();
      });
    }
    test(`members are added and removed under load, seed ${seed}`, () => {
      const group = new Group(3, seed);
      group.tick(40);
      for (let round = 0; round < 20; round += 1) {
        const { leader } = group;
        const here = leader?.raft.configuration.voters ?? [];
        const next = Math.max(...group.ids) + 1;
        if (leader !== undefined && here.length < 5 && group.random.chance(0.6)) {
          group.network.add(group.member(next, []));
          leader.raft.proposeConfigChange(change(["addVoter", next]));
        } else if (leader !== undefined && here.length > 2) {
          leader.raft.proposeConfigChange(change(["removeMember", group.random.pick(here)]));
        }
        group.tick(group.random.between(10, 40));
      }
      group.finish();
    });
    test(`a member is removed while it is cut off, seed ${seed}`, () => {
      const group = new Group(5, seed);
      group.tick(40);
      const { leader } = group;
      if (leader === undefined) throw new Error("nobody leads");
      const away = group.random.pick(group.ids.filter((id) => id !== leader.id));
      group.network.isolate(away);
      group.tick(20);
      leader.raft.proposeConfigChange(change(["removeMember", away]));
      group.tick(60);
      group.network.heal();
      const { term } = leader.raft;
      group.tick(100);
      // It campaigns without effect.
      expect(leader.raft).toMatchObject({ isLeader: true, term });
      expect(leader.raft.configuration).toEqual(configuration([1, 2, 3, 4, 5].filter((id) => id !== away)));
      group.finish();
    });
  }
});

/** Half of the seeds with pre-vote, half without. */
const hasPreVote = (seed: number): boolean => seed % 2 === 1;

describe("canonical/raft: liveness under disconnections of random pairs", () => {
  const STEPS_MAX = 25_000;
  for (const size of [3, 4]) {
    for (const preVote of [true, false]) {
      test(`${size} members, ${preVote ? "with" : "without"} pre-vote`, () => {
        for (const seed of SEEDS) {
          const group = new Group(size, seed, { preVote, checkQuorum: preVote });
          const done = (): number => Math.max(...group.ids.map((id) => group.network.get(id).texts.length));
          let rounds = 0;
          for (let steps = 0; steps < STEPS_MAX && done() < 300; rounds += 1) {
            group.network.heal();
            const a = group.random.pick(group.ids);
            group.network.cut(a, group.random.pick(group.ids.filter((id) => id !== a)));
            const lasts = group.random.between(50, 150);
            group.tick(lasts);
            steps += lasts;
          }
          expect({ seed, rounds: rounds > 2, alive: done() >= 300 }).toEqual({
            seed,
            rounds: true,
            alive: true,
          });
          group.finish();
        }
      });
    }
  }
});

/** Quorums: tables, and A7.85 (Quick) against a naive count (thesis §4.3 for joint ones). */
import { describe, expect, test } from "bun:test";
import { Random } from "../../../src/base/random.ts";
import {
  majorityIndex,
  majorityVote,
  quorumIndex,
  quorumVote,
  type VoteResult,
} from "../../../src/raft/membership/quorum.ts";
import type { MemberId } from "../../../src/raft/model/types.ts";

const reachedIn = (reached: Record<MemberId, number>) => (member: MemberId) => reached[member] ?? 0;

describe("the highest index that a majority has (majority_commit)", () => {
  const cases: readonly [reached: number[], index: number][] = [
    [[], Infinity],
    [[0], 0],
    [[12], 12],
    [[100, 101], 100],
    [[0, 5], 0],
    [[12, 5, 6], 6],
    [[0, 0, 9], 0],
    [[0, 7, 9], 7],
    [[100, 101, 103], 101],
    [[100, 101, 101], 101],
    [[0, 0, 0, 9], 0],
    [[5, 5, 7, 9], 5],
    [[100, 101, 103, 104, 103], 103],
    [[0, 0, 10, 10, 10], 10],
    [[1, 2, 3, 4, 5, 6, 7], 4],
  ];
  for (const [reached, index] of cases) {
    test(`[${reached.join(" ")}] → ${index}`, () => {
      const voters = reached.map((_, i) => i + 1);
      expect(majorityIndex(voters, (member) => reached[member - 1] as number)).toBe(index);
    });
  }
});

describe("the result of a vote (majority_vote)", () => {
  const answer = { y: true, n: false, _: undefined } as const;
  const cases: readonly [votes: string, result: VoteResult][] = [
    ["", "won"],
    ["_", "pending"],
    ["n", "lost"],
    ["y", "won"],
    ["nn", "lost"],
    ["n_", "lost"],
    ["y_", "pending"],
    ["yn", "lost"],
    ["yy", "won"],
    ["___", "pending"],
    ["y__", "pending"],
    ["n__", "pending"],
    ["yn_", "pending"],
    ["yy_", "won"],
    ["nn_", "lost"],
    ["yny", "won"],
    ["ynn", "lost"],
    ["yy__", "pending"],
    ["yynn", "lost"],
    ["yyyn", "won"],
    ["nn___", "pending"],
    ["nnn__", "lost"],
    ["yyy__", "won"],
    ["yy_nn", "pending"],
  ];
  for (const [votes, result] of cases) {
    test(`${votes || "nobody"} → ${result}`, () => {
      const given = [...votes].map((one) => answer[one as keyof typeof answer]);
      const voters = given.map((_, i) => i + 1);
      expect(majorityVote(voters, (member) => given[member - 1])).toBe(result);
    });
  }
});

describe("a joint configuration commits the lower index of its halves (joint_commit)", () => {
  const cases: readonly [
    voters: MemberId[],
    votersOutgoing: MemberId[],
    reached: Record<number, number>,
    index: number,
  ][] = [
    [[1, 2, 3], [], { 1: 100, 2: 101, 3: 99 }, 100],
    [[1, 2, 3], [1, 2, 3], { 1: 100, 2: 101, 3: 99 }, 100],
    [[1, 2, 3], [4, 5, 6], { 1: 10, 2: 10, 3: 10, 4: 2, 5: 3 }, 2],
    [[1, 2, 3], [3, 4, 5], { 1: 10, 2: 10, 3: 1, 4: 7, 5: 9 }, 7],
    [[1], [2], { 1: 6, 2: 5 }, 5],
    [[1, 2], [1], { 1: 6 }, 0],
    [[], [], {}, Infinity],
  ];
  for (const [voters, votersOutgoing, reached, index] of cases) {
    test(`(${voters.join(" ")}) and (${votersOutgoing.join(" ")}) → ${index}`, () => {
      expect(quorumIndex({ voters, votersOutgoing }, reachedIn(reached))).toBe(index);
      expect(quorumIndex({ voters: votersOutgoing, votersOutgoing: voters }, reachedIn(reached))).toBe(index);
    });
  }
});

describe("a joint configuration needs the votes of both halves (joint_vote)", () => {
  const cases: readonly [
    voters: MemberId[],
    votersOutgoing: MemberId[],
    yes: MemberId[],
    no: MemberId[],
    VoteResult,
  ][] = [
    [[1], [], [1], [], "won"],
    [[1], [2], [1], [], "pending"],
    [[1], [2], [1], [2], "lost"],
    [[1], [2], [1, 2], [], "won"],
    [[1, 2, 3], [3, 4, 5], [1, 2], [], "pending"],
    [[1, 2, 3], [3, 4, 5], [1, 2], [4, 5], "lost"],
    [[1, 2, 3], [3, 4, 5], [1, 3, 4], [], "won"],
    [[1, 2, 3], [3, 4, 5], [], [1, 2], "lost"],
    [[1, 2, 3], [1, 2, 3], [1, 2], [3], "won"],
  ];
  for (const [voters, votersOutgoing, yes, no, result] of cases) {
    test(`(${voters.join(" ")}) and (${votersOutgoing.join(" ")}), yes ${yes}, no ${no} → ${result}`, () => {
      const vote = (member: MemberId): boolean | undefined =>
        yes.includes(member) ? true : no.includes(member) ? false : undefined;
      expect(quorumVote({ voters, votersOutgoing }, vote)).toBe(result);
      expect(quorumVote({ voters: votersOutgoing, votersOutgoing: voters }, vote)).toBe(result);
    });
  }
});

describe("A7.85 random majorities (Quick)", () => {
  const draw = (random: Random): MemberId[] => {
    const size = random.below(8);
    return [...new Set(Array.from({ length: size }, () => random.between(1, 9)))].sort((a, b) => a - b);
  };
  /** The highest index that, counted one by one, a majority has reached. */
  const naive = (voters: readonly MemberId[], reached: (member: MemberId) => number): number => {
    if (voters.length === 0) return Infinity;
    for (let index = 30; index > 0; index -= 1) {
      const have = voters.filter((member) => reached(member) >= index).length;
      if (have * 2 > voters.length) return index;
    }
    return 0;
  };
  test("the commit index equals that of a naive count", () => {
    for (let seed = 1; seed <= 20_000; seed += 1) {
      const random = new Random(seed);
      const [voters, votersOutgoing] = [draw(random), draw(random)];
      const indexes = Array.from({ length: 10 }, () => random.below(30));
      const reached = (member: MemberId): number => indexes[member] as number;
      const expected = Math.min(naive(voters, reached), naive(votersOutgoing, reached));
      if (quorumIndex({ voters, votersOutgoing }, reached) !== expected) throw new Error(`seed ${seed}`);
    }
  });
  test("a decided vote remains decided, whichever answers follow", () => {
    for (let seed = 1; seed <= 20_000; seed += 1) {
      const random = new Random(seed);
      const electorate = { voters: draw(random), votersOutgoing: draw(random) };
      const answers = Array.from({ length: 10 }, () => random.pick([true, false, undefined, undefined]));
      const result = quorumVote(electorate, (member) => answers[member]);
      const all = (rest: boolean): VoteResult => quorumVote(electorate, (member) => answers[member] ?? rest);
      const decided = all(true) === all(false) ? all(true) : "pending";
      if (result !== decided) throw new Error(`seed ${seed}: ${result}, not ${decided}`);
    }
  });
});

/** Scenarios A2: elections (paper §5.2, §5.4.1). */
import { describe, expect, test } from "bun:test";
import { Random } from "../../../src/base/random.ts";
import { type MemberId, type Message, MessageType } from "../../../src/raft/model/types.ts";
import { Member, type MemberInit, Network, withLog } from "../harness.ts";

const members = (size: number): MemberId[] => Array.from({ length: size }, (_, i) => i + 1);
const votesAsked = (messages: readonly Message[], type: Message["type"] = MessageType.vote): MemberId[] =>
  messages.filter((one) => one.type === type).map((one) => one.to);
const MODES: readonly [string, boolean][] = [
  ["without pre-vote", false],
  ["with pre-vote", true],
];

describe("A2.9 on a timeout a member raises the term, votes for itself and asks all others (§5.2)", () => {
  test("a follower (FollowerStartElection)", () => {
    const member = withLog(1, [], { voters: [1, 2, 3], term: 1 });
    member.tick(19);
    expect(member.raft).toMatchObject({ role: "candidate", term: 2 });
    const messages = member.settle();
    expect(member.storage.hardState).toEqual({ term: 2, vote: 1, commit: 0 });
    expect(votesAsked(messages)).toEqual([2, 3]);
    expect(messages.every((one) => one.term === 2)).toBe(true);
  });

  test("a candidate (CandidateStartNewElection)", () => {
    const member = withLog(1, [], { voters: [1, 2, 3], term: 1 });
    member.raft.campaign();
    member.settle();
    member.tick(19);
    expect(votesAsked(member.settle())).toEqual([2, 3]);
    expect(member.raft).toMatchObject({ role: "candidate", term: 3 });
  });
});

describe("A2.10 a candidate with the votes of a majority becomes leader (LeaderElection)", () => {
  const cases: readonly [size: number, down: MemberId[], leads: boolean][] = [
    [1, [], true],
    [2, [], true],
    [2, [2], false],
    [3, [], true],
    [3, [2], true],
    [3, [2, 3], false],
    [4, [2, 3], false],
    [5, [2, 3], true],
    [5, [2, 3, 4], false],
    [7, [2, 3, 4], true],
    [7, [2, 3, 4, 5], false],
  ];
  for (const [mode, preVote] of MODES) {
    for (const [size, down, leads] of cases) {
      test(`${size} with ${down.length} down, ${mode}`, () => {
        const network = Network.of(size, { preVote }, down);
        network.campaign(1);
        const undecided = preVote ? { role: "preCandidate", term: 0 } : { role: "candidate", term: 1 };
        expect(network.get(1).raft).toMatchObject(leads ? { role: "leader", term: 1 } : undecided);
      });
    }
    test(`three with longer logs than the candidate's, ${mode}`, () => {
      const init: MemberInit = { voters: members(5), preVote };
      const network = Network.with(
        withLog(1, [], init),
        withLog(2, [1], init),
        withLog(3, [1], init),
        withLog(4, [1, 1], init),
        withLog(5, [], init),
      );
      network.campaign(1);
      expect(network.get(1).raft.role).toBe("follower");
    });
  }
});

describe("A2.11 the role after a round of grants and refusals (LeaderElectionInOneRoundRPC, §5.2)", () => {
  const cases: readonly [size: number, answers: Record<MemberId, boolean>, role: string][] = [
    [1, {}, "leader"],
    [3, { 2: true, 3: true }, "leader"],
    [3, { 2: true }, "leader"],
    [5, { 2: true, 3: true, 4: true, 5: true }, "leader"],
    [5, { 2: true, 3: true, 4: true }, "leader"],
    [5, { 2: true, 3: true }, "leader"],
    [3, { 2: false, 3: false }, "follower"],
    [5, { 2: false, 3: false, 4: false, 5: false }, "follower"],
    [5, { 2: true, 3: false, 4: false, 5: false }, "follower"],
    [3, {}, "candidate"],
    [5, { 2: true }, "candidate"],
    [5, { 2: false, 3: false }, "candidate"],
    [5, {}, "candidate"],
  ];
  for (const [size, answers, role] of cases) {
    test(`${size}: ${JSON.stringify(answers)} → ${role}`, () => {
      const member = new Member({ id: 1, voters: members(size) });
      member.raft.campaign();
      member.settle();
      for (const [from, granted] of Object.entries(answers)) {
        member.step({ type: MessageType.voteResponse, from: Number(from), term: 1, reject: !granted });
      }
      expect(member.raft).toMatchObject({ role, term: 1 });
    });
  }
  test("only a member's first answer counts", () => {
    const member = new Member({ id: 1, voters: members(5) });
    member.raft.campaign();
    member.settle();
    for (let i = 0; i < 3; i += 1) member.step({ type: MessageType.voteResponse, from: 2 });
    member.step({ type: MessageType.voteResponse, from: 2, reject: true });
    expect(member.raft.role).toBe("candidate");
    member.step({ type: MessageType.voteResponse, from: 3 });
    expect(member.raft.role).toBe("leader");
  });
  test("votes of members outside the configuration do not count", () => {
    const member = new Member({ id: 1, voters: members(3) });
    member.raft.campaign();
    member.settle();
    for (const from of [7, 8, 9]) member.step({ type: MessageType.voteResponse, from });
    expect(member.raft.role).toBe("candidate");
  });
});

describe("A2.12 a follower grants one vote per term, and repeats it for the same candidate (FollowerVote, §5.2)", () => {
  for (const [vote, from, granted] of [
    [0, 2, true],
    [0, 3, true],
    [2, 2, true],
    [3, 3, true],
    [2, 3, false],
    [3, 2, false],
  ] as const) {
    test(`voted for ${vote}, asked by ${from}`, () => {
      const storage = { hardState: { term: 1, vote, commit: 0 } };
      const member = new Member({ id: 1, voters: members(3), storage });
      member.step({ type: MessageType.vote, from });
      const answer = member.settleToOne();
      expect(answer).toMatchObject({ type: MessageType.voteResponse, to: from, term: 1, reject: !granted });
      expect(member.storage.hardState.vote).toBe(granted ? from : vote);
    });
  }
  test("the vote survives a restart", () => {
    const member = new Member({ id: 1, voters: members(3) });
    member.step({ type: MessageType.vote, from: 2, term: 1 });
    member.settle();
    member.restart();
    member.step({ type: MessageType.vote, from: 3, term: 1 });
    expect(member.settleToOne()).toMatchObject({ to: 3, reject: true });
  });
  test("the vote is on disk before the answer leaves", () => {
    const member = new Member({ id: 1, voters: members(3) });
    member.step({ type: MessageType.vote, from: 2, term: 1 });
    const ready = member.raft.ready();
    expect(ready).toMatchObject({ hardState: { term: 1, vote: 2 }, mustSync: true, messages: [] });
    expect(ready.messagesAfterPersist).toHaveLength(1);
  });
});

describe("A2.13 a candidate becomes a follower of the same term's leader (CandidateFallback, §5.2)", () => {
  for (const type of [MessageType.append, MessageType.heartbeat]) {
    test(type === MessageType.append ? "append" : "heartbeat", () => {
      const member = new Member({ id: 1, voters: members(3) });
      member.raft.campaign();
      member.settle();
      member.step({ type, from: 2, term: 1 });
      expect(member.raft).toMatchObject({ role: "follower", term: 1, leader: 2 });
    });
  }
});

describe("A2.14 each election timeout is drawn from [T, 2T − 1] (§5.2)", () => {
  /** Ticks until it campaigns. */
  function timeout(member: Member): number {
    const { term } = member.raft;
    for (let ticks = 1; ; ticks += 1) {
      member.raft.tick();
      if (member.raft.term > term) return ticks;
    }
  }
  for (const role of ["follower", "candidate"] as const) {
    test(`${role}: uniform`, () => {
      const member = new Member({ id: 1, voters: members(3), electionTicks: 10, seed: 42 });
      const seen = new Map<number, number>();
      for (let round = 0; round < 1_000; round += 1) {
        if (role === "follower")
          member.step({ type: MessageType.append, from: 2, term: member.raft.term + 1 });
        const ticks = timeout(member);
        seen.set(ticks, (seen.get(ticks) ?? 0) + 1);
        member.settle();
      }
      expect([...seen.keys()].sort((a, b) => a - b)).toEqual(Array.from({ length: 10 }, (_, i) => 10 + i));
      for (const count of seen.values()) expect(count).toBeGreaterThan(50);
    });
  }
  test("two members rarely time out together (Nonconflict)", () => {
    const random = new Random(7);
    const electorate = members(5).map((id) => new Member({ id, voters: members(5), seed: random.next() }));
    let conflicts = 0;
    for (let round = 0; round < 1_000; round += 1) {
      const ticks = electorate.map((member) => {
        member.step({ type: MessageType.append, from: (member.id % 5) + 1, term: member.raft.term + 1 });
        const taken = timeout(member);
        member.settle();
        return taken;
      });
      const first = Math.min(...ticks);
      if (ticks.filter((one) => one === first).length > 1) conflicts += 1;
    }
    expect(conflicts / 1_000).toBeLessThan(0.4);
  });
});

describe("A2.15 a vote request carries the end of the log and goes to all voters (VoteRequest, §5.4.1)", () => {
  for (const terms of [[1], [1, 2]]) {
    test(`log of terms ${terms.join(", ")}`, () => {
      const member = new Member({ id: 1, voters: members(3), learners: [4] });
      member.step({
        type: MessageType.append,
        from: 2,
        term: terms.length,
        entries: terms.map((term, i) => ({ term, index: i + 1, type: 0, data: new Uint8Array(0) })),
      });
      member.settle();
      member.tick(19);
      const asked = member.settle();
      expect(votesAsked(asked)).toEqual([2, 3]);
      for (const one of asked) {
        expect(one).toMatchObject({ term: terms.length + 1, index: terms.length, logTerm: terms.at(-1) });
      }
    });
  }
});

describe("A2.16 a candidate with an older (term, index) of its last entry is refused (Voter, §5.4.1)", () => {
  const cases: readonly [own: number[], logTerm: number, index: number, granted: boolean][] = [
    [[1], 1, 1, true],
    [[1], 1, 2, true],
    [[1, 1], 1, 1, false],
    [[1], 2, 1, true],
    [[1], 2, 2, true],
    [[1, 1], 2, 1, true],
    [[2], 1, 1, false],
    [[2], 1, 2, false],
    [[2, 2], 1, 1, false],
    [[1, 1], 1, 3, true],
    [[1, 2], 1, 9, false],
    [[], 0, 0, true],
  ];
  for (const [name, type, response] of [
    ["vote", MessageType.vote, MessageType.voteResponse],
    ["pre-vote", MessageType.preVote, MessageType.preVoteResponse],
  ] as const) {
    for (const [own, logTerm, index, granted] of cases) {
      test(`${name}: log [${own.join(" ")}], candidate's ends with ${index}/${logTerm}`, () => {
        const member = withLog(1, own, { voters: [1, 2], term: 3 });
        member.step({ type, from: 2, term: 4, logTerm, index });
        expect(member.settleToOne()).toMatchObject({ type: response, reject: !granted });
      });
    }
  }
});

describe("A2.17 every member can become leader in turn (LeaderCycle)", () => {
  for (const [mode, preVote] of MODES) {
    test(mode, () => {
      const network = Network.of(3, { preVote });
      for (const id of [1, 2, 3, 1]) {
        network.campaign(id);
        expect(network.leaders).toEqual([id]);
      }
    });
  }
});

describe("A2.18 a valid vote request is granted in every role (VoteFromAnyState)", () => {
  for (const [name, type] of [
    ["vote", MessageType.vote],
    ["pre-vote", MessageType.preVote],
  ] as const) {
    for (const role of ["follower", "preCandidate", "candidate", "leader"] as const) {
      test(`${name}, ${role}`, () => {
        const member = new Member({ id: 1, voters: members(3), preVote: role === "preCandidate" });
        if (role === "leader") member.lead();
        else if (role !== "follower") member.raft.campaign();
        member.settle();
        const before = member.raft.status();
        const term = before.term + 1;
        member.step({ type, from: 2, term, logTerm: term, index: 42 });
        const isVote = type === MessageType.vote;
        const response = isVote ? MessageType.voteResponse : MessageType.preVoteResponse;
        expect(member.settleToOne()).toMatchObject({ type: response, term, reject: false });
        if (!isVote) expect(member.raft.status()).toEqual(before);
        else expect(member.raft.status()).toMatchObject({ role: "follower", term, vote: 2 });
      });
    }
  }
});

test("A2.19 a candidate with the shorter log raises the term and loses (DuelingCandidates)", () => {
  const network = Network.of(3);
  network.cut(1, 3);
  network.campaign(1);
  network.campaign(3);
  expect(network.get(1).raft.role).toBe("leader");
  expect(network.get(3).raft.role).toBe("candidate");
  network.heal();
  network.campaign(3);
  expect(network.get(3).raft).toMatchObject({ role: "follower", term: 2, lastIndex: 0 });
  expect(network.get(1).raft).toMatchObject({ role: "follower", term: 2, lastIndex: 1 });
  expect(network.get(2).raft).toMatchObject({ role: "follower", term: 2, lastIndex: 1 });
});

test("A2.20 after a partition the candidate follows and receives the leader's log (CandidateConcede)", () => {
  const network = Network.of(3);
  network.isolate(1);
  network.campaign(1);
  network.campaign(3);
  network.heal();
  network.tick(3);
  network.propose(3, "force follower");
  expect(network.get(1).raft).toMatchObject({ role: "follower", term: 1, leader: 3 });
  for (const id of members(3)) expect(network.get(id).texts).toEqual(["force follower"]);
});

describe("A2.21 a group of one elects itself (SingleNodeCandidate)", () => {
  for (const [mode, preVote] of MODES) {
    test(mode, () => {
      const network = Network.of(1, { preVote });
      network.campaign(1);
      expect(network.leaders).toEqual([1]);
    });
  }
});

describe("A2.22 the winner's log replaces uncommitted entries of newer terms (LeaderElectionOverwriteNewerLogs)", () => {
  for (const [mode, preVote] of MODES) {
    test(mode, () => {
      // 1 was the leader of term 1; 3 won term 2 with 4 and 5, and reached no other member; all vote again.
      const init: MemberInit = { voters: members(5), preVote };
      const network = Network.with(
        withLog(1, [1], init),
        withLog(2, [1], init),
        withLog(3, [2], init),
        new Member({ ...init, id: 4, storage: { hardState: { term: 2, vote: 3, commit: 0 } } }),
        new Member({ ...init, id: 5, storage: { hardState: { term: 2, vote: 3, commit: 0 } } }),
      );
      network.campaign(1);
      if (!preVote) {
        // It lost, having reached term 2 only, but knows that term now.
        expect(network.get(1).raft).toMatchObject({ role: "follower", term: 2 });
      }
      network.campaign(1);
      if (preVote) network.campaign(1);
      expect(network.get(1).raft).toMatchObject({ role: "leader", term: 3 });
      for (const id of members(5)) expect(network.get(id).terms).toEqual([1, 3]);
    });
  }
});

describe("A2.23 a candidate's own vote does not count if it is synced after the election was lost (CandidateSelfVoteAfterLostElection)", () => {
  for (const [mode, preVote] of MODES) {
    test(mode, () => {
      const member = new Member({ id: 1, voters: members(3), preVote });
      member.raft.campaign();
      if (preVote) member.step({ type: MessageType.preVoteResponse, from: 2, term: 1 });
      expect(member.raft.role).toBe("candidate");
      const ready = member.raft.ready();
      member.step({ type: MessageType.heartbeat, from: 2, term: 1 });
      member.finish(ready);
      member.settle();
      expect(member.raft).toMatchObject({ role: "follower", leader: 2, term: 1 });
      // Nor in the next round: with one other vote of five, two of five are missing.
      const five = new Member({ id: 1, voters: members(5) });
      five.raft.campaign();
      const late = five.raft.ready();
      five.tick(20);
      expect(five.raft.term).toBe(2);
      five.step({ type: MessageType.voteResponse, from: 2 });
      five.step({ type: MessageType.voteResponse, from: 3 });
      five.finish(late);
      expect(five.raft.role).toBe("candidate");
      five.settle();
      expect(five.raft.role).toBe("leader");
    });
  }
});

test("A2.24 an own pre-vote is no vote: leadership waits for the own synced vote", () => {
  const member = new Member({ id: 1, voters: members(3), preVote: true });
  member.raft.campaign();
  member.step({ type: MessageType.preVoteResponse, from: 2, term: 1 });
  expect(member.raft).toMatchObject({ role: "candidate", term: 1 });
  const ready = member.raft.ready();
  expect(ready.hardState).toEqual({ term: 1, vote: 1, commit: 0 });
  member.step({ type: MessageType.voteResponse, from: 2 });
  expect(member.raft.role).toBe("candidate");
  member.finish(ready);
  expect(member.raft.role).toBe("leader");
});

test("A2.25 a removed member neither campaigns nor wins (TransferNonMember)", () => {
  const member = new Member({ id: 1, voters: [2, 3, 4] });
  member.step({ type: MessageType.timeoutNow, from: 2 });
  expect(member.settle()).toEqual([]);
  for (const from of [2, 3]) member.step({ type: MessageType.voteResponse, from });
  expect(member.raft.role).toBe("follower");
});

describe("commit indexes in vote messages (thesis §9.6's liveness gap)", () => {
  test("a refusing voter and the candidate exchange their commit indexes", () => {
    const behind = withLog(1, [1, 1], { voters: [1, 2] });
    behind.step({ type: MessageType.vote, from: 2, term: 2, index: 1, logTerm: 1, commit: 1, commitTerm: 1 });
    expect(behind.settleToOne()).toMatchObject({ reject: true });
    expect(behind.raft.commit).toBe(1);
    const candidate = withLog(1, [1, 1], { voters: members(3) });
    candidate.raft.campaign();
    candidate.settle();
    candidate.step({ type: MessageType.voteResponse, from: 2, reject: true, commit: 2, commitTerm: 1 });
    expect(candidate.raft.commit).toBe(2);
  });
  test("a commit index whose entry is not in this log is ignored", () => {
    for (const [commit, commitTerm] of [
      [2, 2],
      [3, 1],
    ] as const) {
      const member = withLog(1, [1, 1], { voters: [1, 2] });
      member.step({ type: MessageType.vote, from: 2, term: 2, index: 1, logTerm: 1, commit, commitTerm });
      expect(member.raft.commit).toBe(0);
    }
  });
});

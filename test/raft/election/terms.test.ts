/** Scenarios A1: terms and roles (paper §5.1). */
import { describe, expect, test } from "bun:test";
import { AssertionError } from "../../../src/base/assert.ts";
import { Random } from "../../../src/base/random.ts";
import { Core } from "../../../src/raft/core/core.ts";
import {
  becomeCandidate,
  becomeFollower,
  becomeLeader,
  becomePreCandidate,
} from "../../../src/raft/election/roles.ts";
import { type Message, MessageType } from "../../../src/raft/model/types.ts";
import { configuration, entry, Member, Network, withLog } from "../harness.ts";
import { MemoryStorage } from "../memory-storage.ts";

const ROLES = ["follower", "preCandidate", "candidate", "leader"] as const;
type RoleName = (typeof ROLES)[number];

/** A member of three in term 1 with this role. */
function inRole(role: RoleName): Member {
  const member = new Member({ id: 1, voters: [1, 2, 3], preVote: role === "preCandidate" });
  if (role === "follower") member.step({ type: MessageType.heartbeat, from: 2, term: 1 });
  else if (role === "leader") member.lead();
  else member.raft.campaign();
  member.settle();
  expect(member.raft.role).toBe(role);
  return member;
}

describe("A1.1 a message of a newer term makes every role a follower in it (UpdateTermFromMessage)", () => {
  for (const role of ROLES) {
    test(role, () => {
      const member = inRole(role);
      member.step({ type: MessageType.append, from: 2, term: 5 });
      expect(member.raft).toMatchObject({ role: "follower", term: 5, leader: 2 });
    });
  }
});

describe("A1.2 a message of an older term never reaches the role's handler (RejectStaleTermMessage)", () => {
  const stale: readonly (Partial<Message> & { type: Message["type"] })[] = [
    { type: MessageType.append, entries: [entry(1, 1, "stale")], commit: 1 },
    { type: MessageType.heartbeat, commit: 1 },
    { type: MessageType.vote, index: 99, logTerm: 1 },
    { type: MessageType.voteResponse },
    { type: MessageType.appendResponse, index: 1 },
    { type: MessageType.timeoutNow },
  ];
  for (const role of ROLES) {
    test(role, () => {
      const member = inRole(role);
      if (role === "preCandidate") member.step({ type: MessageType.preVoteResponse, from: 2, term: 1 });
      const { term } = member.raft;
      expect(term).toBe(1);
      member.settle();
      const before = member.raft.status();
      for (const message of stale) member.step({ from: 2, ...message, term: term - 1 });
      const answers = member.settle();
      expect(member.raft.status()).toEqual(before);
      expect(answers.every((one) => one.reject)).toBe(true); // Told of the term, and nothing else.
    });
  }
});

test("A1.3 a fresh and a restarted member start as followers (StartAsFollower)", () => {
  const member = new Member({ id: 1, voters: [1, 2, 3] });
  expect(member.raft.role).toBe("follower");
  member.lead();
  member.restart();
  expect(member.raft).toMatchObject({ role: "follower", term: 1, leader: 0 });
});

describe("A1.4 only legal steps between roles (StateTransition)", () => {
  const core = (): Core =>
    new Core({
      id: 1,
      storage: new MemoryStorage(),
      configuration: configuration([1]),
      applied: 0,
      electionTicks: 10,
      heartbeatTicks: 1,
      maxMessageBytes: 100,
      maxInflightMessages: 10,
      maxInflightBytes: 100,
      maxApplyBytes: 100,
      maxUncommittedBytes: 100,
      preVote: true,
      checkQuorum: false,
      random: new Random(1),
    });
  const enter: Record<RoleName, (machine: Core) => void> = {
    follower: (machine) => becomeFollower(machine, machine.term, 0),
    preCandidate: becomePreCandidate,
    candidate: becomeCandidate,
    leader: becomeLeader,
  };
  const reach: Record<RoleName, readonly RoleName[]> = {
    follower: [],
    preCandidate: ["preCandidate"],
    candidate: ["candidate"],
    leader: ["candidate", "leader"],
  };
  const illegal = [
    "follower→leader",
    "preCandidate→leader",
    "leader→leader",
    "leader→candidate",
    "leader→preCandidate",
  ];
  for (const from of ROLES) {
    for (const to of ROLES) {
      test(`${from} → ${to}`, () => {
        const machine = core();
        for (const role of reach[from]) enter[role](machine);
        const { term } = machine;
        if (illegal.includes(`${from}→${to}`)) {
          expect(() => enter[to](machine)).toThrow(AssertionError);
          return;
        }
        enter[to](machine);
        expect(machine.role).toBe(to);
        expect(machine.term).toBe(to === "candidate" ? term + 1 : term);
        expect(machine.leader).toBe(to === "leader" ? 1 : 0);
      });
    }
  }
});

describe("A1.5 votes and appends of a newer term make every role step down (AllServerStepdown)", () => {
  for (const role of ROLES) {
    for (const [name, type] of [
      ["vote", MessageType.vote],
      ["append", MessageType.append],
    ] as const) {
      test(`${role}, ${name}`, () => {
        const member = inRole(role);
        const { lastIndex } = member.raft;
        member.step({ type, from: 2, term: 3, logTerm: 3 });
        expect(member.raft).toMatchObject({ role: "follower", term: 3, lastIndex });
        expect(member.raft.leader).toBe(type === MessageType.append ? 2 : 0);
      });
    }
  }
});

describe("A1.6 an isolated candidate returns as a follower with the group's next message (CandidateResetTerm)", () => {
  for (const how of ["heartbeat", "append"] as const) {
    test(how, () => {
      const network = Network.of(3);
      network.campaign(1);
      network.isolate(3);
      network.campaign(3);
      expect(network.get(3).raft).toMatchObject({ role: "candidate", term: 2 });
      if (how === "append") network.heal();
      network.drop(({ to, type }) => to === 3 && type === MessageType.vote);
      network.campaign(2); // The first append of its term goes to all.
      network.heal();
      if (how === "heartbeat") network.tick(2);
      expect(network.get(3).raft).toMatchObject({ role: "follower", term: 2, leader: 2 });
    });
  }
});

test("A1.7 messages of a deposed leader are ignored and logs stay equal (OldMessages)", () => {
  const network = Network.of(3);
  for (const id of [1, 2, 1]) network.campaign(id);
  const late = {
    type: MessageType.append,
    from: 2,
    term: 2,
    index: 2,
    logTerm: 2,
    entries: [entry(2, 3, "late")],
  };
  network.get(1).step(late);
  network.get(3).step(late);
  network.run();
  network.propose(1, "somedata");
  for (const id of [1, 2, 3]) {
    expect(network.get(id).terms).toEqual([1, 2, 3, 3]);
    expect(network.get(id).texts).toEqual(["somedata"]);
  }
});

describe("A1.8 a leader that is told to campaign does nothing (CampaignWhileLeader)", () => {
  for (const preVote of [false, true]) {
    test(preVote ? "with pre-vote" : "without", () => {
      const member = new Member({ id: 1, voters: [1], preVote }).lead();
      const { term } = member.raft;
      member.raft.campaign();
      expect(member.settle()).toEqual([]);
      expect(member.raft).toMatchObject({ role: "leader", term });
    });
  }
});

test("A10.101 a message to another member, without a sender or from itself is ignored (RawNodeStep, IsLocalMsg)", () => {
  const member = withLog(1, [1], { voters: [1, 2] });
  member.step({ type: MessageType.append, from: 2, to: 3, term: 9 });
  member.step({ type: MessageType.append, from: 0, term: 9 });
  member.step({ type: MessageType.append, from: 1, term: 9 });
  member.step({ type: MessageType.propose, from: 2, term: 9, entries: [entry(0, 0, "x")] });
  expect(member.raft.term).toBe(1);
  expect(member.raft.hasReady()).toBe(false);
});

test("the refusal with a newer term does not count as an acknowledgement in that term", () => {
  const network = Network.of(3);
  network.campaign(1);
  network.propose(1, "a");
  const leader = network.get(1);
  const before = leader.progress(2);
  // 2 saw term 1 while the leader still spoke in term 0.
  const other = network.get(2);
  other.step({ type: MessageType.heartbeat, from: 1, term: 0 });
  const [notice] = other.settle();
  expect(notice).toMatchObject({ type: MessageType.appendResponse, term: 1, index: 0, reject: true });
  leader.raft.reportUnreachable(2);
  leader.raft.step(notice as Message);
  expect(leader.progress(2)).toMatchObject({ match: before.match, state: "probe" });
});

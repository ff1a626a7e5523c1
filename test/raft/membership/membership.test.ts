/** Scenarios A7: membership (thesis §4). Simple changes, and the rules that joint ones must keep as well. */
import { describe, expect, test } from "bun:test";
import { Random } from "../../../src/base/random.ts";
import { changeConfiguration, isJoint, membersOf } from "../../../src/raft/membership/membership.ts";
import { decodeConfigChange, encodeConfigChange } from "../../../src/raft/raft.ts";
import {
  type ConfigChange,
  ConfigChangeTransition,
  type Configuration,
  EntryType,
  type MemberId,
  MessageType,
} from "../../../src/raft/model/types.ts";
import { bytes, change, configuration, Member, type MemberInit, Network, withLog } from "../harness.ts";

const configEntry = (term: number, index: number, what: ConfigChange) => ({
  term,
  index,
  type: EntryType.configChange,
  data: encodeConfigChange(what),
});

const leaderOf = (voters: readonly MemberId[], init: MemberInit = {}): Member => {
  const leader = new Member({ id: 1, voters, ...init }).lead();
  for (const id of [...voters, ...(init.learners ?? [])]) if (id !== 1) leader.catchUp(id);
  return leader;
};

describe("A7.73 one change at a time", () => {
  test("a change blocks others until it is applied (StepConfig)", () => {
    const leader = leaderOf([1, 2]);
    expect(leader.raft.proposeConfigChange(change(["addLearner", 3]))).toBe("accepted");
    expect(leader.raft.lastIndex).toBe(2);
    expect(leader.raft.proposeConfigChange(change(["addLearner", 4]))).toBe("dropped");
    leader.settle();
    leader.catchUp(2);
    expect(leader.raft.configuration).toEqual(configuration([1, 2], [3]));
    expect(leader.raft.proposeConfigChange(change(["addLearner", 4]))).toBe("accepted");
  });
  test("a forwarded second change is not appended (StepIgnoreConfig)", () => {
    const leader = leaderOf([1, 2]);
    leader.raft.proposeConfigChange(change(["addLearner", 3]));
    const entries = [{ ...configEntry(0, 0, change(["addLearner", 4])) }];
    leader.step({ type: MessageType.propose, from: 2, term: 0, entries });
    expect(leader.raft.lastIndex).toBe(2);
  });
  test("a change without a valid result is refused at once", () => {
    const leader = leaderOf([1]);
    expect(leader.raft.proposeConfigChange(change(["removeMember", 1]))).toBe("dropped");
    expect(leader.raft.proposeConfigChange(change())).toBe("dropped");
    const entries = [{ term: 0, index: 0, type: EntryType.configChange, data: bytes("garbage") }];
    leader.step({ type: MessageType.propose, from: 2, term: 0, entries });
    expect(leader.raft.lastIndex).toBe(1);
    expect(leader.raft.proposeConfigChange(change(["addVoter", 2]))).toBe("accepted");
  });
});

test("A7.74 a new leader with an uncommitted tail refuses changes until it is committed (NewLeaderPendingConfig)", () => {
  for (const tail of [false, true]) {
    const leader = withLog(1, tail ? [1] : [], { voters: [1, 2] }).lead();
    // Before its first entry is committed, a leader with a tail takes no change; one without takes it.
    expect(leader.raft.proposeConfigChange(change(["addLearner", 3]))).toBe(tail ? "dropped" : "accepted");
    leader.settle();
    leader.catchUp(2);
    if (tail) expect(leader.raft.proposeConfigChange(change(["addLearner", 3]))).toBe("accepted");
  }
});

describe("A7.75 the sets of members after a change", () => {
  const cases: readonly [
    name: string,
    before: Configuration,
    what: ConfigChange,
    after: Configuration | null,
  ][] = [
    ["AddNode", configuration([1]), change(["addVoter", 2]), configuration([1, 2])],
    ["AddLearner", configuration([1]), change(["addLearner", 2]), configuration([1], [2])],
    ["RemoveNode", configuration([1, 2]), change(["removeMember", 2]), configuration([1])],
    ["RemoveLearner", configuration([1], [2]), change(["removeMember", 2]), configuration([1])],
    ["promotion", configuration([1], [2]), change(["addVoter", 2]), configuration([1, 2])],
    ["demotion", configuration([1, 2]), change(["addLearner", 2]), configuration([1], [2])],
    ["again", configuration([1, 2]), change(["addVoter", 2]), configuration([1, 2])],
    ["a stranger goes", configuration([1, 2]), change(["removeMember", 9]), configuration([1, 2])],
    ["the last voter goes", configuration([1]), change(["removeMember", 1]), null],
    ["the last voter is demoted", configuration([1], [2]), change(["addLearner", 1]), null],
    ["RaftNodes: sorted", configuration([5, 7]), change(["addVoter", 6]), configuration([5, 6, 7])],
    ["id 0: the entry's index", configuration([1]), change(["addLearner", 0]), configuration([1], [99])],
    ["id 0 goes: nobody", configuration([1]), change(["removeMember", 0]), configuration([1])],
    [
      "several learners at once are simple",
      configuration([1], [2]),
      change(["addLearner", 3], ["removeMember", 2], ["addVoter", 4]),
      configuration([1, 4], [3]),
    ],
  ];
  for (const [name, before, what, after] of cases) {
    test(name, () => expect(changeConfiguration(before, what, 99)).toEqual(after));
  }
  test("only a voter may campaign (Promotable)", () => {
    for (const [init, promotable] of [
      [{ voters: [1] }, true],
      [{ voters: [1, 2, 3] }, true],
      [{ voters: [2, 3] }, false],
      [{ voters: [2, 3], learners: [1] }, false],
      [{ configuration: configuration([2], [], { votersOutgoing: [1, 2] }) }, true],
    ] as const) {
      const member = new Member({ id: 1, ...init });
      member.tick(20);
      expect(member.raft.role).toBe(promotable ? "candidate" : "follower");
    }
  });
  test("a committed change without a valid result leaves the configuration as it is", () => {
    const member = new Member({ id: 1, voters: [1, 2] });
    const entries = [configEntry(1, 1, change(["removeMember", 1], ["removeMember", 2]))];
    member.step({ type: MessageType.append, from: 2, term: 1, entries, commit: 1 });
    member.settle();
    expect(member.raft.configuration).toEqual(configuration([1, 2]));
  });
});

test("A7.76 a new silent member does not make check-quorum depose the leader at once (AddNodeCheckQuorum)", () => {
  const leader = new Member({ id: 1, voters: [1], checkQuorum: true }).lead();
  leader.tick(9);
  leader.raft.proposeConfigChange(change(["addVoter", 2]));
  leader.settle();
  leader.tick(1);
  expect(leader.raft).toMatchObject({ isLeader: true, configuration: configuration([1, 2]) });
  leader.tick(10);
  expect(leader.raft.isLeader).toBe(false);
});

test("A7.77 entries that wait are committed when a removal makes the quorum smaller (CommitAfterRemoveNode)", () => {
  const leader = leaderOf([1, 2]);
  leader.raft.proposeConfigChange(change(["removeMember", 2]));
  leader.settle();
  leader.propose("hello");
  leader.settle();
  expect(leader.texts).toEqual([]);
  leader.step({ type: MessageType.appendResponse, from: 2, index: 2 }); // The change alone.
  leader.settle();
  expect(leader.raft.configuration).toEqual(configuration([1]));
  expect(leader.texts).toEqual(["hello"]);
});

describe("A7.78 learners", () => {
  test("a learner never campaigns, not even on request (LearnerElectionTimeout, LearnerCampaign)", () => {
    const learner = new Member({ id: 2, voters: [1], learners: [2] });
    learner.tick(100);
    learner.raft.campaign();
    learner.step({ type: MessageType.timeoutNow, from: 1, term: 1 });
    expect(learner.raft).toMatchObject({ role: "follower", term: 1 });
  });
  test("a promoted learner campaigns (LearnerPromotion)", () => {
    const network = Network.of(2, { voters: [1], learners: [2] });
    network.campaign(1);
    network.change(1, change(["addVoter", 2]));
    for (const id of [1, 2]) expect(network.get(id).raft.configuration).toEqual(configuration([1, 2]));
    network.campaign(2);
    expect(network.leaders).toEqual([2]);
  });
  test("a learner receives every entry and counts for no quorum (LearnerLogReplication)", () => {
    const network = Network.of(3, { voters: [1, 2], learners: [3] });
    network.campaign(1);
    network.propose(1, "a");
    expect(network.get(3).texts).toEqual(["a"]);
    expect(network.get(1).progress(3)).toMatchObject({ match: 2, isLearner: true });
    network.isolate(2);
    network.propose(1, "b");
    expect(network.get(3).raft.lastIndex).toBe(3);
    expect(network.get(1).raft.commit).toBe(2);
  });
});

test("A7.79 a learner grants a vote request, because it may not know of its promotion (LearnerCanVote)", () => {
  const learner = new Member({ id: 2, voters: [1], learners: [2] });
  learner.step({ type: MessageType.vote, from: 1, term: 2, logTerm: 11, index: 11 });
  expect(learner.settleToOne()).toMatchObject({ type: MessageType.voteResponse, reject: false });
});

describe("A7.80 a member with an unapplied committed change does not campaign (ConfChangeCheckBeforeCampaign)", () => {
  for (const [how, provoke] of [
    ["timeout", (member: Member) => member.tick(20)],
    ["TimeoutNow", (member: Member) => member.step({ type: MessageType.timeoutNow, from: 1 })],
  ] as const) {
    for (const what of [change(["removeMember", 3]), change(["addVoter", 4], ["removeMember", 3])]) {
      test(`${how}, ${what.steps.length === 1 ? "simple" : "joint"}`, () => {
        const member = new Member({ id: 2, voters: [1, 2, 3] });
        const entries = [configEntry(1, 1, what)];
        member.step({ type: MessageType.append, from: 1, term: 1, entries, commit: 1 });
        provoke(member);
        expect(member.raft.role).toBe("follower");
        member.settle();
        provoke(member);
        expect(member.raft.role).toBe("candidate");
      });
    }
  }
});

test("A7.80 after a restart too: a member with an entry after a committed change has its commit index on disk", () => {
  // 1 and 2 have committed that 3 goes, then that 1 goes; 2 is alone since, and may have committed more by itself.
  const member = new Member({ id: 1, voters: [1, 2, 3] });
  const first = [configEntry(1, 1, change(["removeMember", 3]))];
  member.step({ type: MessageType.append, from: 2, term: 1, entries: first, commit: 0 });
  member.settle();
  const second = [configEntry(1, 2, change(["removeMember", 1]))];
  member.step({
    type: MessageType.append,
    from: 2,
    term: 1,
    index: 1,
    logTerm: 1,
    entries: second,
    commit: 1,
  });
  const ready = member.raft.ready();
  expect(ready).toMatchObject({ entries: [{ index: 2 }], hardState: { commit: 1 }, mustSync: true });
  // Written, and nothing applied: with an empty member 3 it would have a majority of its outdated configuration.
  member.storage.write(ready);
  member.restart(0);
  member.raft.campaign();
  expect(member.raft.role).toBe("follower");
  member.settle();
  expect(member.raft.configuration).toEqual(configuration([1, 2]));
});

describe("A7.81 changes are simple or joint, and joint ones are left automatically (RawNodeProposeAndConfChange)", () => {
  const cases: readonly [
    name: string,
    what: ConfigChange,
    joint: Configuration | null,
    final: Configuration,
  ][] = [
    ["simple", change(["addVoter", 2]), null, configuration([1, 2])],
    ["learner", change(["addLearner", 2]), null, configuration([1], [2])],
    [
      "two voters",
      change(["addVoter", 2], ["addVoter", 3]),
      configuration([1, 2, 3], [], { votersOutgoing: [1], autoLeave: true }),
      configuration([1, 2, 3]),
    ],
    [
      "one voter for another, which stays as a learner",
      change(["addLearner", 1], ["addVoter", 2], ["addLearner", 3]),
      configuration([2], [3], { votersOutgoing: [1], learnersNext: [1], autoLeave: true }),
      configuration([2], [1, 3]),
    ],
  ];
  for (const [name, what, joint, final] of cases) {
    test(name, () => {
      const seen: Configuration[] = [];
      const network = Network.with(
        new Member({ id: 1, voters: [1] }),
        ...[2, 3].map((id) => new Member({ id, voters: [1] })),
      );
      network.campaign(1);
      const { raft } = network.get(1);
      const apply = raft.applyConfigChange.bind(raft);
      raft.applyConfigChange = (...given) => {
        const after = apply(...given);
        seen.push(after);
        return after;
      };
      expect(network.change(1, what)).toBe("accepted");
      network.tick([1, 2, 3], 2);
      expect(seen).toEqual(joint === null ? [final] : [joint, final]);
    });
  }
  test("inside a joint configuration another change is refused", () => {
    const joint = configuration([1, 2], [], { votersOutgoing: [1, 3], autoLeave: false });
    const leader = new Member({ id: 1, configuration: joint }).lead([2, 3]);
    for (const id of [2, 3]) leader.catchUp(id);
    expect(leader.raft.proposeConfigChange(change(["addLearner", 9]))).toBe("dropped");
    expect(leader.raft.proposeConfigChange(change())).toBe("accepted"); // Leaving.
    leader.settle();
    for (const id of [2, 3]) leader.catchUp(id);
    expect(leader.raft.configuration).toEqual(configuration([1, 2]));
  });
  test("elections and commits need both majorities", () => {
    const joint = configuration([1, 2, 3], [], { votersOutgoing: [1, 4, 5] });
    const member = new Member({ id: 1, configuration: joint });
    member.raft.campaign();
    member.settle();
    member.step({ type: MessageType.voteResponse, from: 2 });
    member.step({ type: MessageType.voteResponse, from: 3 });
    expect(member.raft.role).toBe("candidate");
    member.step({ type: MessageType.voteResponse, from: 4 });
    expect(member.raft.role).toBe("leader");
    member.settle();
    for (const from of [2, 3]) member.step({ type: MessageType.appendResponse, from, index: 1 });
    expect(member.raft.commit).toBe(0);
    member.step({ type: MessageType.appendResponse, from: 5, index: 1 });
    expect(member.raft.commit).toBe(1);
  });
});

test("A7.82 a joint configuration is left also after leadership was lost and won again (RawNodeJointAutoLeave)", () => {
  const leader = new Member({ id: 1, voters: [1] }).lead();
  leader.raft.proposeConfigChange(change(["addVoter", 2], ["addVoter", 3]));
  let ready = leader.raft.ready();
  leader.finish(ready);
  ready = leader.raft.ready();
  expect(ready.committed).toHaveLength(1);
  leader.raft.applyConfigChange(decodeConfigChange(ready.committed[0]?.data as Uint8Array), 2);
  expect(isJoint(leader.raft.configuration)).toBe(true);
  leader.step({ type: MessageType.heartbeatResponse, from: 2, term: 2 }); // A newer term: it leads no more.
  leader.finish(ready);
  leader.settle();
  expect(leader.raft.lastIndex).toBe(2);
  leader.lead([2, 3]);
  for (const id of [2, 3]) leader.catchUp(id);
  leader.settle();
  for (const id of [2, 3]) leader.catchUp(id);
  expect(leader.raft.configuration).toEqual(configuration([1, 2, 3]));
});

test("proposals in a joint configuration do not make it leave twice (confchange_v2_add_double_auto)", () => {
  const leader = new Member({ id: 1, voters: [1] }).lead();
  leader.raft.proposeConfigChange(change(["addVoter", 2], ["addVoter", 3]));
  for (let i = 0; i < 5; i += 1) {
    leader.settle();
    leader.propose(`p${i}`);
    leader.tick();
  }
  for (const id of [2, 3]) leader.catchUp(id);
  for (const id of [2, 3]) leader.catchUp(id);
  const changes = leader.storage.all().filter((one) => one.type === EntryType.configChange);
  expect(changes).toHaveLength(2);
  expect(leader.raft.configuration).toEqual(configuration([1, 2, 3]));
});

test("A7.83 adding a member twice does not block later changes (ProposeAddDuplicateNode)", () => {
  const network = Network.of(2, { voters: [1] });
  network.campaign(1);
  expect(network.change(1, change(["addVoter", 2]))).toBe("accepted");
  expect(network.change(1, change(["addVoter", 2]))).toBe("accepted");
  expect(network.change(1, change(["addLearner", 3]))).toBe("accepted");
  expect(network.get(1).raft.configuration).toEqual(configuration([1, 2], [3]));
});

describe("A7.84 random changes (ConfChangeQuick)", () => {
  function randomChange(random: Random): ConfigChange {
    const types = ["addVoter", "addLearner", "removeMember"] as const;
    const steps = Array.from(
      { length: random.between(1, 4) },
      () => [random.pick(types), random.between(1, 6)] as const,
    );
    return change(...(steps as [(typeof types)[number], number][]));
  }
  test("single steps and one joint change lead to the same configuration", () => {
    for (let seed = 1; seed <= 2_000; seed += 1) {
      const random = new Random(seed);
      let stepwise: Configuration = configuration([1, 2, 3], [4]);
      const what = randomChange(random);
      let direct = changeConfiguration(stepwise, what, 50);
      if (direct !== null && isJoint(direct)) direct = changeConfiguration(direct, change(), 51);
      let possible = true;
      for (const step of what.steps) {
        const next = changeConfiguration(stepwise, { ...what, steps: [step] }, 50);
        if (next === null) possible = false;
        else stepwise = next;
      }
      // Step by step there may be a moment without voters; and joint, a voter that goes and comes back was there all along.
      if (possible && direct !== null) expect({ seed, ...direct }).toEqual({ seed, ...stepwise });
    }
  });
  test("every configuration keeps its invariants", () => {
    for (let seed = 1; seed <= 500; seed += 1) {
      const random = new Random(seed);
      let now = configuration([1, 2, 3]);
      for (let i = 0; i < 20; i += 1) {
        const next = changeConfiguration(now, random.chance(0.3) ? change() : randomChange(random), 50 + i);
        if (next === null) continue;
        const { voters, votersOutgoing, learners, learnersNext, autoLeave } = next;
        expect(voters.length).toBeGreaterThan(0);
        expect(learners.some((id) => voters.includes(id) || votersOutgoing.includes(id))).toBe(false);
        expect(learnersNext.every((id) => votersOutgoing.includes(id) && !voters.includes(id))).toBe(true);
        if (!isJoint(next)) {
          expect({ learnersNext, autoLeave }).toEqual({ learnersNext: [], autoLeave: false });
          const differ = new Set(now.voters).symmetricDifference(new Set(voters)).size;
          if (!isJoint(now)) expect(differ).toBeLessThanOrEqual(1);
        }
        expect(membersOf(next)).toEqual([...membersOf(next)].sort((a, b) => a - b));
        now = next;
      }
    }
  });
});

test("A7.84 a snapshot and a restart restore any configuration (Restore)", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const random = new Random(seed);
    const some = (from: number, count: number): MemberId[] =>
      Array.from({ length: count }, (_, i) => from + i);
    const voters = some(1, random.between(1, 5));
    const isJointOne = random.chance(0.5);
    const learnersNext = isJointOne ? some(11, random.below(3)) : [];
    const restored = configuration(voters, some(21, random.below(3)), {
      votersOutgoing: isJointOne ? [...some(random.between(1, 5), 3), ...learnersNext] : [],
      learnersNext,
      autoLeave: isJointOne && random.chance(0.5),
    });
    const member = new Member({ id: 1, voters: [1, 2] });
    const snapshot = { index: 5, term: 1, configuration: restored };
    member.step({ type: MessageType.snapshot, from: 2, term: 1, snapshot });
    member.settle();
    expect(member.raft.configuration).toEqual(restored);
    member.restart();
    expect(member.raft.configuration).toEqual(restored);
    expect(member.raft.status().configuration).toEqual(restored);
  }
});

describe("A7.81 joint on demand (thesis §4.3)", () => {
  const { jointImplicit, jointExplicit } = ConfigChangeTransition;
  test("implicit: a change of one voter needs both majorities until it is left automatically", () => {
    const leader = leaderOf([1, 2]);
    leader.raft.proposeConfigChange({ ...change(["addVoter", 3]), transition: jointImplicit });
    leader.settle();
    leader.step({ type: MessageType.appendResponse, from: 2, index: 2 });
    leader.settle();
    const rest = { votersOutgoing: [1, 2], autoLeave: true };
    expect(leader.raft.configuration).toEqual(configuration([1, 2, 3], [], rest));
    // The entry that leaves needs 1 and 2 of the old half, and two of the new one.
    leader.catchUp(3);
    expect(leader.raft.commit).toBe(2);
    leader.catchUp(2);
    expect(leader.raft.configuration).toEqual(configuration([1, 2, 3]));
  });
  test("explicit: a joint configuration survives a change of leader and is left by a proposal", () => {
    const network = Network.of(3);
    network.campaign(1);
    network.change(1, { ...change(["addLearner", 3]), transition: jointExplicit });
    const joint = configuration([1, 2], [], { votersOutgoing: [1, 2, 3], learnersNext: [3] });
    for (const id of [1, 2, 3]) expect(network.get(id).raft.configuration).toEqual(joint);
    network.tick([1, 2, 3], 5);
    network.campaign(2);
    network.tick([1, 2, 3], 5);
    expect(network.get(2).raft).toMatchObject({ isLeader: true, configuration: joint });
    expect(network.change(2, change(["addLearner", 4]))).toBe("dropped");
    expect(network.change(3, change())).toBe("forwarded");
    for (const id of [1, 2, 3])
      expect(network.get(id).raft.configuration).toEqual(configuration([1, 2], [3]));
  });
});

describe("the codec of changes", () => {
  test("a change is the same after encoding and decoding", () => {
    for (const what of [
      change(),
      change(["addLearner", 0]),
      change(["addVoter", 7], ["removeMember", 2 ** 53 - 1]),
      { ...change(["addVoter", 3]), context: bytes("a name, an address") },
      { ...change(), context: bytes("x") },
      { ...change(["addVoter", 3], ["addLearner", 0]), transition: ConfigChangeTransition.jointImplicit },
      { ...change(), transition: ConfigChangeTransition.jointExplicit, context: bytes("x") },
    ]) {
      expect(decodeConfigChange(encodeConfigChange(what))).toEqual(what);
    }
    expect(encodeConfigChange(change())).toHaveLength(0);
    expect([...encodeConfigChange(change(["addLearner", 5]))]).toEqual([1, 1, 2, 64, 20, 0, 0, 0, 0, 0, 0]);
  });
  test("bytes that encode no change throw RangeError", () => {
    const good = encodeConfigChange(change(["addVoter", 7]));
    for (const bad of [
      new Uint8Array([9]),
      new Uint8Array([1]),
      new Uint8Array([2, 0]),
      new Uint8Array([2, 0, 0]),
      new Uint8Array([2, 0, 3]),
      good.slice(0, -1),
      good.with(2, 77),
      encodeConfigChange(change(["addVoter", 1.5])),
    ]) {
      expect(() => decodeConfigChange(bad)).toThrow(RangeError);
    }
  });
});

describe("removed members", () => {
  test("a removed leader does not count itself and steps down (confchange_v1_remove_leader_stepdown)", () => {
    const network = Network.of(3);
    network.campaign(1);
    network.change(1, change(["removeMember", 1]));
    expect(network.get(1).raft).toMatchObject({ role: "follower", leader: 0 });
    for (const id of [1, 2, 3]) expect(network.get(id).raft.configuration).toEqual(configuration([2, 3]));
    network.get(1).tick(100);
    expect(network.get(1).raft.role).toBe("follower");
    network.campaign(2);
    expect(network.propose(2, "a")).toBe("accepted");
    expect(network.get(3).texts).toEqual(["a"]);
  });
  test("a removed leader's uncommitted tail is kept or replaced by the next leader", () => {
    const network = Network.of(3);
    network.campaign(1);
    const leader = network.get(1);
    leader.raft.proposeConfigChange(change(["removeMember", 1]));
    leader.propose("tail");
    network.run();
    network.campaign(2);
    for (const id of [2, 3]) expect(network.get(id).texts).toEqual(["tail"]);
  });
  test("a removed follower receives the commit of its removal", () => {
    const network = Network.of(3);
    network.campaign(1);
    network.change(1, change(["removeMember", 3]));
    expect(network.get(3).raft.configuration).toEqual(configuration([1, 2]));
    expect(network.get(1).raft.status().progress?.has(3)).toBe(false);
  });
  test("the last voter of two is elected by the commit index in votes while the removed leader lives", () => {
    const network = Network.of(2);
    network.campaign(1);
    network.drop(({ type, commit }) => type === MessageType.append && commit > 1);
    network.change(1, change(["removeMember", 1]));
    expect(network.get(1).raft.role).toBe("follower");
    expect(network.get(2).raft.configuration).toEqual(configuration([1, 2]));
    network.heal();
    network.get(1).propose("not here");
    network.campaign(2);
    network.campaign(2);
    expect(network.get(2).raft).toMatchObject({ role: "leader", configuration: configuration([2]) });
  });
});

test("after a restart, applied changes are handed out again and change nothing", () => {
  const member = new Member({ id: 1, voters: [1, 2] });
  const entries = [configEntry(1, 1, change(["addLearner", 3])), configEntry(1, 2, change(["addVoter", 3]))];
  member.step({ type: MessageType.append, from: 2, term: 1, entries, commit: 2 });
  member.settle();
  member.restart(0); // The state is at 0, the configuration at 2.
  const { committed } = member.raft.ready();
  expect(committed).toHaveLength(2);
  // Applied again, the first would demote a voter to learner.
  for (const one of committed) {
    const after = member.raft.applyConfigChange(decodeConfigChange(one.data), one.index);
    expect(after).toEqual(configuration([1, 2, 3]));
  }
});

test("a configuration may be known before the log reaches its entry; an older one does not replace it", () => {
  const newest = configuration([1, 2], [7]);
  const member = new Member({ id: 7, configuration: newest, configurationIndex: 9 });
  member.step({ type: MessageType.heartbeat, from: 1, term: 1 });
  const snapshot = { index: 5, term: 1, configuration: configuration([1, 2]) };
  member.step({ type: MessageType.snapshot, from: 1, snapshot });
  member.settle();
  expect(member.raft).toMatchObject({ commit: 5, lastIndex: 5 });
  expect(member.raft.configuration).toEqual(newest);
});

test("an admitted member is probed at once", () => {
  const leader = leaderOf([1, 2]);
  leader.propose("a");
  leader.settle();
  leader.raft.proposeConfigChange(change(["addLearner", 0]));
  leader.settle();
  leader.step({ type: MessageType.appendResponse, from: 2, index: 3 });
  const sent = leader.settle();
  expect(leader.raft.configuration).toEqual(configuration([1, 2], [3]));
  const [probe] = sent.filter((one) => one.to === 3);
  expect(probe).toMatchObject({ type: MessageType.append, index: 3, logTerm: 1, commit: 3 });
});

/** Scenarios A3: pre-vote (thesis §9.6) and check-quorum (thesis §6.2). */
import { describe, expect, test } from "bun:test";
import { type Message, MessageType } from "../../../src/raft/model/types.ts";
import { entry, Member, Network } from "../harness.ts";

const T = 10;

test("A3.26 a candidate that loses a pre-vote disturbs no other member (DuelingPreCandidates)", () => {
  const network = Network.of(3, { preVote: true });
  network.cut(1, 3);
  network.campaign(1);
  network.campaign(3);
  expect(network.get(1).raft.role).toBe("leader");
  expect(network.get(3).raft.role).toBe("follower");
  network.heal();
  network.campaign(3);
  for (const id of [1, 2, 3]) expect(network.get(id).raft.term).toBe(1);
  expect(network.leaders).toEqual([1]);
  expect(network.get(3).raft.lastIndex).toBe(0);
});

test("A3.27 after a split vote the next round succeeds (PreVoteWithSplitVote)", () => {
  const network = Network.of(3, { preVote: true });
  network.campaign(1);
  network.isolate(1);
  // Both ask before either hears the other.
  network.get(2).raft.campaign();
  network.get(3).raft.campaign();
  network.run();
  for (const id of [2, 3]) expect(network.get(id).raft).toMatchObject({ role: "candidate", term: 2 });
  network.campaign(2);
  expect(network.get(2).raft).toMatchObject({ role: "leader", term: 3 });
  expect(network.get(3).raft).toMatchObject({ role: "follower", term: 3 });
});

test("A3.28 a pre-vote is ignored during the leader's lease and granted after it (PreVoteWithCheckQuorum)", () => {
  const network = Network.of(3, { preVote: true, checkQuorum: true });
  network.campaign(1);
  network.isolate(1);
  network.campaign(3);
  expect(network.get(3).raft).toMatchObject({ role: "preCandidate", term: 1 });
  expect(network.get(2).raft).toMatchObject({ role: "follower", leader: 1, term: 1 });
  network.tick([2, 3], 4 * T);
  expect(network.leaders.filter((id) => id !== 1)).toHaveLength(1);
});

test("A3.29 a member with an older term takes part in an election after the leader's death (NodeWithSmallerTermCanCompleteElection)", () => {
  const network = Network.of(3, { preVote: true });
  network.campaign(1);
  network.isolate(3);
  network.campaign(2); // Term 2, without 3.
  network.heal();
  network.isolate(2);
  network.cut(1, 2);
  expect(network.get(3).raft.term).toBe(1);
  expect(network.get(1).raft.term).toBe(2);
  network.campaign(3); // Behind in log: refused, but told the term.
  expect(network.get(3).raft).toMatchObject({ role: "follower", term: 2 });
  network.campaign(1);
  expect(network.get(1).raft).toMatchObject({ role: "leader", term: 3 });
  expect(network.get(3).raft).toMatchObject({ role: "follower", leader: 1 });
});

describe("A3.30 a member with a newer term and an older log (PreVoteMigration)", () => {
  /** 1 leads term 2 with 2; 3, still without pre-vote, has raced to a higher term with a shorter log. */
  function migrated(checkQuorum: boolean): Network {
    const network = Network.of(3, { preVote: true, checkQuorum });
    network.get(3).restart(0, { preVote: false });
    network.campaign(1);
    network.isolate(3);
    network.propose(1, "a");
    network.campaign(3);
    network.campaign(3);
    expect(network.get(3).raft).toMatchObject({ role: "candidate", term: 3, lastIndex: 1 });
    expect(network.get(1).raft).toMatchObject({ role: "leader", term: 1, lastIndex: 2 });
    network.get(3).restart(0, { preVote: true });
    network.heal();
    return network;
  }

  test("without the leader, the others elect one (CanCompleteElection)", () => {
    const network = migrated(false);
    network.isolate(1);
    network.campaign(3);
    network.campaign(2);
    // The first tells 2 the term, or 2 is told it when refused; the next round is decided.
    network.campaign(3);
    network.campaign(2);
    expect(network.get(2).raft.role).toBe("leader");
    expect(network.get(3).raft).toMatchObject({ role: "follower", leader: 2 });
  });

  test("the leader steps down at the newer term and the next election includes all (FreeStuckPreCandidate)", () => {
    const network = migrated(true);
    network.campaign(3);
    expect(network.get(3).raft.role).toBe("preCandidate");
    network.tick(1);
    expect(network.get(1).raft).toMatchObject({ role: "follower", term: 3 });
    network.tick([1, 2, 3], 6 * T);
    expect(network.leaders).toHaveLength(1);
    const [leader] = network.leaders;
    expect(leader).not.toBe(3);
    expect(network.get(3).raft.leader).toBe(leader as number);
    expect(network.get(3).texts).toEqual(["a"]);
  });
});

describe("A3.31 a heartbeat that reaches a follower after its timeout (DisruptiveFollower)", () => {
  /** 1 leads; its heartbeat to 3 is in flight while 3 times out; messages of 3 are late. */
  function timedOut(preVote: boolean): { network: Network; heartbeat: Message } {
    const network = Network.of(3, { preVote, checkQuorum: true });
    network.campaign(1);
    network.get(1).raft.tick();
    const heartbeat = network
      .get(1)
      .settle()
      .find((one) => one.to === 3) as Message;
    network.get(3).tick(2 * T);
    network.get(3).settle();
    return { network, heartbeat };
  }
  test("without pre-vote the follower deposes the leader", () => {
    const { network, heartbeat } = timedOut(false);
    expect(network.get(3).raft).toMatchObject({ role: "candidate", term: 2 });
    network.run([heartbeat]);
    expect(network.get(1).raft).toMatchObject({ role: "follower", term: 2 });
  });
  test("with pre-vote the leader remains", () => {
    const { network, heartbeat } = timedOut(true);
    expect(network.get(3).raft).toMatchObject({ role: "preCandidate", term: 1 });
    network.run([heartbeat]);
    expect(network.get(1).raft).toMatchObject({ role: "leader", term: 1 });
    expect(network.get(3).raft).toMatchObject({ role: "follower", leader: 1 });
  });
});

describe("A3.32 check-quorum counts the answers within an election timeout (LeaderStepdown)", () => {
  for (const answers of [true, false]) {
    test(answers ? "QuorumActive: stays" : "QuorumLost: steps down", () => {
      const member = new Member({ id: 1, voters: [1, 2, 3], checkQuorum: true }).lead();
      for (let i = 0; i < 2 * T + 1; i += 1) {
        if (answers && member.raft.isLeader) member.step({ type: MessageType.heartbeatResponse, from: 2 });
        member.tick();
        member.settle();
      }
      expect(member.raft).toMatchObject({
        role: answers ? "leader" : member.raft.role,
        leader: answers ? 1 : 0,
      });
      expect(member.raft.isLeader).toBe(answers);
    });
  }
  test("answers of learners do not count", () => {
    const member = new Member({ id: 1, voters: [1, 2], learners: [3], checkQuorum: true }).lead();
    for (let i = 0; i < T && member.raft.isLeader; i += 1) {
      member.step({ type: MessageType.heartbeatResponse, from: 3 });
      member.tick();
      member.settle();
    }
    expect(member.raft.isLeader).toBe(false);
  });
});

test("A3.33 a voter refuses votes until its own election timeout has passed (LeaderSupersedingWithCheckQuorum)", () => {
  const network = Network.of(3, { checkQuorum: true });
  network.campaign(1);
  network.campaign(3);
  expect(network.get(3).raft.role).toBe("candidate");
  expect(network.get(2).raft).toMatchObject({ leader: 1, term: 1 });
  network.get(2).tick(T - 1); // One tick before its lease ends.
  network.campaign(3);
  expect(network.get(3).raft.role).toBe("candidate");
  network.get(2).tick(1);
  network.campaign(3);
  expect(network.get(3).raft.role).toBe("leader");
});

test("A3.34 fresh members vote at once, later elections wait for leases (LeaderElectionWithCheckQuorum)", () => {
  const network = Network.of(3, { checkQuorum: true });
  network.campaign(1);
  expect(network.leaders).toEqual([1]);
  network.get(2).tick(T);
  network.campaign(3); // 1 counts its quorum as its lease and does not vote; 2 does.
  expect(network.get(3).raft.role).toBe("leader");
  expect(network.get(1).raft).toMatchObject({ role: "follower", leader: 3 });
});

test("A3.35 a candidate with a newer term makes the leader step down (FreeStuckCandidateWithCheckQuorum)", () => {
  const network = Network.of(3, { checkQuorum: true });
  network.campaign(1);
  network.isolate(1);
  network.campaign(3);
  network.campaign(3);
  expect(network.get(3).raft).toMatchObject({ role: "candidate", term: 3 });
  expect(network.get(2).raft).toMatchObject({ role: "follower", term: 1 });
  network.heal();
  network.tick(1); // Its heartbeat reaches 3, whose answer carries the newer term.
  expect(network.get(1).raft).toMatchObject({ role: "follower", term: 3 });
  network.get(2).tick(T);
  network.campaign(3);
  expect(network.get(3).raft.role).toBe("leader");
});

test("A3.36 a member outside its own configuration still follows the leader (NonPromotableVoterWithCheckQuorum)", () => {
  const network = Network.with(
    new Member({ id: 1, voters: [1, 2], checkQuorum: true }),
    new Member({ id: 2, voters: [1], checkQuorum: true }),
  );
  network.get(2).tick(5 * T);
  expect(network.get(2).raft.role).toBe("follower");
  network.campaign(1);
  expect(network.get(1).raft.role).toBe("leader");
  expect(network.get(2).raft).toMatchObject({ role: "follower", leader: 1 });
});

test("a vote request that the lease refuses does not raise the term", () => {
  const member = new Member({ id: 1, voters: [1, 2, 3], checkQuorum: true });
  member.step({ type: MessageType.append, from: 2, term: 1, entries: [entry(1, 1)] });
  member.settle();
  for (const type of [MessageType.vote, MessageType.preVote]) {
    member.step({ type, from: 3, term: 9, index: 9, logTerm: 9 });
    expect(member.settle()).toEqual([]);
    expect(member.raft).toMatchObject({ term: 1, leader: 2 });
  }
});

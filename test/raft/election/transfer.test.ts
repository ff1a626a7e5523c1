/** Scenarios A8: handing leadership over (thesis §3.10). */
import { describe, expect, test } from "bun:test";
import { type MemberId, MessageType } from "../../../src/raft/model/types.ts";
import { change, configuration, Member, type MemberInit, Network } from "../harness.ts";

function led(init: MemberInit = {}, size = 3): Network {
  const network = Network.of(size, init);
  network.campaign(1);
  network.tick(1);
  return network;
}

function transfer(network: Network, via: MemberId, to: MemberId): void {
  network.get(via).raft.transferLeader(to);
  network.run();
}

const transferee = (network: Network): MemberId => network.get(1).raft.status().transferee;

describe("A8.86 a transfer to a member that is up to date is immediate (LeaderTransferToUpToDateNode)", () => {
  for (const [name, via, init] of [
    ["from the leader", 1, {}],
    ["FromFollower", 2, {}],
    ["CheckQuorum: leases do not stand in the way", 1, { checkQuorum: true }],
    ["with pre-vote: none is asked for", 1, { checkQuorum: true, preVote: true }],
  ] as const) {
    test(name, () => {
      const network = led(init);
      network.recorded = [];
      transfer(network, via, 2);
      expect(network.leaders).toEqual([2]);
      expect(network.get(1).raft).toMatchObject({ role: "follower", leader: 2 });
      expect(network.recorded.some((one) => one.type === MessageType.preVote)).toBe(false);
      network.propose(2, "a");
      transfer(network, 2, 1);
      expect(network.leaders).toEqual([1]);
      for (const id of [1, 2, 3]) expect(network.get(id).texts).toEqual(["a"]);
    });
  }
});

describe("A8.87 a slow target catches up first", () => {
  test("by entries (ToSlowFollower)", () => {
    const network = led();
    network.isolate(3);
    network.propose(1, "a");
    network.heal();
    network.get(1).raft.reportUnreachable(3);
    transfer(network, 1, 3);
    expect(network.leaders).toEqual([3]);
    expect(network.get(3).texts).toEqual(["a"]);
  });
  test("by a snapshot (AfterSnapshot)", () => {
    const network = led();
    network.isolate(3);
    for (let i = 0; i < 10; i += 1) network.propose(1, `p${i}`);
    const leader = network.get(1);
    leader.storage.compact(leader.raft.applied, leader.raft.configuration);
    network.heal();
    leader.raft.reportUnreachable(3);
    network.recorded = [];
    transfer(network, 1, 3);
    expect(network.recorded.some((one) => one.type === MessageType.snapshot)).toBe(true);
    expect(network.leaders).toEqual([3]);
  });
});

describe("A8.88 transfers without effect", () => {
  for (const [name, to] of [
    ["ToSelf", 1],
    ["ToNonExistingNode", 9],
    ["ToLearner", 4],
  ] as const) {
    test(name, () => {
      const network = led({ voters: [1, 2, 3], learners: [4] }, 4);
      transfer(network, 1, to);
      expect(network.leaders).toEqual([1]);
      expect(transferee(network)).toBe(0);
      expect(network.propose(1, "a")).toBe("accepted");
    });
  }
  test("without a leader no message is sent", () => {
    const member = new Member({ id: 1, voters: [1, 2, 3] });
    member.raft.transferLeader(2);
    expect(member.raft.hasReady()).toBe(false);
  });
});

describe("A8.89, 90 during a transfer", () => {
  test("proposals are dropped until it times out after one election timeout (Timeout, IgnoreProposal)", () => {
    const network = led();
    network.isolate(3);
    transfer(network, 1, 3);
    expect(transferee(network)).toBe(3);
    const { lastIndex } = network.get(1).raft;
    expect(network.propose(1, "a")).toBe("dropped");
    expect(network.change(1, change(["addLearner", 9]))).toBe("dropped");
    expect(network.propose(2, "b")).toBe("forwarded"); // And dropped there.
    expect(network.get(1).raft.lastIndex).toBe(lastIndex);
    network.tick([1], 9);
    expect(transferee(network)).toBe(3);
    network.tick([1], 1);
    expect(transferee(network)).toBe(0);
    expect(network.leaders).toEqual([1]);
    expect(network.propose(1, "c")).toBe("accepted");
    expect(network.get(1).texts).toEqual(["c"]);
  });
});

describe("A8.91 the end of a transfer", () => {
  function pending(): Network {
    const network = led();
    network.isolate(3);
    transfer(network, 1, 3);
    expect(transferee(network)).toBe(3);
    return network;
  }
  test("a vote request of a higher term ends it (ReceiveHigherTermVote)", () => {
    const network = pending();
    network.campaign(2);
    expect(network.leaders).toEqual([2]);
    expect(transferee(network)).toBe(0);
  });
  for (const [name, what] of [
    ["RemoveNode", change(["removeMember", 3])],
    ["DemoteNode", change(["addLearner", 3])],
  ] as const) {
    test(name, () => {
      // The change was proposed before the transfer began, and is applied while it is pending.
      const network = led();
      const leader = network.get(1);
      network.isolate(3);
      network.drop(({ type }) => type === MessageType.appendResponse);
      expect(network.change(1, what)).toBe("accepted");
      transfer(network, 1, 3);
      expect(transferee(network)).toBe(3);
      leader.catchUp(2);
      expect(leader.raft.configuration.voters).toEqual([1, 2]);
      expect(transferee(network)).toBe(0);
    });
  }
});

describe("A8.92 a second request during a transfer", () => {
  test("a request for the leader itself ends it (Back)", () => {
    const network = led();
    network.isolate(3);
    transfer(network, 1, 3);
    transfer(network, 1, 1);
    expect(transferee(network)).toBe(0);
    expect(network.leaders).toEqual([1]);
  });
  test("a request for another member replaces it (SecondTransferToAnotherNode)", () => {
    const network = led();
    network.isolate(3);
    transfer(network, 1, 3);
    transfer(network, 1, 2);
    expect(network.leaders).toEqual([2]);
  });
  test("a request for the same member does not extend it (SecondTransferToSameNode)", () => {
    const network = led();
    network.isolate(3);
    transfer(network, 1, 3);
    network.tick([1], 5);
    transfer(network, 1, 3);
    network.tick([1], 5);
    expect(transferee(network)).toBe(0);
  });
});

test("a target that is removed during the transfer does not campaign", () => {
  const member = new Member({ id: 3, configuration: configuration([1, 2]) });
  member.step({ type: MessageType.timeoutNow, from: 1, term: 1 });
  expect(member.settle()).toEqual([]);
});

/** Scenarios A6: snapshots and compaction (paper §7). */
import { describe, expect, test } from "bun:test";
import { type Configuration, type Message, MessageType } from "../../../src/raft/model/types.ts";
import { configuration, entry, Member, type MemberInit, Network, withLog } from "../harness.ts";

const METADATA = { index: 11, term: 11, configuration: configuration([1, 2]) };

/** Leader of a log that is compacted up to 11, with a snapshot there to offer; 2 turns out to need it. */
function offering(init: MemberInit = {}): Member {
  const storage = { compacted: { index: 11, term: 11 }, hardState: { term: 11, vote: 0, commit: 11 } };
  const leader = new Member({ id: 1, voters: [1, 2], storage, ...init });
  leader.storage.offered = METADATA;
  leader.lead([2]);
  return leader;
}

function rejectAll(leader: Member, from = 2): Message[] {
  const { next } = leader.progress(from);
  leader.step({ type: MessageType.appendResponse, from, reject: true, index: next - 1, rejectHint: 0 });
  return leader.settle();
}

describe("A6.65 a member that needs a snapshot is paused until the offer is resolved", () => {
  test("the offer sets the pending index (SendingSnapshotSetPendingSnapshot)", () => {
    const leader = offering();
    const [sent] = rejectAll(leader);
    expect(sent).toMatchObject({ type: MessageType.snapshot, to: 2, snapshot: METADATA, entries: [] });
    expect(leader.progress(2)).toMatchObject({ state: "snapshot", pendingSnapshot: 11, next: 12 });
  });
  test("a pending snapshot pauses appends (PendingSnapshotPauseReplication)", () => {
    const leader = offering();
    rejectAll(leader);
    leader.propose("somedata");
    expect(leader.settle()).toEqual([]);
    leader.step({ type: MessageType.heartbeatResponse, from: 2 });
    expect(leader.settle()).toEqual([]);
  });
  test("an unreported snapshot is offered again after four election timeouts", () => {
    const leader = offering({ electionTicks: 10 });
    rejectAll(leader);
    const offers: number[] = [];
    for (let tick = 1; tick <= 50; tick += 1) {
      leader.tick();
      leader.step({ type: MessageType.heartbeatResponse, from: 2 });
      if (leader.settle().some((one) => one.type === MessageType.snapshot)) offers.push(tick);
    }
    expect(offers).toEqual([40]);
    expect(leader.progress(2)).toMatchObject({ state: "snapshot", pendingSnapshot: 11 });
  });
});

describe("A6.66 the end of a pending snapshot", () => {
  test("a failure leads to probing from match, after the next heartbeat's answer (SnapshotFailure)", () => {
    const leader = offering();
    rejectAll(leader);
    leader.raft.reportSnapshot(2, false);
    expect(leader.progress(2)).toMatchObject({ state: "probe", pendingSnapshot: 0, next: 1, paused: true });
    expect(leader.settle()).toEqual([]);
    leader.step({ type: MessageType.heartbeatResponse, from: 2 });
    expect(leader.settle()).toMatchObject([{ type: MessageType.snapshot }]);
  });
  test("a success leads to probing after the snapshot, once the member answers (SnapshotSucceed)", () => {
    const leader = offering();
    rejectAll(leader);
    leader.raft.reportSnapshot(2, true);
    expect(leader.progress(2)).toMatchObject({ state: "probe", pendingSnapshot: 0, next: 12, paused: true });
  });
  test("an acknowledgement that reaches the log ends the wait (SnapshotAbort)", () => {
    const leader = offering();
    rejectAll(leader);
    leader.step({ type: MessageType.appendResponse, from: 2, index: 11 });
    const sent = leader.settle();
    expect(leader.progress(2)).toMatchObject({ state: "replicate", match: 11, pendingSnapshot: 0, next: 13 });
    expect(sent).toMatchObject([{ type: MessageType.append, index: 11, entries: [{ index: 12 }] }]);
  });
  test("a heartbeat's answer reports a snapshot that was installed offline", () => {
    const leader = offering();
    rejectAll(leader);
    leader.step({ type: MessageType.heartbeatResponse, from: 2, index: 10 });
    expect(leader.progress(2)).toMatchObject({ state: "snapshot", pendingSnapshot: 11 });
    leader.step({ type: MessageType.heartbeatResponse, from: 2, index: 11 });
    expect(leader.progress(2)).toMatchObject({ state: "replicate", match: 11, pendingSnapshot: 0 });
  });
  test("an installed snapshot of another index ends the wait if the log continues from there (snapshot_succeed_via_app_resp_behind)", () => {
    const storage = {
      compacted: { index: 5, term: 1 },
      entries: Array.from({ length: 10 }, (_, i) => entry(1, 6 + i)),
      hardState: { term: 1, vote: 0, commit: 15 },
    };
    const leader = new Member({ id: 1, voters: [1, 2], storage });
    leader.storage.offered = { ...METADATA, index: 15, term: 1 };
    leader.lead([2]);
    rejectAll(leader);
    expect(leader.progress(2)).toMatchObject({ state: "snapshot", pendingSnapshot: 15 });
    leader.step({ type: MessageType.appendResponse, from: 2, index: 3 }); // Not enough: 4 and 5 are compacted.
    expect(leader.settle()).toEqual([]);
    expect(leader.progress(2)).toMatchObject({ state: "snapshot", match: 3 });
    leader.step({ type: MessageType.appendResponse, from: 2, index: 6 });
    const [sent] = leader.settle();
    expect(leader.progress(2)).toMatchObject({ state: "replicate", match: 6 });
    expect(sent).toMatchObject({ type: MessageType.append, index: 6, entries: { length: 10 } });
  });
  test("a report on a member without a pending snapshot is ignored", () => {
    const leader = offering();
    leader.catchUp(2);
    for (const ok of [true, false]) leader.raft.reportSnapshot(2, ok);
    leader.raft.reportSnapshot(9, true);
    expect(leader.progress(2)).toMatchObject({ state: "replicate", paused: false });
  });
});

describe("A6.67 restoring from a snapshot (Restore)", () => {
  const snapshot = { index: 11, term: 11, configuration: configuration([1, 2, 3]) };

  test("replaces log, commit index and configuration in one write; a repeated snapshot is ignored", () => {
    const member = withLog(1, [1, 1, 1], { voters: [1, 2] });
    member.step({ type: MessageType.snapshot, from: 2, term: 12, snapshot });
    const ready = member.raft.ready();
    expect(ready).toMatchObject({
      snapshot,
      entries: [],
      committed: [],
      hardState: { term: 12, commit: 11 },
      mustSync: true,
      messages: [],
      messagesAfterPersist: [{ type: MessageType.appendResponse, to: 2, index: 11, reject: false }],
    });
    member.finish(ready);
    expect(member.raft).toMatchObject({ commit: 11, applied: 11, lastIndex: 11, leader: 2 });
    expect(member.raft.configuration).toEqual(snapshot.configuration);
    expect(member.storage.firstIndex()).toBe(12);
    expect(member.raft.hasReady()).toBe(false);
    member.step({ type: MessageType.snapshot, from: 2, snapshot });
    expect(member.settle()).toMatchObject([{ index: 11 }]);
    expect(member.raft.lastIndex).toBe(11);
  });
  test("later entries go into the same write and are handed out after it", () => {
    const member = new Member({ id: 1, voters: [1, 2] });
    member.step({ type: MessageType.snapshot, from: 2, term: 11, snapshot });
    const entries = [entry(11, 12, "a"), entry(11, 13, "b")];
    member.step({ type: MessageType.append, from: 2, index: 11, logTerm: 11, entries, commit: 13 });
    const ready = member.raft.ready();
    expect(ready).toMatchObject({ snapshot, entries, committed: [] });
    member.finish(ready);
    member.settle();
    expect(member.texts).toEqual(["a", "b"]);
    member.restart();
    expect(member.raft).toMatchObject({ commit: 13, applied: 13, lastIndex: 13 });
  });
  test("a member with an unwritten snapshot does not campaign", () => {
    const member = new Member({ id: 1, voters: [1] });
    member.step({ type: MessageType.snapshot, from: 2, term: 11, snapshot });
    member.raft.campaign();
    expect(member.raft.role).toBe("follower");
    member.settle();
    member.raft.campaign();
    expect(member.raft.role).toBe("candidate");
  });
  test("a snapshot installed during a change of leader counts in any term", () => {
    const member = withLog(1, [1, 1, 1], { voters: [1, 2, 3], term: 12 });
    member.raft.campaign();
    member.step({ type: MessageType.snapshot, from: 2, term: 11, snapshot });
    expect(member.raft).toMatchObject({ commit: 11, lastIndex: 11, term: 13, role: "follower", leader: 0 });
  });
});

test("a snapshot installed without an offer is accepted in any term and not answered", () => {
  const member = withLog(1, [1, 1, 1], { voters: [1, 2, 3], term: 4 });
  member.step({ type: MessageType.heartbeat, from: 2, term: 4 });
  member.settle();
  const snapshot = { index: 11, term: 3, configuration: configuration([1, 2, 3]) };
  member.step({ type: MessageType.snapshot, from: 0, term: 0, snapshot });
  expect(member.settle()).toEqual([]);
  expect(member.raft).toMatchObject({ commit: 11, lastIndex: 11, term: 4, leader: 2 });
});

describe("A6.68 snapshots that restore nothing (RestoreIgnoreSnapshot)", () => {
  const member = (): Member =>
    new Member({
      id: 1,
      voters: [1, 2],
      storage: {
        entries: [entry(1, 1), entry(1, 2), entry(1, 3)],
        hardState: { term: 1, vote: 0, commit: 1 },
      },
    });
  test("a snapshot at or below the commit index is answered with the commit index", () => {
    const behind = member();
    behind.settle();
    const snapshot = { index: 1, term: 1, configuration: configuration([9]) };
    behind.step({ type: MessageType.snapshot, from: 2, snapshot });
    expect(behind.settleToOne()).toMatchObject({ type: MessageType.appendResponse, index: 1 });
    expect(behind.raft.configuration.voters).toEqual([1, 2]);
  });
  test("a snapshot that matches the log only advances the commit index", () => {
    const ahead = member();
    const snapshot = { index: 2, term: 1, configuration: configuration([9]) };
    ahead.step({ type: MessageType.snapshot, from: 2, snapshot });
    const messages = ahead.settle();
    expect(messages.at(-1)).toMatchObject({ index: 2 });
    expect(ahead.raft).toMatchObject({ commit: 2, lastIndex: 3 });
    expect(ahead.raft.configuration.voters).toEqual([1, 2]);
    expect(ahead.storage.firstIndex()).toBe(1);
  });
});

describe("A6.69 a restored snapshot sets the configuration, for every kind of member", () => {
  const cases: readonly [string, Configuration][] = [
    ["RestoreWithLearner", configuration([1, 2], [3])],
    [
      "RestoreWithVotersOutgoing",
      configuration([2, 3, 4], [], { votersOutgoing: [1, 2, 3], autoLeave: true }),
    ],
    ["RestoreVoterToLearner", configuration([2], [1, 3])],
    ["with learners to come", configuration([2, 4], [], { votersOutgoing: [1, 2], learnersNext: [1] })],
    ["without this member", configuration([2, 3])],
  ];
  for (const [name, to] of cases) {
    test(name, () => {
      const member = new Member({ id: 1, voters: [1, 2] });
      member.step({
        type: MessageType.snapshot,
        from: 2,
        term: 3,
        snapshot: { index: 9, term: 3, configuration: to },
      });
      member.settle();
      expect(member.raft.configuration).toEqual(to);
      member.restart();
      expect(member.raft.configuration).toEqual(to);
      // Only a voter, of either set, campaigns.
      member.tick(40);
      const mayCampaign = to.voters.includes(1) || to.votersOutgoing.includes(1);
      expect(member.raft.role).toBe(mayCampaign ? "candidate" : "follower");
    });
  }
  test("a snapshot promotes a learner to voter (RestoreLearnerPromotion)", () => {
    const member = new Member({ id: 3, voters: [1, 2], learners: [3] });
    const snapshot = { index: 9, term: 3, configuration: configuration([1, 2, 3]) };
    member.step({ type: MessageType.snapshot, from: 2, term: 3, snapshot });
    member.settle();
    member.tick(40);
    expect(member.raft.role).toBe("candidate");
  });
});

describe("A6.70 offering a snapshot (ProvideSnap)", () => {
  test("a leader offers a snapshot if the next entry is compacted", () => {
    const leader = offering();
    expect(rejectAll(leader)).toMatchObject([{ type: MessageType.snapshot, to: 2 }]);
  });
  test("a leader offers no snapshot to a silent member (IgnoreProvidingSnap)", () => {
    const leader = offering({ checkQuorum: true, voters: [1, 2, 3] });
    leader.storage.offered = null;
    rejectAll(leader); // Wants one, and there is none.
    leader.step({ type: MessageType.heartbeatResponse, from: 3 });
    leader.tick(10);
    leader.settle();
    expect(leader.raft.isLeader).toBe(true);
    leader.tick(9);
    leader.storage.offered = METADATA;
    for (const active of [false, true]) {
      expect(leader.progress(2)).toMatchObject({ recentActive: active, paused: false });
      leader.propose("x");
      const offers = leader.settle().filter((one) => one.type === MessageType.snapshot);
      expect(offers).toHaveLength(active ? 1 : 0);
      leader.step({ type: MessageType.heartbeatResponse, from: 2 });
    }
  });
  test("none to offer now: asked for again with the next answer", () => {
    const leader = offering();
    leader.storage.offered = null;
    expect(rejectAll(leader)).toEqual([]);
    leader.storage.offered = METADATA;
    leader.step({ type: MessageType.heartbeatResponse, from: 2 });
    expect(leader.settle()).toMatchObject([{ type: MessageType.snapshot }]);
  });
});

describe("A6.71 RestoreFromSnapMsg, SlowNodeRestore: catching up after compaction", () => {
  for (const kind of ["voter", "LearnerReceiveSnapshot"] as const) {
    test(kind, () => {
      const network = kind === "voter" ? Network.of(3) : Network.of(3, { voters: [1, 2], learners: [3] });
      network.campaign(1);
      network.isolate(3);
      for (let i = 0; i < 100; i += 1) network.propose(1, `p${i}`);
      const leader = network.get(1);
      leader.storage.compact(leader.raft.applied, leader.raft.configuration);
      network.heal();
      network.recorded = [];
      network.tick(1);
      const offers = network.recorded.filter((one) => one.type === MessageType.snapshot);
      expect(offers).toHaveLength(1);
      expect(network.get(3).raft.commit).toBe(leader.raft.commit);
      network.propose(1, "after");
      expect(network.get(3).raft.commit).toBe(leader.raft.commit);
      expect(network.get(3).texts).toEqual(["after"]);
      expect(leader.progress(3).state).toBe("replicate");
    });
  }
  test("slow_follower_after_compaction: one that the log still reaches gets entries", () => {
    const network = Network.of(3);
    network.campaign(1);
    network.propose(1, "a");
    network.isolate(3);
    for (let i = 0; i < 20; i += 1) network.propose(1, `p${i}`);
    network.get(1).storage.compact(2, network.get(1).raft.configuration);
    network.heal();
    network.recorded = [];
    network.tick(1);
    expect(network.recorded.some((one) => one.type === MessageType.snapshot)).toBe(false);
    expect(network.get(3).texts).toHaveLength(21);
  });
});

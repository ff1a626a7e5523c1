/** Scenarios that other implementations pin down by name: raft-rs, hashicorp/raft, ScyllaDB. */
import { describe, expect, test } from "bun:test";
import { encodeConfigChange } from "../../src/raft/raft.ts";
import {
  type ConfigChange,
  type Entry,
  EntryType,
  type MemberId,
  MessageType,
} from "../../src/raft/model/types.ts";
import { bytes, change, configuration, entry, Member, type MemberInit, Network, withLog } from "./harness.ts";

const changeEntry = (term: number, index: number, what: ConfigChange): Entry => ({
  term,
  index,
  type: EntryType.configChange,
  data: encodeConfigChange(what),
});

/** A member in term 1 with these entries on disk, that knows of `commit` of them and has applied one less than the change. */
const holding = (id: MemberId, entries: readonly Entry[], commit: number, init: MemberInit): Member =>
  new Member({ ...init, id, storage: { entries, hardState: { term: 1, vote: 0, commit } }, applied: 1 });

describe("raft-rs: a member with an unknown committed change advances by the commit index of vote messages", () => {
  for (const [name, what, before, after] of [
    ["simple", change(["addVoter", 4]), [1, 2, 3], configuration([1, 2, 3, 4])],
    [
      "joint",
      change(["addVoter", 4], ["removeMember", 1]),
      [1, 2, 3],
      configuration([2, 3, 4], [], { votersOutgoing: [1, 2, 3], autoLeave: true }),
    ],
  ] as const) {
    for (const kind of ["vote", "preVote"] as const) {
      test(`advance_commit_index_by_${kind.toLowerCase()}_request, ${name}`, () => {
        const entries = [entry(1, 1), changeEntry(1, 2, what), entry(1, 3)];
        const voter = holding(2, entries, 1, { voters: before, preVote: kind === "preVote" });
        // Its log is longer, so it refuses, and learns the candidate's commit index.
        const position = { index: 2, logTerm: 1, commit: 2, commitTerm: 1 };
        voter.step({ type: MessageType[kind], from: 4, term: 2, ...position });
        const [answer] = voter.settle();
        expect(answer).toMatchObject({ to: 4, reject: true });
        expect(voter.raft.configuration).toEqual(after);
        voter.raft.campaign();
        expect(new Set(voter.settle().map(({ to }) => to))).toEqual(new Set([1, 3, 4]));
      });
      test(`advance_commit_index_by_${kind.toLowerCase()}_response, ${name}`, () => {
        const entries = [entry(1, 1), changeEntry(1, 2, what)];
        const candidate = holding(2, entries, 1, { voters: before, preVote: kind === "preVote" });
        candidate.raft.campaign();
        expect(candidate.settle().some(({ to }) => to === 4)).toBe(false);
        const type = kind === "vote" ? MessageType.voteResponse : MessageType.preVoteResponse;
        candidate.step({ type, from: 1, reject: true, commit: 2, commitTerm: 1 });
        // It campaigned in a configuration that is none any more.
        expect(candidate.raft).toMatchObject({ role: "follower", commit: 2 });
        candidate.settle();
        expect(candidate.raft.configuration).toEqual(after);
        candidate.raft.campaign();
        expect(candidate.settle().some(({ to }) => to === 4)).toBe(true);
      });
    }
  }
});

describe("raft-rs", () => {
  test("a leader may remove itself unless it is the only voter (remove_node_itself)", () => {
    const alone = new Member({ id: 1, voters: [1], learners: [2] }).lead();
    expect(alone.raft.proposeConfigChange(change(["removeMember", 1]))).toBe("dropped");
    const network = Network.of(2);
    network.campaign(1);
    network.change(1, change(["removeMember", 1]));
    expect(network.get(1).raft).toMatchObject({ role: "follower", configuration: configuration([2]) });
    network.campaign(2);
    expect(network.propose(2, "a")).toBe("accepted");
    expect(network.get(2).texts).toEqual(["a"]);
    network.get(1).tick(100);
    expect(network.get(1).raft.role).toBe("follower");
  });

  test("entries of a former leader use and release no quota (uncommitted_entry_after_leader_election)", () => {
    const leader = withLog(1, [1, 1, 1], { voters: [1, 2], maxUncommittedBytes: 4, maxApplyBytes: 1 });
    for (const one of leader.storage.all()) Object.assign(one, { data: bytes("xxxx") });
    leader.autoApply = false;
    leader.lead();
    expect(leader.propose("yyyy")).toBe("accepted");
    leader.settle();
    leader.catchUp(2);
    // The first of the old entries is handed out, and no more than that while it is not applied.
    expect(leader.raft.commit).toBe(5);
    expect(leader.texts).toEqual(["xxxx"]);
    expect(leader.propose("z")).toBe("dropped");
    for (let applied = 1; applied <= 5; applied += 1) {
      leader.raft.appliedTo(applied);
      leader.settle();
    }
    expect(leader.texts.at(-1)).toBe("yyyy");
    expect(leader.propose("z")).toBe("accepted");
  });

  test("check-quorum can be switched at a restart, also while members differ in it (switching_check_quorum)", () => {
    const network = Network.of(3);
    network.campaign(1);
    network.isolate(1);
    network.tick(1, 30);
    expect(network.get(1).raft.isLeader).toBe(true); // No member answers, and it stays in its role.
    network.heal();
    for (const id of [1, 2, 3]) {
      network.get(id).restart(undefined, { checkQuorum: true });
      network.tick([1, 2, 3], 60);
      expect(network.leaders).toHaveLength(1);
      network.propose(network.leaders[0] as MemberId, `p${id}`);
      expect(network.get(3).texts).toContain(`p${id}`);
    }
    const [leader] = network.leaders as [MemberId];
    network.isolate(leader);
    network.tick(leader, 20);
    expect(network.get(leader).raft.isLeader).toBe(false);
  });

  describe("a follower that installed a state without an offer", () => {
    const behind = (): Network => {
      const network = Network.of(3);
      network.campaign(1);
      network.isolate(3);
      for (let i = 0; i < 5; i += 1) network.propose(1, `p${i}`);
      for (const id of [1, 2]) network.get(id).storage.compact(6, configuration([1, 2, 3]));
      network.heal();
      return network;
    };
    const fetched = (network: Network, index: number) => ({
      type: MessageType.snapshot,
      from: 0,
      term: 0,
      snapshot: { index, term: network.get(1).storage.term(index), configuration: configuration([1, 2, 3]) },
    });
    test("is sent entries instead of a snapshot offer", () => {
      const network = behind();
      network.get(3).step(fetched(network, 6));
      network.recorded = [];
      network.tick(1, 1);
      expect(network.get(1).progress(3)).toMatchObject({ state: "replicate", match: 6 });
      network.propose(1, "next");
      expect(network.get(3).texts).toEqual(["next"]);
      expect(network.recorded.some(({ type }) => type === MessageType.snapshot)).toBe(false);
    });
    test("ends the leader's wait with an acknowledgement, if an offer is in flight", () => {
      const network = behind();
      network.ignore(MessageType.snapshot);
      network.tick(1, 2);
      expect(network.get(1).progress(3)).toMatchObject({ state: "snapshot", pendingSnapshot: 6 });
      network.get(3).step(fetched(network, 6));
      network.run();
      // The leader stays silent towards it and tries again after a while; its probe finds out.
      network.heal();
      network.tick([1, 2], 60);
      expect(network.get(1).progress(3)).toMatchObject({ state: "replicate", match: 6 });
    });
    test("changes nothing if the state is older than the log", () => {
      const network = behind();
      network.get(2).step(fetched(network, 6));
      network
        .get(2)
        .step({ ...fetched(network, 6), snapshot: { index: 1, term: 1, configuration: configuration([9]) } });
      network.run();
      expect(network.get(2).raft).toMatchObject({ commit: 6, configuration: configuration([1, 2, 3]) });
    });
  });
});

describe("hashicorp/raft", () => {
  test("a removed member that does not know it wins no election and disturbs no leader (VoteNotGranted_WhenNodeNotInCluster)", () => {
    // Requests of unknown members are not refused as such: the candidate may be a member by a change that has not
    // arrived here
    // (thesis §4.2.1). The lease refuses them while the leader is heard. Afterwards their logs are too old.
    const network = Network.of(3, { checkQuorum: true, preVote: true });
    network.campaign(1);
    network.isolate(3);
    network.change(1, change(["removeMember", 3]));
    network.heal();
    const removed = network.get(3);
    expect(removed.raft.configuration).toEqual(configuration([1, 2, 3]));
    for (let i = 0; i < 60; i += 1) {
      network.tick(3, 1);
      network.tick([1, 2], 1);
    }
    expect(network.get(1).raft).toMatchObject({ isLeader: true, term: 1 });
    expect(removed.raft.isLeader).toBe(false);
    network.isolate(1); // Now without a leader.
    network.tick([2], 20);
    network.campaign(3);
    expect(removed.raft.isLeader).toBe(false);
  });

  test("a group with a learner of a higher term elects a leader again (ClusterCanRegainStability_WhenNonVoterWithHigherTermJoin)", () => {
    const network = Network.of(3, { checkQuorum: true, preVote: true });
    network.campaign(1);
    network.propose(1, "a");
    const late = new Member({ id: 4, voters: [], checkQuorum: true, preVote: true });
    late.storage.hardState = { term: 50, vote: 0, commit: 0 };
    late.restart(0);
    network.add(late);
    network.change(1, change(["addLearner", 4]));
    expect(network.get(1).raft.isLeader).toBe(false); // It was told of term 50.
    network.tick([1, 2, 3, 4], 60);
    expect(network.leaders).toHaveLength(1);
    const [leader] = network.leaders as [MemberId];
    const { term } = network.get(leader).raft;
    expect(term).toBeGreaterThan(50);
    network.propose(leader, "b");
    for (const id of [1, 2, 3, 4]) expect(network.get(id).texts).toEqual(["a", "b"]);
    network.tick([1, 2, 3, 4], 60);
    expect(network.get(leader).raft).toMatchObject({ isLeader: true, term });
  });
});

describe("ScyllaDB", () => {
  test("an offered snapshot has the term of its last entry, not the leader's term (snapshot_uses_correct_term)", () => {
    const network = Network.of(3);
    network.campaign(1);
    network.isolate(3);
    network.propose(1, "a");
    network.get(2).storage.compact(2, configuration([1, 2, 3]));
    network.campaign(2);
    network.campaign(2); // A leader does nothing.
    expect(network.get(2).raft.term).toBe(2);
    network.heal();
    network.recorded = [];
    network.tick(2, 2);
    const sent = network.recorded.find(({ type }) => type === MessageType.snapshot);
    expect(sent).toMatchObject({ term: 2, snapshot: { index: 2, term: 1 } });
    expect(network.get(3).storage.term(2)).toBe(1);
    // With a wrong term it would take itself for more up to date than it is, or could not be replicated to.
    network.propose(2, "b");
    expect(network.get(3).texts).toEqual(["b"]);
  });

  test("a configuration survives compaction and restart, with every kind of member (snapshotting_preserves_config)", () => {
    const network = Network.of(4, { voters: [1, 2, 3] });
    network.campaign(1);
    network.change(1, change(["addLearner", 4]));
    network.change(1, { ...change(["addLearner", 3]), transition: 2 });
    const joint = configuration([1, 2], [4], { votersOutgoing: [1, 2, 3], learnersNext: [3] });
    for (const id of [1, 2]) {
      const member = network.get(id);
      expect(member.raft.configuration).toEqual(joint);
      member.storage.compact(member.raft.applied, joint);
      member.restart();
      expect(member.raft.configuration).toEqual(joint);
    }
    const fresh = new Member({ id: 3, voters: [] });
    network.add(fresh);
    network.campaign(2);
    network.tick(2, 2);
    expect(fresh.raft.configuration).toEqual(joint);
  });

  test("a removed follower learns of its removal, also if it missed the commit", () => {
    const network = Network.of(3);
    network.campaign(1);
    network.drop(({ to, type, commit }) => to === 3 && type === MessageType.append && commit > 1);
    network.change(1, change(["removeMember", 3]));
    expect(network.get(3).raft.configuration).toEqual(configuration([1, 2, 3]));
    network.heal();
    // It has the entry. The member it asks for a vote has a longer log, refuses, and says that the entry is
    // committed.
    network.cut(1, 2);
    network.propose(1, "tail");
    network.campaign(3);
    expect(network.get(3).raft.configuration).toEqual(configuration([1, 2]));
    network.get(3).tick(100);
    expect(network.get(3).raft.role).toBe("follower");
  });

  test("a leader is removed while followers forward to it: every proposal is committed or definitely dropped", () => {
    const network = Network.of(3);
    network.campaign(1);
    expect(network.propose(2, "before")).toBe("forwarded");
    network.get(2).propose("with");
    network.change(1, change(["removeMember", 1]));
    expect(network.propose(1, "after")).toBe("dropped");
    network.campaign(2);
    expect(network.propose(3, "later")).toBe("forwarded");
    for (const id of [2, 3]) expect(network.get(id).texts).toEqual(["before", "with", "later"]);
  });
});

describe("ids are used only once", () => {
  test("an admitted member gets the index of its entry as its id, also after removals", () => {
    const leader = new Member({ id: 1, voters: [1] }).lead();
    const ids: MemberId[] = [];
    for (let i = 0; i < 5; i += 1) {
      leader.raft.proposeConfigChange(change(["addLearner", 0]));
      leader.settle();
      const [id] = leader.raft.configuration.learners as [MemberId];
      ids.push(id);
      leader.raft.proposeConfigChange(change(["removeMember", id]));
      leader.settle();
      // Neither compaction nor a restart brings an old one back.
      leader.storage.compact(leader.raft.applied, leader.raft.configuration);
      leader.restart();
      leader.lead();
    }
    expect(new Set(ids).size).toBe(5);
    expect(ids).toEqual([...ids].sort((a, b) => a - b));
  });
});

/** Scenarios A4: replication and commit (paper §5.3, §5.4). */
import { describe, expect, test } from "bun:test";
import { type Entry, type MemberId, type Message, MessageType } from "../../../src/raft/model/types.ts";
import { bytes, entriesOf, entry, Member, Network, withLog } from "../harness.ts";

const members = (size: number): MemberId[] => Array.from({ length: size }, (_, i) => i + 1);
const only = (messages: readonly Message[], type: Message["type"]): Message[] =>
  messages.filter((one) => one.type === type);

/** A leader of term 1 whose no-op is committed and known to all to be. */
function settledLeader(size: number, init: ConstructorParameters<typeof Member>[0] = {}): Member {
  const leader = new Member({ id: 1, voters: members(size), ...init }).lead();
  for (const id of members(size)) if (id !== 1) leader.catchUp(id);
  leader.settle();
  return leader;
}

describe("A4.37 heartbeats (§5.2)", () => {
  test("a leader sends every member one heartbeat per interval, without entries (LeaderBcastBeat)", () => {
    const leader = new Member({ id: 1, voters: [1, 2, 3], learners: [4], heartbeatTicks: 2 }).lead();
    for (let i = 0; i < 10; i += 1) leader.propose("x");
    leader.settle();
    leader.tick();
    expect(leader.settle()).toEqual([]);
    leader.tick();
    const beats = leader.settle();
    expect(beats.map((one) => [one.type, one.to, one.entries.length])).toEqual([
      [MessageType.heartbeat, 2, 0],
      [MessageType.heartbeat, 3, 0],
      [MessageType.heartbeat, 4, 0],
    ]);
  });
  test("a heartbeat's commit index is min(match, committed) (BcastBeat)", () => {
    const leader = settledLeader(3);
    for (let i = 0; i < 5; i += 1) leader.propose("x");
    leader.settle();
    leader.step({ type: MessageType.appendResponse, from: 2, index: 6 });
    leader.step({ type: MessageType.appendResponse, from: 3, index: 3 });
    leader.settle();
    expect(leader.raft.commit).toBe(6);
    leader.tick();
    expect(leader.settle().map((one) => [one.to, one.commit])).toEqual([
      [2, 6],
      [3, 3],
    ]);
  });
  test("only a leader sends heartbeats (RecvMsgBeat)", () => {
    const follower = new Member({ id: 1, voters: [1, 2, 3] });
    follower.tick(3);
    expect(follower.settle()).toEqual([]);
  });
});

test("A4.38 a leader appends a proposal and sends it with index and term of the entry before it (LeaderStartReplication, §5.3)", () => {
  const leader = settledLeader(3);
  leader.propose("some data");
  const messages = leader.settle();
  const entries = [entry(1, 2, "some data")];
  expect(leader.raft).toMatchObject({ lastIndex: 2, commit: 1 });
  expect(messages).toHaveLength(2);
  for (const to of [2, 3]) {
    const sent = messages.find((one) => one.to === to);
    expect(sent).toMatchObject({
      type: MessageType.append,
      term: 1,
      index: 1,
      logTerm: 1,
      commit: 1,
      entries,
    });
  }
});

test("all proposals of one turn leave in one append per member", () => {
  const leader = settledLeader(3);
  for (let i = 0; i < 100; i += 1) leader.propose(`p${i}`);
  const messages = leader.settle();
  expect(messages.map((one) => [one.to, one.entries.length])).toEqual([
    [2, 100],
    [3, 100],
  ]);
});

describe("A4.39 an entry is committed exactly with a majority (LeaderAcknowledgeCommit, §5.3)", () => {
  const cases: readonly [size: number, acknowledging: MemberId[], committed: boolean][] = [
    [1, [], true],
    [2, [], false],
    [2, [2], true],
    [3, [], false],
    [3, [2], true],
    [3, [2, 3], true],
    [4, [2], false],
    [4, [2, 3], true],
    [5, [], false],
    [5, [2], false],
    [5, [2, 3], true],
    [5, [2, 3, 4], true],
    [5, [2, 3, 4, 5], true],
  ];
  for (const [size, acknowledging, committed] of cases) {
    test(`${acknowledging.length + 1} of ${size}`, () => {
      const leader = settledLeader(size);
      leader.propose("some data");
      leader.settle();
      for (const from of acknowledging) leader.step({ type: MessageType.appendResponse, from, index: 2 });
      leader.settle();
      expect(leader.raft.commit).toBe(committed ? 2 : 1);
      expect(leader.texts).toEqual(committed ? ["some data"] : []);
    });
  }
  test("a leader sends a new commit index at once (LeaderCommitEntry)", () => {
    const leader = settledLeader(3);
    leader.propose("some data");
    leader.settle();
    leader.step({ type: MessageType.appendResponse, from: 2, index: 2 });
    for (const one of leader.settle()) expect(one).toMatchObject({ type: MessageType.append, commit: 2 });
    expect(leader.raft.commit).toBe(2);
  });
});

describe("A4.40 entries of earlier terms are committed, in order, with the first of the leader's term (LeaderCommitPrecedingEntries, §5.3)", () => {
  for (const terms of [[], [2], [1, 2], [1]]) {
    test(`after [${terms.join(" ")}]`, () => {
      const leader = withLog(1, terms, { voters: [1, 2, 3], term: 2 }).lead();
      leader.propose("some data");
      leader.settle();
      leader.catchUp(2);
      expect(leader.committed.map((one) => [one.index, one.term])).toEqual(
        [...terms, 3, 3].map((term, i) => [i + 1, term]),
      );
    });
  }
});

describe("A4.41 only entries of the current term are committed by counting (§5.4.2, figure 8)", () => {
  for (const [index, commit] of [
    [1, 0],
    [2, 0],
    [3, 3],
  ] as const) {
    test(`LeaderOnlyCommitsLogFromCurrentTerm: a majority has ${index} of 3`, () => {
      const leader = withLog(1, [1, 2], { voters: [1, 2] }).lead();
      leader.step({ type: MessageType.appendResponse, from: 2, index });
      leader.settle();
      expect(leader.raft).toMatchObject({ term: 3, commit });
    });
  }
  test("figure 8: an older entry on a majority is not committed and is overwritten", () => {
    const network = Network.of(5);
    network.campaign(1);
    for (const id of [3, 4, 5]) network.isolate(id);
    network.propose(1, "two"); // (a): on 1 and 2.
    network.get(1).restart();
    network.heal();
    for (const id of [1, 2]) network.isolate(id);
    network.drop(({ type }) => type === MessageType.append);
    network.campaign(5); // (b): 5 leads with the votes of 3 and 4; its entry is on itself alone.
    expect(network.get(5).raft).toMatchObject({ role: "leader", term: 2 });
    network.get(5).restart();
    network.heal();
    network.isolate(5);
    network.drop(({ type, entries }) => type === MessageType.append && entries.some((one) => one.term > 1));
    network.campaign(1);
    network.campaign(1); // (c): 1 leads term 3; of its log only "two" gets to a third.
    expect(network.get(1).raft).toMatchObject({ role: "leader", term: 3 });
    for (const from of [2, 3]) network.get(1).step({ type: MessageType.appendResponse, from, index: 2 });
    network.run();
    expect(network.get(1).raft.commit).toBe(1);
    expect(network.get(1).texts).toEqual([]);
    network.get(1).restart();
    network.heal();
    network.isolate(1);
    network.campaign(5);
    network.campaign(5); // (d): 5 leads again and overwrites it.
    expect(network.get(5).raft.role).toBe("leader");
    network.heal();
    network.tick(5);
    for (const id of members(5)) expect(network.get(id).terms.slice(0, 2)).toEqual([1, 2]);
  });
  test("a new leader's empty entry commits the tail (CommitWithoutNewTermEntry)", () => {
    const network = Network.of(5);
    network.campaign(1);
    for (const id of [3, 4, 5]) network.cut(1, id);
    network.propose(1, "some data");
    network.propose(1, "some data");
    expect(network.get(1).raft.commit).toBe(1);
    network.heal();
    network.campaign(2);
    for (const id of members(5)) expect(network.get(id).raft.commit).toBe(4);
  });
});

describe("A4.42 a follower commits up to min(leader's commit, last new entry), in order (FollowerCommitEntry, §5.3)", () => {
  const entries = [entry(1, 1, "a"), entry(1, 2, "b")];
  for (const [given, commit, applied] of [
    [1, 1, ["a"]],
    [2, 1, ["a"]],
    [2, 2, ["a", "b"]],
    [1, 2, ["a"]],
  ] as const) {
    test(`${given} entries, commit ${commit}`, () => {
      const follower = new Member({ id: 1, voters: [1, 2, 3] });
      follower.step({ type: MessageType.append, from: 2, term: 1, entries: entries.slice(0, given), commit });
      follower.settle();
      expect(follower.texts).toEqual([...applied]);
    });
  }
  test("a follower does not commit later entries of its own, which may be of another leader", () => {
    for (const given of [0, 1]) {
      const follower = withLog(1, [1, 1, 1, 1], { voters: [1, 2, 3] });
      const entries = [entry(1, 2)].slice(0, given);
      follower.step({ type: MessageType.append, from: 2, term: 2, index: 1, logTerm: 1, entries, commit: 4 });
      expect(follower.raft).toMatchObject({ commit: 1 + given, lastIndex: 4 });
    }
  });
});

describe("A4.43 a follower accepts an append only if the entry before it matches (FollowerCheckMsgApp, §5.3)", () => {
  for (const [logTerm, index, reject, rejectHint, hintTerm] of [
    [0, 0, false, 0, 0],
    [1, 1, false, 0, 0],
    [2, 2, false, 0, 0],
    [1, 2, true, 1, 1],
    [3, 3, true, 2, 2],
  ] as const) {
    test(`(${index}, term ${logTerm}) on [1 2], commit 1`, () => {
      const storage = { entries: entriesOf(1, 2), hardState: { term: 2, vote: 0, commit: 1 } };
      const follower = new Member({ id: 1, voters: [1, 2, 3], storage });
      follower.settle();
      follower.step({ type: MessageType.append, from: 2, term: 2, logTerm, index });
      const expected = reject ? { index, rejectHint, logTerm: hintTerm } : { index: Math.max(1, index) };
      expect(follower.settleToOne()).toMatchObject({ type: MessageType.appendResponse, reject, ...expected });
    });
  }
  test("a conflicting append deletes the suffix, a duplicate truncates nothing (HandleMsgApp)", () => {
    const follower = withLog(1, [1, 2, 2], { voters: [1, 2], term: 3 });
    follower.step({ type: MessageType.append, from: 2, index: 1, logTerm: 1, entries: [entry(2, 2)] });
    follower.settle();
    expect(follower.terms).toEqual([1, 2, 2]);
    follower.step({ type: MessageType.append, from: 2, index: 1, logTerm: 1, entries: [entry(3, 2)] });
    follower.settle();
    expect(follower.terms).toEqual([1, 3]);
  });
  test("an append with a gap is ignored", () => {
    const follower = withLog(1, [1], { voters: [1, 2], term: 1 });
    for (const entries of [[entry(1, 3)], [entry(1, 2), entry(1, 4)], [entry(9, 2)]]) {
      follower.step({ type: MessageType.append, from: 2, index: 1, logTerm: 1, entries });
      expect(follower.settle()).toEqual([]);
      expect(follower.raft.lastIndex).toBe(1);
    }
  });
});

describe("A4.44 a follower merges entries that overlap or conflict (FollowerAppendEntries, §5.3)", () => {
  const cases: readonly [index: number, logTerm: number, given: Entry[], result: number[]][] = [
    [2, 2, [entry(3, 3)], [1, 2, 3]],
    [1, 1, [entry(3, 2), entry(4, 3)], [1, 3, 4]],
    [0, 0, [entry(1, 1)], [1, 2]],
    [0, 0, [entry(3, 1)], [3]],
    [0, 0, [entry(1, 1), entry(2, 2)], [1, 2]],
    [1, 1, [], [1, 2]],
  ];
  for (const [index, logTerm, given, result] of cases) {
    test(`[1 2] and [${given.map((one) => one.term).join(" ")}] after ${index}`, () => {
      const follower = withLog(1, [1, 2], { voters: [1, 2, 3], term: 4 });
      follower.step({ type: MessageType.append, from: 2, index, logTerm, entries: given });
      follower.settle();
      expect(follower.terms).toEqual(result);
    });
  }
});

describe("A4.45 every follower of figure 7 converges to the leader's log (LeaderSyncFollowerLog)", () => {
  const leaderTerms = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
  const followers: Record<string, number[]> = {
    a: [1, 1, 1, 4, 4, 5, 5, 6, 6],
    b: [1, 1, 1, 4],
    c: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    d: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    e: [1, 1, 1, 4, 4, 4, 4],
    f: [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
  };
  for (const [name, terms] of Object.entries(followers)) {
    test(name, () => {
      const network = Network.with(
        withLog(1, leaderTerms, { voters: [1, 2, 3], term: 8 }),
        withLog(2, terms, { voters: [1, 2, 3], term: 8 }),
        withLog(3, [], { voters: [1, 2, 3] }),
      );
      network.campaign(1);
      network.propose(1, "x");
      expect(network.get(1).terms).toEqual([...leaderTerms, 9, 9]);
      for (const id of [2, 3]) {
        expect(network.get(id).terms).toEqual([...leaderTerms, 9, 9]);
        expect(network.get(id).raft.commit).toBe(12);
      }
    });
  }
});

describe("A4.46 all logs become equal, whichever member gets the proposals (LogReplication)", () => {
  for (const via of [1, 2]) {
    test(via === 1 ? "via the leader" : "ProposalByProxy", () => {
      const network = Network.of(3);
      network.campaign(1);
      network.propose(via, "a");
      network.propose(via, "b");
      for (const id of members(3)) {
        expect(network.get(id).terms).toEqual([1, 1, 1]);
        expect(network.get(id).texts).toEqual(["a", "b"]);
      }
    });
  }
  test("also across a change of leader", () => {
    const network = Network.of(3);
    network.campaign(1);
    network.propose(1, "a");
    network.campaign(2);
    network.propose(2, "b");
    for (const id of members(3)) {
      expect(network.get(id).terms).toEqual([1, 1, 2, 2]);
      expect(network.get(id).texts).toEqual(["a", "b"]);
    }
  });
  test("a proposal without a quorum is not committed (Proposal)", () => {
    const network = Network.of(3, {}, [2, 3]);
    network.campaign(1);
    expect(network.propose(1, "a")).toBe("dropped");
  });
});

test("A4.47 a single voter commits after its own sync (SingleNodeCommit)", () => {
  const member = new Member({ id: 1, voters: [1] }).lead();
  member.propose("a");
  const ready = member.raft.ready();
  expect(ready.committed).toEqual([]);
  expect(member.raft.commit).toBe(1);
  member.finish(ready);
  expect(member.raft.commit).toBe(2);
  member.settle();
  expect(member.texts).toEqual(["a"]);
});

describe("A4.48 heartbeats at both ends", () => {
  for (const [commit, expected] of [
    [3, 3],
    [2, 2],
    [1, 2],
  ]) {
    test(`HandleHeartbeat: commit ${commit} on 2`, () => {
      const storage = { entries: entriesOf(1, 2, 3), hardState: { term: 2, vote: 0, commit: 2 } };
      const follower = new Member({ id: 1, voters: [1, 2], storage });
      follower.step({ type: MessageType.heartbeat, from: 2, term: 3, commit: commit as number });
      expect(follower.raft.commit).toBe(expected as number);
      expect(only(follower.settle(), MessageType.heartbeatResponse)).toHaveLength(1);
    });
  }
  test("a heartbeat's answer resends entries to a late follower and nothing to a current one (HandleHeartbeatResp)", () => {
    const leader = withLog(1, [1, 2, 3], { voters: [1, 2] }).lead();
    for (let i = 0; i < 2; i += 1) {
      leader.step({ type: MessageType.heartbeatResponse, from: 2 });
      expect(only(leader.settle(), MessageType.append)).toHaveLength(1);
    }
    leader.catchUp(2);
    leader.step({ type: MessageType.heartbeatResponse, from: 2 });
    expect(leader.settle()).toEqual([]);
  });
});

describe("A4.49 answers to appends move match and next (LeaderAppResp)", () => {
  // A leader with three entries (terms 0-1 before it), probing at next = 3.
  const cases: readonly [name: string, Partial<Message>, match: number, next: number, sends: number][] = [
    ["stale rejection", { index: 3, reject: true }, 0, 4, 0],
    ["rejection, tries again from the hint", { index: 2, reject: true, rejectHint: 2 }, 0, 2, 1],
    ["acceptance, told the commit index", { index: 2 }, 2, 4, 2],
    ["stale acceptance", { index: 0 }, 0, 4, 1],
  ];
  for (const [name, answer, match, next, sends] of cases) {
    test(name, () => {
      const leader = withLog(1, [1, 1], { voters: [1, 2, 3] }).lead();
      expect(leader.progress(2)).toMatchObject({ match: 0, next: 3, state: "probe", paused: true });
      leader.step({ type: MessageType.appendResponse, from: 2, ...answer });
      const sent = leader.settle();
      expect(leader.progress(2).match).toBe(match);
      if (name !== "stale rejection") expect(leader.progress(2).next).toBe(next);
      expect(sent.filter((one) => one.to === 2).length).toBeLessThanOrEqual(sends);
    });
  }
  test("an acknowledgement beyond the end of the log is ignored", () => {
    const leader = settledLeader(3);
    leader.step({ type: MessageType.appendResponse, from: 2, index: 99 });
    expect(leader.progress(2).match).toBe(1);
  });
  test("answers of members outside the configuration are ignored", () => {
    const leader = settledLeader(3);
    leader.step({ type: MessageType.appendResponse, from: 9, index: 1 });
    leader.step({ type: MessageType.heartbeatResponse, from: 9 });
    expect(leader.settle()).toEqual([]);
    expect(leader.raft.status().progress?.has(9)).toBe(false);
  });
});

test("A4.50 a late rejection never moves next below match + 1 (LogReplicationWithReorderedMessage)", () => {
  const leader = settledLeader(3);
  const follower = withLog(2, [1], { voters: [1, 2, 3], term: 1 });
  leader.propose("1");
  const [first] = only(leader.settle(), MessageType.append);
  leader.propose("2");
  const [second] = only(leader.settle(), MessageType.append);
  // The second arrives first.
  follower.raft.step(second as Message);
  const [rejection] = follower.settle();
  expect(rejection).toMatchObject({ reject: true, index: 2, rejectHint: 1 });
  follower.raft.step(first as Message);
  const [accepted] = follower.settle();
  leader.raft.step(accepted as Message);
  leader.settle();
  expect(leader.progress(2)).toMatchObject({ match: 2, state: "replicate" });
  leader.raft.step(rejection as Message);
  leader.settle();
  expect(leader.progress(2)).toMatchObject({ match: 2, state: "replicate" });
  expect(leader.progress(2).next).toBeGreaterThan(2);
});

describe("A4.51 probing a different log takes one probe per term (FastLogRejection)", () => {
  // The leader's log, the follower's, and the index at which they are found to agree.
  const cases: readonly [leader: number[], follower: number[], agree: number][] = [
    [[1, 2, 2, 4, 4, 4, 4], [1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3], 3],
    [[1, 2, 2, 4, 4, 4, 4, 5], [1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3], 3],
    [[1, 1, 1, 1], [1, 1, 1, 2, 2, 2, 2], 3],
    [[1, 1, 1, 1, 1], [1, 1, 1, 2, 2, 2, 2], 3],
    [[1, 1, 1, 4, 5], [1, 1, 1, 2, 2, 2, 2], 3],
    [[2, 2, 2, 2, 2], [2, 4, 4, 4, 4, 4], 1],
    [[4, 4, 4], [2, 2, 2, 2, 2], 0],
    [[2, 4, 4], [3, 3, 3, 3, 3], 0],
  ];
  for (const [own, others, agree] of cases) {
    test(`[${own.join(" ")}] and [${others.join(" ")}]`, () => {
      // 2 has the leader's log, for its vote; 3 has the other one.
      const term = Math.max(own.at(-1) ?? 0, others.at(-1) ?? 0);
      const network = Network.with(
        withLog(1, own, { voters: [1, 2, 3], term }),
        withLog(2, own, { voters: [1, 2, 3], term }),
        withLog(3, others, { voters: [1, 2, 3], term }),
      );
      network.recorded = [];
      network.campaign(1);
      expect(network.get(1).raft.role).toBe("leader");
      const probes = network.recorded.filter((one) => one.type === MessageType.append && one.to === 3);
      const rejections = only(network.recorded, MessageType.appendResponse).filter((one) => one.reject);
      expect(probes[0]).toMatchObject({ index: own.length });
      expect(rejections.length).toBeLessThanOrEqual(new Set(own).size);
      expect(probes[rejections.length]).toMatchObject({ index: agree, logTerm: own[agree - 1] ?? 0 });
      expect(network.get(3).terms).toEqual([...own, term + 1]);
    });
  }
  test("a follower's hint is its highest index with a term no higher than the append's", () => {
    const follower = withLog(1, [1, 3, 3, 4, 4, 5, 5, 5, 6], { voters: [1, 2], term: 7 });
    follower.step({ type: MessageType.append, from: 2, index: 8, logTerm: 3 });
    expect(follower.settleToOne()).toMatchObject({ reject: true, index: 8, rejectHint: 3, logTerm: 3 });
  });
  test("also with a compacted prefix", () => {
    const storage = { compacted: { index: 5, term: 2 }, entries: [entry(3, 6), entry(3, 7)] };
    const follower = new Member({ id: 1, voters: [1, 2], storage });
    follower.step({ type: MessageType.append, from: 2, term: 4, index: 9, logTerm: 2 });
    expect(follower.settleToOne()).toMatchObject({ reject: true, index: 9, rejectHint: 5, logTerm: 2 });
  });
});

test("A4.52 an own write of an earlier leadership does not count (LeaderMsgAppSelfAckAfterTermChange)", () => {
  const leader = settledLeader(3);
  leader.propose("a");
  const ready = leader.raft.ready();
  expect(ready.entries).toHaveLength(1);
  // A leader of a newer term overwrites the entry before the write is known to be done.
  leader.step({ type: MessageType.append, from: 2, term: 2, index: 1, logTerm: 1, entries: [entry(2, 2)] });
  leader.finish(ready);
  leader.step({ type: MessageType.heartbeat, from: 2, term: 2 });
  expect(leader.raft.role).toBe("follower");
  const next = leader.raft.ready();
  expect(next.entries).toEqual([entry(2, 2)]);
  leader.finish(next);
  expect(leader.terms).toEqual([1, 2]);
});

describe("A4.53 forwarded proposals carry no term and reach the current leader", () => {
  test("a former leader forwards a proposal to the new one (ToOldLeader)", () => {
    const network = Network.of(3);
    network.campaign(1);
    const late: Message[] = [];
    network.drop(
      (message) => message.type === MessageType.propose && message.to === 1 && late.push(message) > 0,
    );
    expect(network.propose(3, "a")).toBe("forwarded");
    network.heal();
    network.campaign(2);
    expect(late[0]).toMatchObject({ to: 1, from: 3, term: 0 });
    network.run(late);
    for (const id of members(3)) expect(network.get(id).texts).toEqual(["a"]);
  });
  test("a proposal is never sent back to its sender", () => {
    const follower = new Member({ id: 1, voters: [1, 2, 3] });
    follower.step({ type: MessageType.heartbeat, from: 2, term: 1 });
    follower.settle();
    const entries = [{ ...entry(0, 0), data: bytes("a") }];
    follower.step({ type: MessageType.propose, from: 2, term: 0, entries });
    expect(follower.settle()).toEqual([]);
  });
});

describe("proposals", () => {
  test("a follower without forwarding drops a proposal (DisableProposalForwarding)", () => {
    const network = Network.of(3, { disableProposalForwarding: true });
    network.campaign(1);
    expect(network.propose(2, "a")).toBe("dropped");
    expect(network.propose(1, "b")).toBe("accepted");
    for (const id of members(3)) expect(network.get(id).texts).toEqual(["b"]);
  });
  test("a proposal without a leader is dropped", () => {
    const member = new Member({ id: 1, voters: [1, 2, 3] });
    expect(member.propose("a")).toBe("dropped");
    member.raft.campaign();
    expect(member.propose("a")).toBe("dropped");
    expect(member.raft.lastIndex).toBe(0);
  });
});

test("acknowledgements of one turn become one message after the write", () => {
  const follower = new Member({ id: 1, voters: [1, 2] });
  for (let i = 0; i < 5; i += 1) {
    const entries = [entry(1, i + 1)];
    follower.step({
      type: MessageType.append,
      from: 2,
      term: 1,
      index: i,
      logTerm: i === 0 ? 0 : 1,
      entries,
    });
  }
  const ready = follower.raft.ready();
  expect(ready.messages).toEqual([]);
  expect(ready.messagesAfterPersist).toHaveLength(1);
  expect(ready.messagesAfterPersist[0]).toMatchObject({ type: MessageType.appendResponse, index: 5 });
});

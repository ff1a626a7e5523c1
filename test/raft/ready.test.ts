/** Scenarios A10: contents of a ready, restarts, and limits. */
import { describe, expect, test } from "bun:test";
import type { Ready } from "../../src/raft/raft.ts";
import { type Entry, EntryType, type Message, MessageType } from "../../src/raft/model/types.ts";
import { bytes, change, configuration, entriesOf, entry, Member, Network, text, withLog } from "./harness.ts";
import { MemoryStorage } from "./memory-storage.ts";

const NOTHING: Ready = {
  hardState: null,
  entries: [],
  snapshot: null,
  committed: [],
  messages: [],
  messagesAfterPersist: [],
  readStates: [],
  mustSync: false,
};

describe("A10.97 the exact contents of the first readies", () => {
  test("a group of one, from its bootstrap to its first write (NodeStart)", () => {
    const storage = { compacted: { index: 1, term: 1 } };
    const member = new Member({ id: 1, voters: [1], storage });
    // The log was made in term 1, which therefore has begun.
    const first = member.raft.ready();
    expect(first).toEqual({ ...NOTHING, hardState: { term: 1, vote: 0, commit: 1 }, mustSync: true });
    member.finish(first);
    expect(member.raft.hasReady()).toBe(false);
    member.raft.campaign();
    const vote = member.raft.ready();
    expect(vote).toEqual({ ...NOTHING, hardState: { term: 2, vote: 1, commit: 1 }, mustSync: true });
    member.finish(vote);
    const empty = member.raft.ready();
    expect(empty).toEqual({ ...NOTHING, entries: [entry(2, 2)], mustSync: true });
    member.finish(empty);
    const committed = member.raft.ready();
    expect(committed).toEqual({
      ...NOTHING,
      hardState: { term: 2, vote: 1, commit: 2 },
      committed: [entry(2, 2)],
    });
    member.finish(committed);
    expect(member.raft.hasReady()).toBe(false);
  });
  test("a proposal, its write, its commit (NodeAdvance)", () => {
    const member = new Member({ id: 1, voters: [1] }).lead();
    member.propose("foo");
    const write = member.raft.ready();
    expect(write).toEqual({ ...NOTHING, entries: [entry(1, 2, "foo")], mustSync: true });
    expect(() => member.raft.ready()).toThrow("advanced first");
    member.finish(write);
    expect(() => member.raft.advance(write)).toThrow("the ready that is out");
    const commit = member.raft.ready();
    expect(commit).toMatchObject({ committed: [entry(1, 2, "foo")], entries: [], mustSync: false });
    member.finish(commit);
    expect(member.raft.hasReady()).toBe(false);
  });
  test("a restart hands out committed entries that were not applied, and writes nothing (NodeRestart)", () => {
    const entries = entriesOf(1, 1, 1);
    const hardState = { term: 1, vote: 1, commit: 2 };
    const member = new Member({ id: 1, voters: [1, 2], storage: { entries, hardState } });
    const ready = member.raft.ready();
    expect(ready).toEqual({ ...NOTHING, committed: entries.slice(0, 2) });
    member.finish(ready);
    expect(member.raft.hasReady()).toBe(false);
    member.restart();
    expect(member.raft.hasReady()).toBe(false);
    expect(member.raft.status()).toMatchObject({ term: 1, vote: 1, commit: 2, applied: 2, lastIndex: 3 });
  });
  test("a commit index from the state counts as far as the log reaches", () => {
    const entries = entriesOf(1, 1, 1);
    const storage = { entries, hardState: { term: 1, vote: 0, commit: 1 } };
    expect(new Member({ id: 1, voters: [1, 2], storage, committed: 2 }).raft.ready().committed).toEqual(
      entries.slice(0, 2),
    );
    expect(new Member({ id: 1, voters: [1, 2], storage, committed: 9 }).raft.ready().committed).toEqual(
      entries,
    );
  });
  test("a restart from a snapshot hands out the entries after it (NodeRestartFromSnapshot)", () => {
    const entries = [entry(1, 3, "foo")];
    const storage = { entries, compacted: { index: 2, term: 1 }, hardState: { term: 1, vote: 0, commit: 3 } };
    const member = new Member({ id: 1, voters: [1, 2], storage });
    const ready = member.raft.ready();
    expect(ready).toEqual({ ...NOTHING, committed: entries });
    member.finish(ready);
    expect(member.raft.hasReady()).toBe(false);
  });
  test("applied entries count as committed, also if the commit index was not saved in time", () => {
    const storage = { entries: entriesOf(1, 1, 1), hardState: { term: 1, vote: 0, commit: 1 } };
    const member = new Member({ id: 1, voters: [1, 2], storage, applied: 3, appliedTerm: 1 });
    expect(member.raft.commit).toBe(3);
    expect(member.raft.ready()).toMatchObject({ hardState: { commit: 3 }, mustSync: false, committed: [] });
  });
  test("a log that ends before, begins after or differs at the applied index is refused", () => {
    const storage = { entries: entriesOf(1, 1, 1), hardState: { term: 1, vote: 0, commit: 3 } };
    expect(() => new Member({ id: 1, storage, applied: 4 })).toThrow("the log ends at 3");
    expect(() => new Member({ id: 1, storage, applied: 3, appliedTerm: 2 })).toThrow(
      "the log has term 1 there",
    );
    const compacted = { compacted: { index: 9, term: 1 }, hardState: { term: 1, vote: 0, commit: 9 } };
    expect(() => new Member({ id: 1, storage: compacted, applied: 5 })).toThrow("the log begins at 10");
  });
  test("an idle follower has no ready, however often it ticks", () => {
    const member = new Member({ id: 1, voters: [1, 2] });
    for (let i = 0; i < 9; i += 1) {
      member.tick();
      expect(member.raft.hasReady()).toBe(false);
    }
    expect(member.raft.ready()).toEqual(NOTHING);
  });
});

describe("messages before the write and after it", () => {
  test("a leader's appends and heartbeats leave before; its own acknowledgement counts after", () => {
    const leader = new Member({ id: 1, voters: [1, 2, 3] }).lead();
    for (const id of [2, 3]) leader.catchUp(id);
    leader.propose("a");
    leader.tick();
    const ready = leader.raft.ready();
    expect(ready.entries).toHaveLength(1);
    const types = new Set(ready.messages.map((one) => one.type));
    expect(types).toEqual(new Set([MessageType.append, MessageType.heartbeat]));
    expect(ready.messagesAfterPersist).toEqual([]);
  });
  test("vote requests leave after, because they promise log and term", () => {
    for (const preVote of [false, true]) {
      const member = new Member({ id: 1, voters: [1, 2, 3], preVote });
      member.raft.campaign();
      const ready = member.raft.ready();
      expect(ready.messages).toEqual([]);
      expect(ready.messagesAfterPersist).toHaveLength(2);
    }
  });
  test("committed entries of an append are handed out with it: they are on disk by then", () => {
    const follower = new Member({ id: 1, voters: [1, 2] });
    const entries = [entry(1, 1, "a")];
    follower.step({ type: MessageType.append, from: 2, term: 1, entries, commit: 1 });
    const ready = follower.raft.ready();
    expect(ready).toMatchObject({ entries, committed: entries, hardState: { commit: 1 } });
  });
});

describe("A10.98 limits of messages and of applying", () => {
  test("appends keep the byte limit and lose nothing (AppendPagination)", () => {
    const network = Network.of(3, { maxMessageBytes: 2048 });
    network.recorded = [];
    network.campaign(1);
    network.isolate(1);
    for (let i = 0; i < 5; i += 1) network.get(1).propose(String(i).repeat(1000));
    network.run();
    network.heal();
    network.tick(1);
    const appends = network.recorded.filter((one) => one.type === MessageType.append);
    const sizes = appends.map((one) => one.entries.reduce((sum, e) => sum + e.data.length, 0));
    expect(Math.max(...sizes)).toBeLessThanOrEqual(2048);
    expect(Math.max(...sizes)).toBeGreaterThan(1000);
    for (const id of [1, 2, 3]) expect(network.get(id).texts).toHaveLength(5);
  });
  test("an entry above the limit goes alone", () => {
    const network = Network.of(2, { maxMessageBytes: 100, maxApplyBytes: 100 });
    network.campaign(1);
    for (let i = 0; i < 3; i += 1) network.get(1).propose("x".repeat(1000));
    network.run();
    for (const id of [1, 2]) expect(network.get(id).texts).toHaveLength(3);
  });
  test("committed entries are handed out in order within maxApplyBytes, the rest as they are applied (CommitPagination)", () => {
    const member = new Member({ id: 1, voters: [1], maxApplyBytes: 2000 }).lead();
    member.autoApply = false;
    for (let i = 0; i < 5; i += 1) member.propose(String(i).repeat(1000));
    member.settle();
    for (let applied = 2; applied <= 5; applied += 1) {
      expect(member.texts).toHaveLength(applied); // One fits; still below the limit, one more comes.
      expect(member.raft.hasReady()).toBe(false);
      member.raft.appliedTo(applied);
      member.settle();
    }
    expect(member.texts.map((one) => one[0])).toEqual(["0", "1", "2", "3", "4"]);
    expect(() => member.raft.appliedTo(99)).toThrow("not committed");
  });
  test("applies that stall hold back neither commits nor votes", () => {
    const network = Network.of(3, { maxApplyBytes: 64 });
    for (const member of network.members.values()) member.autoApply = false;
    network.campaign(1);
    for (let i = 0; i < 20; i += 1) network.propose(1, `entry number ${i}`);
    expect(network.get(1).raft.commit).toBe(21);
    expect(network.get(1).committed.length).toBeLessThan(6);
    network.campaign(2);
    expect(network.leaders).toEqual([2]);
  });
});

describe("A10.99 different byte limits of storage and state machine skip no entry (CommitPaginationAfterRestart)", () => {
  class Odd extends MemoryStorage {
    pages = 0;
    readonly #how: "more" | "one";
    constructor(how: "more" | "one", entries: readonly Entry[]) {
      super({ entries, hardState: { term: 1, vote: 1, commit: 10 } });
      this.#how = how;
    }
    override entries(from: number, to: number, _maxBytes: number): Entry[] {
      this.pages += 1;
      return super.entries(from, this.#how === "one" ? from + 1 : to, Infinity);
    }
  }
  for (const how of ["more", "one"] as const) {
    test(how === "more" ? "storage gives more than asked" : "storage gives one at a time", () => {
      const entries = Array.from({ length: 10 }, (_, i) => entry(1, i + 1, "a"));
      const member = new Member({ id: 1, voters: [1], maxApplyBytes: 60 });
      const odd = new Odd(how, entries);
      Object.assign(member, { storage: odd });
      member.restart(0);
      member.settle();
      expect(member.committed.map((one) => one.index)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      expect(member.raft.commit).toBe(10);
      expect(odd.hardState.commit).toBe(10);
    });
  }
});

test("A10.100 a leader without a quorum drops proposals at its quota (RawNodeBoundedLogGrowthWithPartition)", () => {
  const network = Network.of(3, { maxUncommittedBytes: 16 });
  network.campaign(1);
  network.isolate(1);
  const leader = network.get(1);
  const before = leader.raft.lastIndex;
  for (let i = 0; i < 1_000; i += 1) network.propose(1, "testdata");
  expect(leader.raft.lastIndex).toBe(before + 2);
  network.heal();
  network.tick(1);
  expect(network.get(2).texts).toEqual(["testdata", "testdata"]);
  expect(network.propose(1, "testdata")).toBe("accepted");
});

test("entries up to an installed state are still handed out and count as applied", () => {
  const entries = [
    ...entriesOf(1, 1),
    {
      term: 1,
      index: 3,
      type: EntryType.configChange,
      data: new Uint8Array([1, 1, 2, 64, 34, 0, 0, 0, 0, 0, 0]),
    },
  ];
  const member = new Member({ id: 1, voters: [1, 2], maxApplyBytes: 30 });
  member.autoApply = false;
  member.step({ type: MessageType.append, from: 2, term: 1, entries, commit: 1 });
  member.settle();
  const snapshot = { index: 3, term: 1, configuration: configuration([1, 2], [9]) };
  member.step({ type: MessageType.snapshot, from: 2, snapshot });
  expect(member.raft.commit).toBe(3);
  member.raft.appliedTo(3);
  member.settle();
  expect(member.committed.map((one) => one.index)).toEqual([1, 2, 3]);
  expect(member.raft.configuration).toEqual(snapshot.configuration);
});

test("entries and their bytes never change after they were sent", () => {
  const leader = new Member({ id: 1, voters: [1, 2] }).lead();
  leader.catchUp(2);
  leader.propose("a");
  const [append] = leader.settle().filter((one) => one.entries.length > 0) as [Message];
  const follower = withLog(2, [1], { voters: [1, 2] });
  follower.raft.step(append);
  follower.settle();
  follower.step({
    type: MessageType.append,
    from: 3,
    term: 9,
    index: 1,
    logTerm: 1,
    entries: [entry(9, 2, "b")],
  });
  follower.settle();
  expect(text(append.entries[0]?.data as Uint8Array)).toBe("a");
  expect(leader.storage.all()[1]).toEqual(entry(1, 2, "a"));
});

test("100,000 entries through three members, a hundred a turn", () => {
  const network = Network.of(3, { maxMessageBytes: 64 * 1024 });
  network.campaign(1);
  const data = bytes("x".repeat(100));
  for (let turn = 0; turn < 1_000; turn += 1) {
    for (let i = 0; i < 100; i += 1) network.get(1).raft.propose(data);
    network.run();
  }
  for (const id of [1, 2, 3]) {
    expect(network.get(id).committed).toHaveLength(100_001);
    expect(network.get(id).storage.reads).toBe(0); // All from memory.
  }
});

test("a configuration change that waits behind applies takes effect when it is handed out", () => {
  const leader = new Member({ id: 1, voters: [1] }).lead();
  leader.autoApply = false;
  leader.raft.proposeConfigChange(change(["addLearner", 2]));
  leader.settle();
  expect(leader.raft.applied).toBe(1);
  expect(leader.raft.configuration).toEqual(configuration([1], [2]));
});

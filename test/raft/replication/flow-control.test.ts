/** Scenarios A5: amount of entries in flight to each member. */
import { describe, expect, test } from "bun:test";
import { Inflights } from "../../../src/raft/core/inflights.ts";
import { Progress } from "../../../src/raft/core/member-progress.ts";
import { type Message, MessageType } from "../../../src/raft/model/types.ts";
import { bytes, Member, type MemberInit, Network } from "../harness.ts";

const appendsTo = (messages: readonly Message[], to: number): Message[] =>
  messages.filter((one) => one.type === MessageType.append && one.to === to);

const newLeader = (init: MemberInit = {}): Member =>
  new Member({ id: 1, voters: [1, 2], ...init }).lead([1, 2]);

/** A leader whose member 2 is being replicated to and has everything. */
function replicating(init: MemberInit = {}): Member {
  const leader = newLeader(init);
  leader.catchUp(2);
  expect(leader.progress(2).state).toBe("replicate");
  return leader;
}

test("A5.54 ProgressLeader: the leader's own match moves only after its sync", () => {
  const leader = replicating();
  for (let i = 0; i < 5; i += 1) {
    leader.propose("foo");
    const ready = leader.raft.ready();
    expect(leader.progress(1).match).toBe(1 + i);
    leader.finish(ready);
    expect(leader.progress(1)).toMatchObject({ match: 2 + i, next: 3 + i });
    leader.settle();
  }
});

test("A5.55 ProgressPaused: while probing, many proposals cause one message", () => {
  const leader = newLeader();
  leader.raft.reportUnreachable(2);
  leader.catchUp(2);
  leader.raft.reportUnreachable(2);
  const sent: Message[] = [];
  for (let i = 0; i < 3; i += 1) {
    leader.propose("somedata");
    sent.push(...leader.settle());
  }
  expect(appendsTo(sent, 2)).toHaveLength(1);
});

test("A5.56 ProgressResumeByHeartbeatResp: a heartbeat's answer lets a probe be repeated", () => {
  const leader = newLeader();
  expect(leader.progress(2)).toMatchObject({ state: "probe", paused: true });
  leader.tick();
  expect(appendsTo(leader.settle(), 2)).toHaveLength(0);
  leader.step({ type: MessageType.heartbeatResponse, from: 2 });
  const [probe] = appendsTo(leader.settle(), 2);
  expect(probe).toMatchObject({ index: 0, entries: [{ index: 1 }] });
  expect(leader.progress(2).paused).toBe(true);
});

describe("A5.57 ProgressFlowControl: messages and bytes", () => {
  test("few messages: three of two entries, and on as they are acknowledged", () => {
    const leader = newLeader({ maxInflightMessages: 3, maxMessageBytes: 2048 });
    for (let i = 0; i < 10; i += 1) leader.raft.propose(new Uint8Array(1000));
    leader.settle();
    // Probing: nothing until the first append is answered, then three at once.
    leader.step({ type: MessageType.appendResponse, from: 2, index: 1 });
    const first = appendsTo(leader.settle(), 2);
    expect(first.map((one) => one.entries.length)).toEqual([2, 2, 2]);
    expect(leader.progress(2)).toMatchObject({ paused: true, inflight: 3 });
    leader.step({ type: MessageType.appendResponse, from: 2, index: 7 });
    const rest = appendsTo(leader.settle(), 2);
    expect(rest.flatMap((one) => one.entries.map((entry) => entry.index))).toEqual([8, 9, 10, 11]);
  });
  test("few bytes: a large message closes the window", () => {
    const leader = replicating({ maxInflightMessages: 100, maxMessageBytes: 2048, maxInflightBytes: 3000 });
    for (let i = 0; i < 10; i += 1) leader.raft.propose(new Uint8Array(1000));
    const sent = appendsTo(leader.settle(), 2);
    expect(sent.map((one) => one.entries.length)).toEqual([2, 2]);
    expect(leader.progress(2).paused).toBe(true);
    const large = replicating({ maxMessageBytes: 2048, maxInflightBytes: 3000 });
    large.raft.propose(new Uint8Array(5000));
    large.raft.propose(new Uint8Array(1));
    expect(appendsTo(large.settle(), 2).map((one) => one.entries.length)).toEqual([1]);
  });
});

describe("A5.58 MsgAppFlowControl: the window", () => {
  /** A leader whose window of five to 2 is full. */
  function full(): Member {
    const leader = replicating({ maxInflightMessages: 5 });
    for (let i = 0; i < 5; i += 1) {
      leader.propose("somedata");
      expect(appendsTo(leader.settle(), 2)).toHaveLength(1);
    }
    expect(leader.progress(2)).toMatchObject({ paused: true, inflight: 5 });
    return leader;
  }
  test("Full: nothing more is sent", () => {
    const leader = full();
    for (let i = 0; i < 10; i += 1) {
      leader.propose("somedata");
      expect(leader.settle()).toEqual([]);
    }
  });
  test("MoveForward: an acknowledgement frees what is at or below it, a stale one nothing", () => {
    const leader = full();
    for (let index = 2; index < 5; index += 1) {
      leader.step({ type: MessageType.appendResponse, from: 2, index });
      leader.settle();
      leader.propose("somedata");
      expect(appendsTo(leader.settle(), 2)).toHaveLength(1);
      expect(leader.progress(2).paused).toBe(true);
      for (let stale = 0; stale <= index; stale += 1) {
        leader.step({ type: MessageType.appendResponse, from: 2, index: stale });
        expect(leader.settle()).toEqual([]);
        expect(leader.progress(2)).toMatchObject({ paused: true, inflight: 5 });
      }
    }
  });
  test("RecvHeartbeat: each answer allows one empty append", () => {
    const leader = full();
    for (let round = 0; round < 5; round += 1) {
      leader.step({ type: MessageType.heartbeatResponse, from: 2 });
      const sent = leader.settle();
      expect(sent.map((one) => [one.type, one.entries.length])).toEqual([[MessageType.append, 0]]);
      leader.propose("somedata");
      expect(leader.settle()).toEqual([]);
    }
  });
  test("replicate_pause: a full window of which every message is lost recovers", () => {
    const network = Network.of(3, { maxInflightMessages: 3 });
    network.campaign(1);
    network.tick();
    network.drop(({ type, to }) => type === MessageType.append && to === 3);
    for (let i = 0; i < 10; i += 1) network.propose(1, `p${i}`);
    expect(network.get(1).progress(3)).toMatchObject({ paused: true, inflight: 3 });
    network.heal();
    network.tick(1);
    expect(network.get(3).texts).toHaveLength(10);
    expect(network.get(1).progress(3)).toMatchObject({ state: "replicate", paused: false, inflight: 0 });
  });
});

describe("A5.59 SendAppendForProgress: what is sent in each state", () => {
  test("Probe: one append per heartbeat's answer", () => {
    const leader = replicating();
    leader.raft.reportUnreachable(2);
    for (let round = 0; round < 3; round += 1) {
      for (let i = 0; i < 10; i += 1) leader.propose("somedata");
      expect(appendsTo(leader.settle(), 2)).toHaveLength(round === 0 ? 1 : 0);
      expect(leader.progress(2).paused).toBe(true);
      for (let i = 0; i < 10; i += 1) leader.tick();
      expect(appendsTo(leader.settle(), 2)).toHaveLength(0);
      leader.step({ type: MessageType.heartbeatResponse, from: 2 });
      expect(appendsTo(leader.settle(), 2)).toHaveLength(1);
    }
  });
  test("in state replicate each ready with new entries sends an append", () => {
    const leader = replicating();
    for (let i = 0; i < 10; i += 1) {
      leader.propose("somedata");
      expect(appendsTo(leader.settle(), 2)).toHaveLength(1);
    }
  });
  test("in state snapshot nothing is sent", () => {
    const leader = newLeader({ storage: { compacted: { index: 5, term: 1 } } });
    leader.storage.offered = { index: 5, term: 1, configuration: leader.raft.configuration };
    leader.step({ type: MessageType.appendResponse, from: 2, reject: true, index: 5, rejectHint: 0 });
    leader.settle();
    expect(leader.progress(2).state).toBe("snapshot");
    for (let i = 0; i < 10; i += 1) {
      leader.propose("somedata");
      expect(leader.settle()).toEqual([]);
    }
  });
});

describe("A5.60 next runs ahead of acknowledgements only in state replicate (LeaderIncreaseNext)", () => {
  for (const state of ["replicate", "probe"] as const) {
    test(state, () => {
      const leader = replicating();
      if (state === "probe") leader.raft.reportUnreachable(2);
      const { next } = leader.progress(2);
      leader.propose("somedata");
      leader.settle();
      expect(leader.progress(2).next).toBe(state === "replicate" ? next + 1 : next);
    });
  }
});

test("A5.61 an acknowledgement resumes only its sender (MsgAppRespWaitReset)", () => {
  const leader = new Member({ id: 1, voters: [1, 2, 3] }).lead();
  leader.step({ type: MessageType.appendResponse, from: 2, index: 1 });
  leader.settle();
  leader.propose("a");
  const sent = leader.settle();
  expect(appendsTo(sent, 2)).toHaveLength(1);
  expect(appendsTo(sent, 3)).toHaveLength(0);
  leader.step({ type: MessageType.appendResponse, from: 3, index: 1 });
  const [toThree] = appendsTo(leader.settle(), 3);
  expect(toThree).toMatchObject({ index: 1, entries: [{ index: 2 }] });
});

describe("A5.62 a report that a member is unreachable (RecvMsgUnreachable)", () => {
  test("moves it from replicate to probe, from match on", () => {
    const leader = replicating();
    for (let i = 0; i < 3; i += 1) leader.propose("x");
    leader.settle();
    leader.step({ type: MessageType.appendResponse, from: 2, index: 2 });
    leader.settle();
    expect(leader.progress(2)).toMatchObject({ match: 2, next: 5 });
    leader.raft.reportUnreachable(2);
    expect(leader.progress(2)).toMatchObject({ state: "probe", match: 2, next: 3, inflight: 0 });
  });
  test("changes nothing for other states, for itself, and on a follower", () => {
    const leader = replicating();
    leader.raft.reportUnreachable(9);
    leader.raft.reportUnreachable(1);
    expect(leader.progress(1).state).toBe("replicate");
    const follower = new Member({ id: 1, voters: [1, 2] });
    follower.raft.reportUnreachable(2);
    expect(follower.raft.hasReady()).toBe(false);
  });
});

describe("A5.63 the quota of uncommitted bytes (UncommittedEntryLimit)", () => {
  const limited = (): Member => {
    const leader = new Member({ id: 1, voters: [1, 2, 3], maxUncommittedBytes: 100 }).lead();
    for (const id of [2, 3]) leader.catchUp(id);
    return leader;
  };
  test("a proposal above the quota is dropped, and entries that are handed out release quota", () => {
    const leader = limited();
    for (let i = 0; i < 10; i += 1) expect(leader.propose("0123456789")).toBe("accepted");
    expect(leader.propose("0")).toBe("dropped");
    leader.settle();
    expect(leader.propose("0")).toBe("dropped");
    leader.catchUp(2);
    expect(leader.texts).toHaveLength(10);
    expect(leader.propose("0")).toBe("accepted");
  });
  test("a proposal larger than the quota passes alone, an empty one always", () => {
    const leader = limited();
    expect(leader.raft.propose(new Uint8Array(1000))).toBe("accepted");
    expect(leader.propose("0")).toBe("dropped");
    expect(leader.propose("")).toBe("accepted");
    leader.settle();
    leader.catchUp(2);
    expect(leader.propose("0")).toBe("accepted");
  });
  test("forwarded proposals count too, and a new leadership starts with the full quota", () => {
    const leader = limited();
    const entries = [0, 1].map(() => ({ term: 0, index: 0, type: 0 as const, data: new Uint8Array(80) }));
    leader.step({ type: MessageType.propose, from: 2, term: 0, entries });
    expect(leader.raft.lastIndex).toBe(2);
    leader.step({ type: MessageType.heartbeat, from: 2, term: 2 });
    leader.settle();
    leader.lead();
    expect(leader.propose("0123456789")).toBe("accepted");
  });
});

describe("A5.64 the ring of in-flight appends (Inflights)", () => {
  test("adds across the end of the ring", () => {
    const inflights = new Inflights(10, 1_000);
    for (let i = 0; i < 5; i += 1) inflights.add(i, 100 + i);
    expect(inflights).toMatchObject({ count: 5, bytes: 510, full: false });
    inflights.freeTo(4);
    for (let i = 5; i < 14; i += 1) inflights.add(i, 1);
    expect(inflights).toMatchObject({ count: 9, bytes: 9 });
    inflights.freeTo(9);
    expect(inflights).toMatchObject({ count: 4, bytes: 4 });
    for (let i = 14; i < 20; i += 1) inflights.add(i, 1);
    expect(inflights).toMatchObject({ count: 10, full: true });
    expect(() => inflights.add(20, 1)).toThrow("window");
  });
  test("frees messages up to an index (FreeTo)", () => {
    const inflights = new Inflights(10, 1_000);
    for (let i = 0; i < 10; i += 1) inflights.add(10 + i, 1);
    inflights.freeTo(9);
    expect(inflights.count).toBe(10);
    inflights.freeTo(14);
    expect(inflights.count).toBe(5);
    inflights.freeTo(99);
    expect(inflights).toMatchObject({ count: 0, bytes: 0 });
  });
  test("is full by count, or softly by bytes (Full)", () => {
    const byCount = new Inflights(2, 1_000);
    byCount.add(1, 1);
    expect(byCount.full).toBe(false);
    byCount.add(2, 1);
    expect(byCount.full).toBe(true);
    const byBytes = new Inflights(100, 10);
    byBytes.add(1, 9);
    expect(byBytes.full).toBe(false);
    byBytes.add(2, 500);
    expect(byBytes.full).toBe(true);
    byBytes.freeTo(2);
    expect(byBytes.full).toBe(false);
  });
  test("is empty after a reset", () => {
    const inflights = new Inflights(3, 100);
    for (let i = 0; i < 3; i += 1) inflights.add(i, 40);
    inflights.reset();
    expect(inflights).toMatchObject({ count: 0, bytes: 0, full: false });
    for (let i = 0; i < 3; i += 1) inflights.add(i, 1);
    expect(inflights.full).toBe(true);
  });
});

describe("A5.64 the states of a member's progress", () => {
  const progress = (match: number, next: number): Progress =>
    new Progress({ match, next, isLearner: false, recentActive: true, inflights: new Inflights(10, 1_000) });

  test("a probe starts at match + 1, or after the snapshot (BecomeProbe)", () => {
    const replicate = progress(1, 5);
    replicate.becomeReplicate();
    replicate.sent(3, 3, 0);
    replicate.becomeProbe();
    expect(replicate.status()).toMatchObject({ state: "probe", match: 1, next: 2, inflight: 0 });
    for (const [failed, next] of [
      [false, 11],
      [true, 2],
    ] as const) {
      const snapshot = progress(1, 5);
      snapshot.becomeSnapshot(10);
      if (failed) snapshot.pendingSnapshot = 0;
      snapshot.becomeProbe();
      expect(snapshot.status()).toMatchObject({ state: "probe", match: 1, next, pendingSnapshot: 0 });
    }
  });
  test("replicate starts at match + 1, snapshot sends nothing (BecomeReplicate, BecomeSnapshot)", () => {
    const one = progress(1, 5);
    one.becomeReplicate();
    expect(one.status()).toMatchObject({ state: "replicate", match: 1, next: 2 });
    one.becomeSnapshot(10);
    expect(one.status()).toMatchObject({
      state: "snapshot",
      match: 1,
      next: 11,
      pendingSnapshot: 10,
      paused: true,
    });
  });
  test("match only grows and next stays above it (Update)", () => {
    for (const [index, match, next, news] of [
      [2, 3, 5, false],
      [3, 3, 5, false],
      [4, 4, 5, true],
      [5, 5, 6, true],
    ] as const) {
      const one = progress(3, 5);
      expect(one.acknowledge(index)).toBe(news);
      expect(one).toMatchObject({ match, next });
    }
  });
  test("a stale rejection changes nothing, another one moves next to the hint (MaybeDecr)", () => {
    for (const [state, match, next, rejected, hint, news, then] of [
      ["replicate", 5, 10, 5, 5, false, 10],
      ["replicate", 5, 10, 4, 4, false, 10],
      ["replicate", 5, 10, 9, 9, true, 6],
      ["probe", 0, 0, 0, 0, false, 1],
      ["probe", 0, 10, 5, 5, false, 10],
      ["probe", 0, 10, 9, 9, true, 9],
      ["probe", 0, 2, 1, 1, true, 1],
      ["probe", 0, 1, 0, 0, true, 1],
      ["probe", 0, 10, 9, 2, true, 3],
      ["probe", 0, 10, 9, 0, true, 1],
      ["probe", 5, 10, 9, 2, true, 6],
    ] as const) {
      if (next <= match) continue; // No such progress.
      const one = progress(match, next);
      if (state === "replicate") {
        one.becomeReplicate();
        one.sent(next - match - 1, 1, 0);
      }
      expect(one.reject(rejected, hint)).toBe(news);
      expect(one).toMatchObject({ match, next: then });
    }
  });
  test("a member is paused in snapshot, and by a full window or a probe (IsPaused)", () => {
    const one = progress(0, 1);
    expect(one.paused).toBe(false);
    one.sent(0, 0, 0);
    expect(one.paused).toBe(false);
    one.sent(1, 1, 0);
    expect(one.paused).toBe(true);
    one.resume();
    expect(one.paused).toBe(false);
    one.becomeReplicate();
    for (let i = 0; i < 10; i += 1) one.sent(1, 1, 0);
    expect(one.paused).toBe(true);
    expect(() => progress(3, 3)).toThrow("match < next");
  });
  test("match < next after any sequence of events", () => {
    const one = progress(0, 1);
    let seed = 12345;
    const next = (bound: number): number => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % bound;
    for (let i = 0; i < 10_000; i += 1) {
      const what = next(7);
      if (what === 0) one.becomeProbe();
      else if (what === 1) one.becomeReplicate();
      else if (what === 2) one.becomeSnapshot(next(1000));
      else if (what === 3) one.acknowledge(next(1000));
      else if (what === 4) one.reject(next(1000), next(1000));
      else if (what === 5 && !one.paused && one.hasRoom) one.sent(next(3), 1, next(1000));
      else one.resume();
      expect(one.match).toBeLessThan(one.next);
    }
  });
});

test("recent entries are sent again from memory, older ones from disk", () => {
  const leader = replicating({ maxMessageBytes: 1 << 20 });
  const data = bytes("x".repeat(1000));
  for (let i = 0; i < 3_000; i += 1) {
    leader.raft.propose(data);
    if (i % 100 === 0) leader.settle();
  }
  leader.settle();
  expect(leader.storage.reads).toBe(0);
  leader.catchUp(2);
  expect(leader.committed).toHaveLength(3_001);
  expect(leader.storage.reads).toBeGreaterThan(0); // 3 MB: more than is kept.
});

test("a large entry is no probe: it leaves once, after the follower has answered an append without entries", () => {
  const leader = replicating();
  leader.raft.reportUnreachable(2);
  expect(leader.progress(2).state).toBe("probe");
  const { match } = leader.progress(2);
  leader.raft.propose(new Uint8Array(2 << 20));
  const probes = appendsTo(leader.settle(), 2);
  for (let i = 0; i < 5; i += 1) {
    leader.step({ type: MessageType.heartbeatResponse, from: 2 });
    probes.push(...appendsTo(leader.settle(), 2));
  }
  expect(probes.map((one) => one.entries.length)).toEqual(probes.map(() => 0));
  leader.step({ type: MessageType.appendResponse, from: 2, index: match });
  const sent = appendsTo(leader.settle(), 2).filter((one) => one.entries.length > 0);
  expect(sent).toHaveLength(1);
  expect(leader.progress(2).state).toBe("replicate");
  for (let i = 0; i < 5; i += 1) {
    leader.step({ type: MessageType.heartbeatResponse, from: 2 });
    expect(appendsTo(leader.settle(), 2).every((one) => one.entries.length === 0)).toBe(true);
  }
});

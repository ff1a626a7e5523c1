/** Scenarios A9: reads by index (thesis §6.4). Confirmed by a quorum after they were asked for, or not answered. */
import { describe, expect, test } from "bun:test";
import { type MemberId, type Message, MessageType } from "../../../src/raft/model/types.ts";
import { change, configuration, Member, type MemberInit, Network, withLog } from "../harness.ts";

const QUEUE_MAX = 16_384;
const OWN_MAX = 4096;

const isHeartbeat = ({ type }: Message): boolean => type === MessageType.heartbeat;

const leaderOf = (init: MemberInit, voters: readonly MemberId[]): Member => {
  const leader = new Member({ id: 1, ...init }).lead(voters);
  for (const id of voters) if (id !== 1) leader.catchUp(id);
  leader.settle();
  return leader;
};

/** The heartbeats that a read makes leave. */
const heartbeats = (leader: Member): Message[] => leader.settle().filter(isHeartbeat);

const answer = (leader: Member, heartbeat: Message, from = heartbeat.to): void =>
  leader.step({ type: MessageType.heartbeatResponse, from, context: heartbeat.context });

describe("A9.93 a read returns at least the commit index of its start (ReadOnlyOptionSafe, ReadOnlyWithLearner)", () => {
  for (const asked of [1, 2, 4]) {
    test(`asked: ${asked === 1 ? "leader" : asked === 2 ? "follower" : "learner"}`, () => {
      const network = Network.of(4, { voters: [1, 2, 3], learners: [4] });
      network.campaign(1);
      for (let round = 1; round <= 4; round += 1) {
        for (let i = 0; i < 10; i += 1) network.propose(1, "x");
        expect(network.read(asked, `r${round}`)).toBe(asked === 1 ? "accepted" : "forwarded");
      }
      expect(network.get(asked).readTexts).toEqual(["r1@11", "r2@21", "r3@31", "r4@41"]);
      for (const id of [1, 2, 3, 4]) {
        if (id !== asked) expect(network.get(id).reads).toEqual([]);
      }
    });
  }
  test("a leader without a quorum answers nothing, then fails the read", () => {
    const network = Network.of(3);
    network.campaign(1);
    network.isolate(1);
    expect(network.read(1, "a")).toBe("accepted");
    expect(network.get(1).readTexts).toEqual([]);
    network.tick(1, 10);
    expect(network.get(1).readTexts).toEqual(["a@-"]);
  });
  test("a stale leader cannot confirm a read after a newer leader has committed more", () => {
    const network = Network.of(3);
    network.campaign(1);
    network.isolate(1);
    network.campaign(2);
    network.propose(2, "newer");
    network.read(1, "a");
    network.heal();
    network.tick(1, 1);
    expect(network.get(1).readTexts).toEqual(["a@-"]);
    expect(network.get(1).raft.role).toBe("follower");
    network.tick(2, 1);
    network.read(1, "b");
    expect(network.get(1).readTexts).toEqual(["a@-", "b@3"]);
  });
  test("answers of a quorum from before the read confirm nothing", () => {
    const leader = leaderOf({ voters: [1, 2, 3] }, [1, 2, 3]);
    leader.tick();
    const before = heartbeats(leader);
    expect(before).toHaveLength(2);
    leader.read("a");
    const after = heartbeats(leader);
    for (const heartbeat of before) answer(leader, heartbeat);
    leader.settle();
    expect(leader.readTexts).toEqual([]);
    answer(leader, after[0] as Message);
    leader.settle();
    expect(leader.readTexts).toEqual(["a@1"]);
  });
  test("all reads of one turn share a round of heartbeats; a later round confirms earlier reads", () => {
    const leader = leaderOf({ voters: [1, 2, 3] }, [1, 2, 3]);
    for (const context of ["a", "b", "c"]) leader.read(context);
    expect(heartbeats(leader)).toHaveLength(2); // All lost.
    leader.read("d");
    const [last] = heartbeats(leader);
    answer(leader, last as Message);
    leader.settle();
    expect(leader.readTexts).toEqual(["a@1", "b@1", "c@1", "d@1"]);
  });
  test("regular heartbeats repeat the round while reads wait, and carry no context otherwise", () => {
    const leader = leaderOf({ voters: [1, 2, 3] }, [1, 2, 3]);
    leader.read("a");
    heartbeats(leader);
    leader.tick();
    const [again] = heartbeats(leader);
    expect(again?.context.length).toBeGreaterThan(0);
    answer(leader, again as Message);
    leader.settle();
    expect(leader.readTexts).toEqual(["a@1"]);
    leader.tick();
    expect(heartbeats(leader)[0]?.context).toHaveLength(0);
  });
});

describe("A9.93 the quorum that confirms a read", () => {
  test("a single voter answers at once after its own write, without its learners", () => {
    const alone = new Member({ id: 1, voters: [1], learners: [2] });
    alone.raft.campaign();
    alone.finish(alone.raft.ready());
    alone.read("a");
    const ready = alone.raft.ready(); // Writes the first entry of the term: not committed before that is done.
    expect(ready.entries).toHaveLength(1);
    expect(ready.readStates).toEqual([]);
    alone.finish(ready);
    alone.settle();
    expect(alone.readTexts).toEqual(["a@1"]);
    alone.read("b");
    expect(alone.raft.ready().readStates).toMatchObject([{ index: 1 }]);
  });
  test("answers of learners do not count", () => {
    const leader = leaderOf({ voters: [1, 2, 3], learners: [4, 5] }, [1, 2, 3]);
    leader.read("a");
    const sent = heartbeats(leader);
    for (const heartbeat of sent) if (heartbeat.to > 3) answer(leader, heartbeat);
    leader.settle();
    expect(leader.readTexts).toEqual([]);
    for (const heartbeat of sent) if (heartbeat.to === 2) answer(leader, heartbeat);
    leader.settle();
    expect(leader.readTexts).toEqual(["a@1"]);
  });
  test("answers of members outside the configuration do not count", () => {
    const leader = leaderOf({ voters: [1, 2, 3] }, [1, 2, 3]);
    leader.read("a");
    const [sent] = heartbeats(leader);
    answer(leader, sent as Message, 9);
    leader.settle();
    expect(leader.readTexts).toEqual([]);
  });
  test("a joint configuration needs both majorities (thesis §4.3)", () => {
    const joint = configuration([1, 2, 3], [], { votersOutgoing: [1, 4, 5] });
    const leader = leaderOf({ configuration: joint }, [1, 2, 4]);
    leader.read("a");
    const sent = heartbeats(leader);
    for (const heartbeat of sent) if (heartbeat.to <= 3) answer(leader, heartbeat);
    leader.settle();
    expect(leader.readTexts).toEqual([]);
    answer(leader, sent.find(({ to }) => to === 5) as Message);
    leader.settle();
    expect(leader.readTexts).toEqual(["a@1"]);
  });
  test("a reachable quorum is enough (VerifyLeader_PartialConnect)", () => {
    const network = Network.of(5);
    network.campaign(1);
    network.cut(1, 4);
    network.cut(1, 5);
    network.read(1, "a");
    expect(network.get(1).readTexts).toEqual(["a@1"]);
    network.cut(1, 3);
    network.read(1, "b");
    expect(network.get(1).readTexts).toEqual(["a@1"]);
  });
  test("a removal that makes the quorum smaller confirms waiting reads (read_when_quorum_becomes_less)", () => {
    const network = Network.of(2);
    network.campaign(1);
    const leader = network.get(1);
    leader.raft.proposeConfigChange(change(["removeMember", 2]));
    leader.settle();
    leader.read("a");
    leader.settle();
    expect(leader.readTexts).toEqual([]);
    leader.step({ type: MessageType.appendResponse, from: 2, index: 2 });
    leader.settle();
    expect(leader.raft.configuration).toEqual(configuration([1]));
    expect(leader.readTexts).toEqual(["a@1"]);
  });
});

describe("A9.94 a new leader holds reads until an entry of its own term is committed (ReadOnlyForNewLeader)", () => {
  test("and answers with the commit index of that entry", () => {
    const leader = withLog(1, [1, 1], { voters: [1, 2, 3] }).lead();
    expect(leader.raft.commit).toBe(0);
    expect(leader.read("a")).toBe("accepted");
    leader.step({ type: MessageType.readIndex, from: 2, term: 0, context: new Uint8Array([7]) });
    expect(heartbeats(leader)).toEqual([]);
    leader.step({ type: MessageType.appendResponse, from: 2, index: 2 }); // Of an older term: commits nothing.
    expect(heartbeats(leader)).toEqual([]);
    leader.step({ type: MessageType.appendResponse, from: 2, index: 3 });
    const [sent] = heartbeats(leader);
    answer(leader, sent as Message);
    const [toFollower] = leader.settle();
    expect(leader.readTexts).toEqual(["a@3"]);
    expect(toFollower).toMatchObject({ type: MessageType.readIndexResponse, to: 2, index: 3, reject: false });
    expect([...(toFollower?.context ?? [])]).toEqual([7]);
  });
});

describe("A9.95 the caller's context confirms nothing (ReadOnlyDuplicateRequest)", () => {
  test("late answers to the first read's heartbeats do not confirm a second read with the same context", () => {
    const network = Network.of(3);
    network.campaign(1);
    const leader = network.get(1);
    leader.read("same");
    const first = heartbeats(leader);
    // The first is confirmed by 2; 3's answer is on its way.
    answer(leader, first[0] as Message, 2);
    leader.settle();
    expect(leader.readTexts).toEqual(["same@1"]);
    // 2 and 3 elect 2, which commits more.
    network.isolate(1);
    network.campaign(2);
    network.propose(2, "newer");
    expect(network.get(3).raft.commit).toBe(3);
    // The old leader is asked again with the same context; now 3's late answer comes.
    leader.read("same");
    leader.settle();
    answer(leader, first[1] as Message, 3);
    leader.settle();
    expect(leader.readTexts).toEqual(["same@1"]);
  });
  test("two reads with one context have two outcomes", () => {
    const network = Network.of(3);
    network.campaign(1);
    for (const id of [1, 2]) {
      network.get(id).read("same");
      network.read(id, "same");
      expect(network.get(id).readTexts).toEqual(["same@1", "same@1"]);
    }
  });
  test("a duplicate answer counts once, and an answer from before a restart matches no later read", () => {
    const follower = new Member({ id: 2, voters: [1, 2, 3] });
    follower.step({ type: MessageType.heartbeat, from: 1, term: 1 });
    follower.settle();
    follower.read("a");
    const asked = follower.settleToOne();
    const token = asked?.context ?? new Uint8Array();
    const response = { type: MessageType.readIndexResponse, from: 1, context: token } as const;
    follower.restart(0, { seed: 99 });
    follower.step({ type: MessageType.heartbeat, from: 1, term: 1 });
    follower.read("b");
    const again = follower.settle().find(({ type }) => type === MessageType.readIndex);
    follower.step({ ...response, index: 5 });
    follower.settle();
    expect(follower.readTexts).toEqual([]);
    for (let i = 0; i < 2; i += 1) {
      follower.step({ ...response, context: again?.context ?? token, index: 9 });
      follower.settle();
    }
    expect(follower.readTexts).toEqual(["b@9"]);
  });
  test("a heartbeat's answer with an unknown context or round confirms nothing", () => {
    const leader = leaderOf({ voters: [1, 2, 3] }, [1, 2, 3]);
    leader.read("a");
    const [sent] = heartbeats(leader);
    const later = new Uint8Array(8);
    new DataView(later.buffer).setFloat64(0, 1e9);
    const nan = new Uint8Array(8).fill(255);
    for (const context of [later, nan, new Uint8Array(3), new Uint8Array(0)]) {
      leader.step({ type: MessageType.heartbeatResponse, from: 2, context });
    }
    leader.settle();
    expect(leader.readTexts).toEqual([]);
    answer(leader, sent as Message);
    leader.settle();
    expect(leader.readTexts).toEqual(["a@1"]);
  });
});

describe("A9.96 an ended read holds no memory (RaftFreesReadOnlyMem)", () => {
  test("when it was confirmed", () => {
    const network = Network.of(3);
    network.campaign(1);
    for (let i = 0; i < 100; i += 1) network.read(1 + (i % 3), `r${i}`);
    for (const id of [1, 2, 3]) expect(network.get(id).raft.status().reads).toBe(0);
  });
  test("when it timed out, on both sides", () => {
    const network = Network.of(3);
    network.campaign(1);
    network.drop(({ type }) => type === MessageType.heartbeatResponse);
    network.read(2, "a");
    expect(network.get(1).raft.status().reads).toBe(1);
    expect(network.get(2).raft.status().reads).toBe(1);
    network.tick([1, 2], 10);
    for (const id of [1, 2]) expect(network.get(id).raft.status().reads).toBe(0);
    expect(network.get(2).readTexts).toEqual(["a@-"]);
  });
  test("when its answer was lost: it times out although the leader lives", () => {
    const network = Network.of(3);
    network.campaign(1);
    network.ignore(MessageType.readIndexResponse);
    network.read(2, "a");
    network.tick([1, 2, 3], 9);
    expect(network.get(2).readTexts).toEqual([]);
    network.tick([1, 2, 3], 1);
    expect(network.get(2).readTexts).toEqual(["a@-"]);
  });
  test("above the limits reads are dropped here and refused by the leader", () => {
    const leader = leaderOf({ voters: [1, 2, 3] }, [1, 2, 3]);
    for (let i = 0; i < OWN_MAX; i += 1) expect(leader.read("a")).toBe("accepted");
    expect(leader.read("a")).toBe("dropped");
    leader.settle();
    const token = new Uint8Array(8);
    for (let i = 0; i < QUEUE_MAX - OWN_MAX; i += 1)
      leader.step({ type: MessageType.readIndex, from: 2, term: 0, context: token });
    expect(leader.settle().filter((one) => one.type === MessageType.readIndexResponse)).toEqual([]);
    leader.step({ type: MessageType.readIndex, from: 2, term: 0, context: token });
    expect(leader.settleToOne()).toMatchObject({ type: MessageType.readIndexResponse, to: 2, reject: true });
  });
});

describe("a leader that loses its leadership ends its reads", () => {
  test("its own reads and those of others fail", () => {
    const leader = leaderOf({ voters: [1, 2, 3] }, [1, 2, 3]);
    leader.read("own");
    leader.step({ type: MessageType.readIndex, from: 3, term: 0, context: new Uint8Array([7]) });
    leader.settle();
    leader.step({ type: MessageType.heartbeat, from: 2, term: 2 });
    const refusals = leader.settle().filter((one) => one.type === MessageType.readIndexResponse);
    expect(refusals).toMatchObject([{ to: 3, term: 2, reject: true }]);
    expect(leader.readTexts).toEqual(["own@-"]);
    expect(leader.raft.status().reads).toBe(0);
  });
  test("a refusal ends the follower's wait", () => {
    const follower = new Member({ id: 2, voters: [1, 2, 3] });
    follower.step({ type: MessageType.heartbeat, from: 1, term: 1 });
    follower.settle();
    follower.read("a");
    const asked = follower.settleToOne();
    const context = asked?.context ?? new Uint8Array();
    follower.step({ type: MessageType.readIndexResponse, from: 1, reject: true, context });
    follower.settle();
    expect(follower.readTexts).toEqual(["a@-"]);
  });
  test("check-quorum (thesis §6.2) ends the wait of a leader that is cut off", () => {
    const network = Network.of(3, { checkQuorum: true });
    network.campaign(1);
    network.tick(1, 10);
    network.isolate(1);
    network.tick(1, 5);
    network.read(1, "a");
    network.tick(1, 5);
    expect(network.get(1).raft.isLeader).toBe(true);
    network.tick(1, 10);
    expect(network.get(1).raft.isLeader).toBe(false);
    expect(network.get(1).readTexts).toEqual(["a@-"]);
  });
  test("a read without a leader, and on a candidate, is dropped", () => {
    const member = new Member({ id: 1, voters: [1, 2, 3] });
    expect(member.read("a")).toBe("dropped");
    member.raft.campaign();
    expect(member.read("a")).toBe("dropped");
    expect(member.raft.status().reads).toBe(0);
  });
});

describe("A4.53 forwarded reads carry no term and reach the current leader (NodeReadIndexToOldLeader)", () => {
  test("a former leader forwards a read to the new one", () => {
    const network = Network.of(3);
    network.campaign(1);
    network.cut(2, 3); // 2 does not hear of the next leader.
    network.campaign(3);
    expect(network.get(2).raft.leader).toBe(1);
    network.get(2).read("a");
    const [asked] = network.get(2).settle();
    expect(asked).toMatchObject({ type: MessageType.readIndex, from: 2, to: 1, term: 0 });
    network.get(1).raft.step(asked as Message);
    const relayed = network.get(1).settle();
    expect(relayed).toEqual([{ ...(asked as Message), to: 3 }]);
    network.heal();
    network.run(relayed);
    expect(network.get(2).readTexts).toEqual(["a@2"]);
  });
  test("a read is refused instead of sent back to its sender", () => {
    const network = Network.of(3);
    network.campaign(2);
    const message = { type: MessageType.readIndex, from: 2, term: 0, context: new Uint8Array([7]) } as const;
    network.get(1).step(message);
    expect(network.get(1).settleToOne()).toMatchObject({
      type: MessageType.readIndexResponse,
      to: 2,
      reject: true,
    });
  });
  test("a read that carries a term is ignored", () => {
    const leader = leaderOf({ voters: [1, 2, 3] }, [1, 2, 3]);
    leader.step({ type: MessageType.readIndex, from: 2, term: 1, context: new Uint8Array([7]) });
    expect(heartbeats(leader)).toEqual([]);
  });
});

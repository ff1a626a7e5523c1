/** A member that said it is busy: its silence is no reason for an election. */
import { expect, test } from "bun:test";
import { MessageType } from "../../../src/raft/model/types.ts";
import { Member, Network } from "../harness.ts";

const T = 10;

const follower = (): Member => {
  const member = new Member({ id: 2, voters: [1, 2, 3], preVote: true, checkQuorum: true });
  member.step({ type: MessageType.heartbeat, from: 1, term: 1 });
  member.settle();
  return member;
};

test("a follower does not campaign while its leader is busy, and does afterwards", () => {
  const member = follower();
  member.raft.memberBusy(1, 5 * T);
  member.tick(5 * T - 1);
  expect(member.raft).toMatchObject({ role: "follower", leader: 1, term: 1 });
  member.tick(1);
  expect(member.raft.role).toBe("preCandidate");
});

test("a follower campaigns as soon as the connection of a busy leader ends", () => {
  const member = follower();
  member.raft.memberBusy(1, 5 * T);
  member.tick(2 * T);
  member.raft.memberBusy(1, 0);
  member.tick(1);
  expect(member.raft.role).toBe("preCandidate");
});

test("another busy member than the leader keeps no follower from campaigning", () => {
  const member = follower();
  member.raft.memberBusy(3, 5 * T);
  member.tick(2 * T);
  expect(member.raft.role).toBe("preCandidate");
});

test("a leader counts busy members for its quorum, for as long as they said", () => {
  const member = new Member({ id: 1, voters: [1, 2, 3], checkQuorum: true }).lead();
  member.raft.memberBusy(2, 4 * T);
  for (let i = 0; i < 4 * T - 1; i++) {
    member.tick();
    member.settle();
  }
  expect(member.raft.isLeader).toBe(true);
  for (let i = 0; i < 2 * T; i++) {
    member.tick();
    member.settle();
  }
  expect(member.raft.isLeader).toBe(false);
});

test("a follower of a busy leader votes for a candidate once its own lease has ended", () => {
  const network = Network.of(3, { preVote: true, checkQuorum: true });
  network.campaign(1);
  network.get(2).raft.memberBusy(1, 5 * T);
  network.isolate(1);
  network.get(2).tick(T);
  network.get(3).tick(T);
  network.campaign(3);
  expect(network.get(3).raft.role).toBe("leader");
});

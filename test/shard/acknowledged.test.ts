import { describe, expect, test } from "bun:test";
import { newMessage } from "../../src/raft/raft.ts";
import { MessageType } from "../../src/raft/model/types.ts";
import { Acknowledged } from "../../src/shard/acknowledged.ts";

const MEMBER = 7;

function after(...messages: Partial<Parameters<typeof newMessage>[0]>[]): Acknowledged {
  const acknowledged = new Acknowledged();
  for (const message of messages)
    acknowledged.note(newMessage({ type: MessageType.appendResponse, to: 1, from: MEMBER, ...message }));
  return acknowledged;
}

describe("a log that a member shows again", () => {
  const acknowledged = after({ term: 3, index: 10 }, { term: 3, index: 8 });

  test("has its acknowledged entries, or more", () => {
    expect(acknowledged.isKeptBy(MEMBER, { term: 3, lastIndex: 10 })).toBeTrue();
    expect(acknowledged.isKeptBy(MEMBER, { term: 3, lastIndex: 12 })).toBeTrue();
  });

  test("has lost entries if it ends earlier in the same term", () => {
    expect(acknowledged.isKeptBy(MEMBER, { term: 3, lastIndex: 9 })).toBeFalse();
  });

  test("has lost its term if that is older, however long it is", () => {
    expect(acknowledged.isKeptBy(MEMBER, { term: 2, lastIndex: 20 })).toBeFalse();
  });

  test("may be shorter in a later term: its leader replaced entries that were not committed", () => {
    expect(acknowledged.isKeptBy(MEMBER, { term: 4, lastIndex: 5 })).toBeTrue();
  });

  test("of another member is not judged by it", () => {
    expect(acknowledged.isKeptBy(8, { term: 1, lastIndex: 1 })).toBeTrue();
  });
});

test("a granted vote is a promise of its term, without entries", () => {
  const acknowledged = after({ term: 3, index: 10 }, { type: MessageType.voteResponse, term: 5 });
  expect(acknowledged.isKeptBy(MEMBER, { term: 4, lastIndex: 50 })).toBeFalse();
  expect(acknowledged.isKeptBy(MEMBER, { term: 5, lastIndex: 1 })).toBeTrue();
});

test("messages that leave before a write promise nothing", () => {
  const acknowledged = after(
    { type: MessageType.heartbeatResponse, term: 9, index: 10 },
    { type: MessageType.preVoteResponse, term: 9 },
    { term: 9, index: 10, reject: true },
  );
  expect(acknowledged.isKeptBy(MEMBER, { term: 1, lastIndex: 1 })).toBeTrue();
});

test("a leader has the entries that it says are committed, also in a later term", () => {
  const acknowledged = after({ type: MessageType.heartbeat, term: 3, commit: 10 });
  expect(acknowledged.isKeptBy(MEMBER, { term: 3, lastIndex: 9 })).toBeFalse();
  expect(acknowledged.isKeptBy(MEMBER, { term: 4, lastIndex: 9 })).toBeFalse();
  expect(acknowledged.isKeptBy(MEMBER, { term: 3, lastIndex: 10 })).toBeTrue();
});

test("entries that a member has applied are in its log", () => {
  const acknowledged = after();
  acknowledged.has(MEMBER, 5);
  acknowledged.has(MEMBER, 3);
  expect(acknowledged.isKeptBy(MEMBER, { term: 1, lastIndex: 4 })).toBeFalse();
  expect(acknowledged.isKeptBy(MEMBER, { term: 1, lastIndex: 5 })).toBeTrue();
});

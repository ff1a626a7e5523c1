import { expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { newMessage } from "../../src/raft/raft.ts";
import { EntryType, MessageType } from "../../src/raft/model/types.ts";
import { decodeMessages, encodeMessages, type GroupMessage, WireError } from "../../src/shard/wire.ts";

const MESSAGES: GroupMessage[] = [
  { shard: 0, message: newMessage({ type: MessageType.heartbeat, to: 2, from: 1, term: 5, commit: 9 }) },
  {
    shard: 15,
    message: newMessage({
      type: MessageType.append,
      to: 3,
      from: 1,
      term: 5,
      logTerm: 4,
      index: 10,
      entries: [
        { term: 5, index: 11, type: EntryType.normal, data: new Uint8Array([1, 2, 3]) },
        { term: 5, index: 12, type: EntryType.configChange, data: new Uint8Array(0) },
      ],
    }),
  },
  {
    shard: 3,
    message: newMessage({
      type: MessageType.snapshot,
      to: 3,
      from: 1,
      term: 6,
      snapshot: {
        index: 100,
        term: 6,
        configuration: {
          voters: [1, 2],
          votersOutgoing: [],
          learners: [7],
          learnersNext: [],
          autoLeave: false,
        },
      },
    }),
  },
  {
    shard: 1,
    message: newMessage({
      type: MessageType.timeoutNow,
      to: 2,
      from: 1,
      term: 7,
      context: new Uint8Array([9]),
    }),
  },
];

test("messages of several groups come back whole from one frame", () => {
  expect(decodeMessages(encodeMessages(MESSAGES), 16)).toEqual(MESSAGES);
});

test("reads by index and their heartbeats keep their contexts", () => {
  const context = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);
  const messages = (["readIndex", "readIndexResponse", "heartbeat", "heartbeatResponse"] as const).map(
    (type) => ({
      shard: 0,
      message: newMessage({ type: MessageType[type], to: 2, from: 1, index: 9, reject: true, context }),
    }),
  );
  expect(decodeMessages(encodeMessages(messages), 16)).toEqual(messages);
});

test("an unknown group, an unknown type and an impossible term are refused", () => {
  expect(() => decodeMessages(encodeMessages(MESSAGES), 15)).toThrow(WireError);
  const odd = { ...MESSAGES[0]!.message, type: 99 as never };
  expect(() => decodeMessages(encodeMessages([{ shard: 0, message: odd }]), 16)).toThrow("unknown type");
  const far = { ...MESSAGES[0]!.message, term: 2 ** 50 };
  expect(() => decodeMessages(encodeMessages([{ shard: 0, message: far }]), 16)).toThrow("term");
});

test("truncated and mangled bytes are a WireError or valid messages, never another error", () => {
  const good = encodeMessages(MESSAGES);
  const random = new Random(3);
  let refused = 0;
  for (let i = 0; i < 5000; i++) {
    const bytes = good.slice(0, random.chance(0.5) ? random.below(good.length) : good.length);
    for (let flips = random.below(4); flips > 0 && bytes.length > 0; flips--)
      bytes[random.below(bytes.length)] = random.below(256);
    try {
      decodeMessages(bytes, 16);
    } catch (error) {
      expect(error).toBeInstanceOf(WireError);
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(2000);
});

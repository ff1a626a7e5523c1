/** Control messages and hellos: every kind is read back as it was sent, malformed ones are refused. */
import { describe, expect, test } from "bun:test";
import { utf8 } from "../../../src/base/bytes.ts";
import {
  type Control,
  decodeControl,
  decodeHello,
  encodeControl,
  encodeHello,
  type Hello,
} from "../../../src/replication/messages/control-messages.ts";

const decode = (value: unknown): Control | null => decodeControl(utf8(JSON.stringify(value)));
const oldNews = {
  kind: "news",
  name: "n1",
  version: "1",
  ready: true,
  applied: [1, 2],
  reflected: [],
} as const;
const news = { ...oldNews, functions: "00ff", waiting: 3 };

const messages: Control[] = [
  { kind: "join", name: "n1", role: "learner" },
  { kind: "joined", member: 3, clusterId: "c0ffee", shards: 2 },
  { kind: "promote" },
  { kind: "tell" },
  news,
  { kind: "sums?", note: "ab" },
  { kind: "sums", note: "ab", shards: [null, { index: 7, sums: [[1, "ff"]] }] },
];
for (const message of messages)
  test(`a ${message.kind} message is read back as it was sent`, () =>
    expect(decodeControl(encodeControl(message).subarray(1))).toEqual(message));

test("a message of an unknown kind is ignored, and unknown fields are dropped", () => {
  expect(decode({ kind: "later", x: 1 })).toBe(null);
  expect(decode({ kind: "constructor" })).toBe(null);
  expect(decode({ kind: "tell", x: 1 })).toEqual({ kind: "tell" });
});

test("news of a node that tells nothing of functions and waiting rows has none", () => {
  expect(decode(oldNews)).toEqual({ ...oldNews, functions: "", waiting: 0 });
});

describe("malformed messages are refused", () => {
  for (const value of [
    null,
    7,
    {},
    { kind: "join", name: "x".repeat(5000), role: "voter" },
    { kind: "joined", member: "3", clusterId: "c", shards: 1 },
    { ...news, applied: [1.5] },
    { ...news, reflected: Array.from({ length: 65 }, () => 0) },
    { kind: "sums", note: "ab", shards: [{ index: 1, sums: [[1]] }] },
  ])
    test(JSON.stringify(value).slice(0, 60), () => expect(() => decode(value)).toThrow());
  test("no JSON", () => expect(() => decodeControl(utf8("{"))).toThrow());
});

test("a hello is read back, one of an unknown role too; anything else is null", () => {
  const hello: Hello = { clusterId: "", name: "n1", version: "1", role: "voter", formats: [1, 2, 3] };
  expect(decodeHello(encodeHello(hello))).toEqual(hello);
  expect(decodeHello(utf8(JSON.stringify({ ...hello, role: "reader" })))).toEqual({
    ...hello,
    role: "learner",
  });
  for (const bad of [null, {}, { ...hello, formats: 1 }, { ...hello, name: 7 }])
    expect(decodeHello(utf8(JSON.stringify(bad)))).toBe(null);
  expect(decodeHello(utf8("hello"))).toBe(null);
});

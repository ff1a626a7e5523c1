import { describe, expect, test } from "bun:test";
import type { Life } from "../../../src/replication/messages/control-messages.ts";
import {
  checkLife,
  type Knowledge,
  readRefusal,
  LIFE_REFUSALS,
  refusalText,
} from "../../../src/replication/lives/hello-check.ts";

const life = (incarnation: number, nonce: string, member = 5): Life => ({
  member,
  incarnation,
  nonce,
  logs: [],
});
const NOTHING: Knowledge = {
  known: null,
  accepted: null,
  linked: null,
  deferredMs: null,
  isRemoved: () => false,
  keepsPromises: () => true,
};
const check = (one: Life, knowledge: Partial<Knowledge> = {}) =>
  checkLife(one.nonce, one, { ...NOTHING, ...knowledge });

describe("a peer of which a life is known", () => {
  const known = life(4, "a");

  test("may come with a later incarnation, and again with the same life", () => {
    expect(check(life(5, "b"), { known })).toBeNull();
    expect(check(life(4, "a"), { known })).toBeNull();
  });

  test("may reconnect before the peer heard of its newest incarnation", () => {
    expect(check(life(3, "a"), { known })).toBeNull();
  });

  test("went back if its incarnation is lower", () => {
    expect(check(life(3, "b"), { known })).toBe("went-back");
  });

  test("went back if another process opened the same incarnation", () => {
    expect(check(life(4, "b"), { known })).toBe("went-back");
  });

  test("begins again with its first incarnation under a new member id", () => {
    expect(check(life(1, "b", 9), { known })).toBeNull();
    expect(check(life(9, "b", 4), { known })).toBe("went-back");
  });

  test("lost its log if it does not keep its promises, judged once for each process", () => {
    const keepsPromises = (): boolean => false;
    expect(check(life(5, "b"), { known, accepted: "a", keepsPromises })).toBe("log-lost");
    expect(check(life(4, "a"), { known, accepted: "a", keepsPromises })).toBeNull();
  });

  test("is judged by its promises also if another member told of its process first", () => {
    expect(check(life(4, "a"), { known, keepsPromises: () => false })).toBe("log-lost");
  });
});

describe("a second process of a connected peer", () => {
  const linked = { nonce: "a", silentMs: 300 };

  test("is the same one with another stream", () => {
    expect(check(life(4, "a"), { known: life(4, "a"), linked })).toBeNull();
  });

  test("runs twice if its life is not later than the known one", () => {
    expect(check(life(4, "b"), { known: life(4, "a"), linked })).toBe("twice");
  });

  test("is asked to come back if its life is later: the machine may have restarted", () => {
    expect(check(life(5, "b"), { known: life(4, "a"), linked })).toBe("later");
    expect(check(life(5, "b"), { known: life(4, "a"), linked, deferredMs: 2000 })).toBe("later");
  });

  test("runs twice if the old connection was heard of since then", () => {
    expect(check(life(5, "b"), { known: life(4, "a"), linked, deferredMs: 3000 })).toBe("twice");
  });

  test("is accepted when the old connection is silent", () => {
    const silent = { nonce: "a", silentMs: 4000 };
    expect(check(life(5, "b"), { known: life(4, "a"), linked: silent, deferredMs: 5000 })).toBeNull();
  });

  test("is refused also while it joins", () => {
    expect(checkLife("b", null, { ...NOTHING, linked })).toBe("later");
    expect(checkLife("b", null, { ...NOTHING, linked, deferredMs: 3000 })).toBe("twice");
  });
});

test("a removed member is refused before anything else", () => {
  expect(check(life(3, "b"), { known: life(4, "a"), isRemoved: () => true })).toBe("removed");
});

test("the refused node reads the code from the text of the refusal", () => {
  for (const code of LIFE_REFUSALS) expect(readRefusal(refusalText(code))?.code).toBe(code);
  expect(readRefusal("update: n1 runs marmot 0.1.0")).toEqual({
    code: "update",
    reason: "n1 runs marmot 0.1.0",
  });
  expect(readRefusal("it belongs to cluster x")).toBeNull();
  // The transport takes refusals about streams for its own.
  for (const code of LIFE_REFUSALS) expect(refusalText(code)).not.toContain("stream");
});

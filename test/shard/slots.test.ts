/** Slots: a small number of each member's own while it is one. */
import { asPeerId } from "../../src/base/ids.ts";
import { expect, test } from "bun:test";
import type { MemberInfo } from "../../src/shard/seams.ts";
import { freeSlot, slotOf } from "../../src/shard/slots.ts";

const member = (id: number, slot?: number): MemberInfo => ({
  id,
  peerId: asPeerId(`p${id}`),
  name: `n${id}`,
  ...(slot === undefined ? {} : { slot }),
});

test("a new member gets the lowest free slot, also one of a removed member", () => {
  expect(freeSlot([])).toBe(0);
  expect(freeSlot([member(1, 0), member(5, 1), member(9, 2)])).toBe(3);
  expect(freeSlot([member(1, 0), member(9, 2)])).toBe(1);
});

test("a member's slot does not move when another leaves", () => {
  const all = [member(1, 0), member(5, 1), member(9, 2)];
  expect(slotOf(all, asPeerId("p9"))).toEqual({ slot: 2, slots: 8 });
  expect(slotOf([all[0]!, all[2]!], asPeerId("p9"))).toEqual({ slot: 2, slots: 8 });
  expect(slotOf(all, asPeerId("p77"))).toBeNull();
});

test("slots are a power of two above every member's", () => {
  const nine = Array.from({ length: 9 }, (_, i) => member(i + 1, i));
  expect(slotOf(nine, asPeerId("p1"))).toEqual({ slot: 0, slots: 16 });
});

test("members of an older build's configuration have the slots of their positions", () => {
  const old = [member(1), member(5), member(9)];
  expect(old.map((m) => slotOf(old, m.peerId)!.slot)).toEqual([0, 1, 2]);
  expect(freeSlot(old)).toBe(3);
});

/** Which member writes most to a group, and for long enough that the leader moves to it. */
import { expect, test } from "bun:test";
import { Writers } from "../../src/shard/leaders/writers.ts";

const BYTES = 200;

/** Looks, half a second apart; before each the members propose so many entries. */
function after(
  looks: number,
  entries: readonly (readonly [member: number, count: number])[],
  writers = new Writers(),
) {
  for (let i = 0; i < looks; i++) {
    for (const [member, count] of entries) for (let n = 0; n < count; n++) writers.proposed(member, BYTES);
    writers.look();
  }
  return writers;
}

test("a member that writes nearly all entries for some seconds writes most", () => {
  expect(after(8, [[7, 5]]).lasting).toBe(0);
  expect(after(20, [[7, 5]]).lasting).toBe(7);
  expect(after(40, [[7, 1]]).lasting).toBe(7);
  expect(
    after(20, [
      [7, 8],
      [2, 2],
    ]).lasting,
  ).toBe(7);
});

test("no member does when two write alike, when there are few writes, and after a while without writes", () => {
  expect(
    after(60, [
      [7, 5],
      [2, 5],
    ]).lasting,
  ).toBe(0);
  const once = after(1, [[7, 9]]);
  expect(after(30, [], once).lasting).toBe(0);
  expect(after(60, [], after(20, [[7, 5]])).lasting).toBe(0);
});

test("another writer needs the same time again", () => {
  const writers = after(20, [[7, 2]]);
  expect(after(8, [[2, 50]], writers).lasting).toBe(0);
  expect(after(10, [[2, 50]], writers).lasting).toBe(2);
});

test("empty entries and markers are no writes", () => {
  const writers = new Writers();
  for (let i = 0; i < 100; i++) {
    writers.proposed(7, i % 2 === 0 ? 0 : 10);
    writers.look();
  }
  expect(writers.lasting).toBe(0);
});

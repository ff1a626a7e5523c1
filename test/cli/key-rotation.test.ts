/** How far a change of the cluster key is, from the keys that the members tell. */
import { expect, test } from "bun:test";
import { commands, rotationOf } from "../../src/cli/key-rotation.ts";

const members = (keys: Readonly<Record<string, readonly string[]>>): ReturnType<typeof rotationOf> =>
  rotationOf(Object.entries(keys).map(([name, list]) => ({ name, keys: list })));

test("one key on all nodes is no change", () => {
  expect(members({ a: ["x"], b: ["x"], c: [] })).toEqual({
    ...{ step: "none", newKey: null, remaining: [], old: [], unknown: ["c"] },
  });
});

test("nodes that dial with the old key are named until none is left", () => {
  expect(members({ a: ["y", "x"], b: ["x"], c: ["x"] })).toMatchObject({
    step: "add",
    newKey: "y",
    old: ["b", "c"],
  });
  expect(members({ a: ["y", "x"], b: ["x", "y"], c: ["y", "x"] })).toMatchObject({
    step: "add",
    newKey: "y",
    old: ["b"],
  });
});

test("then nodes that still accept the old key are named", () => {
  expect(members({ a: ["y", "x"], b: ["y", "x"] })).toMatchObject({ step: "remove", remaining: ["a", "b"] });
  expect(members({ a: ["y"], b: ["y", "x"] })).toMatchObject({
    step: "remove",
    newKey: "y",
    remaining: ["b"],
  });
});

test("nodes without a common key are said to be apart", () => {
  expect(members({ a: ["y"], b: ["x"] })).toMatchObject({ step: "apart", remaining: ["a", "b"] });
});

test("paths are quoted for the shell", () => {
  expect(commands("/a b/it's.key").remove).toBe("install -m 600 new.key '/a b/it'\\''s.key'");
  expect(commands("/srv/c.key").remove).toBe("install -m 600 new.key /srv/c.key");
});

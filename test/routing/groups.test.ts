import { expect, test } from "bun:test";
import { groupNames } from "../../src/routing/groups.ts";

const table = (id: number, name: string, ...references: string[]) => ({ id, name, references });

test("tables tied by foreign keys, directly or over others, are routed by the name of the oldest one", () => {
  const groups = groupNames([
    table(4, "album", "ARTIST"),
    table(2, "artist"),
    table(9, "track", "album", "genre"),
    table(7, "genre"),
    table(3, "invoice", "customer"),
    table(5, "Customer"),
    table(6, "alone"),
  ]);
  expect([...groups].sort(([a], [b]) => a - b)).toEqual([
    [2, "artist"],
    [3, "invoice"],
    [4, "artist"],
    [5, "invoice"],
    [7, "artist"],
    [9, "artist"],
  ]);
});

test("a table that references itself is a group; one that references an unknown table is not", () => {
  expect(groupNames([table(1, "tree", "tree"), table(2, "note", "elsewhere")])).toEqual(
    new Map([[1, "tree"]]),
  );
});

test("groups do not depend on the order of the tables", () => {
  const tables = [
    table(1, "a", "d"),
    table(2, "b", "c"),
    table(3, "c", "d"),
    table(4, "d"),
    table(5, "e", "b"),
  ];
  const all = groupNames(tables);
  expect(new Set(all.values())).toEqual(new Set(["a"]));
  for (let turn = 1; turn < tables.length; turn++)
    expect(groupNames([...tables.slice(turn), ...tables.slice(0, turn)])).toEqual(all);
});

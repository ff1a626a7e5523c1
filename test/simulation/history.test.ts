/** The history of rows without a declared key of which a file has several copies. */
import { expect, test } from "bun:test";
import { type Change, changesOfRow } from "./application.ts";
import { History } from "./history.ts";

const change = (before: string | null, after: string | null): Change => ({
  row: "note/2.1.0",
  before,
  after,
});

/** Nodes 0 and 1 concurrently wrote a row of node 2 that another node deleted. */
function copied(): History {
  const history = new History();
  const add = (node: number, seq: number, changes: Change[]): void =>
    history.add({ node, seq, changes, appended: [] });
  add(2, 1, [change(null, "2.1.0")]);
  add(0, 1, [change("2.1.0", "0.1.0")]);
  add(1, 1, [change("2.1.0", "1.1.0")]);
  return history;
}

const final = (tags: string): Map<string, string> => new Map([["note/2.1.0", tags]]);

test("a write that one of the copies has is accounted for, in either order of the copies", () => {
  for (const tags of ["0.1.0 1.1.0", "1.1.0 0.1.0"])
    expect(copied().unaccounted(final(tags), new Set())).toEqual([]);
});

test("a write that no copy has, no later write read and no journal lists is reported as lost", () => {
  const lost = ["write note/2.1.0=0.1.0 of n0 (transaction 1) is gone without a trace"];
  for (const tags of ["1.1.0", "1.1.0 2.1.0"])
    expect(copied().unaccounted(final(tags), new Set())).toEqual(lost);
  expect(copied().unaccounted(final("1.1.0"), new Set(["note/2.1.0=0.1.0"]))).toEqual([]);
});

test("a write over one of the copies counts as having read that copy alone", () => {
  expect(changesOfRow("note/2.1.0", "0.1.0 1.1.0", "3.1.0 1.1.0")).toEqual([change("0.1.0", "3.1.0")]);
  expect(changesOfRow("note/2.1.0", "0.1.0 1.1.0", "1.1.0")).toEqual([change("0.1.0", null)]);
  expect(changesOfRow("note/2.1.0", "0.1.0 1.1.0", "0.1.0 1.1.0")).toEqual([]);
  expect(changesOfRow("note/2.1.0", undefined, "2.1.0")).toEqual([change(null, "2.1.0")]);
  expect(changesOfRow("note/2.1.0", "2.1.0", undefined)).toEqual([change("2.1.0", null)]);
});

test("an own older write in place of a newer one is reported, except for rows with several copies", () => {
  const history = copied();
  history.add({ node: 2, seq: 2, changes: [change("2.1.0", "2.2.0")], appended: [] });
  expect(history.steppedBack(2, final("2.1.0"))).toEqual([
    "n2 shows its older write 2.1.0 in note/2.1.0, its newest is 2.2.0",
  ]);
  expect(history.steppedBack(2, final("2.1.0 1.1.0"))).toEqual([]);
  expect(history.steppedBack(2, final("2.1.0"))).toEqual([]);
});

/** The checker itself: it accepts what may happen and finds what may not. */
import { describe, expect, test } from "bun:test";
import { check, type Evidence } from "./check.ts";
import type { Line, Reading } from "./history.ts";
import { schedule } from "./schedule.ts";
import { Random } from "../../src/base/random.ts";

const saw = (rows: Reading["rows"], lists: Reading["lists"] = {}, total: number | null = null): Reading => ({
  rows,
  lists,
  total,
});

/** A write of hot/0 from `at` to `at + 5`, over what was read. */
const write = (op: number, at: number, over: string, value = `v${op}`): Line[] => [
  { kind: "intent", op, intent: { at, writes: [{ table: "hot", row: 0, value }], appends: [] } },
  { kind: "committed", op, at: at + 5, saw: saw({ "hot/0": over }) },
];
const read = (at: number, value: string): Line => ({ kind: "read", at, saw: saw({ "hot/0": value }) });
const confirmed = (from: number, to: number): Line => ({ kind: "confirmed", from, to, all: false });

const evidence = (nodes: readonly Line[][], final: string, more: Partial<Evidence> = {}): Evidence => ({
  nodes: nodes.map((lines, n) => ({ name: `n${n}`, lines })),
  ready: [],
  final: saw({ "hot/0": final }),
  finalElements: [],
  journal: [],
  total: 100,
  whole: true,
  ...more,
});

describe("the writes of a row have one order", () => {
  test("concurrent writes that did not see each other may have either order", () => {
    const a = [...write(1, 10, "initial"), confirmed(20, 90)];
    const b = [...write(2, 12, "initial"), confirmed(21, 90)];
    expect(check(evidence([a, b], "v1"))).toEqual([]);
    expect(check(evidence([a, b], "v2"))).toEqual([]);
  });

  test("a write confirmed before another one began cannot win over it", () => {
    const a = [...write(1, 10, "initial"), confirmed(20, 30)];
    const b = write(2, 40, "initial");
    expect(check(evidence([a, b], "v2"))).toEqual([]);
    expect(check(evidence([a, b], "v1")).join()).toContain("no order is possible");
    // Not confirmed before: then it may.
    expect(check(evidence([[...write(1, 10, "initial"), confirmed(20, 50)], b], "v1"))).toEqual([]);
  });

  test("a wait that began before a commit does not confirm it", () => {
    const a = [...write(1, 10, "initial"), confirmed(12, 30)];
    expect(check(evidence([a, write(2, 40, "initial")], "v1"))).toEqual([]);
  });

  test("a committed write that no file has is reported as lost", () => {
    expect(check(evidence([write(1, 10, "initial"), []], "initial")).join()).toContain(
      "no order is possible",
    );
  });

  test("a file that shows an older value again is reported, also when the value is its own", () => {
    const a = [...write(1, 10, "initial"), ...write(2, 20, "v1"), read(30, "v1")];
    expect(check(evidence([a, []], "v2")).join()).toContain("no order is possible");
    const b = [read(1, "initial"), read(2, "v1"), read(3, "initial")];
    expect(check(evidence([write(1, 0, "initial"), b], "v1")).join()).toContain("no order is possible");
  });

  test("two nodes that read writes in different orders are reported", () => {
    const [a, b] = [write(1, 0, "initial"), write(2, 0, "initial")];
    const c = [read(10, "v1"), read(11, "v2")];
    const d = [read(10, "v2"), read(11, "v1")];
    expect(check(evidence([a, b, c], "v2"))).toEqual([]);
    expect(check(evidence([a, b, c, d], "v2")).join()).toContain("no order is possible");
  });

  test("a write with unknown outcome may be there or not, a failed one may not", () => {
    const intent = write(1, 10, "initial")[0]!;
    expect(check(evidence([[intent], []], "initial"))).toEqual([]);
    expect(check(evidence([[intent], [read(50, "v1")]], "v1"))).toEqual([]);
    const failed: Line = { kind: "failed", op: 1, error: "busy" };
    expect(check(evidence([[intent, failed], []], "v1")).join()).toContain("nobody can have written");
  });

  test("a ready node that lacks a write confirmed before its start is reported", () => {
    const a = [...write(1, 10, "initial"), confirmed(20, 30), ...write(2, 31, "v1")];
    const ready = (startedAt: number, value: string): Partial<Evidence> => ({
      ready: [{ node: "n1", startedAt, saw: saw({ "hot/0": value }) }],
    });
    expect(check(evidence([a, []], "v2", ready(40, "v1")))).toEqual([]);
    expect(check(evidence([a, []], "v2", ready(25, "initial")))).toEqual([]);
    expect(check(evidence([a, []], "v2", ready(40, "initial"))).join()).toContain("no order is possible");
  });
});

describe("lists, sums and the journal", () => {
  const append = (op: number, n: number): Line[] => [
    { kind: "intent", op, intent: { at: op, writes: [], appends: [{ list: 7, n, id: `e${op}` }] } },
    { kind: "committed", op, at: op, saw: saw({}, n === 0 ? {} : { 7: n }) },
  ];
  const two = [...append(1, 0), ...append(2, 1)];
  const elements = [
    { id: "e1", list: 7, n: 0 },
    { id: "e2", list: 7, n: 1 },
  ];
  const final = saw({ "hot/0": "initial" }, { 7: 2 });

  test("a missing element, an element that no application appended and a short list are reported", () => {
    const right = { finalElements: elements, final };
    expect(check(evidence([two], "initial", right))).toEqual([]);
    expect(
      check(evidence([two], "initial", { ...right, finalElements: elements.slice(1) })).join(),
    ).toContain("lost");
    const foreign = [...elements, { id: "e3", list: 7, n: 2 }];
    expect(check(evidence([two], "initial", { ...right, finalElements: foreign })).join()).toContain(
      "nobody",
    );
    const short = saw({ "hot/0": "initial" }, { 7: 1 });
    expect(check(evidence([two], "initial", { ...right, final: short })).join()).toContain(
      "list 7 ends with 1",
    );
  });

  test("a reader that sees a list out of order or shortened is reported", () => {
    const right = { finalElements: elements, final };
    const reader = (...counts: number[]): Line[] =>
      counts.map((count, at) => ({ kind: "read", at, saw: saw({}, { 7: count }) }));
    expect(check(evidence([two, reader(0, 1, 2)], "initial", right))).toEqual([]);
    expect(check(evidence([two, reader(2, 1)], "initial", right)).join()).toContain("went back");
    expect(check(evidence([two, reader(1, -1)], "initial", right)).join()).toContain("not in order");
  });

  test("a reader that sees another total is reported, where transactions are whole", () => {
    const lines: Line[] = [{ kind: "read", at: 1, saw: saw({}, {}, 99) }];
    expect(check(evidence([lines], "initial")).join()).toContain("a total of 99");
    expect(check(evidence([lines], "initial", { whole: false }))).toEqual([]);
    const torn = { whole: false, final: saw({ "hot/0": "initial" }, {}, 101) };
    expect(check(evidence([lines], "initial", torn)).join()).toContain("a total of 101");
  });

  test("the loser of two concurrent writes must be in the journal, the winner must not", () => {
    const duel = (op: number, over: string | null): Line[] => [
      {
        kind: "intent",
        op,
        intent: { at: op, writes: [{ table: "duels", row: 3, value: `d${op}` }], appends: [] },
      },
      { kind: "committed", op, at: op, saw: saw({ "duels/3": over }) },
    ];
    const end = { final: saw({ "hot/0": "initial", "duels/3": "d2" }) };
    const lost = { ...end, journal: [{ row: 3, loser: "n0" }] };
    expect(check(evidence([duel(1, null), duel(2, null)], "", lost))).toEqual([]);
    expect(check(evidence([duel(1, null), duel(2, null)], "", end)).join()).toContain("expected n0");
    expect(check(evidence([duel(1, null), duel(2, "d1")], "", end))).toEqual([]);
    expect(check(evidence([duel(1, null), duel(2, "d1")], "", lost)).join()).toContain("expected none");
  });
});

test("a seed gives the same schedule twice, another seed another one", () => {
  const of = (seed: number): string => JSON.stringify(schedule(new Random(seed), 3, 60_000));
  expect(of(5)).toBe(of(5));
  expect(of(5)).not.toBe(of(6));
  const kinds = new Set(
    Array.from({ length: 20 }, (_, seed) => schedule(new Random(seed), 3, 60_000)).flatMap((p) =>
      p.map(({ fault }) => fault.kind),
    ),
  );
  expect(kinds.size).toBe(13);
});

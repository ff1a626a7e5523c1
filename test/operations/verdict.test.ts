/** The verdict of a status: its line, its level and the commands that it names. */
import { describe, expect, test } from "bun:test";
import type { MemberStatus } from "../../src/operations/api.ts";
import { type StatusFacts, verdictOf } from "../../src/operations/health/verdict.ts";
import { STATUS } from "../admin/fake-node.ts";

const member = (name: string, more: Partial<MemberStatus> = {}): MemberStatus => ({
  ...STATUS.members[0]!,
  ...{ name, peerId: `id-${name}`, leads: [], checksumAgrees: null },
  ...more,
});

const HEALTHY: StatusFacts = {
  ...STATUS,
  node: { ...STATUS.node, file: "/srv/my shop.db" },
  members: [member("n1", { leads: [0, 1] }), member("n2"), member("n3")],
  shards: STATUS.shards.map((s) => ({ ...s, leader: "n1" })),
  quorum: { voters: 3, inTouch: 3, mayLose: 1 },
  pending: { changes: 0, bytes: 0, oldestMs: 0 },
  conflicts: { total: 0, open: 0, orphans: 0 },
  progress: null,
};
const silent = (name: string, lastSeenMs: number | null = 720_000): MemberStatus =>
  member(name, { connected: false, lastSeenMs });

test("a healthy cluster: one line, nothing to look at", () => {
  expect(verdictOf(HEALTHY)).toEqual({
    level: "ok",
    text: "my shop.db on n1: ready · 3 of 3 voters in touch · may lose 1 · pending 0",
    findings: [],
  });
});

test("pending changes with their age, and open conflicts with their command", () => {
  const { level, text, findings } = verdictOf({
    ...HEALTHY,
    pending: { changes: 7, bytes: 9, oldestMs: 1500 },
    conflicts: { total: 5, open: 2, orphans: 0 },
  });
  expect(text).toEndWith("may lose 1 · pending 7 for 1.5 s · 2 conflicts open (marmot conflicts)");
  expect(level).toBe("ok");
  expect(findings.map((f) => f.command)).toEqual(["marmot conflicts list --db '/srv/my shop.db'"]);
});

test("a silent voter of three: no further machine may fail, and how to remove it", () => {
  const { level, findings } = verdictOf({
    ...HEALTHY,
    members: [member("n1"), member("n2"), silent("n3")],
    quorum: { voters: 3, inTouch: 2, mayLose: 0 },
  });
  expect(level).toBe("warn");
  expect(findings[0]).toMatchObject({
    text: "2 of 3 voters are in touch: no further machine may fail",
    advice:
      "n3 has not answered for 12 min. Writes go on. marmot status on its machine says why; if that is gone for good",
    command: "marmot members remove n3 --db '/srv/my shop.db'",
  });
});

test("a lost majority is bad, and is not hidden by other findings", () => {
  const { level, text, findings } = verdictOf({
    ...HEALTHY,
    node: { ...HEALTHY.node, ready: false, state: "waiting", waitingFor: "waiting for a leader of shard 0" },
    members: [member("n1"), silent("n2"), silent("n3", null)],
    quorum: { voters: 3, inTouch: 1, mayLose: -1 },
  });
  expect(level).toBe("bad");
  expect(text).toContain("not ready: waiting for a leader of shard 0 · 1 of 3 voters in touch · no majority");
  expect(findings[0]!.text).toBe("1 of 3 voters are in touch: no majority");
  expect(findings[0]!.advice).toContain("Start n2, n3 again");
});

describe("a node that is not ready", () => {
  test("because it is halted: the reason, and the hint as advice", () => {
    const { text, findings } = verdictOf({
      ...HEALTHY,
      node: {
        ...HEALTHY.node,
        ...{ ready: false, state: "damaged", waitingFor: "damaged: page 3 is bad; hint: run marmot repair" },
      },
    });
    expect(text).toContain("not ready: damaged: page 3 is bad ·");
    expect(findings).toEqual([
      {
        level: "bad",
        text: "This node is halted: damaged: page 3 is bad",
        advice: "run marmot repair",
        command: "",
      },
    ]);
  });
  test("because it imports: the progress", () => {
    const { findings, level } = verdictOf({
      ...HEALTHY,
      node: { ...HEALTHY.node, ready: false, state: "waiting", waitingFor: "starting" },
      cluster: { ...HEALTHY.cluster, id: "" },
      members: [],
      quorum: { voters: 0, inTouch: 0, mayLose: 0 },
      progress: { work: "import", done: 50, total: 200, unit: "rows", remainingMs: null },
    });
    expect(level).toBe("warn");
    expect(findings[0]!.text).toBe("This node is not ready: import, 50 of 200 rows (25 %)");
  });
});

describe("other findings", () => {
  const cases: readonly (readonly [string, Partial<StatusFacts>, string])[] = [
    ["one voter", { quorum: { voters: 1, inTouch: 1, mayLose: 0 } }, "only voter"],
    ["two voters", { quorum: { voters: 2, inTouch: 2, mayLose: 0 } }, "neither may fail"],
    [
      "a replica that differs",
      { members: [member("n2", { checksumAgrees: false })] },
      "replica of n2 differs",
    ],
    [
      "a member far behind",
      { members: [member("n2", { lagEntries: 4211, lagMs: 60_000 })] },
      "4,211 entries behind",
    ],
    ["a silent learner", { members: [{ ...silent("n4"), role: "learner" }] }, "learner n4 has not answered"],
    ["a shard without a leader", { shards: STATUS.shards }, "Shard 1 has no leader"],
    [
      "two nodes that do not meet",
      { unreached: [{ from: "a", to: "b", reason: "x" }] },
      "a and b do not reach",
    ],
    [
      "old pending changes",
      { pending: { changes: 1, bytes: 1, oldestMs: 40_000 } },
      "1 change of this node wait",
    ],
    [
      "a held table",
      { tables: { ...STATUS.tables, held: [{ name: "t", reason: "why" }] } },
      "table t is held back",
    ],
    ["an old SQLite", { sqlite: { ...STATUS.sqlite, warning: "SQLite 3.40" } }, "SQLite 3.40"],
    ["dangling references", { conflicts: { total: 1, open: 0, orphans: 1 } }, "1 reference of concurrent"],
    [
      "a verify that found differences",
      { verified: { at: 0, agoMs: 1, equal: false, complete: true, rows: 1, nodes: 3 } },
      "found differences",
    ],
  ];
  for (const [name, facts, part] of cases)
    test(name, () => expect(verdictOf({ ...HEALTHY, ...facts }).findings[0]!.text).toContain(part));
});

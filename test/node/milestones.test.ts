/** The events of a node's life: each once, with figures, and none for waits that are short. */
import { beforeEach, describe, expect, test } from "bun:test";
import { createLogger, type LoggedEvent } from "../../src/base/logger.ts";
import { Milestones, type Sight } from "../../src/node/milestones.ts";
import { CONFLICT } from "../admin/fake-node.ts";

interface Facts {
  leaders: readonly string[];
  index: number;
  /** Name ⇒ whether it is a voter and connected. */
  members: readonly (readonly [id: number, name: string, isVoter: boolean, connected: boolean])[];
  schemaVersion: number;
  conflicts: number;
}

let now = 0;
let reason: string | null = "starting";
let facts: Facts | null = null;
let events: LoggedEvent[] = [];
let milestones: Milestones;
const THREE: Facts = {
  leaders: ["n1"],
  index: 1,
  members: [
    [1, "n1", true, true],
    [2, "n2", true, true],
    [3, "n3", true, true],
  ],
  schemaVersion: 1,
  conflicts: 0,
};

function sight(): Sight | null {
  if (facts === null) return null;
  const { leaders, index, schemaVersion, conflicts } = facts;
  const members = facts.members.map(([id, name, isVoter, connected]) => ({ id, name, isVoter, connected }));
  const voters = members.filter((m) => m.isVoter);
  return {
    leaders: {
      ...{ leaders, terms: leaders.map(() => 4), voters: voters.length },
      inTouch: voters.filter((m) => m.connected).length,
    },
    membership: { index, members },
    data: {
      ...{ schemaVersion, schemaFrom: () => "n2" },
      ...{ conflicts, newestConflict: () => CONFLICT },
    },
  };
}

beforeEach(() => {
  now = 1000;
  reason = "starting";
  facts = null;
  events = [];
  const clock = { now: () => now, wallTime: () => 0, soon: () => {}, after: () => ({ cancel: () => {} }) };
  const logger = createLogger({
    ...{ level: "error", format: "text", write: () => {}, wallTime: () => now },
    onEvent: (event) => void events.push(event),
  });
  milestones = new Milestones({ clock, logger, notReady: () => reason, sight });
});

/** Looks twice a second for some seconds. */
function look(seconds: number): void {
  for (let i = 0; i < seconds * 2; i++) {
    now += 500;
    milestones.look();
  }
}
const told = (): string[] => events.map((e) => e.message);

test("a node that is ready says so once, with the time since its start", () => {
  look(3);
  reason = null;
  look(2);
  expect(told()).toEqual(["ready after 3.5 s"]);
});

test("shards without a leader are named with the voters in touch, and their return with the time", () => {
  reason = null;
  facts = { ...THREE, leaders: ["n1", "n1", "n2"] };
  look(1);
  expect(told()).toEqual(["ready after 0.5 s", "leader of shards 0, 1 is n1", "leader of shard 2 is n2"]);
  reason = "waiting for a leader of shard 0, 2";
  facts = { ...facts, leaders: ["", "n1", ""] };
  look(9);
  reason = null;
  facts = { ...THREE, leaders: ["n3", "n1", "n2"] };
  look(2);
  expect(told().slice(3)).toEqual([
    "no leader of shards 0, 2: 3 of 3 voters in touch",
    "all shards have leaders again after 9.0 s",
    "leader of shard 0 is n3",
  ]);
  expect(events.at(-1)).toMatchObject({ kind: "leader", fields: { leader: "n3", shards: [0], term: 4 } });
});

test("a node that is not ready any more says why, and when it is again", () => {
  reason = null;
  look(1);
  reason = "catching up, 7 entries behind";
  look(4);
  reason = null;
  look(1);
  expect(told().slice(1)).toEqual(["not ready: catching up, 7 entries behind", "ready again after 4.0 s"]);
});

test("an election and a short wait are not told", () => {
  reason = null;
  facts = THREE;
  look(1);
  reason = "waiting for a leader of shard 0";
  facts = { ...THREE, leaders: [""] };
  look(2);
  reason = null;
  facts = THREE;
  look(3);
  expect(told()).toEqual(["ready after 0.5 s", "leader of shard 0 is n1"]);
});

describe("members", () => {
  beforeEach(() => {
    reason = null;
    facts = THREE;
    look(1);
    events = [];
  });
  test("a peer that is silent, and back", () => {
    const [a, b, c] = THREE.members as [Facts["members"][0], Facts["members"][0], Facts["members"][0]];
    facts = { ...THREE, members: [a, b, [3, "n3", true, false]] };
    look(9);
    facts = { ...THREE, members: [a, b, c] };
    look(1);
    expect(told()).toEqual([
      "n3 is silent: 2 of 3 voters in touch",
      "n3 is back after 9.0 s: 3 of 3 voters in touch",
    ]);
  });
  test("a peer that is connected again at once was not silent", () => {
    facts = { ...THREE, members: [...THREE.members.slice(0, 2), [3, "n3", true, false]] };
    look(1);
    facts = THREE;
    look(3);
    expect(told()).toEqual([]);
  });
  test("joined, promoted, demoted, renamed, removed", () => {
    facts = { ...THREE, index: 2, members: [...THREE.members, [4, "n4", false, true]] };
    look(1);
    facts = { ...THREE, index: 3, members: [...THREE.members, [4, "n4", true, true]] };
    look(1);
    facts = { ...THREE, index: 4, members: [...THREE.members, [4, "berlin", true, true]] };
    look(1);
    facts = { ...THREE, index: 5, members: [...THREE.members, [4, "berlin", false, true]] };
    look(1);
    facts = { ...THREE, index: 6 };
    look(1);
    expect(told()).toEqual([
      "n4 joined as a learner",
      "n4 was promoted: the cluster has 4 voters",
      "n4 was renamed: it is berlin now",
      "berlin was demoted: the cluster has 3 voters",
      "berlin was removed: the cluster has 3 voters",
    ]);
  });
});

test("a schema version with its node, and conflicts at most every ten seconds", () => {
  reason = null;
  facts = THREE;
  look(1);
  events = [];
  facts = { ...THREE, schemaVersion: 2 };
  look(1);
  facts = { ...facts, conflicts: 1 };
  look(1);
  facts = { ...facts, conflicts: 60 };
  look(5);
  facts = { ...facts, conflicts: 100 };
  look(6);
  expect(told()).toEqual([
    "schema version 2 from n2",
    "1 conflict, the newest: concurrent write in books 7, n1 lost to n2 (marmot conflicts)",
    "99 conflicts, the newest: concurrent write in books 7, n1 lost to n2 (marmot conflicts)",
  ]);
  // The files were opened again, and the count with them.
  facts = { ...facts, conflicts: 0 };
  look(1);
  facts = { ...facts, conflicts: 2 };
  look(11);
  expect(told().at(-1)).toStartWith("2 conflicts");
});

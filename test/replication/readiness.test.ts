/** Readiness of a node while some committed entry is always unapplied. */
import { beforeEach, expect, test } from "bun:test";
import type { Clock } from "../../src/base/clock.ts";
import { Readiness, type ReadinessFacts } from "../../src/replication/readiness.ts";

/** The facts of a node with two shards. */
const state = {
  now: 0,
  commits: [10, 10],
  confirmed: [1, 1] as (number | null)[],
  positions: [1, 1],
  leaders: ["a", "b"],
  fencing: [] as number[],
  awaited: [] as number[],
  /** Of the 7 rows of the one change log. */
  ordered: 7,
  held: null as string | null,
  awaitsVote: false,
};
let reflected: number[] = [];
let readiness: Readiness;

beforeEach(() => {
  Object.assign(state, {
    now: 0,
    commits: [10, 10],
    confirmed: [1, 1],
    positions: [1, 1],
    leaders: ["a", "b"],
    fencing: [],
    awaited: [],
    ordered: 7,
    held: null,
    awaitsVote: false,
  });
  reflected = [1, 1];
  const facts: ReadinessFacts = {
    groups: [0, 1].map((shard) => ({
      shard,
      get leaderPeer() {
        return state.leaders[shard]!;
      },
      confirmed: {
        get index() {
          return state.confirmed[shard]!;
        },
      },
      raft: {
        get commit() {
          return state.commits[shard]!;
        },
      },
    })),
    replica: {
      positions: () => [...state.positions],
      position: (shard) => state.positions[shard]!,
      awaitedMarkers: () => state.awaited,
    },
    fileChange: () => null,
    isReceiving: () => false,
    obstacle: () => null,
    held: () => state.held,
    awaitsVote: () => state.awaitsVote,
    isSchemaDue: () => false,
    fencing: () => state.fencing,
    hasAcknowledged: () => false,
    unordered: (_table, id) => id - state.ordered,
    newestIds: () => new Map([[1, 7]]),
    reflected: () => reflected,
  };
  readiness = new Readiness(facts, { now: () => state.now } as Clock);
});

const apply = (...positions: number[]): void => void (state.positions = positions);
const reflect = (...positions: number[]): void => void (reflected = positions);

test("a starting node must reach and show the confirmed commit index; entries committed later may be missing", () => {
  state.confirmed = [11, 10];
  state.fencing = [1];
  expect(readiness.notReady()).toContain("fencing");
  state.fencing = [];
  expect(readiness.notReady()).toContain("catching up");
  state.commits = [15, 14];
  apply(10, 9);
  reflect(10, 9);
  expect(readiness.notReady()).toContain("catching up");
  apply(11, 10);
  expect(readiness.notReady()).toContain("reflecting");
  reflect(11, 10);
  expect(readiness.notReady()).toBeNull();
  state.commits = [20, 20]; // under load some entry is always new
  expect(readiness.notReady()).toBeNull();
  state.commits = [20_000, 20];
  expect(readiness.notReady()).toContain("catching up");
});

test("after a silence a node is ready only at a commit index that a quorum confirms again", () => {
  state.commits = [1, 1];
  expect(readiness.notReady()).toBeNull();
  state.confirmed = [1, null];
  expect(readiness.notReady()).toContain("confirm the commit index of shard 1");
  state.confirmed = [1, 4]; // the node's own commit index has not moved yet
  expect(readiness.notReady()).toContain("catching up");
  state.commits = [1, 5];
  apply(1, 4);
  expect(readiness.notReady()).toContain("reflecting");
  reflect(1, 4);
  expect(readiness.notReady()).toBeNull();
});

test("a file that follows at a distance leaves the node ready; a file that no longer follows does not", () => {
  state.commits = [1, 1];
  expect(readiness.notReady()).toBeNull();
  for (let i = 2; i < 40; i++) {
    state.now += 1000;
    state.commits = [i, 1];
    apply(i, 1);
    reflect(i - 1, 1);
    expect(readiness.notReady()).toBeNull();
  }
  state.now += 2000;
  expect(readiness.notReady()).toBeNull();
  state.now += 9000;
  expect(readiness.notReady()).toContain("write lock");
});

test("a marker that does not arrive is reported with its shard, after some seconds", () => {
  state.commits = [1, 1];
  expect(readiness.notReady()).toBeNull();
  state.commits = [4, 1];
  state.awaited = [1];
  for (let i = 0; i < 10; i++) {
    state.now += 1000;
    apply(2 + (i % 2), 1); // shard 0 makes progress
    reflect(2 + (i % 2), 1);
    expect(readiness.notReady()).toBeNull();
  }
  state.now += 6000;
  expect(readiness.notReady()).toContain("waits for a marker in shard 1");
  state.awaited = [];
  expect(readiness.notReady()).toBeNull();
});

test("a starting node is not ready before the rows written before the start are ordered", () => {
  state.ordered = 6;
  apply(10, 10);
  reflect(10, 10);
  expect(readiness.notReady()).toContain("written before the start");
  state.ordered = 7;
  expect(readiness.notReady()).toBe(null);
});

test("a node with tables that are held back says so, and is ready when they are not", () => {
  state.confirmed = [10, 10];
  apply(10, 10);
  reflect(10, 10);
  state.held = "rows of t wait on this node";
  expect(readiness.notReady()).toBe("rows of t wait on this node");
  state.held = null;
  expect(readiness.notReady()).toBe(null);
});

test("a node that gets a vote is ready when it has it, and stays ready without one", () => {
  state.awaitsVote = true;
  expect(readiness.notReady()).toStartWith("waiting for its vote");
  state.awaitsVote = false;
  expect(readiness.notReady()).toBeNull();
  state.awaitsVote = true;
  expect(readiness.notReady()).toBeNull();
});

/** When a node says that it is ready, while there is always something committed that it has not applied yet. */
import { beforeEach, expect, test } from "bun:test";
import { BasePositions } from "../../src/change/base-positions.ts";
import type { Clock } from "../../src/base/clock.ts";
import type { Member } from "../../src/replication/replicator.ts";
import { Readiness } from "../../src/replication/readiness.ts";

/** Two shards; what readiness looks at of a member. */
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
};
let bases: BasePositions;
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
  });
  bases = new BasePositions([1, 1]);
  const member = {
    loop: { frozen: false },
    pipeline: {
      obstacle: null,
      schemaDue: false,
      session: { bases, cursors: { waiting: false } },
      outbox: { fencing: () => state.fencing },
      unordered: (_table: number, id: number) => id - state.ordered,
    },
    reader: { newestIds: () => new Map([[1, 7]]) },
    runtime: {
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
    },
    replica: {
      replica: {
        positions: () => [...state.positions],
        position: (shard: number) => state.positions[shard]!,
        awaitedMarkers: () => state.awaited,
      },
    },
  } as unknown as Member;
  readiness = new Readiness({ member, clock: { now: () => state.now } as Clock });
});

const apply = (...positions: number[]): void => void (state.positions = positions);
const reflect = (...positions: number[]): void => void (bases.reflected = positions);

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
  state.commits = [20, 20]; // under load it never meets a moment without anything new
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

test("a file that follows at some distance is no reason; one that stands still is", () => {
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

test("shard 0 at a changeset whose marker does not come is named, after a while", () => {
  state.commits = [1, 1];
  expect(readiness.notReady()).toBeNull();
  state.commits = [4, 1];
  state.awaited = [1];
  for (let i = 0; i < 10; i++) {
    state.now += 1000;
    apply(2 + (i % 2), 1); // it goes on
    reflect(2 + (i % 2), 1);
    expect(readiness.notReady()).toBeNull();
  }
  state.now += 6000;
  expect(readiness.notReady()).toContain("waits for a marker in shard 1");
  state.awaited = [];
  expect(readiness.notReady()).toBeNull();
});

test("what was written before the start is ordered first: it may be overwritten already", () => {
  state.ordered = 6;
  apply(10, 10);
  reflect(10, 10);
  expect(readiness.notReady()).toContain("written before the start");
  state.ordered = 7;
  expect(readiness.notReady()).toBe(null);
});

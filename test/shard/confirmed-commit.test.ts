/** The commit index that a quorum confirmed: asked for after each silence, and never answered by an earlier read. */
import { beforeEach, expect, test } from "bun:test";
import type { Raft } from "../../src/raft/raft.ts";
import { ConfirmedCommit } from "../../src/shard/confirmed-commit.ts";

const SILENT_TICKS = 20;
const state = { leader: 0, silentTicks: 0, asked: [] as Uint8Array[] };
let confirmed: ConfirmedCommit;

beforeEach(() => {
  Object.assign(state, { leader: 0, silentTicks: 0, asked: [] });
  const raft = {
    get leader() {
      return state.leader;
    },
    get silentTicks() {
      return state.silentTicks;
    },
    readIndex: (context: Uint8Array) => {
      state.asked.push(context);
      return "forwarded";
    },
  } as unknown as Raft;
  confirmed = new ConfirmedCommit(raft, SILENT_TICKS);
});

const answer = (read: number, index: number | null): void =>
  confirmed.ended([{ context: state.asked[read]!, index }]);

test("a leader that becomes known is asked once, in the same turn; an idle group asks no more", () => {
  confirmed.tick();
  confirmed.afterTurn();
  expect(state.asked).toHaveLength(0);
  state.leader = 1;
  confirmed.afterTurn();
  expect(state.asked).toHaveLength(1);
  expect(confirmed.index).toBeNull();
  answer(0, 7);
  for (let i = 0; i < 100; i++) {
    confirmed.tick();
    confirmed.afterTurn();
  }
  expect(confirmed.index).toBe(7);
  expect(state.asked).toHaveLength(1);
});

test("an answer to a read from before the silence confirms nothing", () => {
  state.leader = 1;
  confirmed.afterTurn();
  state.leader = 0;
  confirmed.afterTurn();
  state.leader = 2;
  confirmed.afterTurn();
  answer(0, 7);
  expect(confirmed.index).toBeNull();
  answer(1, 9);
  expect(confirmed.index).toBe(9);
});

test("a read that failed is repeated with the next tick", () => {
  state.leader = 1;
  confirmed.afterTurn();
  answer(0, null);
  confirmed.afterTurn();
  expect(state.asked).toHaveLength(1);
  confirmed.tick();
  expect(state.asked).toHaveLength(2);
});

test("a learner that no longer hears its leader forgets the index, although it never campaigns", () => {
  state.leader = 1;
  confirmed.afterTurn();
  answer(0, 7);
  state.silentTicks = SILENT_TICKS - 1;
  confirmed.tick();
  expect(confirmed.index).toBe(7);
  state.silentTicks = SILENT_TICKS;
  confirmed.tick();
  expect(confirmed.index).toBeNull();
  answer(1, 8);
  state.silentTicks = 0;
  confirmed.tick();
  expect(confirmed.index).toBe(8);
});

test("a process that was stopped asks again, also when the leader is the same", () => {
  state.leader = 1;
  confirmed.afterTurn();
  answer(0, 7);
  confirmed.forget();
  expect(confirmed.index).toBeNull();
  confirmed.tick();
  answer(1, 8);
  expect(confirmed.index).toBe(8);
});

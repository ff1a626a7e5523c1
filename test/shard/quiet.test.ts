import { expect, test } from "bun:test";
import { type Message, MessageType } from "../../src/raft/model/types.ts";
import { Quiet, QUIET_HEARTBEAT_TICKS } from "../../src/shard/leaders/quiet.ts";

const message = (type: number): Message => ({ type }) as Message;

/** The ticks of `count` at which leaders beat. */
const beats = (quiet: Quiet, count: number): number[] =>
  Array.from({ length: count }, (_, at) => ({ at, isBeat: quiet.tick() }))
    .filter(({ isBeat }) => isBeat)
    .map(({ at }) => at);

test("leaders beat every second tick, and half as often once nothing but heartbeats came for a while", () => {
  const quiet = new Quiet([{ raft: { leader: 1, silentTicks: 0 } }]);
  expect(beats(quiet, 8)).toEqual([0, 2, 4, 6]);
  quiet.note(message(MessageType.heartbeat));
  quiet.note(message(MessageType.heartbeatResponse));
  beats(quiet, 12);
  expect(quiet.isQuiet).toBe(true);
  expect(beats(quiet, 3 * QUIET_HEARTBEAT_TICKS)).toHaveLength(3);
});

test("an append, a vote or a write ends the quiet at once", () => {
  for (const end of [
    (quiet: Quiet) => quiet.note(message(MessageType.append)),
    (quiet: Quiet) => quiet.note(message(MessageType.preVote)),
    (quiet: Quiet) => quiet.active(),
  ]) {
    const quiet = new Quiet([{ raft: { leader: 1, silentTicks: 0 } }]);
    beats(quiet, 40);
    expect(quiet.isQuiet).toBe(true);
    end(quiet);
    expect(quiet.isQuiet).toBe(false);
  }
});

test("a node with a group without a leader, or with a leader that is silent for long, is not quiet", () => {
  const raft = { leader: 1, silentTicks: 0 };
  const quiet = new Quiet([{ raft }, { raft: { leader: 2, silentTicks: QUIET_HEARTBEAT_TICKS } }]);
  beats(quiet, 40);
  expect(quiet.isQuiet).toBe(true);
  raft.silentTicks = 8;
  expect(quiet.isQuiet).toBe(false);
  raft.silentTicks = 0;
  raft.leader = 0;
  expect(quiet.isQuiet).toBe(false);
});

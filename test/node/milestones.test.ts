/** The log lines of a node's life: each once, with figures, and none for waits that are short. */
import { beforeEach, expect, test } from "bun:test";
import type { Logger } from "../../src/base/logger.ts";
import { type Leaders, Milestones } from "../../src/node/milestones.ts";

let now = 0;
let reason: string | null = "starting";
let leaders: Leaders | null = null;
let lines: string[] = [];
let milestones: Milestones;
const write = (message: string): void => void lines.push(message);
const logger: Logger = { debug: write, info: write, warn: write, error: write, child: () => logger };

beforeEach(() => {
  now = 1000;
  reason = "starting";
  leaders = null;
  lines = [];
  const clock = { now: () => now, wallTime: () => 0, soon: () => {}, after: () => ({ cancel: () => {} }) };
  milestones = new Milestones({ clock, logger, notReady: () => reason, leaders: () => leaders });
});

/** Looks twice a second for some seconds. */
function look(seconds: number): void {
  for (let i = 0; i < seconds * 2; i++) {
    now += 500;
    milestones.look();
  }
}

test("a node that is ready says so once, with the time since its start", () => {
  look(3);
  reason = null;
  look(2);
  expect(lines).toEqual(["ready after 3.5 s"]);
});

test("shards without a leader are named with the voters in touch, and their return with the time", () => {
  reason = null;
  leaders = { missing: [], voters: 3, inTouch: 3 };
  look(1);
  reason = "waiting for a leader of shard 0, 2";
  leaders = { missing: [0, 2], voters: 3, inTouch: 1 };
  look(10);
  reason = null;
  leaders = { missing: [], voters: 3, inTouch: 3 };
  look(1);
  expect(lines.slice(1)).toEqual([
    "no leader of shards 0, 2: 1 of 3 voters in touch; a majority is needed",
    "all shards have leaders again after 10.0 s",
  ]);
});

test("a node that is not ready any more says why, and when it is again", () => {
  reason = null;
  look(1);
  reason = "catching up, 7 entries behind";
  look(4);
  reason = null;
  look(1);
  expect(lines.slice(1)).toEqual(["not ready: catching up, 7 entries behind", "ready again after 4.0 s"]);
});

test("an election and a short wait are not logged", () => {
  reason = null;
  look(1);
  reason = "waiting for a leader of shard 0";
  leaders = { missing: [0], voters: 3, inTouch: 3 };
  look(2);
  reason = null;
  leaders = { missing: [], voters: 3, inTouch: 3 };
  look(3);
  expect(lines).toEqual(["ready after 0.5 s"]);
});

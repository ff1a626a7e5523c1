/** Messages under ids that this node's configuration does not have: of invented members, and of members that it will know. */
import { afterAll, afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { utf8 } from "../../src/base/bytes.ts";
import { asPeerId } from "../../src/base/ids.ts";
import { Random } from "../../src/base/random.ts";
import { createLog } from "../../src/log-store/log-file.ts";
import { SqliteLogStore } from "../../src/log-store/sqlite-log-store.ts";
import { encodeConfigChange } from "../../src/raft/membership/config-change.ts";
import { ConfigChangeType, EntryType, type Message, MessageType } from "../../src/raft/model/types.ts";
import { newMessage } from "../../src/raft/raft.ts";
import { ShardRuntime } from "../../src/shard/runtime.ts";
import { encodeMessages } from "../../src/shard/wire.ts";
import { silentLogger } from "../silent-logger.ts";

const folder = mkdtempSync(join(tmpdir(), "marmot-senders-"));
afterAll(() => rmSync(folder, { recursive: true }));

let logStore: SqliteLogStore;
let runtime: ShardRuntime;
let vouched: readonly [number, string][] = [];
/** Shard and member, as a voter tells. */
let leaders: readonly [number, number][] = [];
let number = 0;

/** Member 2 of three, whose configuration is that of index 1. */
beforeEach(() => {
  vouched = [];
  leaders = [];
  const configuration = {
    index: 1,
    configuration: {
      voters: [1, 2, 3],
      votersOutgoing: [],
      learners: [],
      learnersNext: [],
      autoLeave: false,
    },
    members: [1, 2, 3].map((id) => ({ id, peerId: asPeerId(`p${id}`), name: `n${id}` })),
  };
  const path = join(folder, `log-${++number}.db`);
  const start = {
    snapshot: { index: 1, term: 1, configuration: configuration.configuration },
    configuration,
  };
  createLog(path, { clusterId: "c", peerId: "p2" }, [start]);
  logStore = SqliteLogStore.open(path);
  runtime = new ShardRuntime(
    {
      logStore,
      transport: { send: () => true, connected: () => [] },
      random: new Random(1),
      logger: silentLogger,
      vouchers: {
        isVouched: (id, peer) => vouched.some(([known, its]) => known === id && its === peer),
        isLeader: (shard, id) => leaders.some(([of, leader]) => of === shard && leader === id),
      },
      stateMachine: {
        position: () => ({ index: 1, term: 1 }),
        syncedPosition: () => 1,
        committed: () => {},
        snapshotOffered: () => {},
        proposalLost: () => {},
        leaderChanged: () => {},
      },
    },
    { shards: 1, peerId: asPeerId("p2"), member: 2 },
  );
});
afterEach(() => logStore.close());

function gives(peer: string, message: Partial<Message>): void {
  const whole = newMessage({ type: MessageType.heartbeat, to: 2, from: 9, term: 7, ...message });
  runtime.receive(asPeerId(peer), encodeMessages([{ shard: 0, message: whole }]));
  runtime.turn();
}

const term = (): number => runtime.groups[0]!.raft.term;

test("a message under an invented id is dropped, with its term", () => {
  gives("stranger", { from: 9 });
  gives("stranger", { from: 900_000, type: MessageType.append, term: 8 });
  expect(term()).toBe(1);
});

test("a message of a peer under another member's id is dropped", () => {
  gives("stranger", { from: 3 });
  gives("p1", { from: 3 });
  expect(term()).toBe(1);
  gives("p3", { from: 3 });
  expect(term()).toBe(7);
});

test("a member that another member vouches for is believed, under that id alone", () => {
  vouched = [[9, "p9"]];
  const type = MessageType.vote;
  gives("p9", { type, from: 10 });
  gives("stranger", { type, from: 9 });
  expect(term()).toBe(1);
  gives("p9", { type, from: 9 });
  expect(term()).toBe(7);
});

test("a member without a vote is followed on the word of a voter alone", () => {
  vouched = [[9, "p9"]];
  for (const type of [MessageType.append, MessageType.heartbeat, MessageType.timeoutNow])
    gives("p9", { type, from: 9, term: 2 });
  expect([term(), runtime.groups[0]!.raft.leader]).toEqual([1, 0]);
  leaders = [[0, 9]];
  gives("p9", { from: 9, term: 2 });
  expect([term(), runtime.groups[0]!.raft.leader]).toEqual([2, 9]);
});

test("an answer of a member without a vote raises the term once in a minute", () => {
  vouched = [[9, "p9"]];
  const type = MessageType.appendResponse;
  for (let next = 2; next < 9; next++) gives("p9", { type, from: 9, term: next });
  expect(term()).toBe(2);
  for (let tick = 0; tick < 600; tick++) runtime.tick();
  const now = term();
  gives("p9", { type, from: 9, term: now + 1 });
  expect(term()).toBe(now + 1);
});

test("a member whose admission is in the log, and not applied yet, is believed", () => {
  const change = encodeConfigChange({
    steps: [{ type: ConfigChangeType.addLearner, member: 0 }],
    context: utf8(JSON.stringify({ peerId: "p9", name: "n9" })),
  });
  const entries = [{ term: 2, index: 2, type: EntryType.configChange, data: change }];
  gives("p1", { from: 1, type: MessageType.append, term: 2, index: 1, logTerm: 1, commit: 1, entries });
  expect(logStore.group(0).lastIndex()).toBe(2);
  const type = MessageType.vote;
  gives("stranger", { type, from: 2 + 1, term: 7 });
  gives("p8", { type, from: 2, term: 7 });
  expect(term()).toBe(2);
});

test("a proposal that changes the configuration is dropped: only a leader makes those", () => {
  runtime.groups[0]!.raft.campaign();
  const change = encodeConfigChange({
    steps: [{ type: ConfigChangeType.removeMember, member: 1 }],
    context: new Uint8Array(0),
  });
  const proposals = [{ term: 0, index: 0, type: EntryType.configChange, data: change }];
  const before = logStore.group(0).lastIndex();
  gives("p3", { from: 3, type: MessageType.propose, term: 0, entries: proposals });
  expect(logStore.group(0).lastIndex()).toBe(before);
});

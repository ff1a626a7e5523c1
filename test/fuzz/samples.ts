/** Valid messages of each kind. */
import { asPeerId } from "../../src/base/ids.ts";
import type { TableShape } from "../../src/change/shape.ts";
import { EntryType, MessageType } from "../../src/raft/model/types.ts";
import { newMessage } from "../../src/raft/raft.ts";
import type { Control, Hello } from "../../src/replication/messages/control-messages.ts";
import type { GroupMessage } from "../../src/shard/wire.ts";
import { MemoryReplica } from "../replica/lab.ts";

const life = { member: 3, incarnation: 2, nonce: "ab", logs: [{ term: 1, lastIndex: 9 }] };

export const HELLO: Hello = {
  clusterId: "c0ffee",
  name: "n1",
  version: "0.1.0",
  role: "voter",
  formats: [1, 2, 1],
  nonce: "ab",
  life,
};

const peer = asPeerId("12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X");

export const CONTROLS: readonly Control[] = [
  { kind: "join", name: "n1", role: "learner", reader: true, chosen: true, nonce: "ab" },
  { kind: "joined", member: 3, clusterId: "c0ffee", shards: 2, place: { slot: 1, slots: 8 } },
  { kind: "forward", peerId: peer, name: "n2", role: "voter", nonce: "cd" },
  { kind: "meet", name: "n1", role: "voter", expect: 3, data: "none", sees: [peer], gives: peer },
  { kind: "change", id: "1f", action: "rename", member: 3, to: "n9" },
  { kind: "changed", id: "1f", state: "refused", reason: "no" },
  { kind: "leave", nonce: "ab" },
  { kind: "life", life },
  { kind: "refused", reason: "twice: no" },
  {
    ...{ kind: "news", name: "n1", version: "0.1.0", ready: true, applied: [1, 2], reflected: [1, 2] },
    ...{ functions: "", waiting: 0, reaches: [peer], addresses: ["/ip4/10.0.0.1/tcp/8160"], holds: [1, 1] },
    ...{ lives: [[peer, 3, 2, "ab"]], keys: ["00ff"], members: [[3, peer]] },
  } as Control,
  { kind: "sums?", note: "ab" },
  { kind: "sums", note: "ab", shards: [null, { index: 7, sums: [[1, "ff"]] }] },
  {
    ...{ kind: "file", note: "ab", state: "compared", rows: 2, different: 1, reason: "" },
    differences: [{ table: "t", key: "1", detail: "v" }],
  } as Control,
];

const configuration = {
  voters: [1, 2, 3],
  votersOutgoing: [],
  learners: [7],
  learnersNext: [],
  autoLeave: false,
};

/** Of member 3 to member 2, as a leader, a candidate and a follower send them. */
export const MESSAGES: GroupMessage[] = [
  { shard: 0, message: newMessage({ type: MessageType.heartbeat, to: 2, from: 3, term: 5, commit: 1 }) },
  {
    shard: 0,
    message: newMessage({
      ...{ type: MessageType.append, to: 2, from: 3, term: 5, logTerm: 1, index: 1, commit: 2 },
      entries: [
        { term: 5, index: 2, type: EntryType.normal, data: new Uint8Array([1, 2, 3]) },
        { term: 5, index: 3, type: EntryType.configChange, data: new Uint8Array(0) },
      ],
    }),
  },
  {
    shard: 2,
    message: newMessage({
      ...{ type: MessageType.snapshot, to: 2, from: 3, term: 6 },
      snapshot: { index: 100, term: 6, configuration },
    }),
  },
  { shard: 1, message: newMessage({ type: MessageType.timeoutNow, to: 2, from: 3, term: 7 }) },
  {
    shard: 1,
    message: newMessage({ type: MessageType.vote, to: 2, from: 3, term: 8, logTerm: 5, index: 9 }),
  },
  {
    shard: 1,
    message: newMessage({ type: MessageType.preVote, to: 2, from: 3, term: 8, logTerm: 5, index: 9 }),
  },
  {
    shard: 1,
    message: newMessage({ type: MessageType.voteResponse, to: 2, from: 3, term: 8, reject: true }),
  },
  { shard: 0, message: newMessage({ type: MessageType.appendResponse, to: 2, from: 3, term: 5, index: 1 }) },
  { shard: 0, message: newMessage({ type: MessageType.heartbeatResponse, to: 2, from: 3, term: 5 }) },
  { shard: 0, message: newMessage({ type: MessageType.readIndex, to: 2, from: 3, index: 4 }) },
  {
    shard: 0,
    message: newMessage({ type: MessageType.readIndexResponse, to: 2, from: 3, term: 5, index: 4 }),
  },
  { shard: 0, message: newMessage({ type: MessageType.transferLeader, to: 2, from: 3, index: 2 }) },
  {
    shard: 3,
    message: newMessage({
      ...{ type: MessageType.propose, to: 2, from: 3 },
      entries: [{ term: 0, index: 0, type: EntryType.normal, data: new Uint8Array([9]) }],
    }),
  },
];

/** The table of id 1, `t(k INTEGER PRIMARY KEY, v)`. */
export const SHAPE: TableShape = (() => {
  const one = new MemoryReplica({ schema: "CREATE TABLE t(k INTEGER PRIMARY KEY, v)", shards: 1 });
  const shape = one.replica.shapes.get(1)!;
  one.close();
  return shape;
})();

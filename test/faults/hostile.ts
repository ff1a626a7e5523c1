/**
 * Attacks on a running cluster: connections without the key, processes with the key that are no members, and an admitted
 * member that sends junk. Each returns when the attack is over.
 */
import { strict as assert } from "node:assert";
import { createConnection, type Socket } from "node:net";
import { readdirSync, readFileSync } from "node:fs";
import { Random } from "../../src/base/random.ts";
import { newMessage } from "../../src/raft/raft.ts";
import { EntryType, MessageType } from "../../src/raft/model/types.ts";
import { batch } from "../replica/lab.ts";
import { encodeBatch } from "../../src/change/codec.ts";
import { encodeMessages } from "../../src/shard/wire.ts";
import { MessageKind } from "../../src/shard/frames.ts";
import { hostile, randomBytes } from "../fuzz/mutate.ts";
import { CONTROLS } from "../fuzz/samples.ts";
import { encodeControl } from "../../src/replication/messages/control-messages.ts";
import { Attacker, type AttackerOptions } from "./attacker.ts";

const FAR_TERM = 2 ** 39;
/** Connections that are open at the same time. */
const AT_A_TIME = 100;

export interface Sizes {
  /** MB. */
  readonly memory: number;
  readonly descriptors: number;
}

/** Of a process of this machine. */
export function sizesOf(pid: number): Sizes {
  const [, kilobytes = "0"] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return { memory: Math.round(Number(kilobytes) / 1024), descriptors: readdirSync(`/proc/${pid}/fd`).length };
}

/** TCP connections without the key: silent ones, garbage, and half a handshake. */
export async function badConnections(port: number, count: number, seed: number): Promise<void> {
  const random = new Random(seed);
  const one = (): Promise<void> =>
    new Promise((resolve) => {
      const socket: Socket = createConnection({ host: "127.0.0.1", port });
      const end = (): void => {
        socket.destroy();
        resolve();
      };
      socket
        .on("error", end)
        .on("close", end)
        .on("data", () => {});
      socket.on("connect", () => {
        if (random.chance(0.8)) socket.write(randomBytes(random, random.pick([1, 24, 60, 5000])));
        setTimeout(end, random.below(40));
      });
    });
  for (let left = count; left > 0; left -= AT_A_TIME)
    await Promise.all(Array.from({ length: Math.min(AT_A_TIME, left) }, one));
}

/** Processes with the key and invented identities, that send Raft messages of invented member ids. */
export async function keyHolders(options: AttackerOptions, clusterId: string, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const attacker = await Attacker.start({ ...options, name: `x${i}` });
    try {
      await attacker.connect(clusterId);
      for (const type of [
        MessageType.append,
        MessageType.vote,
        MessageType.timeoutNow,
        MessageType.heartbeat,
      ])
        attacker.raft([
          { shard: 0, message: newMessage({ type, from: 900_000 + i, to: 1, term: FAR_TERM, index: 5 }) },
        ]);
      for (const control of CONTROLS) if (control.kind !== "join") attacker.send(control);
      await Bun.sleep(20);
    } catch {
      // It was refused.
    } finally {
      await attacker.stop();
    }
  }
}

/** Joins as a learner, and speaks for its member id from then on. */
export async function join(attacker: Attacker, name: string): Promise<number> {
  await attacker.connect("");
  const end = performance.now() + 30_000;
  for (;;) {
    attacker.send({ kind: "join", name, role: "learner", nonce: `nonce-${name}` });
    await Bun.sleep(100);
    const joined = attacker.heard.find((control) => control.kind === "joined");
    if (joined?.kind === "joined") return joined.member;
    assert(performance.now() < end, `not admitted: ${attacker.refusal}`);
  }
}

/** Offers a replica that never comes, as the leader of a newer term. */
export function offerReplica(
  attacker: Attacker,
  { member, to, term }: { readonly member: number; readonly to: number; readonly term: number },
): void {
  const configuration = {
    voters: [member],
    votersOutgoing: [],
    learners: [],
    learnersNext: [],
    autoLeave: false,
  };
  const snapshot = { index: 1e9, term, configuration };
  const type = MessageType.snapshot;
  attacker.raft([{ shard: 0, message: newMessage({ type, from: member, to, term: term + 1, snapshot }) }]);
}

export interface Flood {
  readonly messages: number;
  readonly topics: number;
  readonly records: number;
}

/** Everything that a member may send, and much of it. `member`: its id; `to`: the id of the node that it is linked to. */
export async function floods(
  attacker: Attacker,
  { member, to }: { readonly member: number; readonly to: number },
  { messages, topics, records }: Flood,
  seed: number,
): Promise<void> {
  const random = new Random(seed);
  const samples = [
    encodeBatch(batch({ origin: attacker.peerId, writes: [{ k: 1, v: "junk" }] })),
    ...CONTROLS.map((control) => encodeControl(control).subarray(1)),
  ];
  const from = { from: member, to };
  for (let i = 0; i < messages && attacker.isOpen; i++) {
    const junk = hostile(samples, random);
    const entries = [
      { term: 0, index: 0, type: i % 5 === 0 ? EntryType.configChange : EntryType.normal, data: junk },
    ];
    attacker.raft([{ shard: 0, message: newMessage({ type: MessageType.propose, ...from, entries }) }]);
    attacker.raft([
      { shard: 0, message: newMessage({ type: MessageType.vote, ...from, term: FAR_TERM + i, index: 1e9 }) },
    ]);
    attacker.raft([
      {
        shard: 0,
        message: newMessage({ type: MessageType.append, ...from, term: FAR_TERM + i, commit: 1e9 }),
      },
    ]);
    attacker.raft([
      { shard: 0, message: newMessage({ type: MessageType.transferLeader, ...from, index: member }) },
    ]);
    const configuration = {
      voters: [member],
      votersOutgoing: [],
      learners: [],
      learnersNext: [],
      autoLeave: false,
    };
    const snapshot = { index: 1e9 + i, term: 1, configuration };
    attacker.raft([
      { shard: 0, message: newMessage({ type: MessageType.snapshot, ...from, term: 1, snapshot }) },
    ]);
    attacker.send({ kind: "join", name: `j${i}`, role: "voter", nonce: `n${i}` });
    attacker.send({ kind: "promote" });
    attacker.send({ kind: "sums?", note: `s${i}` });
    if (i % 20 === 0) await Bun.sleep(1);
  }
  attacker.subscribe(topics);
  await attacker.publishRecords(records);
  for (const recorded of attacker.recorded.slice(0, 200)) attacker.raw(MessageKind.raft, recorded);
  for (let i = 0; i < messages && attacker.isOpen; i++) {
    const valid = encodeMessages([
      { shard: 0, message: newMessage({ type: MessageType.heartbeatResponse, ...from, term: 1 }) },
    ]);
    attacker.raw(random.below(4), hostile([valid, ...samples], random));
    if (i % 20 === 0) await Bun.sleep(1);
  }
}

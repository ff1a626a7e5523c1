/** The attacks one after the other on a cluster of three nodes, with sizes and latency before and after each. */
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { parseClusterKeys } from "../../src/transport/cluster-key.ts";
import { TestCluster, type TestNode, until } from "../cluster/lab.ts";
import { Attacker } from "./attacker.ts";
import {
  badConnections,
  type Flood,
  floods,
  join,
  keyHolders,
  offerReplica,
  type Sizes,
  sizesOf,
} from "./hostile.ts";

export interface HostilePlan extends Flood {
  readonly seed: number;
  readonly connections: number;
  readonly holders: number;
}

export interface Measured extends Sizes {
  readonly after: string;
  /** Milliseconds from a commit on one node to the row on another: median and longest. */
  readonly p50: number;
  readonly longest: number;
}

const WRITES = 30;
/** What a node may keep: buffers and compiled code of the first connections, not a part of what was sent. */
const MORE_MEMORY = 96;
const MORE_DESCRIPTORS = 12;

async function latency(
  from: TestNode,
  to: TestNode,
  first: number,
): Promise<{ p50: number; longest: number }> {
  const writer = from.open();
  const reader = to.open();
  const seen = reader.query("SELECT count(*) FROM t WHERE id = ?");
  const times: number[] = [];
  try {
    for (let i = 0; i < WRITES; i++) {
      const start = performance.now();
      writer.run(`INSERT INTO t VALUES(${first + i}, 'while attacked')`);
      await until(() => Number(seen.values(first + i)[0]![0]) === 1, `row ${first + i} arrives`, 30_000);
      times.push(performance.now() - start);
    }
  } finally {
    writer.close();
    reader.close();
  }
  times.sort((a, b) => a - b);
  return { p50: times[WRITES >> 1]!, longest: times.at(-1)! };
}

/** Rejects if a node does not go on, or keeps memory or descriptors. */
export async function hostileRound(
  plan: HostilePlan,
  say: (measured: Measured) => void,
): Promise<Measured[]> {
  const schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)";
  const cluster = await TestCluster.start({ shards: 1, schema, quiet: true });
  const measured: Measured[] = [];
  let id = 0;
  try {
    const [a, b] = cluster.nodes as [TestNode, TestNode];
    const measure = async (after: string): Promise<void> => {
      const times = await latency(b, a, (id += 1000));
      const one = { after, ...sizesOf(a.process!.pid), ...times };
      measured.push(one);
      say(one);
    };
    await measure("start");
    const { id: clusterId } = (await a.status()).cluster;
    const [clusterKey] = parseClusterKeys(readFileSync(cluster.key, "utf8"), cluster.key);
    const options = { clusterKey: clusterKey!, target: a.address, name: "hostile" };
    await badConnections(a.port, plan.connections, plan.seed);
    await measure(`${plan.connections} bad connections`);
    await keyHolders(options, clusterId, plan.holders);
    await measure(`${plan.holders} key holders`);
    const attacker = await Attacker.start(options);
    try {
      const member = await join(attacker, "hos\u001b[2Jtile");
      const { stdout } = await a.verb("members", "list");
      assert(stdout.includes("hos\\u001b[2Jtile") && !stdout.includes("\u001b"), stdout);
      const { node, shards } = await a.status();
      offerReplica(attacker, { member, to: node.id, term: shards[0]!.term });
      await measure("the offer of a replica that never comes");
      await floods(attacker, { member, to: node.id }, plan, plan.seed);
      // A learner leads no one.
      assert(!a.log().includes("receiving a replica"), a.log());
    } finally {
      await attacker.stop();
    }
    await until(() => isRemoved(a, attacker.peerId), "the hostile member is removed");
    await until(
      () => returned(measured[0]!, sizesOf(a.process!.pid)),
      "memory and descriptors return",
      60_000,
    );
    await measure("an admitted member");
    for (const node of cluster.nodes) {
      await node.ready();
      assert.equal(node.process?.exitCode, null);
    }
    await cluster.settle();
    return measured;
  } finally {
    await cluster.stop();
  }
}

/** Under the name that it had last. */
async function isRemoved(node: TestNode, peerId: string): Promise<true | string> {
  const member = (await node.status()).members.find((m) => m.peerId === peerId);
  if (member === undefined) return true;
  return (await node.verb("members", "remove", member.name)).stderr;
}

function returned(before: Sizes, now: Sizes): true | string {
  const isBack =
    now.memory <= before.memory + MORE_MEMORY && now.descriptors <= before.descriptors + MORE_DESCRIPTORS;
  return (
    isBack ||
    `${now.memory} MB after ${before.memory}, ${now.descriptors} descriptors after ${before.descriptors}`
  );
}

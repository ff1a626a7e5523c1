/** What must hold when links are cut, one way or both, or come and go: behaviour 19, with all bytes between nodes in a proxy. */
import { afterEach, describe, expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import type { ConflictSummary } from "../../src/operations/api.ts";
import { CLEAR, type Condition } from "../faults/links.ts";
import { round } from "../faults/round.ts";
import { TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA = "CREATE TABLE kv(k INTEGER PRIMARY KEY, v TEXT)";
const HELD: Condition = { ...CLEAR, held: true };
/** Seconds of the random rounds. */
const ROUND_SECONDS = 12;

let cluster: TestCluster | null = null;
afterEach(async () => {
  await cluster?.stop();
  cluster = null;
});

const start = async (shards: number): Promise<TestCluster> => {
  cluster = await TestCluster.start({ shards, schema: SCHEMA, linked: new Random(1) });
  return cluster;
};

const put = (node: TestNode, k: number, v: string): void =>
  node.run(`INSERT INTO kv VALUES(${k}, '${v}') ON CONFLICT(k) DO UPDATE SET v = excluded.v`);

const get = (node: TestNode, k: number): unknown => node.query(`SELECT v FROM kv WHERE k = ${k}`)[0]?.[0];

const shows = (node: TestNode, k: number, v: string): Promise<void> =>
  until(() => get(node, k) === v || String(get(node, k)), `${node.name} shows ${v}`);

const names = (nodes: readonly TestNode[]): string[] => nodes.map((n) => n.name);

const verified = async (node: TestNode): Promise<void> =>
  expect((await node.verb("verify", "--json")).code).toBe(0);

for (const shards of [1, 16])
  describe(`${shards} ${shards === 1 ? "shard" : "shards"}`, () => {
    test("the majority continues; the isolated leader accepts local writes and confirms none; after healing all files are equal", async () => {
      const { nodes, links } = await start(shards);
      put(nodes[0]!, 1, "before");
      await cluster!.settle();
      const alone = await cluster!.leader();
      const others = nodes.filter((n) => n !== alone);
      links!.between([alone.name], names(others), HELD);
      // The majority confirms as soon as it has a leader; no message crosses the cut.
      put(others[0]!, 2, "by the majority");
      expect((await others[0]!.verb("wait", "--timeout", "30s")).code).toBe(0);
      await shows(others[1]!, 2, "by the majority");
      put(alone, 3, "by the minority");
      put(alone, 1, "clash, minority");
      const waited = await alone.verb("wait", "--timeout", "2s");
      expect(waited.code).toBe(1);
      expect(waited.stderr).toMatch(/order|quorum|leader/);
      await until(async () => (await alone.http("/readyz")).status === 503, "the minority is not ready");
      // Held connections look alive until their silence has lasted.
      await until(async () => {
        const connected = (await alone.status()).members.filter((m) => m.connected).map((m) => m.name);
        return connected.join() === alone.name || connected.join();
      }, "it says that it is connected to nobody");
      const status = await alone.status();
      expect(status.node.ready).toBe(false);
      expect(status.node.waitingFor).toContain("waiting for a leader of shard");
      expect(status.pending.changes).toBe(2);
      // It still writes, and still has seen nothing of the others.
      put(alone, 4, "still");
      expect(get(alone, 2)).toBeUndefined();
      expect(get(others[0]!, 3)).toBeUndefined();
      put(others[1]!, 1, "clash, majority");
      expect(await others[1]!.wait()).toBe(true);
      links!.clear();
      await cluster!.settle();
      for (const node of nodes) {
        await node.ready();
        expect([2, 3, 4].map((k) => get(node, k))).toEqual(["by the majority", "by the minority", "still"]);
        // The write of the minority was ordered after healing: last, and over a write that it had not seen.
        expect(get(node, 1)).toBe("clash, minority");
        const conflicts = JSON.parse((await node.http("/api/v1/conflicts")).text) as ConflictSummary[];
        expect(conflicts.map((c) => [c.losingOrigin, c.winningOrigin])).toEqual([
          [others[1]!.name, alone.name],
        ]);
      }
      await verified(alone);
    }, 180_000);

    test("with every node isolated no write is confirmed, and after healing none is lost", async () => {
      const { nodes, links } = await start(shards);
      for (const node of nodes) links!.between([node.name], names(nodes.filter((n) => n !== node)), HELD);
      for (const [i, node] of nodes.entries()) put(node, i, node.name);
      await Promise.all(
        nodes.map(async (node) => {
          expect(await node.wait({ timeout: "2s" })).toBe(false);
          await until(async () => (await node.http("/readyz")).status === 503, `${node.name} is not ready`);
        }),
      );
      links!.clear();
      await cluster!.settle();
      for (const node of nodes) expect(nodes.map((_, k) => get(node, k))).toEqual(names(nodes));
    }, 180_000);

    test("a leader that receives nothing, and one that reaches no node, lose no write", async () => {
      const { nodes, links } = await start(shards);
      for (const deaf of [true, false]) {
        const leader = await cluster!.leader();
        const others = nodes.filter((n) => n !== leader);
        for (const other of others)
          if (deaf) links!.set(other.name, leader.name, HELD);
          else links!.set(leader.name, other.name, HELD);
        const k = deaf ? 10 : 20;
        put(leader, k, "by the one");
        expect(await leader.wait({ timeout: "2s" })).toBe(false);
        put(others[0]!, k + 1, "by the others");
        expect(await others[0]!.wait({ timeout: "60s" })).toBe(true);
        links!.clear();
        await cluster!.settle();
        for (const node of nodes)
          expect([get(node, k), get(node, k + 1)]).toEqual(["by the one", "by the others"]);
      }
    }, 180_000);
  });

test("while a link goes up and down the nodes beside it confirm writes, and afterwards all files are equal", async () => {
  const { nodes, links } = await start(1);
  const [steady, other, flapping] = nodes as [TestNode, TestNode, TestNode];
  let flaps = 0;
  let over = false;
  const flapper = (async () => {
    while (!over) {
      links!.between([flapping.name], [steady.name, other.name], flaps++ % 2 === 0 ? HELD : CLEAR);
      if (flaps % 3 === 0) links!.reset(flapping.name, steady.name);
      await Bun.sleep(flaps % 5 === 0 ? 1500 : 120);
    }
  })();
  let [written, confirmed] = [0, 0];
  for (; flaps < 20; written++) {
    put(steady, written, `steady ${written}`);
    put(flapping, 100_000 + written, `flapping ${written}`);
    if (await steady.wait({ timeout: "10s" })) confirmed++;
    await Bun.sleep(50);
  }
  over = true;
  await flapper;
  links!.clear();
  await cluster!.settle();
  expect(confirmed).toBe(written);
  for (const node of nodes) expect(node.query("SELECT count(*) FROM kv")).toEqual([[BigInt(2 * written)]]);
  await verified(flapping);
}, 180_000);

for (const shards of [1, 16])
  test(`a round of drawn faults with ${shards} ${shards === 1 ? "shard" : "shards"}: no write is lost, doubled, reordered or split`, async () => {
    const seed = Number(process.env.FAULTS_SEED ?? crypto.getRandomValues(new Uint32Array(1))[0]!);
    const result = await round({ seed, seconds: ROUND_SECONDS, shards, nodes: 3, say: console.log });
    expect(result.wrong).toEqual([]);
    expect(result.transactions).toBeGreaterThan(50);
    expect(result.faults).toBeGreaterThan(1);
  }, 240_000);

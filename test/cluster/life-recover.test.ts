/** A cluster that lost its majority for good goes on from one member, and never runs twice. Real processes on loopback. */
import { afterEach, describe, expect, test } from "bun:test";
import { TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA =
  "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE u(id INTEGER PRIMARY KEY, v TEXT)";
const MS = 120_000;

let cluster: TestCluster;
afterEach(() => cluster.stop());

const says = (node: TestNode, text: string): Promise<void> =>
  until(
    async () => {
      const ready = await node.http("/readyz").catch(() => ({ text: "" }));
      return ready.text.includes(text) || `${ready.text} ${node.log().slice(-500)}`;
    },
    `${node.name} says ${text}`,
    40_000,
  );

const write = (node: TestNode, id: number): void =>
  node.run("BEGIN", `INSERT INTO t VALUES(${id}, 'x')`, `INSERT INTO u VALUES(${id}, 'x')`, "COMMIT");

const ids = (node: TestNode, table: string): unknown[] =>
  node.query(`SELECT id FROM ${table} ORDER BY id`).flat().map(Number);

describe.each([1, 16])("with %p shards", (shards) => {
  test(
    "the survivor goes on while it runs; former members are halted, and join again",
    async () => {
      cluster = await TestCluster.start({ shards, schema: SCHEMA, quiet: true });
      const [a, b, v] = cluster.nodes as [TestNode, TestNode, TestNode];
      write(a, 1);
      expect(await a.wait({ all: true })).toBeTrue();
      expect((await v.verb("members", "recover", "--yes")).stderr).toContain(
        "has its majority: 3 of 3 voters",
      );
      await Promise.all([a.kill(), b.kill()]);
      write(v, 2);
      await until(
        async () => (await v.verb("members", "recover")).stderr.includes("give --yes"),
        "it sees the loss",
      );
      // A node that has met the survivor before, and waits for a leader.
      const waiting = cluster.add();
      await waiting.start(["--role", "learner"]);
      await says(waiting, "waiting for a leader to admit this node");
      const done = await v.verb("members", "recover", "--yes");
      expect([done.code, done.stderr]).toEqual([0, expect.stringContaining("n0, n1 are no members")]);
      for (const node of [v, waiting]) await node.ready();
      expect(await v.wait()).toBeTrue();
      const status = await v.status();
      expect([status.cluster.epoch, status.members.map((m) => m.name)]).toEqual([1, ["n2", "n3"]]);
      expect([ids(v, "t"), ids(v, "u")]).toEqual([
        [1, 2],
        [1, 2],
      ]);
      await Promise.all([a.start(), b.start()]);
      for (const node of [a, b]) await says(node, "superseded: the cluster was recovered without this node");
      // Known after a restart, before a node of the later epoch is met.
      await v.kill();
      await b.kill();
      await b.startAlone();
      await says(b, "superseded: ");
      await a.kill("SIGTERM");
      expect(a.marmot("rejoin").code).toBe(0); // the hint
      await Promise.all([v.startAlone(), a.startAlone(["--peers", v.address])]);
      for (const node of [v, a]) await node.ready();
      await cluster.settle([v, a]);
      expect((await a.status()).cluster.epoch).toBe(1);
    },
    MS,
  );
});

test(
  "of two members that were recovered apart, one goes on; a learner is recovered while it is stopped",
  async () => {
    cluster = await TestCluster.start({ shards: 4, schema: SCHEMA, quiet: true, count: 2 });
    const [a, b] = cluster.nodes as [TestNode, TestNode];
    const learner = cluster.add();
    await learner.start(["--role", "learner"]);
    await learner.ready();
    write(learner, 1);
    expect(await learner.wait({ all: true })).toBeTrue();
    await Promise.all([a.kill(), b.kill(), learner.kill()]);
    write(learner, 2);
    expect(learner.marmot("members", "recover", "--yes").code).toBe(0);
    await learner.startAlone(["--role", "learner"]);
    await learner.ready();
    expect(await learner.wait()).toBeTrue();
    expect((await learner.status()).members.map((m) => [m.name, m.role])).toEqual([["n2", "voter"]]);
    await learner.kill();
    expect(b.marmot("members", "recover", "--yes").code).toBe(0);
    await b.startAlone();
    await b.ready();
    await learner.startAlone();
    const halted = async (node: TestNode): Promise<boolean> =>
      (await node.http("/readyz").catch(() => ({ text: "" }))).text.startsWith("superseded: ");
    let isOne = false;
    await until(
      async () => (isOne = (await halted(b)) !== (await halted(learner))),
      "one of the two is halted",
    );
    expect(isOne).toBeTrue();
    const [wins, halts] = (await halted(b)) ? [learner, b] : [b, learner];
    write(wins, 3);
    expect(await wins.wait()).toBeTrue();
    expect(await halts.wait({ timeout: "1s" })).toBeFalse();
  },
  MS,
);

test(
  "of two running survivors that are recovered at the same moment, one goes on and says so",
  async () => {
    cluster = await TestCluster.start({ shards: 4, schema: SCHEMA, quiet: true, count: 1 });
    const [a, b, c] = [cluster.nodes[0]!, cluster.add(), cluster.add()];
    for (const node of [b, c]) {
      await node.start(["--role", "learner"]);
      await node.ready();
    }
    write(b, 1);
    expect(await b.wait({ all: true })).toBeTrue();
    await a.kill();
    await until(
      async () => (await b.verb("members", "recover")).stderr.includes("give --yes"),
      "the loss is seen",
    );
    const done = await Promise.all([b, c].map((node) => node.verb("members", "recover", "--yes")));
    expect(done.filter(({ code }) => code === 0).length).toBeGreaterThan(0);
    const state = async (node: TestNode): Promise<string> =>
      (await node.http("/readyz").catch(() => ({ text: "" }))).text.split(":")[0]!.trim();
    let states: string[] = [];
    await until(async () => {
      states = (await Promise.all([b, c].map(state))).sort();
      return states.join() === "ready,superseded" || states.join();
    }, "one is ready, the other superseded");
    const wins = (await state(b)) === "ready" ? b : c;
    write(wins, 2);
    expect(await wins.wait()).toBeTrue();
  },
  MS,
);

test.each([1, 16])(
  "learners follow the survivor by themselves, one that has more entries does not; %p shards",
  async (shards) => {
    cluster = await TestCluster.start({ shards, schema: SCHEMA, quiet: true, count: 1 });
    const a = cluster.nodes[0]!;
    const [v, near, late, ahead] = [cluster.add(), cluster.add(), cluster.add(), cluster.add()];
    for (const [node, role] of [
      [v, "learner"],
      [near, "reader"],
      [late, "learner"],
      [ahead, "learner"],
    ] as const) {
      await node.start(["--role", role]);
      await node.ready();
    }
    write(a, 1);
    expect(await a.wait({ all: true })).toBeTrue();
    await Promise.all([late.kill(), near.kill(), v.kill()]);
    write(a, 2);
    await until(() => ids(ahead, "t").includes(2), "the learner that goes on has the row");
    expect(await ahead.wait()).toBeTrue();
    await Promise.all([a.kill(), ahead.kill()]);
    await Promise.all([v.startAlone(), near.startAlone()]);
    await says(v, "waiting for a leader");
    await until(
      async () => (await v.verb("members", "recover")).stderr.includes("give --yes"),
      "the loss is seen",
    );
    const done = await v.verb("members", "recover", "--yes");
    expect([done.code, done.stderr]).toEqual([0, expect.stringContaining("learners stay, unless")]);
    for (const node of [v, near]) await node.ready();
    write(v, 3);
    expect(await v.wait()).toBeTrue();
    await Promise.all([late.startAlone(), ahead.startAlone()]);
    await late.ready();
    await says(ahead, "n1 began epoch 1: it has entries that the newest epoch lacks");
    await cluster.settle([v, near, late]);
    const { members } = await late.status();
    expect(Object.fromEntries(members.map((m) => [m.name, m.role]))).toEqual({
      ...{ n1: "voter", n2: "reader", n3: "learner" },
    });
    expect([ids(near, "t"), ids(late, "u")]).toEqual([
      [1, 3],
      [1, 3],
    ]);
    // A follower is a member after a restart, too, and can get a vote.
    expect((await v.verb("members", "promote", "n3")).stderr).toBe("");
    await late.kill();
    await late.startAlone();
    await late.ready();
    write(late, 4);
    expect(await late.wait()).toBeTrue();
    await ahead.kill("SIGTERM");
    expect(ahead.marmot("rejoin").code).toBe(0); // the hint
    await ahead.startAlone(["--peers", v.address]);
    await ahead.ready();
    await cluster.settle([v, near, late, ahead]);
  },
  MS,
);

/** Shipping to a folder, replaying each position, hand-over, and damage of every kind. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { openArchive } from "../../src/archive/archive.ts";
import { replay, type Target } from "../../src/archive/replay.ts";
import type { Shipper } from "../../src/archive/shipping/shipper.ts";
import type { OpenReplica } from "../../src/replica/open-replica.ts";
import { dumpReplica } from "../replica/lab.ts";
import {
  changeByte,
  FakeLog,
  FakeNode,
  linksIn,
  shipperOf,
  type ShipOptions,
  temporaryFolder,
  until,
} from "./lab.ts";

let folder: ReturnType<typeof temporaryFolder>;
let log: FakeLog;
const running: Shipper[] = [];
beforeEach(() => {
  folder = temporaryFolder();
  log = new FakeLog();
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((shipper) => shipper.stop()));
  folder.remove();
});

function ship(node: () => FakeNode | null, options: ShipOptions = {}): Shipper {
  const shipper = shipperOf(node, folder.path, options);
  running.push(shipper);
  shipper.start();
  return shipper;
}

const place = (): string => join(folder.path, "archive");

/** The replica at the target, as a text. */
async function restored(
  target: Target,
  keyFile: string | null = null,
): Promise<{ dump: string; at: number }> {
  const file = join(folder.path, "restored.db");
  rmSync(file, { force: true });
  let dump = "";
  const archive = await openArchive(place(), keyFile);
  const { positions } = await replay({
    ...{ archive, target, file },
    onOpen: (opened) => {
      open = opened;
      dump = dumpReplica(open.db, open.replica);
    },
    onSegment: () => {
      dump = dumpReplica(open!.db, open!.replica);
    },
  });
  return { dump, at: positions[0]! };
}
/** The message with which it is refused. */
async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return (error as Error).message;
  }
  return "it is not refused";
}

let open: OpenReplica | null = null;

const archived = (shipper: Shipper, index: number): Promise<void> =>
  until(() => shipper.status.position === `c:${index}`, `the archive has entry ${index}`);

test("every position is restored as it was, from each snapshot, and so is each time", async () => {
  const node = new FakeNode("one", log);
  const shipper = ship(() => node, { limits: { copyLinks: 4 } });
  const dumps: string[] = [];
  const times: number[] = [];
  for (let i = 1; i <= 20; i++) {
    log.write({ k: i % 7, v: `value ${i}` }, { k: 100 + i, v: i % 3 === 0 ? null : "x" });
    node.apply();
    dumps[i] = node.memory.dump();
    times[i] = Date.now();
    await Bun.sleep(2);
    if (i % 2 === 0) await archived(shipper, i);
  }
  await until(() => shipper.status.snapshots > 2, "three snapshots were made");
  expect(shipper.status).toMatchObject({ state: "shipping", error: "", behindEntries: 0, failures: 0 });
  const archive = await openArchive(place(), null);
  const [first] = await archive.snapshots();
  while (((await archive.head())?.until ?? 0) < times[20]!) await Bun.sleep(10);
  for (let i = first!.positions[0]!; i <= 20; i++) {
    expect(await restored({ kind: "position", position: [i] })).toEqual({ dump: dumps[i]!, at: i });
    if (times[i]! >= first!.at)
      expect(await restored({ kind: "time", time: times[i]! })).toEqual({ dump: dumps[i]!, at: i });
  }
  expect(await restored({ kind: "newest" })).toEqual({ dump: dumps[20]!, at: 20 });
}, 60_000);

test("a position or time outside of the archive is refused with its reach", async () => {
  const node = new FakeNode("one", log);
  log.write({ k: 1, v: "a" });
  node.apply();
  const shipper = ship(() => node);
  log.write({ k: 2, v: "b" });
  await archived(shipper, 1);
  node.apply();
  await archived(shipper, 2);
  for (const [target, reason] of [
    [{ kind: "position", position: [0] }, "c:0 is before the first snapshot"],
    [{ kind: "position", position: [3] }, "c:3 is after the end"],
    [{ kind: "position", position: [1, 1] }, "2 parts"],
    [{ kind: "time", time: 1000 }, "is before the first snapshot"],
    [{ kind: "time", time: Date.now() + 3_600_000 }, "is after the end"],
  ] as const)
    expect(await refusal(restored(target))).toMatch(reason);
  expect(await refusal(restored({ kind: "position", position: [3] }))).toMatch(/it has c:1 .* to c:2 /);
});

test("a new leader goes on where the old one stopped, without a gap or a doubled link", async () => {
  const nodes = [new FakeNode("one", log), new FakeNode("two", log)];
  nodes[1]!.leading = false;
  const shippers = nodes.map((node) => ship(() => node));
  for (let i = 1; i <= 30; i++) {
    log.write({ k: i, v: `v${i}` });
    const leader = Math.floor(i / 10) % 2;
    // For a while both believe that they lead.
    nodes[leader]!.leading = true;
    for (const node of nodes) node.apply();
    await archived(shippers[leader]!, i);
    if (i % 10 > 3) nodes[1 - leader]!.leading = false;
  }
  expect(shippers.every(({ status }) => status.shipped > 0 && status.failures === 0)).toBe(true);
  expect(await restored({ kind: "newest" })).toEqual({ dump: nodes[0]!.memory.dump(), at: 30 });
  const archive = await openArchive(place(), null);
  const { first, last } = (await archive.extent())!;
  let at = 0;
  for await (const { link } of archive.walk(first, last)) {
    if (link.kind === "segment") expect(link.from).toEqual([at]);
    at = link.to[0]!;
  }
  expect(at).toBe(30);
}, 60_000);

test("of two links with one number the first stays", async () => {
  const node = new FakeNode("one", log);
  const shipper = ship(() => node);
  log.write({ k: 1, v: "one" });
  node.apply();
  await archived(shipper, 1);
  await shipper.stop();
  const archive = await openArchive(place(), null);
  const { last } = (await archive.extent())!;
  const there = (await archive.link(last))!;
  expect(await archive.add({ ...there.link, node: "two" })).toBeNull();
  expect(await archive.link(last)).toEqual(there);
});

test("a missing, changed, exchanged or shortened object is found", async () => {
  const node = new FakeNode("one", log);
  const shipper = ship(() => node);
  for (let i = 1; i <= 6; i++) {
    log.write({ k: i, v: `v${i}` });
    node.apply();
    await archived(shipper, i);
  }
  const links = linksIn(folder.path);
  const [copy] = readdirSync(join(place(), "copies"));
  const keep = join(folder.path, "kept");
  const tryIt = async (path: string, change: () => void, reason: RegExp): Promise<void> => {
    copyFileSync(path, keep);
    change();
    expect(await refusal(restored({ kind: "newest" }))).toMatch(reason);
    copyFileSync(keep, path);
  };
  const third = links[2]!;
  await tryIt(third, () => rmSync(third), /missing/);
  // The end of the chain is told beside it.
  const end = links.at(-1)!;
  await until(() => readFileSync(join(place(), "head.json"), "utf8").includes('"c:6"'), "the end is told");
  await shipper.stop();
  await tryIt(end, () => rmSync(end), /is missing: it ends too early/);
  for (const at of [0, 4, 10, 60, -1])
    await tryIt(third, () => changeByte(third, at), /changed|no object|format/);
  await tryIt(third, () => copyFileSync(links[3]!, third), /cannot be read: it is number/);
  await tryIt(third, () => writeFileSync(third, ""), /no object/);
  const data = join(place(), "copies", copy!);
  for (const at of [0, 3, 20, 400, -1])
    await tryIt(data, () => changeByte(data, at), /changed or is incomplete|not the copy/);
  await tryIt(data, () => writeFileSync(data, new Uint8Array(4)), /incomplete/);
  expect((await restored({ kind: "newest" })).at).toBe(6);
});

test("two clusters on one folder: the second one writes nothing and says so", async () => {
  const node = new FakeNode("one", log);
  log.write({ k: 1, v: "a" });
  node.apply();
  await archived(
    ship(() => node),
    1,
  );
  const before = linksIn(folder.path).length;
  const other = new FakeNode("other", log, "f".repeat(32));
  other.apply();
  const second = ship(() => other);
  await until(() => second.status.state === "paused", "the second cluster is refused");
  expect(second.status.error).toContain("is the archive of the cluster 0000");
  expect(linksIn(folder.path).length).toBe(before);
});

test("an archive with a key: another key or none is refused, and no text is readable in it", async () => {
  const [key, wrong] = [join(folder.path, "key"), join(folder.path, "wrong")];
  writeFileSync(key, "a secret of the archive\n");
  writeFileSync(wrong, "another secret of an archive\n");
  const node = new FakeNode("one", log);
  const shipper = ship(() => node, { keyFile: key });
  for (let i = 1; i <= 3; i++) {
    log.write({ k: i, v: "SEE-ME" });
    node.apply();
    await archived(shipper, i);
  }
  expect(await restored({ kind: "newest" }, key)).toEqual({ dump: node.memory.dump(), at: 3 });
  expect(await refusal(restored({ kind: "newest" }, wrong))).toMatch("encrypted with another key");
  expect(await refusal(restored({ kind: "newest" }))).toMatch("is encrypted");
  const found = Bun.spawnSync(["grep", "-rl", "SEE-ME", place()]).stdout.toString();
  expect(found).toBe("");
  const paused = ship(() => node, { keyFile: wrong });
  await until(() => paused.status.state === "paused", "a node with another key is paused");
  changeByte(linksIn(folder.path)[1]!, -3);
  expect(await refusal(restored({ kind: "newest" }, key))).toMatch("was changed");
});

test("a log that was compacted before it was shipped leaves a gap that is named; later positions are restored", async () => {
  const node = new FakeNode("one", log);
  let present: FakeNode | null = node;
  const shipper = ship(() => present, { limits: { patienceMs: 10 } });
  log.write({ k: 1, v: "a" });
  node.apply();
  await archived(shipper, 1);
  present = null;
  await until(() => shipper.status.state === "waiting", "the node is not there");
  for (let i = 2; i <= 5; i++) log.write({ k: i, v: "b" });
  node.apply();
  log.first = 5;
  present = node;
  await archived(shipper, 5);
  log.write({ k: 6, v: "c" });
  node.apply();
  await archived(shipper, 6);
  expect(await refusal(restored({ kind: "position", position: [3] }))).toMatch(
    /has nothing between c:1 .* and c:5 .* not shipped in time/,
  );
  expect(await restored({ kind: "newest" })).toEqual({ dump: node.memory.dump(), at: 6 });
  expect((await restored({ kind: "position", position: [1] })).at).toBe(1);
});

test("old parts are removed by count, and what is left is restored", async () => {
  const node = new FakeNode("one", log);
  const shipper = ship(() => node, { limits: { copyLinks: 2 } });
  for (let i = 1; i <= 12; i++) {
    log.write({ k: i, v: "a" });
    node.apply();
    await archived(shipper, i);
    await until(() => i % 3 !== 0 || shipper.status.snapshots > i / 3 - 1, "a snapshot was made");
  }
  await shipper.stop();
  const { prune } = await import("../../src/archive/prune.ts");
  const archive = await openArchive(place(), null);
  const before = await archive.snapshots();
  expect(before.length).toBeGreaterThan(2);
  expect(await prune(archive, { ms: null, snapshots: 2 }, Date.now())).toMatchObject({
    copies: before.length - 2,
  });
  expect((await archive.snapshots()).length).toBe(2);
  expect(existsSync(linksIn(folder.path)[0]!)).toBe(true);
  expect((await archive.extent())!.first).toBeGreaterThan(1);
  expect((await restored({ kind: "newest" })).at).toBe(12);
  expect(await refusal(restored({ kind: "position", position: [1] }))).toMatch("before the first snapshot");
  expect(await prune(archive, { ms: 3_600_000, snapshots: null }, Date.now())).toEqual({
    links: 0,
    copies: 0,
  });
}, 30_000);

test("an archive that is removed while it is written begins again with a snapshot", async () => {
  const node = new FakeNode("one", log);
  const shipper = ship(() => node);
  log.write({ k: 1, v: "a" });
  node.apply();
  await archived(shipper, 1);
  renameSync(place(), join(folder.path, "gone"));
  for (let i = 2; shipper.status.snapshots < 2; i++) {
    if (i > 1000) throw new Error(`no second snapshot: ${JSON.stringify(shipper.status)}`);
    log.write({ k: i, v: "b" });
    node.apply();
    await Bun.sleep(10);
  }
  const last = log.entries.length;
  await archived(shipper, last);
  expect(await restored({ kind: "newest" })).toEqual({ dump: node.memory.dump(), at: last });
}, 30_000);

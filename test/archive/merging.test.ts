/** Small links merged into one object each: by two nodes at once, on a store that fails, with readers in between. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Archive, type Chained } from "../../src/archive/archive.ts";
import { entryBytes, linkName, type Segment } from "../../src/archive/chain-link.ts";
import { mergeLinks, removeMerged } from "../../src/archive/merging.ts";
import { prune } from "../../src/archive/prune.ts";
import { replay, type Target } from "../../src/archive/replay.ts";
import { openSeal, type Seal } from "../../src/archive/seal.ts";
import { systemClock } from "../../src/base/clock.ts";
import { Random } from "../../src/base/random.ts";
import type { OpenReplica } from "../../src/replica/open-replica.ts";
import { dumpReplica } from "../replica/lab.ts";
import { MemoryStore } from "../simulation/archive.ts";
import { FakeLog, FakeNode, shipperOf, temporaryFolder, until } from "./lab.ts";

const ENTRIES = 60;
const INTERVAL_MS = 40;
const START_MS = 1_700_000_000_000;

let folder: ReturnType<typeof temporaryFolder>;
let store: MemoryStore;
let seal: Seal;
let key: string;
const dumps: string[] = [];
beforeEach(async () => {
  folder = temporaryFolder();
  store = new MemoryStore(1);
  store.calm = true;
  key = join(folder.path, "key");
  writeFileSync(key, "the key of this archive\n");
  seal = await openSeal(key);
});
afterEach(() => folder.remove());

/** An archive with a link for each entry, and snapshots among them. Returns its node. */
async function written(): Promise<FakeNode> {
  const log = new FakeLog();
  const node = new FakeNode("one", log);
  let time = START_MS;
  const clock = { ...systemClock, wallTime: () => time };
  const shipper = shipperOf(() => node, folder.path, {
    ...{ store, clock, keyFile: key, limits: { copyLinks: 25 } },
  });
  shipper.start();
  for (let i = 1; i <= ENTRIES; i++) {
    time += INTERVAL_MS / 8;
    log.write({ k: i % 7, v: `value ${i}` });
    node.apply();
    dumps[i] = node.memory.dump();
    await until(() => shipper.status.position === `c:${i}`, `entry ${i} is shipped`);
  }
  await shipper.stop();
  return node;
}

const open = async (): Promise<Archive> => (await Archive.open(store, seal))!;

async function restored(archive: Archive, target: Target): Promise<string> {
  const file = join(folder.path, "restored.db");
  rmSync(file, { force: true });
  let [opened, dump] = [null as OpenReplica | null, ""];
  const look = (): void => void (dump = dumpReplica(opened!.db, opened!.replica));
  await replay({
    ...{ archive, target, file, onSegment: look },
    onOpen: (replica) => {
      opened = replica;
      look();
    },
  });
  return dump;
}

/** null: of a reader that begins now. */
async function expectWhole(given: Archive | null, random: Random): Promise<void> {
  store.calm = true;
  const archive = given ?? (await open());
  const first = (await archive.snapshots())[0]!.positions[0]!;
  const at = random.between(first, ENTRIES);
  expect([at, await restored(archive, { kind: "position", position: [at] })]).toEqual([at, dumps[at]!]);
  store.calm = false;
}

/** Until it succeeds: a process that begins again after each failure. */
async function insisting(work: () => Promise<unknown>, after: () => Promise<void>): Promise<void> {
  for (let i = 0; i < 500; i++)
    try {
      await work();
      return;
    } catch (error) {
      expect((error as Error).message).toMatch(/store/);
      await after();
    }
  throw new Error("it does not succeed within 500 attempts");
}

/** At the same time. Rejects when both have ended. */
async function both(nodes: readonly Archive[], work: (archive: Archive) => Promise<unknown>): Promise<void> {
  const ended = await Promise.allSettled(nodes.map(work));
  const failed = ended.find((one) => one.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

const all = { intervalMs: INTERVAL_MS, now: Number.MAX_SAFE_INTEGER, isStopped: () => false };

test("each position is restored while links are merged and removed by two nodes on a store that fails", async () => {
  const node = await written();
  const random = new Random(2);
  const nodes = [await open(), await open()];
  const reader = await open();
  const before = store.names("chain/").length;
  store.calm = false;
  await insisting(
    () => both(nodes, (archive) => mergeLinks(archive, all)),
    () => expectWhole(reader, random),
  );
  const merged = store.names("merged/").length;
  expect(merged).toBeGreaterThan(1);
  // A reader that began before the links are removed.
  store.calm = true;
  const { first, last } = (await reader.extent())!;
  const numbers: number[] = [];
  for await (const { link } of reader.walk(first, last)) {
    numbers.push(link.number);
    if (numbers.length > 1) continue;
    store.calm = false;
    await insisting(
      async () => {
        const ranges = await nodes[1]!.ranges();
        await both(nodes, (archive) => removeMerged(archive, ranges));
      },
      () => expectWhole(null, random),
    );
    store.calm = true;
  }
  expect(numbers.at(-1)).toBe(last);
  const left = store.names("chain/").length;
  expect(left + merged).toBeLessThan(before / 2);
  for (let i = 0; i < 12; i++) await expectWhole(i % 2 === 0 ? reader : null, random);
  store.calm = true;
  expect(await restored(await open(), { kind: "newest" })).toBe(node.memory.dump());
  const again = await open();
  expect([await mergeLinks(again, all), store.names("merged/").length]).toEqual([0, merged]);
  await prune(again, { ms: null, snapshots: 1 }, Date.now());
  expect(await restored(await open(), { kind: "newest" })).toBe(node.memory.dump());
  expect(store.names("merged/").length).toBeLessThan(merged);
}, 60_000);

test("a link that a node which slept puts in the place of a merged one changes nothing", async () => {
  const node = await written();
  const archive = await open();
  const links = new Map<number, Chained>();
  for await (const one of archive.walk(1, (await archive.extent())!.last)) links.set(one.link.number, one);
  await mergeLinks(archive, all);
  const ranges = await archive.ranges();
  await removeMerged(archive, ranges);
  const { first, last } = ranges.find((range) => range.last > range.first)!;
  expect(last).toBeGreaterThan(first);
  const asleep = links.get(first)!;
  const next = { ...(asleep.link as Segment), number: first + 1, previous: asleep.hash, node: "asleep" };
  const slept = await open();
  expect(await slept.add(next)).not.toBeNull();
  for (const at of [1, 4, 5, 6, 7, 30, ENTRIES])
    expect([at, await restored(await open(), { kind: "position", position: [at] })]).toEqual([
      at,
      dumps[at]!,
    ]);
  const tail = await slept.tail({ ...asleep, link: next });
  expect(tail!.link.to).toEqual([ENTRIES]);
  await removeMerged(archive, await archive.ranges());
  expect(store.names(linkName(first + 1))).toEqual([]);
  expect(await restored(await open(), { kind: "newest" })).toBe(node.memory.dump());
}, 60_000);

test("a changed or missing merged object is named, newer links stay, and the end is never merged", async () => {
  await written();
  const archive = await open();
  expect(await mergeLinks(archive, { ...all, now: START_MS - 3_600_000 })).toBe(0);
  await mergeLinks(archive, all);
  const ranges = await archive.ranges();
  expect(ranges.at(-1)!.last).toBeLessThan((await archive.extent())!.last);
  for (const range of ranges) {
    const found = (await archive.link(range.first))!.link as Segment;
    expect([found.first, found.number]).toEqual([range.first, range.last]);
    expect(entryBytes(found)).toBeGreaterThan(0);
  }
  await removeMerged(archive, ranges);
  const [name] = store.names("merged/");
  const bytes = (await store.get(name!))!;
  const changed = Uint8Array.from(bytes);
  changed[changed.length - 1]! ^= 1;
  await store.put(name!, changed);
  const refusal = (): Promise<string> =>
    open()
      .then((fresh) => restored(fresh, { kind: "newest" }))
      .then(
        () => "not refused",
        (error: Error) => error.message,
      );
  const refused: string[] = [];
  const walk = async (): Promise<void> => {
    const fresh = await open();
    const { first, last } = (await fresh.extent())!;
    for await (const _ of fresh.walk(first, last));
  };
  await walk().catch((error: Error) => refused.push(error.message));
  expect(refused[0]).toContain(`${name} of the archive memory was changed`);
  expect(await refusal()).toBe("not refused");
  await store.put(name!, bytes);
  await walk();
}, 60_000);

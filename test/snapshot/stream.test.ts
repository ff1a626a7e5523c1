/** Snapshots between two files: transfers that break off, are continued, are damaged, or are read while the copy grows. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BLOCK, GrowingCopy } from "../../src/snapshot/growing-copy.ts";
import type { SnapshotHeader } from "../../src/snapshot/header.ts";
import { partialCopy, readPartial } from "../../src/snapshot/partial.ts";
import { receiveSnapshot, sendSnapshot } from "../../src/snapshot/stream.ts";

const SIZE = 5 * BLOCK + 17;
const content = Buffer.from(Uint8Array.from({ length: SIZE }, (_, i) => (i * 7 + (i >> 9)) & 255));
let folder = "";
let target = "";
let copy: GrowingCopy;
const soon = (): Promise<void> => Bun.sleep(1);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-snapshot-"));
  target = join(folder, "received.db");
  const path = join(folder, "copy.db");
  writeFileSync(path, content);
  copy = new GrowingCopy({ id: "a-1", path, size: SIZE, positions: [{ index: 3, term: 1 }] });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const header = (from: number, id: string | null = "a-1"): SnapshotHeader => ({
  clusterId: "c",
  positions: [{ index: 3, term: 1 }],
  configurations: [
    {
      index: 1,
      configuration: { voters: [1], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false },
      members: [],
    },
  ],
  size: SIZE,
  ...(id === null ? {} : { copy: id, from }),
});

const send = (from = 0, id: string | null = "a-1"): AsyncIterable<Uint8Array> =>
  sendSnapshot(header(from, id), copy, { from, pause: soon });

/** Ends with an error after `count` chunks with content. */
async function* broken(chunks: AsyncIterable<Uint8Array>, count: number): AsyncIterable<Uint8Array> {
  let seen = 0;
  for await (const chunk of chunks) {
    if (chunk.length > 0 && seen++ === count) throw new Error("the connection broke");
    yield chunk;
  }
}

const receive = (chunks: AsyncIterable<Uint8Array>): Promise<SnapshotHeader> =>
  receiveSnapshot(chunks, target, readPartial(target), () => {});

test("a copy is received while it is made, and empty chunks keep the transfer alive", async () => {
  const chunks: number[] = [];
  async function* counted(): AsyncIterable<Uint8Array> {
    for await (const chunk of send()) {
      chunks.push(chunk.length);
      if (chunk.length === 0 && !copy.isComplete)
        copy.add(content.subarray(copy.length, copy.length + BLOCK));
      yield chunk;
    }
  }
  await receive(counted());
  expect(readFileSync(target)).toEqual(content);
  expect(chunks.filter((length) => length === 0).length).toBeGreaterThan(4);
  expect(partialCopy(target)).toBe(null);
});

test("an interrupted transfer is continued after the bytes that arrived, at every block", async () => {
  copy.add(content);
  for (let blocks = 1; blocks <= 5; blocks++) {
    expect(receive(broken(send(), 1 + blocks))).rejects.toThrow("the connection broke");
    await soon();
    const partial = readPartial(target)!;
    expect([partial.copy, partial.length]).toEqual(["a-1", blocks * BLOCK]);
    const { from } = await receive(send(partial.length));
    expect(from).toBe(partial.length);
    expect(readFileSync(target)).toEqual(content);
    rmSync(target);
  }
});

test("a part of another copy is thrown away, and the transfer begins at the beginning", async () => {
  copy.add(content);
  await receive(broken(send(), 3)).catch(() => {});
  writeFileSync(`${target}.copy`, "other-7");
  await receive(send(0));
  expect(readFileSync(target)).toEqual(content);
});

test("a part that changed on disk is found by the hash of the whole copy, and is not kept", async () => {
  copy.add(content);
  await receive(broken(send(), 4)).catch(() => {});
  const bytes = readFileSync(target);
  bytes[10]! ^= 1;
  writeFileSync(target, bytes);
  expect(receive(send(readPartial(target)!.length))).rejects.toThrow("damaged");
  await soon();
  expect([existsSync(target), readPartial(target)]).toEqual([false, null]);
});

test("a part without a whole block is no part, and a truncated one continues at a block", async () => {
  copy.add(content);
  await receive(broken(send(), 3)).catch(() => {});
  truncateSync(target, BLOCK + 5);
  expect(readPartial(target)!.length).toBe(BLOCK);
  truncateSync(target, 5);
  expect(readPartial(target)).toBe(null);
});

test("the part of a transfer that cannot be continued is removed", async () => {
  copy.add(content);
  expect(receive(broken(send(0, null), 3))).rejects.toThrow("the connection broke");
  await soon();
  expect(existsSync(target)).toBe(false);
});

test("a copy that is given up ends its transfers", async () => {
  copy.add(content.subarray(0, BLOCK));
  const received = receive(send());
  await soon();
  copy.cancel();
  expect(received).rejects.toThrow("given up");
});

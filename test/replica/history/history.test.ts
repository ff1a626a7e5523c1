/** The history: what it records, keeps and drops, and how it meets a replica that is ahead of it or behind. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeImage } from "../../../src/change/codec.ts";
import { HistoryReader, type PastEntry } from "../../../src/replica/history/history-reader.ts";
import { openHistoryFile } from "../../../src/replica/history/history-tables.ts";
import { HistoryWriter } from "../../../src/replica/history/history-writer.ts";
import { batch, entry, MemoryReplica, type Write } from "../lab.ts";

const SCHEMA = "CREATE TABLE kv(k INTEGER PRIMARY KEY, v)";
const CLUSTER = "0".repeat(32);

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-history-"));
  path = join(folder, "history.db");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A replica of one shard whose entries are recorded. */
class Lab {
  readonly memory = new MemoryReplica({ schema: SCHEMA, shards: 1 });
  readonly commits: number[] = [];
  readonly failures: unknown[] = [];
  reader!: HistoryReader;
  #db!: DatabaseSync;
  #index = 0;
  #csn = 0;

  constructor(limit = 1 << 20) {
    this.open(limit);
  }

  open(limit = 1 << 20, positions = this.memory.replica.positions()): void {
    this.#db = openHistoryFile(path, CLUSTER);
    const writer = new HistoryWriter(this.#db, positions, {
      limit,
      onFailure: (error) => void this.failures.push(error),
      onCommit: () => void this.commits.push(this.#index),
    });
    this.reader = new HistoryReader(path);
    this.memory.replica.record(writer);
  }

  close(): void {
    this.reader.close();
    this.#db.close();
  }

  breakFile(): void {
    this.#db.exec(`DROP TABLE "entry"`);
  }

  write(...writes: Write[]): void {
    const csn = ++this.#csn;
    const made = batch({ csn, previousCsn: csn - 1, bases: [[this.#index]], writes, time: 1000 + csn });
    this.memory.give(0, entry(++this.#index, { batch: made }));
  }

  rows(): unknown[] {
    return this.reader.after(0, 1000).map((e) => [e.index, e.position, ...images(e)]);
  }
}

const images = ({ rows }: PastEntry): unknown[] =>
  rows.map(([, before, after]) =>
    [before, after].map((bytes) => (bytes === null ? null : decodeImage(bytes).map(String).join())),
  );

test("an entry has its rows before and after, its position, time and origin; readers are told after the commit", () => {
  const lab = new Lab();
  lab.write({ k: 1, v: "a" }, { k: 2, v: "b" });
  lab.write({ k: 1, v: "c" }, { k: 2, v: null }, { k: 3, v: null });
  expect(lab.rows()).toEqual([
    [1, "c:1", [null, "1,a"], [null, "2,b"]],
    [2, "c:2", ["1,a", "1,c"], ["2,b", null]],
  ]);
  expect(lab.reader.after(0, 1)[0]).toMatchObject({ time: 1001, version: 1, last: true, shard: 0 });
  expect(lab.reader.table(1, 1)).toEqual({ table: 1, name: "kv", columns: ["k", "v"], key: [0] });
  expect(lab.commits).toEqual([1, 2]);
  expect(lab.reader.reach).toEqual({ from: [0], to: [2] });
  expect([lab.reader.idBefore([1]), lab.reader.idBefore([2]), lab.reader.idBefore([9])]).toEqual([1, 2, 2]);
  expect([lab.reader.idBeforeTime(1002), lab.reader.idBeforeTime(5000)]).toEqual([1, 2]);
  expect([lab.reader.idsOf(0, 2), lab.reader.idsOf(0, 3), lab.reader.idsAt("c:1")]).toEqual([
    [2, 2],
    [0, 0],
    [1, 1],
  ]);
  lab.close();
});

test("the oldest entries go when there is no room, and the beginning says so", () => {
  const lab = new Lab(5000);
  for (let i = 1; i <= 100; i++) lab.write({ k: i, v: "x".repeat(400) });
  const kept = lab.reader.after(0, 1000);
  expect(kept.length).toBeGreaterThan(5);
  expect(kept.length).toBeLessThan(20);
  expect(kept.at(-1)!.index).toBe(100);
  expect(lab.reader.reach).toEqual({ from: [kept[0]!.index - 1], to: [100] });
  lab.close();
});

test("a large entry is stored in parts, and goes as a whole", () => {
  const lab = new Lab(1 << 20);
  lab.write(...Array.from({ length: 3000 }, (_, i) => ({ k: i, v: "x".repeat(300) })));
  const parts = lab.reader.after(0, 100);
  expect(parts.length).toBeGreaterThan(2);
  expect(parts.map((p) => p.last)).toEqual([...parts.slice(1).map(() => false), true]);
  expect(parts.flatMap((p) => p.rows).length).toBe(3000);
  for (let i = 1; i <= 40; i++) lab.write({ k: i, v: "y".repeat(20_000) });
  const left = lab.reader.after(0, 100);
  expect(left.every((p) => p.index > 1)).toBe(true);
  expect(lab.reader.reach.from[0]).toBeGreaterThanOrEqual(1);
  lab.close();
});

test("a replica that lost its newest entries in a crash: they are recorded again, once", () => {
  const lab = new Lab();
  for (let i = 1; i <= 3; i++) lab.write({ k: i, v: "a" });
  lab.close();
  lab.open(1 << 20, [2]);
  expect(lab.reader.after(0, 9).map((e) => e.index)).toEqual([1, 2]);
  expect(lab.reader.reach).toEqual({ from: [0], to: [2] });
  lab.close();
});

test("a replica that is ahead of the history: it begins again at the replica's position", () => {
  const lab = new Lab();
  lab.write({ k: 1, v: "a" });
  lab.close();
  lab.open(1 << 20, [7]);
  expect(lab.reader.after(0, 9)).toEqual([]);
  expect(lab.reader.reach).toEqual({ from: [7], to: [7] });
  lab.close();
});

test("a file that is no history, or of another cluster, is made again", () => {
  writeFileSync(path, "no database");
  const lab = new Lab();
  lab.write({ k: 1, v: "a" });
  expect(lab.rows().length).toBe(1);
  lab.close();
  const other = openHistoryFile(path, "1".repeat(32));
  expect(other.prepare(`SELECT count(*) AS n FROM "entry"`).get()).toEqual({ n: 0 });
  other.close();
});

test("a failure ends the recording, not the replica", () => {
  const lab = new Lab();
  lab.write({ k: 1, v: "a" });
  lab.breakFile();
  lab.write({ k: 2, v: "b" });
  lab.write({ k: 3, v: "c" });
  expect(lab.failures.length).toBe(1);
  expect(lab.memory.replica.row(1, [3n])).toEqual([3n, "c"]);
  lab.close();
});

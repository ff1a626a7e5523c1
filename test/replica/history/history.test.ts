/** The history: what it records, keeps and drops, and how it meets a replica that is ahead of it or behind. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Random } from "../../../src/base/random.ts";
import { Op } from "../../../src/change/batch.ts";
import { decodeImage } from "../../../src/change/codec.ts";
import type { Value } from "../../../src/change/value.ts";
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

/** Entries of three origins that know little of each other: conflicts, rows that are evicted, children whose parent goes. */
function randomEntry(random: Random, lab: Concurrent): void {
  const origin = random.pick(["a", "b", "c"]);
  // The rows of an application's transaction do not clash with each other.
  const free = ["u1", "u2", "u3", "u4"];
  const rows = Array.from({ length: random.between(1, 4) }, () => {
    const k = random.between(1, 6);
    const isChild = random.chance(0.3);
    if (random.chance(0.25)) return { table: isChild ? 2 : 1, k, image: null };
    const image: Value[] = isChild
      ? [BigInt(k), BigInt(random.between(1, 6))]
      : [
          BigInt(k),
          random.chance(0.2) ? null : free.splice(random.below(free.length), 1)[0]!,
          `v${random.between(1, 99)}`,
        ];
    return { table: isChild ? 2 : 1, k, image };
  });
  lab.give(origin, rows, random.between(0, lab.index));
}

class Concurrent {
  readonly memory: MemoryReplica;
  index = 0;
  readonly #csn = new Map<string, number>();

  constructor(merge: "row" | "column") {
    const schema = `CREATE TABLE p(k INTEGER PRIMARY KEY, u TEXT UNIQUE, v TEXT);
      CREATE TABLE c(k INTEGER PRIMARY KEY, parent INTEGER REFERENCES p(k) ON DELETE CASCADE);`;
    this.memory = new MemoryReplica({ schema, shards: 1, foreignKeys: "resolve", merge });
  }

  give(origin: string, rows: { table: number; k: number; image: Value[] | null }[], base: number): void {
    const csn = (this.#csn.get(origin) ?? 0) + 1;
    this.#csn.set(origin, csn);
    const distinct = [...new Map(rows.map((row) => [`${row.table}/${row.k}`, row])).values()];
    const tables = [1, 2].flatMap((table) => {
      const of = distinct.filter((row) => row.table === table);
      if (of.length === 0) return [];
      const changes = of.map(({ k, image }) => ({
        ...{ op: image === null ? Op.delete : Op.insert, keyId: k, key: [BigInt(k)], image },
        ...{ mask: null, base: 0 },
      }));
      return [{ table, columns: table === 1 ? 3 : 2, rows: changes }];
    });
    const made = batch({ origin, csn, previousCsn: csn - 1, bases: [[base]], tables });
    this.memory.give(0, entry(++this.index, { batch: made }));
  }

  /** Table and key ⇒ row. */
  rows(): Map<string, string> {
    const rows = new Map<string, string>();
    for (const table of [1, 2])
      for (const image of this.memory.replica.rows(table))
        rows.set(`${table}/${image[0]}`, image.map(String).join());
    return rows;
  }
}

for (const merge of ["row", "column"] as const)
  test(`merge by ${merge}: the rows of the history are the replica's at every position, with conflicts, evictions and cascades`, () => {
    const random = new Random(merge === "row" ? 11 : 12);
    for (let round = 0; round < 12; round++) {
      rmSync(path, { force: true });
      const lab = new Concurrent(merge);
      const db = openHistoryFile(path, CLUSTER);
      lab.memory.replica.record(
        new HistoryWriter(db, [0], {
          limit: 1 << 24,
          onFailure: (e) => expect(e).toBe(null),
          onCommit: () => {},
        }),
      );
      const reader = new HistoryReader(path);
      const model = new Map<string, string>();
      let id = 0;
      let conflicts = 0;
      for (let i = 0; i < 60; i++) {
        randomEntry(random, lab);
        for (const recorded of reader.after(id, 10)) {
          id = recorded.id;
          conflicts += recorded.conflicts.length;
          for (const [table, before, after] of recorded.rows) {
            const [old, next] = [before, after].map((b) => (b === null ? undefined : decodeImage(b)));
            const name = `${table}/${(next ?? old)![0]}`;
            expect([name, model.get(name)]).toEqual([name, old?.map(String).join()]);
            if (next === undefined) model.delete(name);
            else model.set(name, next.map(String).join());
          }
        }
        expect(model).toEqual(lab.rows());
      }
      expect(conflicts).toBe(lab.memory.replica.journal.total);
      reader.close();
      db.close();
      lab.memory.close();
      for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix, { force: true });
    }
  });

test("the time of the newest removed entry is known, also after a history that lacks entries began again", () => {
  const lab = new Lab(2000);
  expect([lab.reader.removedUpTo(), lab.reader.knowsTable("KV"), lab.reader.knowsTable("other")]).toEqual([
    0,
    false,
    false,
  ]);
  for (let i = 0; i < 40; i++) lab.write({ k: i, v: "x".repeat(100) });
  const [oldest] = lab.reader.after(0, 1);
  expect(lab.reader.removedUpTo()).toBe(oldest!.time - 1);
  expect(lab.reader.knowsTable("KV")).toBe(true);
  const before = Date.now();
  lab.close();
  lab.open(2000, [1000]);
  expect(lab.reader.removedUpTo()).toBeGreaterThanOrEqual(before);
  lab.close();
});

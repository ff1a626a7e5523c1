/** The history refers to large values in the log, which keeps their entries as long as the history does. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { asPeerId } from "../../../src/base/ids.ts";
import { Random } from "../../../src/base/random.ts";
import { Op } from "../../../src/change/batch.ts";
import { decodeImage, encodeImage, imageHash } from "../../../src/change/codec.ts";
import type { Image, Value } from "../../../src/change/value.ts";
import { createLog } from "../../../src/log-store/log-file.ts";
import { SqliteLogStore } from "../../../src/log-store/sqlite-log-store.ts";
import type { Entry } from "../../../src/raft/model/types.ts";
import { HistoryReader } from "../../../src/replica/history/history-reader.ts";
import { openHistoryFile } from "../../../src/replica/history/history-tables.ts";
import { HistoryWriter } from "../../../src/replica/history/history-writer.ts";
import { batch, entry, MemoryReplica } from "../lab.ts";

const CLUSTER = "0".repeat(32);
const LARGE = 100_000;
const CONFIGURATION = {
  index: 0,
  configuration: { voters: [1], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false },
  members: [{ id: 1, peerId: asPeerId("p"), name: "n" }],
};
let folder = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-shared-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A replica of one shard, its log and its history. */
class Lab {
  readonly memory = new MemoryReplica({
    schema: "CREATE TABLE t(k INTEGER PRIMARY KEY, a, b, c, r)",
    shards: 1,
  });
  log!: SqliteLogStore;
  reader!: HistoryReader;
  failures: unknown[] = [];
  /** The last column of each row. A REAL with an integral number has a class: the encoded row is not that of the batch. */
  last: null | number = null;
  #db!: DatabaseSync;
  #index = 0;
  #csn = 0;

  constructor(limit = 64 << 20) {
    const { configuration } = CONFIGURATION;
    createLog(this.#path("log"), { clusterId: CLUSTER, peerId: "p" }, [
      { snapshot: { index: 0, term: 1, configuration }, configuration: CONFIGURATION },
    ]);
    this.open(limit);
  }

  #path(name: string): string {
    return join(folder, `${name}.db`);
  }

  open(limit = 64 << 20): void {
    this.log = SqliteLogStore.open(this.#path("log"), 0);
    this.#db = openHistoryFile(this.#path("history"), CLUSTER);
    const { replica } = this.memory;
    const writer = new HistoryWriter(this.#db, replica.positions(), {
      ...{ limit, log: this.log.kept, onCommit: () => {} },
      onFailure: (error) => void this.failures.push(error),
    });
    this.log.keepFor(writer.shared);
    this.reader = new HistoryReader(this.#path("history"), ([shard, index, offset, length]) =>
      this.log.kept.part({ shard, index, offset, length }),
    );
    replica.record(writer);
  }

  close(): void {
    this.reader.close();
    this.#db.close();
    this.log.close();
  }

  /** Parts of one changeset. */
  write(...parts: Image[][]): void {
    const csn = ++this.#csn;
    parts.forEach((images, i) => {
      const rows = images
        .map((values) => [...values, this.last])
        .map((image) => ({
          ...{ op: Op.insert, keyId: Number(image[0]), key: [image[0]!], image, mask: null, base: 0 },
        }));
      const made = batch({
        ...{ csn, previousCsn: csn - 1, bases: [[this.#index]], time: 1000 + csn, part: i + 1 },
        ...{ parts: i + 1 === parts.length ? parts.length : 0 },
        tables: [{ table: 1, columns: 5, rows }],
      });
      this.#give(entry(++this.#index, { batch: made }));
    });
  }

  #give(made: Entry): void {
    this.log.write([{ shard: 0, entries: [made] }]);
    this.memory.give(0, made);
  }

  /** The log is compacted as far as it can be. */
  compact(): void {
    this.log.compact(0, this.#index);
    this.log.idle();
  }

  /** Indexes of the log's entries that are on disk. */
  onDisk(): number[] {
    const db = new Database(this.#path("log"), { readonly: true });
    const rows = db.query("SELECT id FROM entry ORDER BY id").values();
    db.close();
    return rows.map(([id]) => id as number);
  }

  historyBytes(): number {
    const row = this.#db.prepare(`SELECT sum(length("data")) AS n FROM "entry"`).get();
    return Number((row as { n: unknown }).n);
  }

  /** The rows after each entry of the history. */
  after(): (Value[] | null)[] {
    return this.reader
      .after(0, 1000)
      .flatMap((e) => e.rows.map((row) => (row[2] === null ? null : shown(row[2]))));
  }
}

/** Without the last column. */
const shown = (encoded: Uint8Array): Value[] => decodeImage(encoded).slice(0, 4);
const blob = (seed: number, length = LARGE): Uint8Array => {
  const random = new Random(seed);
  return Uint8Array.from({ length }, () => random.below(256));
};
const plain = (images: readonly (readonly Value[] | null)[]): string[] =>
  images.map((image) =>
    (image ?? [])
      .map((v) => (v instanceof Uint8Array ? Buffer.from(v).toString("hex") : `${typeof v} ${String(v)}`))
      .join(),
  );

test("a large value is in the log alone, and is read from there after the log was compacted", () => {
  const lab = new Lab();
  const images: Image[] = [
    [1n, "small", blob(1), 1.5],
    [2n, blob(2), -0, blob(3)],
    [3n, "x", null, 7n],
    [4n, "long text ".repeat(10_000), null, null],
  ];
  for (const image of images) lab.write([image]);
  expect(lab.historyBytes()).toBeLessThan(1000);
  expect(plain(lab.after())).toEqual(plain(images));
  const hashes = [...lab.memory.replica.rows(1)].map((row) => imageHash(encodeImage(row)));
  const sum = BigInt.asUintN(
    64,
    hashes.reduce((a, b) => a + b, 0n),
  );
  expect(lab.memory.replica.checksums.ofShard(0)).toEqual([[1, String(sum)]]);
  lab.compact();
  expect(lab.log.group(0).firstIndex()).toBe(5);
  expect(lab.onDisk()).toEqual([1, 2, 4]);
  expect(plain(lab.after())).toEqual(plain(images));
  expect(lab.failures).toEqual([]);
  lab.close();
});

test.each([
  ["found in the batch", null],
  ["encoded again", 1],
])("values that look alike, in several parts of one changeset, are not mixed up: rows are %s", (_, last) => {
  const lab = new Lab();
  lab.last = last;
  const zeros = new Uint8Array(LARGE);
  const almost = Uint8Array.from(zeros);
  almost[LARGE - 1] = 1;
  const images: Image[] = [
    [1n, new Uint8Array(40_000), zeros, almost],
    [2n, almost, zeros, new Uint8Array(1000)],
    [3n, zeros, Uint8Array.from(Buffer.concat([Uint8Array.of(0xc6, 0, 1, 0x86, 0xa0), zeros])), zeros],
  ];
  const start = Uint8Array.from(Buffer.concat([Uint8Array.of(0xc6, 0, 1, 0x86, 0xa0), new Uint8Array(1000)]));
  images.push([4n, start, zeros, "text"]);
  lab.write([[9n, null, null, null]]);
  lab.write([images[0]!, images[1]!], [images[2]!, images[3]!]);
  lab.compact();
  expect(plain(lab.after().slice(1))).toEqual(plain(images));
  expect(lab.onDisk()).toEqual([2, 3]);
  lab.close();
});

test("entries that the history has no longer are removed from the log", () => {
  const lab = new Lab(5 * LARGE);
  for (let k = 1; k <= 20; k++) {
    lab.write([[BigInt(k), "v", blob(k), null]]);
    if (k % 7 === 0) lab.compact();
  }
  const kept = lab.reader.after(0, 100).map((e) => e.index);
  expect(kept.length).toBeGreaterThanOrEqual(3);
  expect(kept.length).toBeLessThanOrEqual(5);
  lab.compact();
  expect(lab.onDisk()).toEqual(kept);
  lab.close();
});

test("rows that replace each other: the earlier row is copied, the later one is in the log", () => {
  const lab = new Lab();
  lab.write([[1n, "a", blob(1), null]]);
  lab.write([[1n, "b", blob(2), null]]);
  lab.compact();
  const [, second] = lab.reader.after(0, 9);
  const [[, before, after]] = second!.rows as [[number, Uint8Array, Uint8Array]];
  expect(plain([shown(before), shown(after)])).toEqual(
    plain([
      [1n, "a", blob(1), null],
      [1n, "b", blob(2), null],
    ]),
  );
  lab.close();
});

test("after a restart the log keeps the entries, and removes those of a history that is switched off", () => {
  const lab = new Lab();
  lab.write([[1n, "a", blob(1), null]]);
  lab.compact();
  lab.close();
  lab.open();
  lab.write([[2n, "b", blob(2), null]]);
  lab.compact();
  expect(lab.onDisk()).toEqual([1, 2]);
  expect(lab.after().length).toBe(2);
  lab.log.keepFor(null);
  expect(lab.onDisk()).toEqual([]);
  lab.close();
});

test("entries of the history that refer to missing entries of the log are removed at the start, with those before them", () => {
  const lab = new Lab();
  for (let k = 1; k <= 4; k++) lab.write([[BigInt(k), "v", k === 3 ? "small" : blob(k), null]]);
  lab.compact();
  lab.close();
  const db = new Database(join(folder, "log.db"));
  db.exec("DELETE FROM entry WHERE id = 2");
  db.close();
  lab.open();
  expect(lab.reader.after(0, 9).map((e) => e.index)).toEqual([3, 4]);
  expect(lab.reader.reach).toEqual({ from: [2], to: [4] });
  expect(lab.reader.removedUpTo()).toBe(1002);
  expect(lab.onDisk()).toEqual([4]);
  lab.close();
});

test("a history of the format before is taken over, and both kinds of entries are read", () => {
  const path = join(folder, "history.db");
  const db = openHistoryFile(path, CLUSTER);
  db.exec(
    `DROP TABLE "kept"; ALTER TABLE "entry" DROP COLUMN "referred"; UPDATE "fact" SET "value" = 2 WHERE "name" = 'format'`,
  );
  db.exec(`INSERT INTO "reach" VALUES(0, 0, 0)`);
  // An entry with one row [1, "a", null, null, null], as the previous release recorded it.
  const old = Buffer.from("93dd0000000193ce00000001c0c4079501a161c0c0c090c0", "hex");
  db.prepare(`INSERT INTO "entry" VALUES(1, 0, 0, 1, 5, 7, 1, 'c:0', ?)`).run(old);
  db.close();
  const lab = new Lab();
  lab.write([[2n, "b", blob(2), null]]);
  expect(plain(lab.after())).toEqual(
    plain([
      [1n, "a", null, null],
      [2n, "b", blob(2), null],
    ]),
  );
  lab.close();
});

import { asPeerId } from "../../src/base/ids.ts";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Random } from "../../src/base/random.ts";
import { createLog, readLogHead } from "../../src/log-store/log-file.ts";
import { SqliteLogStore } from "../../src/log-store/sqlite-log-store.ts";
import { type Entry, EntryType } from "../../src/raft/model/types.ts";
import type { GroupConfiguration } from "../../src/shard/seams.ts";

const CONFIGURATION: GroupConfiguration = {
  index: 1,
  configuration: { voters: [1], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false },
  members: [{ id: 1, peerId: asPeerId("p"), name: "n" }],
};
const NO_LIMIT = Number.MAX_SAFE_INTEGER;

let folder = "";
let path = "";
let open: SqliteLogStore[] = [];
const create = (shards = 2): SqliteLogStore => {
  const start = {
    snapshot: { index: 1, term: 1, configuration: CONFIGURATION.configuration },
    configuration: CONFIGURATION,
  };
  createLog(
    path,
    { clusterId: "c", peerId: "p" },
    Array.from({ length: shards }, () => start),
  );
  return reopen();
};
const reopen = (): SqliteLogStore => {
  for (const store of open.splice(0)) store.close();
  const store = SqliteLogStore.open(path);
  open.push(store);
  return store;
};
const entry = (index: number, term: number, text = `entry ${index}`): Entry => ({
  index,
  term,
  type: EntryType.normal,
  data: new TextEncoder().encode(text),
});
const range = (from: number, to: number, term: number): Entry[] =>
  Array.from({ length: to - from }, (_, i) => entry(from + i, term));
const read = (store: SqliteLogStore, shard: number): string[] => {
  const log = store.group(shard);
  return log.entries(log.firstIndex(), log.lastIndex() + 1, NO_LIMIT).map((e) => `${e.index}/${e.term}`);
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-log-"));
  path = join(folder, "log.db");
});
afterEach(() => {
  for (const store of open.splice(0)) store.close();
  rmSync(folder, { recursive: true, force: true });
});

test("a new log begins at its snapshot and keeps its term", () => {
  const log = create().group(0);
  expect([log.firstIndex(), log.lastIndex(), log.term(1)]).toEqual([2, 1, 1]);
  expect(log.hardState).toEqual({ term: 1, vote: 0, commit: 1 });
  expect(() => log.term(2)).toThrow(RangeError);
  expect(() => log.term(0)).toThrow(RangeError);
});

test("one transaction for all groups is on disk after reopening", () => {
  const store = create(3);
  const before = store.transactions;
  store.write([
    { shard: 0, entries: range(2, 5, 1), hardState: { term: 1, vote: 1, commit: 3 } },
    { shard: 2, entries: range(2, 4, 2) },
  ]);
  expect(store.transactions).toBe(before + 1);
  const again = reopen();
  expect([read(again, 0), read(again, 1), read(again, 2)]).toEqual([
    ["2/1", "3/1", "4/1"],
    [],
    ["2/2", "3/2"],
  ]);
  expect(again.group(0).hardState).toEqual({ term: 1, vote: 1, commit: 3 });
});

test("a rewritten suffix is discarded, in memory, on disk and after a restart", () => {
  const store = create();
  store.write([{ shard: 0, entries: range(2, 100, 1) }]);
  store.write([{ shard: 0, entries: [entry(50, 2, "new")] }]);
  for (const s of [store, reopen()]) {
    expect(s.group(0).lastIndex()).toBe(50);
    expect(s.group(0).term(50)).toBe(2);
    expect(() => s.group(0).term(51)).toThrow(RangeError);
  }
});

test("a stale tail that a broken version left in the file does not come back", () => {
  create().write([{ shard: 0, entries: range(2, 10, 1) }]);
  for (const store of open.splice(0)) store.close();
  const db = new Database(path);
  db.exec("INSERT INTO entry SELECT id + 8, term, type, checksum, data FROM entry WHERE id BETWEEN 2 AND 9");
  db.close();
  const store = reopen();
  expect(store.group(0).lastIndex()).toBe(9);
  store.write([{ shard: 0, entries: [entry(10, 3)] }]);
  expect(reopen().group(0).lastIndex()).toBe(10);
});

test("compaction keeps the term before the first entry and the configuration in force", () => {
  const store = create();
  store.write([{ shard: 0, entries: range(2, 1002, 4) }]);
  store.write([{ shard: 0, configuration: { ...CONFIGURATION, index: 500 } }]);
  store.compact(0, 700);
  for (const s of [store, reopen()]) {
    const log = s.group(0);
    expect([log.firstIndex(), log.lastIndex(), log.term(700)]).toEqual([701, 1001, 4]);
    expect(() => log.entries(700, 702, NO_LIMIT)).toThrow(RangeError);
    expect(log.entries(701, 703, NO_LIMIT)).toHaveLength(2);
    expect(s.configurationAt(0, 800)?.index).toBe(500);
    expect(s.configurationAt(1, 1)?.index).toBe(1);
  }
});

test("reads are bounded in bytes and return at least one entry, from memory and from disk", () => {
  const store = create();
  store.write([
    { shard: 0, entries: [entry(2, 1, "x".repeat(1000)), entry(3, 1, "y".repeat(1000)), entry(4, 1, "z")] },
  ]);
  for (const s of [store, reopen()]) {
    const log = s.group(0);
    expect(log.entries(2, 5, 10).map((e) => e.index)).toEqual([2]);
    expect(log.entries(2, 5, 2000).map((e) => e.index)).toEqual([2, 3]);
    expect(log.entries(2, 5, NO_LIMIT).map((e) => e.index)).toEqual([2, 3, 4]);
  }
});

test("a snapshot replaces the whole log in the transaction of the hard state", () => {
  const store = create();
  store.write([{ shard: 0, entries: range(2, 50, 1) }]);
  const configuration = { ...CONFIGURATION, index: 90 };
  store.write([
    {
      shard: 0,
      snapshot: { index: 100, term: 7, configuration: configuration.configuration },
      hardState: { term: 8, vote: 0, commit: 100 },
      configuration,
    },
  ]);
  for (const s of [store, reopen()]) {
    expect([s.group(0).firstIndex(), s.group(0).lastIndex(), s.group(0).term(100)]).toEqual([101, 100, 7]);
    expect(s.group(0).hardState.commit).toBe(100);
    expect(s.configuration(0)?.index).toBe(90);
    expect(s.configurationAt(0, 50)?.index).toBe(90); // earlier ones count no more
  }
});

test("a damaged or missing entry is an error with a hint", () => {
  create().write([{ shard: 0, entries: range(2, 10, 1) }]);
  for (const store of open.splice(0)) store.close();
  const change = (sql: string): void => {
    const db = new Database(path);
    db.exec(sql);
    db.close();
  };
  change("UPDATE entry SET data = x'00' WHERE id = 5");
  expect(reopen).toThrow("does not match its checksum");
  change("DELETE FROM entry WHERE id = 5");
  expect(reopen).toThrow("entry 5 of shard 0 is missing");
});

test("an incarnation number is given only once, across restarts", () => {
  let store = create();
  const given = [store.nextIncarnation(0), store.nextIncarnation(0)];
  store = reopen();
  given.push(store.nextIncarnation(0), store.nextIncarnation(10), store.nextIncarnation(3));
  expect(given).toEqual([1, 2, 3, 11, 12]);
});

test("after a kill every finished write is on disk and no part of an unfinished one", async () => {
  create();
  for (const store of open.splice(0)) store.close();
  const script = `
    import { SqliteLogStore } from ${JSON.stringify(join(import.meta.dir, "../../src/log-store/sqlite-log-store.ts"))};
    const store = SqliteLogStore.open(${JSON.stringify(path)});
    for (let i = 2; ; i++) {
      store.write([0, 1].map((shard) => ({ shard, entries: [{ index: i, term: 1, type: 0, data: new Uint8Array(500).fill(i) }] })));
      console.log(i);
    }
  `;
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
  let output = "";
  for await (const chunk of child.stdout) {
    output += new TextDecoder().decode(chunk);
    if (output.split("\n").length > 300) child.kill("SIGKILL");
  }
  const acknowledged = Number(
    output.trimEnd().split("\n").at(-1)!.match(/^\d+$/)?.[0] ?? output.split("\n").at(-2),
  );
  const store = reopen();
  expect(store.group(0).lastIndex()).toBeGreaterThanOrEqual(acknowledged);
  expect(store.group(1).lastIndex()).toBe(store.group(0).lastIndex());
  expect(read(store, 0)).toHaveLength(store.group(0).lastIndex() - 1);
});

test("random writes, rewrites, compactions and restarts agree with a plain model", () => {
  for (let seed = 1; seed <= 15; seed++) {
    rmSync(path, { force: true });
    for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix, { force: true });
    const random = new Random(seed);
    let store = create(1);
    let model: { index: number; term: number }[] = [];
    let first = 2;
    for (let step = 0; step < 60; step++) {
      const last = first + model.length - 1;
      if (random.chance(0.7)) {
        const from = random.between(Math.max(first, last - 3), last + 1);
        const entries = range(from, from + random.between(1, 300), step + 1);
        store.write([{ shard: 0, entries }]);
        model = [...model.slice(0, from - first), ...entries.map(({ index, term }) => ({ index, term }))];
      } else if (random.chance(0.5) && model.length > 5) {
        const upTo = random.between(first, last - 1);
        store.compact(0, upTo);
        model = model.slice(upTo - first + 1);
        first = upTo + 1;
      } else store = reopen();
      expect([seed, step, store.group(0).firstIndex()]).toEqual([seed, step, first]);
      expect(read(store, 0)).toEqual(model.map((m) => `${m.index}/${m.term}`));
    }
  }
});

test("a log that another connection holds is locked and named, not damaged", () => {
  const { configuration } = CONFIGURATION;
  const start = { snapshot: { index: 1, term: 1, configuration }, configuration: CONFIGURATION };
  createLog(path, { clusterId: "c", peerId: "p" }, [start]);
  const other = new Database(path);
  other.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; CREATE TABLE x(a); COMMIT");
  try {
    let error: unknown;
    try {
      readLogHead(path);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ name: "SQLiteError", errno: 5, path });
  } finally {
    other.close();
  }
});

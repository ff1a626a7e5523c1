/** Scenarios A6.72 and A10.102: the log with its cursors, its tail in memory, a compacted prefix and a snapshot. */
import { describe, expect, test } from "bun:test";
import { Random } from "../../../src/base/random.ts";
import { NO_TERM, RaftLog } from "../../../src/raft/log/log.ts";
import { entryBytes, Tail } from "../../../src/raft/log/tail.ts";
import type { Entry } from "../../../src/raft/model/types.ts";
import { configuration, entriesOf, entry } from "../harness.ts";
import { MemoryStorage, type StorageInit } from "../memory-storage.ts";

const PLENTY = 1 << 30;

const open = (
  init: StorageInit,
  applied = init.compacted?.index ?? 0,
  maxApplyBytes = PLENTY,
): [RaftLog, MemoryStorage] => {
  const storage = new MemoryStorage(init);
  return [
    new RaftLog(storage, Math.max(init.hardState?.commit ?? 0, applied), applied, maxApplyBytes),
    storage,
  ];
};

/** As the owner of the state machine does: unstable entries go to disk. */
function persist(log: RaftLog, storage: MemoryStorage): void {
  const ready = { entries: log.unstable(), snapshot: log.pendingSnapshot, hardState: null };
  storage.write(ready);
  log.persisted(ready.entries, ready.snapshot);
}

const indexes = (entries: readonly Entry[]): number[] => entries.map((one) => one.index);
const terms = (log: RaftLog): number[] =>
  Array.from({ length: log.lastIndex - log.firstIndex + 1 }, (_, i) => log.term(log.firstIndex + i));

describe("A6.72 a log with a compacted prefix", () => {
  const compacted = { index: 5, term: 2 };
  const entries = [entry(2, 6), entry(3, 7), entry(3, 8)];

  test("keeps the term of firstIndex − 1 and no earlier one (LogRestore)", () => {
    const [log] = open({ compacted });
    expect(log).toMatchObject({ firstIndex: 6, lastIndex: 5, lastTerm: 2, commit: 5, stable: 5 });
    expect([0, 4, 5, 6].map((index) => log.term(index))).toEqual([NO_TERM, NO_TERM, 2, NO_TERM]);
    expect(log.unstable()).toEqual([]);
    log.push(entry(4, 6));
    expect(terms(log)).toEqual([4]);
  });
  test("gives the term of each entry, on disk and in memory", () => {
    const [log, storage] = open({ compacted, entries });
    log.push(entry(3, 9));
    log.push(entry(5, 10));
    expect([4, 5, 6, 7, 8, 9, 10, 11].map((index) => log.term(index))).toEqual([
      NO_TERM,
      2,
      2,
      3,
      3,
      3,
      5,
      NO_TERM,
    ]);
    persist(log, storage);
    expect([5, 6, 7, 8, 9, 10].map((index) => log.term(index))).toEqual([2, 2, 3, 3, 3, 5]);
    storage.compact(8, configuration([1]));
    expect(log.firstIndex).toBe(9);
    expect([7, 8, 9].map((index) => log.term(index))).toEqual([NO_TERM, 3, 3]);
  });
  test("gives entries of disk and memory together, within the byte limit", () => {
    const [log] = open({ compacted, entries });
    log.push(entry(3, 9));
    log.push(entry(5, 10));
    const size = entryBytes(entry(1, 1));
    const cases: readonly [from: number, to: number, bytes: number, expected: number[]][] = [
      [6, 6, PLENTY, []],
      [6, 11, PLENTY, [6, 7, 8, 9, 10]],
      [6, 11, 0, [6]],
      [6, 11, size * 2, [6, 7]],
      [6, 11, size * 3, [6, 7, 8]],
      [6, 11, size * 4, [6, 7, 8, 9]],
      [8, 10, PLENTY, [8, 9]],
      [8, 10, size, [8]],
      [9, 11, 0, [9]],
      [9, 11, PLENTY, [9, 10]],
      [10, 11, size, [10]],
    ];
    for (const [from, to, bytes, expected] of cases) {
      expect([from, to, bytes, indexes(log.entries(from, to, bytes))]).toEqual([from, to, bytes, expected]);
    }
  });
  test("reads on while storage compacts 1,000 entries, half of them in memory (CompactionSideEffects)", () => {
    const [log, storage] = open({ entries: entriesOf(...Array.from({ length: 750 }, (_, i) => i + 1)) });
    for (let i = 751; i <= 1_000; i += 1) log.push(entry(i, i));
    log.commitTo(750);
    log.takeCommitted();
    log.appliedTo(750);
    storage.compact(500, configuration([1]));
    expect(log.lastIndex).toBe(1_000);
    for (let index = 500; index <= 1_000; index += 1) expect(log.matches(index, index)).toBe(true);
    expect(log.unstable()).toHaveLength(250);
    log.push(entry(1_000, 1_001));
    expect(log.lastIndex).toBe(1_001);
    expect(indexes(log.entries(1_001, 1_002, PLENTY))).toEqual([1_001]);
  });
});

describe("A4.44 merging a leader's entries keeps equal ones and discards from the first different one (LogMaybeAppend)", () => {
  const cases: readonly [given: [number, number][], result: number[] | "throws"][] = [
    [[], [1, 2, 3]],
    [[[2, 2]], [1, 2, 3]],
    [
      [
        [2, 2],
        [3, 3],
      ],
      [1, 2, 3],
    ],
    [
      [
        [3, 3],
        [4, 4],
      ],
      [1, 2, 3, 4],
    ],
    [
      [
        [4, 4],
        [5, 4],
      ],
      [1, 2, 3, 4, 4],
    ],
    [
      [
        [2, 4],
        [3, 4],
      ],
      [1, 4, 4],
    ],
    [[[3, 4]], [1, 2, 4]],
    [[[1, 4]], "throws"], // Committed.
  ];
  for (const [given, result] of cases) {
    test(`[1 2 3] and ${JSON.stringify(given)}`, () => {
      const [log] = open({ entries: entriesOf(1, 2, 3), hardState: { term: 3, vote: 0, commit: 1 } });
      const merge = (): void => log.merge(given.map(([index, term]) => entry(term, index)));
      if (result === "throws") expect(merge).toThrow("contradicts a committed one");
      else {
        merge();
        expect(terms(log)).toEqual(result);
      }
    });
  }
  test("a log is up to date by the last entry's term, then by its index (IsUpToDate)", () => {
    const [log] = open({ entries: entriesOf(1, 2, 3) });
    for (const [term, index, expected] of [
      [4, 1, true],
      [4, 9, true],
      [2, 9, false],
      [3, 2, false],
      [3, 3, true],
      [3, 4, true],
    ] as const) {
      expect(log.isUpToDate(term, index)).toBe(expected);
    }
  });
  test("the commit index never decreases and never passes the end of the log (CommitTo)", () => {
    const [log] = open({ entries: entriesOf(1, 2, 3), hardState: { term: 3, vote: 0, commit: 2 } });
    expect(log.commitTo(3)).toBe(true);
    expect(log.commitTo(1)).toBe(false);
    expect(log.commit).toBe(3);
    expect(() => log.commitTo(4)).toThrow("it lost entries");
  });
});

describe("A10.102 the log's cursors", () => {
  test("a write moves `stable` only over entries that are still part of the log (StableTo)", () => {
    for (const [overwriteAt, stable] of [
      [0, 5],
      [5, 3],
      [4, 3],
    ] as const) {
      const [log, storage] = open({ entries: entriesOf(1, 1, 1) });
      log.push(entry(2, 4));
      log.push(entry(2, 5));
      const entries = log.unstable();
      storage.write({ entries, snapshot: null, hardState: null });
      if (overwriteAt > 0) log.merge([entry(3, overwriteAt)]);
      log.persisted(entries, null);
      expect(log.stable).toBe(stable);
      if (overwriteAt > 0) {
        expect(log.unstable().at(-1)).toEqual(entry(3, overwriteAt));
        persist(log, storage);
        expect(storage.all().map((one) => one.term)).toEqual(
          overwriteAt === 5 ? [1, 1, 1, 2, 3] : [1, 1, 1, 3],
        );
      }
    }
  });
  test("a conflict truncates entries in memory and on disk (TruncateAndAppend)", () => {
    const [log, storage] = open({ entries: entriesOf(1, 1, 1, 1) });
    log.merge([entry(2, 2)]);
    expect(log).toMatchObject({ lastIndex: 2, stable: 1, lastTerm: 2 });
    expect(log.term(3)).toBe(NO_TERM);
    expect(log.unstable()).toEqual([entry(2, 2)]);
    persist(log, storage);
    expect(storage.all().map((one) => one.term)).toEqual([1, 2]);
    log.merge([entry(3, 1)]);
    expect(terms(log)).toEqual([3]);
  });
  test("terms are right after a truncation inside a run of one term", () => {
    const [log] = open({ entries: entriesOf(1, 1, 2, 2, 2) });
    log.push(entry(2, 6));
    log.push(entry(2, 7));
    log.merge([entry(5, 5)]);
    expect(terms(log)).toEqual([1, 1, 2, 2, 5]);
    log.merge([entry(6, 2)]);
    expect(terms(log)).toEqual([1, 6]);
    expect(log.lastTerm).toBe(6);
  });
  test("committed entries are handed out within maxApplyBytes, more as they are applied (HasNextCommittedEnts, AppliedTo)", () => {
    const size = entryBytes(entry(1, 1));
    const [log] = open({ entries: entriesOf(1, 1, 1, 1, 1) }, 0, size * 2);
    expect(log.hasCommitted).toBe(false);
    log.commitTo(4);
    expect(indexes(log.takeCommitted())).toEqual([1, 2]);
    expect(log).toMatchObject({ handedOut: 2, applied: 0, hasCommitted: false });
    expect(log.takeCommitted()).toEqual([]);
    log.appliedTo(1); // Part of a page frees nothing.
    expect(log.hasCommitted).toBe(false);
    log.appliedTo(2);
    expect(indexes(log.takeCommitted())).toEqual([3, 4]);
    log.appliedTo(3);
    log.appliedTo(1); // Late: nothing.
    expect(log.applied).toBe(3);
    log.appliedTo(4);
    log.commitTo(5);
    expect(indexes(log.takeCommitted())).toEqual([5]);
  });
  test("with a snapshot not yet on disk, nothing is handed out and only later entries can be read", () => {
    const [log, storage] = open({ entries: entriesOf(1, 1, 1) });
    const snapshot = { index: 9, term: 4, configuration: configuration([1]) };
    log.restore(snapshot);
    expect(log).toMatchObject({
      firstIndex: 10,
      lastIndex: 9,
      lastTerm: 4,
      commit: 9,
      applied: 9,
      stable: 9,
    });
    log.push(entry(5, 10));
    log.commitTo(10);
    expect(log.hasCommitted).toBe(false);
    expect([3, 8, 9, 10].map((index) => log.term(index))).toEqual([NO_TERM, NO_TERM, 4, 5]);
    expect(() => log.restore({ ...snapshot, index: 10 })).toThrow("only moves forward");
    persist(log, storage);
    expect(log.pendingSnapshot).toBe(null);
    expect(indexes(log.takeCommitted())).toEqual([10]);
    expect(storage.firstIndex()).toBe(10);
    expect(log.term(9)).toBe(4);
  });
  test("a write that began before a snapshot arrived does not complete that snapshot (StableToWithSnap)", () => {
    const [log, storage] = open({ entries: entriesOf(1, 1) });
    log.push(entry(2, 3));
    const entries = log.unstable();
    log.restore({ index: 5, term: 3, configuration: configuration([1]) });
    storage.write({ entries, snapshot: null, hardState: null });
    log.persisted(entries, null);
    expect(log.pendingSnapshot?.index).toBe(5);
    expect(log.stable).toBe(5);
    persist(log, storage);
    expect(storage.lastIndex()).toBe(5);
  });
  test("the possible match is the highest index with a term no higher than the given one (FindConflictByTerm)", () => {
    const [log] = open({
      compacted: { index: 2, term: 2 },
      entries: [entry(2, 3), entry(4, 4), entry(4, 5)],
    });
    for (const [index, term, expected, expectedTerm] of [
      [9, 4, 9, 0], // Not here: it may be.
      [5, 4, 5, 4],
      [5, 3, 3, 2],
      [4, 1, 1, 0], // Compacted: it may be.
      [2, 2, 2, 2],
      [1, 1, 1, 0],
      [0, 0, 0, 0],
    ] as const) {
      expect(log.possibleMatch(index, term)).toEqual({ index: expected, term: expectedTerm });
    }
  });
});

describe("the tail in memory", () => {
  test("keeps recent entries and releases the memory of older ones", () => {
    const [log, storage] = open({});
    const data = "x".repeat(1_000);
    for (let i = 1; i <= 5_000; i += 1) {
      log.push(entry(1, i, data));
      if (i % 10 === 0) persist(log, storage);
    }
    // Written and not committed: about a megabyte is kept.
    storage.reads = 0;
    log.entries(4_100, 4_101, 1);
    expect(storage.reads).toBe(0);
    log.entries(3_900, 3_901, 1);
    expect(storage.reads).toBe(1);
    log.commitTo(5_000);
    log.takeCommitted();
    persist(log, storage);
    log.entries(4_990, 4_991, 1);
    expect(storage.reads).toBeLessThanOrEqual(2); // One for the entries that were handed out.
    log.entries(4_800, 4_801, 1);
    expect(storage.reads).toBe(3);
  });
  test("agrees with a plain array under random operations", () => {
    for (let seed = 1; seed <= 300; seed += 1) {
      const random = new Random(seed);
      const tail = new Tail(1);
      let plain: Entry[] = [];
      let first = 1;
      for (let i = 0; i < 300; i += 1) {
        const dice = random.below(10);
        const last = first + plain.length - 1;
        if (dice < 6) {
          const one = entry(seed, last + 1, "x".repeat(random.below(5)));
          tail.push(one);
          plain.push(one);
        } else if (dice < 8 && plain.length > 0) {
          tail.shift();
          plain.shift();
          first += 1;
        } else if (dice === 8) {
          const at = random.between(Math.max(1, first - 2), last + 1);
          tail.truncate(at);
          plain = at < first ? [] : plain.slice(0, at - first);
          if (at < first) first = at;
        }
        expect(tail.first).toBe(first);
        expect(tail.last).toBe(first + plain.length - 1);
        expect(tail.bytes).toBe(plain.reduce((sum, one) => sum + entryBytes(one), 0));
      }
      expect(tail.slice(tail.first, tail.last + 1)).toEqual(plain);
    }
  });
});

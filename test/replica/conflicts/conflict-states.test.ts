/** States of the conflict journal: ordered as entries, equal on all replicas, dropped with their conflict. */
import { expect, test } from "bun:test";
import { type Batch, BatchKind } from "../../../src/change/batch.ts";
import { settleNote, type SettledState } from "../../../src/replica/conflicts/conflict-states.ts";
import { peerHash } from "../../../src/replica/store/tables.ts";
import { batch, entry, MemoryReplica } from "../lab.ts";

const SCHEMA = "CREATE TABLE kv(k INTEGER PRIMARY KEY, v)";

/** One replica and its log: each batch is written without knowledge of the others. */
class Lab {
  readonly memory = new MemoryReplica({ schema: SCHEMA, shards: 1 });
  #index = 0;
  readonly #csn = new Map<string, number>();

  write(origin: string, ...keys: readonly number[]): number {
    const csn = (this.#csn.get(origin) ?? 0) + 1;
    this.#csn.set(origin, csn);
    const writes = keys.map((k) => ({ k, v: `${origin} ${csn}` }));
    return this.#give(batch({ origin, csn, previousCsn: csn - 1, bases: [[0]], writes }));
  }

  settle(origin: string, state: SettledState, ...of: readonly (readonly [number, number])[]): void {
    const places = of.map(([index, ordinal]) => ({ index, ordinal }));
    this.note(origin, settleNote(state, places));
  }

  note(origin: string, note: string): void {
    const numbers = { incarnation: 0, csn: 0, schemaVersion: 0, bases: [] };
    this.#give(batch({ kind: BatchKind.check, origin, ...numbers, note, time: 77 }));
  }

  #give(made: Batch): number {
    this.memory.give(0, entry(++this.#index, { batch: made }));
    return this.#index;
  }

  get journal() {
    return this.memory.replica.journal;
  }

  state(index: number, ordinal: number): string {
    return this.journal.states.of(0, index, ordinal)?.state ?? "open";
  }
}

test("a conflict is open until an entry says that it was restored or dismissed, with origin and time", () => {
  const lab = new Lab();
  lab.write("a", 1, 2);
  const at = lab.write("b", 1, 2);
  expect([lab.journal.total, lab.journal.open]).toEqual([2, 2]);
  lab.settle("c", "dismissed", [at, 0]);
  expect([lab.state(at, 0), lab.state(at, 1)]).toEqual(["dismissed", "open"]);
  expect(lab.journal.states.of(0, at, 0)).toEqual({ state: "dismissed", by: peerHash("c"), time: 77 });
  expect([lab.journal.total, lab.journal.open]).toEqual([2, 1]);
  lab.settle("a", "restored", [at, 0], [at, 1]);
  expect([lab.state(at, 0), lab.state(at, 1)]).toEqual(["restored", "restored"]);
  // A restored one is not dismissed afterwards, and keeps its time.
  lab.settle("b", "dismissed", [at, 0]);
  expect(lab.journal.states.of(0, at, 0)?.by).toBe(peerHash("a"));
  expect(lab.journal.open).toBe(0);
});

test("notes of other conflicts, and notes that cannot be read, change nothing", () => {
  const lab = new Lab();
  lab.write("a", 1);
  const at = lab.write("b", 1);
  const before = lab.memory.dump().replace(/__marmot__position.*/, "");
  lab.settle("b", "dismissed", [at + 5, 0], [at, 9]);
  for (const text of [
    "",
    "{",
    "[]",
    `{"state":"open","of":[[${at},0]]}`,
    `{"state":"dismissed","of":[[0.5,0]]}`,
  ])
    lab.note("b", `journal:${text}`);
  expect(lab.memory.dump().replace(/__marmot__position.*/, "")).toBe(before);
});

test("the journal drops the state with its oldest conflicts", () => {
  const lab = new Lab();
  const keys = Array.from({ length: 4000 }, (_, i) => i);
  lab.write("a", ...keys);
  const first = lab.write("b", ...keys);
  lab.settle("a", "dismissed", [first, 0], [first, 3999]);
  lab.write("a", ...keys);
  expect([lab.journal.total, lab.journal.open]).toEqual([8000, 7998]);
  lab.write("b", ...keys);
  expect(lab.journal.total).toBe(10_000);
  expect([lab.state(first, 0), lab.state(first, 3999)]).toEqual(["open", "dismissed"]);
  expect(lab.journal.open).toBe(9999);
});

/**
 * The replica is a function of its positions: at equal positions all replicas are identical, in whatever order they visit
 * their logs. They also equal a model of a few lines that has only the rules. The logs are small: changesets out of order,
 * of two incarnations, repeated, missing, refused and staged, and markers of all kinds.
 */
import { expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { type Batch, BatchKind } from "../../src/change/batch.ts";
import { batch, entry, type Made, MemoryReplica, SCHEMA_VERSION } from "./lab.ts";

const SCHEMA = "CREATE TABLE kv(k INTEGER PRIMARY KEY, v)";

/** For each of three shards a few keys that are routed there. */
const KEYS = ((): number[][] => {
  const one = new MemoryReplica({ schema: SCHEMA, shards: 3 });
  const keys: number[][] = [[], [], []];
  for (let k = 1; keys.some((list) => list.length < 2); k++) keys[one.replica.shardOfKey(1, k)]!.push(k);
  one.close();
  return keys.map((list) => list.slice(0, 2));
})();

interface Memory {
  incarnation: number;
  csn: number;
  ended: boolean;
  parts: Batch[];
}

/** The documented rules of batches, markers and positions, without any code of the replica. */
class Model {
  readonly positions: number[];
  readonly rows = new Map<number, string>();
  readonly #logs: readonly (readonly Made[])[];
  readonly #memory = new Map<string, Memory>();

  constructor(logs: readonly (readonly Made[])[]) {
    this.#logs = logs;
    this.positions = logs.map(() => 0);
  }

  #of(origin: string, shard: number): Memory {
    const name = `${origin}/${shard}`;
    let memory = this.#memory.get(name);
    if (memory === undefined)
      this.#memory.set(name, (memory = { incarnation: 0, csn: 0, ended: false, parts: [] }));
    return memory;
  }

  /** Applies the next entry of the shard, if it may be applied. */
  step(shard: number): boolean {
    const made = this.#logs[shard]![this.positions[shard]!];
    if (made === undefined) return false;
    const index = this.positions[shard]! + 1;
    if ("marker" in made) {
      if (this.positions[0]! < made.marker) return false;
      this.positions[shard] = index;
      return true;
    }
    if (made.batch.after.some((at, s) => this.positions[s]! < at)) return false;
    const names = made.names ?? [];
    const markers = names.map((s) => {
      const next = this.#logs[s]![this.positions[s]!];
      return next !== undefined && "marker" in next ? next.marker : -1;
    });
    if (markers.some((u) => u < index)) return false;
    if (this.#acceptBatch(made.batch, shard)) for (const s of names) this.#join(made.batch, s);
    this.positions[shard] = index;
    names.forEach((s, i) => {
      if (markers[i]! <= index) this.positions[s]!++;
    });
    return true;
  }

  /** True: taken. */
  #acceptBatch(b: Batch, shard: number): boolean {
    const memory = this.#of(b.origin, shard);
    if (b.incarnation < memory.incarnation) return false;
    if (b.incarnation > memory.incarnation) {
      if (b.previousCsn !== 0 || b.part !== 1 || b.parts !== 1) return false;
    } else {
      const follows = b.previousCsn === memory.csn && b.csn > memory.csn;
      if (memory.ended || !follows || b.part !== memory.parts.length + 1) return false;
      if (b.schemaVersion !== SCHEMA_VERSION) {
        memory.ended = true;
        memory.parts = [];
        return false;
      }
      if (b.part !== b.parts) {
        memory.parts.push(b);
        return false;
      }
    }
    for (const { tables } of b.incarnation === memory.incarnation ? [...memory.parts, b] : [b])
      for (const { rows } of tables)
        for (const { keyId, image } of rows)
          if (image === null) this.rows.delete(Number(keyId));
          else this.rows.set(Number(keyId), String(image[1]));
    Object.assign(memory, { incarnation: b.incarnation, csn: b.csn, ended: false, parts: [] });
    return true;
  }

  #join(b: Batch, shard: number): void {
    const memory = this.#of(b.origin, shard);
    if (b.incarnation < memory.incarnation) return;
    if (b.incarnation > memory.incarnation)
      Object.assign(memory, { incarnation: b.incarnation, csn: b.csn, ended: false, parts: [] });
    else if (b.csn > memory.csn) Object.assign(memory, { csn: b.csn, parts: [] });
  }
}

const opening = (incarnation: number, origin = "a"): Made => ({
  batch: batch({ kind: BatchKind.open, incarnation, origin }),
});

/** A changeset that writes one key of each of its shards. */
function changeset(incarnation: number, csn: number, previousCsn: number, shards: number[], more = {}): Made {
  const writes = shards.map((s) => ({ k: KEYS[s]![csn % 2]!, v: `${incarnation}.${csn}` }));
  const watermarks = [{ table: 1, upTo: csn }];
  return {
    batch: batch({ incarnation, csn, previousCsn, writes, watermarks, ...more }),
    names: shards.filter((s) => s !== 0),
  };
}

/** All interleavings of the logs; if there are more than `most`, a random choice of them. */
function* deliveries(lengths: readonly number[], random: Random, most: number): Iterable<number[]> {
  const all: number[][] = [];
  const visit = (left: readonly number[], path: number[]): void => {
    if (all.length > most) return;
    if (left.every((n) => n === 0)) all.push(path);
    left.forEach((n, s) => {
      if (n > 0)
        visit(
          left.map((m, t) => (t === s ? m - 1 : m)),
          [...path, s],
        );
    });
  };
  visit(lengths, []);
  if (all.length <= most) yield* all;
  else
    for (let i = 0; i < most; i++) {
      const bag = lengths.flatMap((n, s) => Array.from({ length: n }, () => s));
      yield bag.map((_, at) => {
        const other = random.between(at, bag.length - 1);
        [bag[at], bag[other]] = [bag[other]!, bag[at]!];
        return bag[at]!;
      });
    }
}

/** Applies every interleaving to a real replica, compares the replicas at equal vectors, and compares the end with the model. */
function compare(logs: readonly (readonly Made[])[], random: Random, most: number): Map<string, string> {
  const seen = new Map<string, string>();
  const entries = logs.map((log) => log.map((made, i) => entry(i + 1, made)));
  for (const delivery of deliveries(
    logs.map((l) => l.length),
    random,
    most,
  )) {
    const real = new MemoryReplica({ schema: SCHEMA, shards: logs.length });
    const handed = logs.map(() => 0);
    for (const shard of delivery) {
      real.give(shard, entries[shard]![handed[shard]!++]!);
      const vector = real.replica.positions().join();
      const dump = real.dump();
      const known = seen.get(vector);
      if (known !== undefined && known !== dump)
        throw new Error(`${JSON.stringify(logs, show)}\nat ${vector}:\n${known}\n---\n${dump}`);
      seen.set(vector, dump);
    }
    real.close();
  }
  const model = new Model(logs);
  for (let moved = true; moved;) {
    moved = false;
    const order = logs.map((_, s) => s);
    for (let i = order.length - 1; i > 0; i--) {
      const j = random.below(i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    for (const shard of order) if (model.step(shard)) moved = true;
  }
  const rows = [...model.rows].map(([k, v]) => `${k},${v}`).sort();
  const end = seen.get(model.positions.join());
  if (end === undefined || !end.endsWith(`kv: ${rows.join("; ")}`))
    throw new Error(
      `${JSON.stringify(logs, show)}\nthe model ends at ${model.positions.join()} with ${rows.join("; ")}, replicas: ${end ?? [...seen.keys()].join(" ")}`,
    );
  return seen;
}

const show = (_key: string, value: unknown): unknown => (typeof value === "bigint" ? String(value) : value);

function* sequences<T>(alphabet: readonly T[], length: number): Iterable<T[]> {
  if (length === 0) {
    yield [];
    return;
  }
  for (const rest of sequences(alphabet, length - 1)) for (const one of alphabet) yield [...rest, one];
}

const SEED = Number(process.env.MARMOT_SEED ?? 1);

test("every pair of short logs with fences of two incarnations, direct changesets, changesets over shard 0, and markers: one state per vector", () => {
  const random = new Random(SEED);
  const first = [opening(2), changeset(1, 2, 1, [0, 1]), changeset(2, 2, 1, [1])];
  const straight = changeset(1, 2, 1, [1]);
  const second = [opening(2), { ...straight, names: [] }, { marker: 1 }, { marker: 2 }, { marker: 3 }];
  let vectors = 0;
  for (const a of sequences(first, 2))
    for (const b of sequences(second, 2))
      vectors += compare(
        [
          [opening(1), ...a],
          [opening(1), ...b],
        ],
        random,
        35,
      ).size;
  expect(vectors).toBeGreaterThan(1000);
}, 180_000);

test("random logs of three shards with repeats, gaps, refused and staged changesets: one state per vector", () => {
  const logs = Number(process.env.MARMOT_LOGS ?? 150);
  let passedAll = 0;
  for (let seed = SEED; seed < SEED + logs; seed++) {
    const random = new Random(seed);
    const one = (shard: number, at: number): Made => {
      const csn = random.between(2, 4);
      const incarnation = random.chance(0.7) ? 1 : 2;
      const previous = random.chance(0.8) ? csn - 1 : random.below(csn);
      const origin = random.chance(0.7) ? "a" : "b";
      if (random.chance(0.15)) return opening(incarnation, origin);
      if (shard !== 0 && random.chance(0.5)) return { marker: random.between(1, 6) };
      const more = {
        origin,
        ...(random.chance(0.15) ? { schemaVersion: SCHEMA_VERSION + 1 } : {}),
        ...(random.chance(0.2)
          ? { after: [0, 1, 2].map((s) => (s === shard ? 0 : random.below(at + 1))) }
          : {}),
      };
      if (random.chance(0.2)) {
        const part = random.between(1, 2);
        const parts = { part, parts: part === 2 ? 2 : 0, ...more };
        const made = changeset(incarnation, csn, previous, [shard], parts);
        return { ...made, names: part === 2 && shard === 0 ? [random.between(1, 2)] : [] };
      }
      const shards = shard === 0 ? [[0], [0, 1], [1, 2], [0, 1, 2], [2]][random.below(5)]! : [shard];
      const made = changeset(incarnation, csn, previous, shards, more);
      return shard === 0 ? made : { ...made, names: [] };
    };
    const log = (shard: number): Made[] => {
      const made = Array.from({ length: 4 }, (_, at) => one(shard, at));
      // At the end leaders add markers for all entries.
      const opened = [opening(1), opening(1, "b")].filter(() => random.chance(0.8));
      return [...opened, ...made, ...(shard === 0 ? [] : [{ marker: 6 }])];
    };
    const made = [log(0), log(1), log(2)];
    const seen = compare(made, random, 12);
    if (seen.has(made.map((l) => l.length).join())) passedAll++;
  }
  expect(passedAll).toBeGreaterThan(logs / 4);
}, 180_000);

test("a changeset over shard 0 of an older incarnation does not lower the incarnation that a fence has raised", () => {
  const logs: Made[][] = [
    [opening(1), changeset(1, 2, 1, [0, 1]), opening(2)],
    [opening(1), opening(2), { marker: 2 }, changeset(2, 2, 1, [1]), changeset(1, 3, 2, [1])],
  ];
  const seen = compare(logs, new Random(SEED), 100);
  const end = seen.get("3,5")!;
  expect(end).toContain(`${KEYS[0]![0]!},1.2`);
  expect(end).toContain(`${KEYS[1]![0]!},2.2`);
  expect(end).not.toContain("1.3");
});

test("the last part of a changeset without its first part starts no incarnation", () => {
  const half = changeset(2, 1, 0, [1], { part: 2, parts: 2 });
  const seen = compare([[opening(1)], [opening(1), { ...half, names: [] }]], new Random(SEED), 10);
  expect(seen.get("1,2")).toContain("a,1,1,1,0");
});

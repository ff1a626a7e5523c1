/** Rows applied as a set leave the same replica as rows applied one by one. */
import { afterEach, expect, spyOn, test } from "bun:test";
import { Random } from "../../../src/base/random.ts";
import { Op, type RowChange } from "../../../src/change/batch.ts";
import { keyIdOf, keyOfImage } from "../../../src/change/key.ts";
import type { TableShape } from "../../../src/change/shape.ts";
import { TextBytes, type Value } from "../../../src/change/value.ts";
import { prepareExact } from "../../../src/rows/row-access.ts";
import { ReferenceChecker } from "../../../src/replica/references/checker.ts";
import { batch, entry, MemoryReplica } from "../lab.ts";

const SCHEMA = `
  CREATE TABLE number(k INTEGER PRIMARY KEY, v);
  CREATE TABLE word(k TEXT COLLATE NOCASE PRIMARY KEY, v);
  CREATE TABLE pair(k TEXT, l, v, PRIMARY KEY(k, l)) WITHOUT ROWID`;
const ORIGINS = ["a", "b", "observer"];
const SEEDS = 12;

const odd = new TextBytes(new Uint8Array([0x61, 0xff]));
const words = (random: Random): Value =>
  random.pick<Value>(["a", "A", "b\u0000c", 'q"\\', "\u{1f600}", "", odd, `w${random.between(0, 30)}`]);
/** Numbers that rise, that lie between others, and that no JavaScript number holds. */
const numbers = (random: Random, top: number): bigint =>
  random.pick([
    BigInt(random.between(-5, 60)),
    BigInt(top + random.between(1, 40)),
    2n ** 62n + BigInt(random.between(0, 3)),
  ]);

function keyOf(shape: TableShape, random: Random, top: number): Value[] {
  if (shape.name === "number") return [numbers(random, top)];
  if (shape.name === "word") return [words(random)];
  return [words(random), random.pick<Value>([1n, 1.5, new Uint8Array([7]), numbers(random, top)])];
}

function rowsOf(shape: TableShape, random: Random, top: number): RowChange[] {
  return Array.from({ length: random.between(1, 40) }, () => {
    const key = keyOf(shape, random, top);
    const written = random.chance(0.75);
    const image = written ? [...key, random.pick<Value>([null, 1n, 1, "text", odd])] : null;
    return {
      op: written ? Op.insert : Op.delete,
      keyId: keyIdOf(shape, image === null ? key : keyOfImage(shape, image)),
      ...{ key, image, mask: null, base: 0 },
    };
  });
}

const opened: MemoryReplica[] = [];
afterEach(() => {
  for (const replica of opened.splice(0)) replica.close();
});

/** The replicated state, the before images, and the changed rows. */
function stateOf(of: MemoryReplica): unknown {
  const { db, replica } = of;
  const images = prepareExact(
    db,
    `SELECT "tbl", "key", "shard", "idx", hex("image") FROM "__marmot__local_reference" ORDER BY 1, 2, "id"`,
  ).all();
  const changed = [...replica.changed.tables].map(([table, rows]) => [table, [...rows]]);
  return { dump: of.dump(), images, changed };
}

function run(seed: number, shards: number, bySet: boolean): unknown {
  const random = new Random(seed);
  const spy = bySet ? null : spyOn(ReferenceChecker.prototype, "concerns").mockReturnValue(true);
  try {
    const replica = new MemoryReplica({ schema: SCHEMA, shards });
    opened.push(replica);
    const csn = new Map<string, number>();
    for (let index = 1; index <= 25; index++) {
      const origin = random.pick(ORIGINS);
      const last = csn.get(origin) ?? 0;
      csn.set(origin, last + 1);
      const tables = [...replica.replica.shapes.values()].map((shape) => ({
        ...{ table: shape.id, columns: shape.columns.length, rows: rowsOf(shape, random, 20 * index) },
      }));
      const bases = [Array.from({ length: shards }, () => random.between(0, index))];
      replica.give(
        0,
        entry(index, { batch: batch({ origin, csn: last + 1, previousCsn: last, bases, tables }) }),
      );
    }
    return stateOf(replica);
  } finally {
    spy?.mockRestore();
  }
}

for (const shards of [1, 3])
  test(`random changesets over ${shards} shards, as sets and one by one`, () => {
    for (let seed = 1; seed <= SEEDS; seed++)
      expect([seed, run(seed, shards, true)]).toEqual([seed, run(seed, shards, false)]);
  });

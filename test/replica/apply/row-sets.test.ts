/** Rows applied as a set leave the same replica as rows applied one by one. */
import { afterEach, expect, spyOn, test } from "bun:test";
import { Random } from "../../../src/base/random.ts";
import { Op, type RowChange } from "../../../src/change/batch.ts";
import { keyIdOf, keyOfImage } from "../../../src/change/key.ts";
import type { TableShape } from "../../../src/change/shape.ts";
import { TextBytes, type Value } from "../../../src/change/value.ts";
import { prepareExact } from "../../../src/rows/exact-values.ts";
import { RowApplier } from "../../../src/replica/apply/row-applier.ts";
import { batch, entry, MemoryReplica } from "../lab.ts";

const SCHEMA = `
  CREATE TABLE number(k INTEGER PRIMARY KEY, v);
  CREATE TABLE word(k TEXT COLLATE NOCASE PRIMARY KEY, v);
  CREATE TABLE pair(k TEXT, l, v, PRIMARY KEY(k, l)) WITHOUT ROWID;
  CREATE TABLE once(k INTEGER PRIMARY KEY, v, u TEXT COLLATE NOCASE UNIQUE ON CONFLICT IGNORE, w);
  CREATE UNIQUE INDEX once_w ON once(w) WHERE v IS NOT NULL;
  CREATE TABLE child(k INTEGER PRIMARY KEY, v, p REFERENCES number(k), q REFERENCES once(u) ON DELETE CASCADE);
  CREATE TABLE tree(k INTEGER PRIMARY KEY, p REFERENCES tree(k));
  CREATE TABLE keyless(a, b UNIQUE);`;
const ORIGINS = ["a", "b", "observer"];
const SEEDS = 5;

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
  if (shape.name === "word") return [words(random)];
  if (shape.name === "once") return [BigInt(random.between(0, 400))];
  if (shape.name === "pair")
    return [words(random), random.pick<Value>([1n, 1.5, new Uint8Array([7]), numbers(random, top)])];
  return [numbers(random, top)];
}

/** More rows than one statement writes come to some tables, and UNIQUE values that other rows have. */
function rowsOf(shape: TableShape, random: Random, top: number): RowChange[] {
  const isReference = (name: string): boolean => name === "p" || name === "q";
  const rows = Array.from({ length: random.between(1, random.chance(0.3) ? 300 : 40) }, (_, i) => {
    const key = keyOf(shape, random, top);
    const written = random.chance(0.75);
    const value = ({ name }: { readonly name: string }): Value =>
      isReference(name)
        ? random.pick<Value>([null, numbers(random, top), `u${random.between(0, 40)}`])
        : /^[ubw]$/.test(name)
          ? random.pick<Value>([
              null,
              `u${top}-${i}`,
              `U${top}-${i - 20}`,
              random.chance(0.1) ? "taken" : null,
            ])
          : random.pick<Value>([null, 1n, 1, "text", odd]);
    const image = written ? [...key, ...shape.columns.slice(key.length).map(value)] : null;
    return {
      op: written ? random.pick([Op.insert, Op.update]) : Op.delete,
      keyId: keyIdOf(shape, image === null ? key : keyOfImage(shape, image)),
      ...{ key, image, mask: null, base: 0 },
    };
  });
  // A changeset has each rowid of a table without a key once. Rows with UNIQUE values are a set if no key comes twice.
  const distinct = shape.rowidKey || (shape.uniques.length > 0 && random.chance(0.7));
  return distinct ? [...new Map(rows.map((row) => [row.keyId, row])).values()] : rows;
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

/** The state after all changesets; `changesetOf` gets the shapes and the index of the entry, and ends with null. */
function stateAfter(
  options: { readonly shards: number; readonly foreignKeys: "keep" | "resolve"; readonly bySet: boolean },
  changesetOf: (shapes: readonly TableShape[], index: number) => Changeset | null,
): unknown {
  const spy = options.bySet ? null : spyOn(RowApplier.prototype, "isSet").mockReturnValue(false);
  try {
    const { shards, foreignKeys } = options;
    const replica = new MemoryReplica({ schema: SCHEMA, shards, foreignKeys });
    opened.push(replica);
    const csn = new Map<string, number>();
    for (let index = 1; ; index++) {
      const changeset = changesetOf([...replica.replica.shapes.values()], index);
      if (changeset === null) return stateOf(replica);
      const { origin, base, rows } = changeset;
      const last = csn.get(origin) ?? 0;
      csn.set(origin, last + 1);
      const tables = rows.map(([shape, changed]) => ({
        ...{ table: shape.id, columns: shape.columns.length, rows: changed },
      }));
      const bases = [base];
      replica.give(
        0,
        entry(index, { batch: batch({ origin, csn: last + 1, previousCsn: last, bases, tables }) }),
      );
    }
  } finally {
    spy?.mockRestore();
  }
}

interface Changeset {
  readonly origin: string;
  /** The index of each shard that its origin had seen. */
  readonly base: number[];
  readonly rows: readonly (readonly [TableShape, RowChange[]])[];
}

function run(seed: number, shards: number, bySet: boolean): unknown {
  const random = new Random(seed);
  const foreignKeys = random.pick(["keep", "resolve"] as const);
  return stateAfter({ shards, foreignKeys, bySet }, (shapes, index) => {
    if (index > 15) return null;
    const origin = random.pick(ORIGINS);
    const rows = shapes.map((shape) => [shape, rowsOf(shape, random, 20 * index)] as const);
    return { origin, base: Array.from({ length: shards }, () => random.between(0, index)), rows };
  });
}

test("rows inserted again above the highest key meet their deletion by another node as a conflict", () => {
  const of = (bySet: boolean): unknown =>
    stateAfter({ shards: 1, foreignKeys: "keep", bySet }, (shapes, index) => {
      const shape = shapes.find(({ name }) => name === "number")!;
      const rows = (from: number, to: number, op: Op): RowChange[] =>
        Array.from({ length: to - from }, (_, i) => ({
          ...{ op, keyId: from + i, key: [BigInt(from + i)], mask: null, base: 0 },
          image: op === Op.delete ? null : [BigInt(from + i), `by entry ${index}`],
        }));
      const steps = [
        { origin: "a", base: [0], rows: rows(0, 100, Op.insert) },
        { origin: "a", base: [1], rows: rows(60, 100, Op.delete) },
        { origin: "b", base: [1], rows: rows(60, 130, Op.insert) },
      ];
      const step = steps[index - 1];
      return step === undefined ? null : { ...step, rows: [[shape, step.rows]] };
    });
  expect(of(true)).toEqual(of(false));
});

for (const shards of [1, 3])
  test(`random changesets over ${shards} shards, as sets and one by one`, () => {
    for (let seed = 1; seed <= SEEDS; seed++)
      expect([seed, run(seed, shards, true)]).toEqual([seed, run(seed, shards, false)]);
  });

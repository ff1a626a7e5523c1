/**
 * Whole nodes under the faults that a seed draws, with schemas and transactions of the generator of the differential test.
 * A failing run prints its report and the command that replays it.
 */
import { describe, expect, test } from "bun:test";
import type { TableShape } from "../../src/change/shape.ts";
import type { Image } from "../../src/change/value.ts";
import { Op } from "../../src/change/batch.ts";
import { Teller, type Write } from "./generated-judge.ts";
import type { TakenRow } from "./order.ts";
import { draw, type Plan, withGenerated } from "./plan.ts";
import { expectHolds } from "./report.ts";
import { shrinkStatements } from "./shrink-statements.ts";
import { type Result, simulate } from "./simulation.ts";

const FIRST = Number(process.env.MARMOT_SEED ?? 10_000);
const SEEDS = Math.ceil(Number(process.env.MARMOT_SEEDS ?? 200) / 7);
const MIGRATING_SEEDS = Math.ceil(SEEDS / 3);

describe("whole nodes with a generated schema", () => {
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++)
    test(`seed ${seed}`, () => expectHolds(withGenerated(draw(seed), false)));
});

describe("whole nodes with a generated schema and its migrations", () => {
  for (let seed = FIRST; seed < FIRST + MIGRATING_SEEDS; seed++)
    test(`seed ${seed}`, () => expectHolds(withGenerated(draw(seed), true)));
});

describe("a plan with a generated schema", () => {
  test("gives the same events in two runs, also from its JSON", async () => {
    const plan = withGenerated(draw(FIRST + 2), false);
    expect(withGenerated(draw(FIRST + 2), false)).toEqual(plan);
    const [one, two] = [await simulate(plan), await simulate(JSON.parse(JSON.stringify(plan)) as Plan)];
    expect(two.hash).toBe(one.hash);
    expect(two.counts).toEqual(one.counts);
    expect(one.counts.transactions).toBeGreaterThan(0);
  });

  test("has its faults and writes at the times and on the nodes of the plan without it", () => {
    const plan = draw(FIRST + 1);
    const generated = withGenerated(plan, false);
    expect(generated.actions.map((a) => a.at)).toEqual(plan.actions.map((a) => a.at));
    const faults = ({ actions }: Plan) => actions.filter((a) => !/write|maintain/.test(a.action.kind));
    expect(faults(generated)).toEqual(faults(plan));
  });

  test("is reduced to the statements that the problem needs", async () => {
    const plan = withGenerated(draw(FIRST), false);
    const write = plan.actions.find(({ action }) => action.kind === "write")!;
    const work = { settings: ["PRAGMA foreign_keys = ON"], statements: ["a", "b", "c", "d", "e"] };
    const failing: Plan = {
      ...plan,
      generated: { ...plan.generated!, schema: ["x", "y", "z"] },
      actions: [{ ...write, action: { ...write.action, work } as Plan["actions"][number]["action"] }],
    };
    const run = (it: Plan): Promise<Result> => {
      const text = JSON.stringify([it.generated!.schema, it.actions]);
      const problems =
        /"y"/.test(text) && /"b"/.test(text) && /"d"/.test(text)
          ? ["the file is not its replica: t 1"]
          : /"b"/.test(text)
            ? ["another problem"]
            : [];
      return Promise.resolve({ plan: it, problems } as unknown as Result);
    };
    const small = await shrinkStatements(await run(failing), 10_000, run);
    expect(small.plan.generated!.schema).toEqual(["y"]);
    expect(small.plan.actions.map(({ action }) => action)).toEqual([
      expect.objectContaining({ work: { settings: [], statements: ["b", "d"] } }),
    ]);
  });
});

describe("the check of the ordered rows of a node against the transactions of its file", () => {
  const shape = (name: string): TableShape => ({
    ...{ id: 1, name, key: [0], keyCollations: ["BINARY"], withoutRowid: false, integerKey: true },
    columns: [
      { name: "id", affinity: "INTEGER" },
      { name: "v", affinity: "BLOB" },
    ],
    ...{ rowidKey: false, autoincrement: false, uniques: [], routedByName: false },
  });
  const [t, counter] = [shape("t"), shape("counter")];
  const write = (seq: number, key: number, before: Image | null, after: Image | null): Write => ({
    ...{ seq, table: t, keyId: key, before, after },
  });
  const row = (table: TableShape, key: number, image: Image | null): TakenRow => ({
    ...{ shard: 0, index: 9, origin: "o", table, base: [] },
    row: {
      op: image === null ? Op.delete : Op.insert,
      key: [BigInt(key)],
      keyId: key,
      image,
      base: 0,
      mask: null,
    },
  });
  const upTo = (seq: number): TakenRow => row(counter, 1, [1n, BigInt(seq)]);
  const teller = (): Teller =>
    new Teller("n1", [
      { ...write(1, 1, null, [1n, BigInt(1)]), table: counter },
      { ...write(2, 1, [1n, 1n], [1n, 2n]), table: counter },
      write(1, 5, null, [5n, 1]),
      write(1, 6, null, [6n, "x"]),
      write(2, 5, [5n, 1], [5n, 2]),
      write(2, 6, [6n, "x"], null),
    ]);

  test("accepts entries with every row of a transaction, in the order of the transactions", () => {
    const it = teller();
    expect(it.take([row(t, 5, [5n, 1]), row(t, 6, [6n, "x"]), upTo(1)], true)).toEqual([]);
    expect(it.take([row(t, 5, [5n, 2]), row(t, 6, null), upTo(2)], true)).toEqual([]);
  });

  test("accepts two transactions in one entry without a row that the second one deleted", () => {
    expect(teller().take([row(t, 5, [5n, 2]), upTo(2)], true)).toEqual([]);
  });

  test.each([
    ["a value of another storage class", [row(t, 5, [5n, 1n]), row(t, 6, [6n, "x"]), upTo(1)], /never/],
    ["a row that no transaction wrote", [row(t, 7, [7n, 1]), row(t, 5, [5n, 2]), upTo(2)], /t\/7 .* never/],
    ["a missing row of a transaction", [row(t, 5, [5n, 1]), upTo(1)], /t\/6 as it was/],
    ["an entry without the counter of its transaction", [row(t, 5, [5n, 1])], /of no transaction/],
  ] as [string, TakenRow[], RegExp][])("finds %s", (_what, entry, problem) => {
    expect(teller().take(entry, true).join("\n")).toMatch(problem);
  });

  test("finds a write that is ordered twice, also where transactions are split", () => {
    const it = teller();
    expect(it.take([row(t, 5, [5n, 1])], false)).toEqual([]);
    expect(it.take([row(t, 5, [5n, 1])], false).join()).toMatch(/never, or no more/);
  });
});

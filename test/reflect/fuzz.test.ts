/** Random statements on several nodes at once over every kind of table; whatever the order, all files end up equal. */
import { expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { exactRows } from "../../src/rows/exact-rows.ts";
import { quoteIdentifier } from "../../src/sqlite/quote.ts";
import { SCHEMA, statements, TABLES } from "../capture/statements.ts";
import { Lab, type LabNode } from "../node/lab.ts";

/** An application's turn: some statements, perhaps in a transaction. An error concerns the application alone. */
function write(node: LabNode, random: Random, statement: () => string): void {
  const quietly = (sql: string): void => {
    try {
      node.run(sql);
    } catch {
      // A constraint, or VACUUM inside a transaction.
    }
  };
  if (random.chance(0.4)) quietly("BEGIN IMMEDIATE");
  for (let i = random.between(1, 4); i > 0; i--) quietly(statement());
  if (node.app.inTransaction) quietly(random.chance(0.15) ? "ROLLBACK" : "COMMIT");
  if (node.app.inTransaction) quietly("ROLLBACK");
}

/** Statements about a few tables only, so that nodes meet there. */
function about(random: Random, any: () => string): () => string {
  const chosen = Array.from({ length: random.between(1, 3) }, () => quoteIdentifier(random.pick(TABLES)));
  const mentioned = chosen.map((name) => (/^"\w+"$/.test(name) ? ` ${name.slice(1, -1)}` : name));
  return () => {
    for (let i = 0; i < 200; i++) {
      const sql = any();
      if (mentioned.some((name) => sql.includes(name))) return sql;
    }
    return any();
  };
}

/** Every table's rows with storage classes. */
const dump = (node: LabNode): string[] =>
  [...node.replica.replica.shapes.values()].flatMap((shape) =>
    [...exactRows(node.appDb, shape, "UTF-8")].map(
      (image) => `${shape.name}: ${image.map((v) => `${typeof v} ${Bun.inspect(v)}`).join(", ")}`,
    ),
  );

async function run(seed: number): Promise<void> {
  const random = new Random(seed);
  const lab = await Lab.create(SCHEMA, random.between(2, 3), random.pick([1, 3]));
  try {
    lab.settle();
    const statement = about(random, statements(random));
    for (const node of lab.nodes)
      node.run(
        `PRAGMA foreign_keys = ${random.pick(["ON", "OFF"])}; PRAGMA recursive_triggers = ${random.pick(["ON", "OFF"])};
         PRAGMA trusted_schema = ${random.pick(["ON", "OFF"])}`,
      );
    for (let round = 0; round < 12; round++) {
      for (const node of lab.nodes) {
        write(node, random, statement);
        if (random.chance(0.7)) {
          node.touch();
          node.turns();
        }
        if (random.chance(0.7)) node.order();
        if (random.chance(0.6)) {
          node.deliver(random.between(1, 4));
          node.turns();
          if (node.pending.size === 0) expect(node.deviations()).toEqual([]);
        }
      }
    }
    lab.settle();
    const [first, ...others] = lab.nodes.map(dump);
    for (const other of others) expect(other).toEqual(first!);
    for (const node of lab.nodes) {
      expect(node.deviations()).toEqual([]);
      expect(node.query("PRAGMA integrity_check")).toEqual([["ok"]]);
    }
  } finally {
    lab.close();
  }
}

for (let seed = 1; seed <= 25; seed++) test(`seed ${seed}`, () => run(seed), 180_000);

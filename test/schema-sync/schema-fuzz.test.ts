/**
 * Random migrations and rows on all nodes, with proposals lost, repeated and late, and nodes killed, with odd seeds
 * also between two turns. At the end all files are equal: text of the schema, rows and their metadata. `MARMOT_SEED`
 * and `MARMOT_SEEDS` choose the seeds.
 */
import { describe, expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { Lab, type LabNode } from "../node/lab.ts";
import { expectEqual, SCHEMA } from "./schema-lab.ts";

const FIRST = Number(process.env.MARMOT_SEED ?? 1);
const SEEDS = Number(process.env.MARMOT_SEEDS ?? 6);
const STEPS = 60;
/**
 * With --transactions row the new shards of a table reported unordered rows as ordered; a table rekeyed by two nodes
 * was not compared.
 */
const FAILED_ONCE = [702, 1075];

const quoted = (name: unknown): string => `"${String(name)}"`;

const tablesOf = (node: LabNode): string[] =>
  node.app
    .prepare(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_\\_marmot%' ESCAPE '\\' AND name NOT LIKE 'sqlite%' ORDER BY name",
    )
    .values()
    .map(([name]) => String(name));

const columnsOf = (node: LabNode, table: string): { name: string; key: boolean }[] =>
  node.app
    .prepare(`SELECT name, pk FROM pragma_table_info(?)`)
    .values(table)
    .map(([name, pk]) => ({ name: String(name), key: Number(pk) > 0 }));

/** A statement on an existing table; it may fail. */
function write(random: Random, node: LabNode): string {
  const table = random.pick(tablesOf(node));
  const columns = columnsOf(node, table);
  const value = (): string => random.pick(["NULL", String(random.below(9)), `'t${random.below(9)}'`, "0.5"]);
  if (random.chance(0.3)) {
    const values = columns.map((c) => (c.key ? String(random.below(12)) : value()));
    return `INSERT OR ${random.pick(["IGNORE", "REPLACE"])} INTO ${quoted(table)}(${columns.map((c) => quoted(c.name)).join()}) VALUES(${values.join()})`;
  }
  const where = `WHERE rowid IN (SELECT rowid FROM ${quoted(table)} ORDER BY random() LIMIT ${1 + random.below(2)})`;
  const key = columns.find((c) => c.key)?.name;
  const some =
    key === undefined ? where : `WHERE ${quoted(key)} IN (${random.below(12)}, ${random.below(4)}, 'p')`;
  if (random.chance(0.2)) return `DELETE FROM ${quoted(table)} ${some}`;
  const column = random.pick(columns);
  if (random.chance(0.15))
    return `UPDATE ${quoted(table)} SET ${quoted(column.name)} = ${quoted(column.name)} ${some}`;
  return `UPDATE OR IGNORE ${quoted(table)} SET ${quoted(column.name)} = ${value()} ${some}`;
}

let named = 0;
const fresh = (random: Random): string =>
  `${random.pick(["n", "m", "o"])}${random.chance(0.5) ? "" : named++}`;

function migrate(random: Random, node: LabNode): string {
  const tables = tablesOf(node);
  const table = random.pick(tables);
  const columns = columnsOf(node, table);
  const column = random.pick(columns);
  const free = fresh(random);
  switch (random.below(10)) {
    case 0:
      return `CREATE TABLE ${quoted(free)}(id INTEGER PRIMARY KEY, v TEXT DEFAULT 'd', w)`;
    case 1:
      return tables.length > 2 ? `DROP TABLE ${quoted(table)}` : `PRAGMA user_version = ${random.below(99)}`;
    case 2:
      return `ALTER TABLE ${quoted(table)} RENAME TO ${quoted(free)}`;
    case 3:
      return `ALTER TABLE ${quoted(table)} RENAME COLUMN ${quoted(column.name)} TO ${quoted(fresh(random))}`;
    case 4:
    case 5:
      return `ALTER TABLE ${quoted(table)} ADD COLUMN ${quoted(fresh(random))} ${random.pick(["", "TEXT DEFAULT 'x'", "INT DEFAULT 3", "NOT NULL DEFAULT ''"])}`;
    case 6:
      return `ALTER TABLE ${quoted(table)} DROP COLUMN ${quoted(column.name)}`;
    case 7:
      return `CREATE ${random.chance(0.3) ? "UNIQUE " : ""}INDEX ${quoted(`i${free}`)} ON ${quoted(table)}(${quoted(column.name)})`;
    case 8:
      return random.chance(0.5)
        ? `CREATE VIEW ${quoted(`v${free}`)} AS SELECT ${quoted(column.name)} FROM ${quoted(table)}`
        : `CREATE TRIGGER ${quoted(`t${free}`)} AFTER UPDATE ON ${quoted(table)} BEGIN DELETE FROM ${quoted(table)} WHERE 0; END`;
    default: {
      const rest = columns.filter((c) => c.key || random.chance(0.8));
      const list = rest.map((c) => quoted(c.name)).join();
      const key = rest.filter((c) => c.key).map((c) => quoted(c.name));
      const primary = key.length === 0 ? "" : `, PRIMARY KEY(${key.join()})`;
      const added = random.chance(0.4) ? `, ${quoted(fresh(random))} DEFAULT 4` : "";
      return `BEGIN; CREATE TABLE "re built"(${rest.map((c) => `${quoted(c.name)} ${random.pick(["", "TEXT", "INT"])} ${c.key ? "NOT NULL" : ""}`).join()}${added}${primary});
        INSERT OR IGNORE INTO "re built"(${list}) SELECT ${list} FROM ${quoted(table)}; DROP TABLE ${quoted(table)};
        ALTER TABLE "re built" RENAME TO ${quoted(table)}; COMMIT`;
    }
  }
}

/** SQLite may reject it without an effect. */
function attempt(node: LabNode, sql: string, log: string[]): void {
  try {
    node.run(sql);
    log.push(`${node.number}: ${sql.replaceAll(/\s+/g, " ")}`);
  } catch {
    if (node.app.inTransaction) node.app.exec("ROLLBACK");
  }
}

/** `kills`: the node is killed after some of its turns. */
function turn(random: Random, node: LabNode, kills: boolean): void {
  if (!kills) {
    if (random.chance(0.7)) node.turns();
    return;
  }
  const turns = random.below(10);
  if (turns > 2) return node.turns();
  for (let i = 0; i < turns; i++) node.pipeline.turn();
  if (random.chance(0.3)) node.crash();
}

async function scenario(seed: number, shards: number, mode: "whole" | "row"): Promise<void> {
  const random = new Random(seed);
  named = 0;
  const lab = await Lab.create(SCHEMA, 3, shards, mode);
  const log: string[] = [];
  try {
    lab.settle();
    for (let step = 0; step < STEPS; step++) {
      const node = random.pick(lab.nodes);
      const dice = random.below(100);
      if (dice < 40) attempt(node, write(random, node), log);
      else if (dice < 52) attempt(node, migrate(random, node), log);
      else if (dice < 55)
        attempt(
          node,
          `BEGIN; ${migrate(random, node).replace(/^BEGIN;|COMMIT$/g, "")}; ${write(random, node)}; COMMIT`,
          log,
        );
      else if (dice < 70) {
        node.touch();
        node.turns();
      } else if (dice < 80) {
        const [lost] = node.proposed;
        if (lost !== undefined && random.chance(0.2)) node.proposed.shift();
        if (lost !== undefined && random.chance(0.2)) node.proposed.push(lost);
        node.order();
      } else if (dice < 92) {
        node.deliver(1 + random.below(3));
        turn(random, node, seed % 2 === 1);
      } else if (dice < 95) {
        log.push(`${node.number} crashes`);
        node.crash();
      } else lab.clock += 700;
    }
    log.push("settle");
    expectEqual(lab, lab.nodes[0]!);
    for (const node of lab.nodes) {
      expect(node.query("PRAGMA integrity_check")).toEqual([["ok"]]);
      expect(node.pipeline.obstacle).toBeNull();
    }
  } catch (error) {
    throw new Error(`seed ${seed}, ${shards} shards, ${mode}\n${log.join("\n")}`, { cause: error });
  } finally {
    lab.close();
  }
}

describe.each([
  [1, "whole"],
  [5, "whole"],
  [3, "row"],
] as const)("%d shards, %s", (shards, mode) => {
  test.each([...FAILED_ONCE, ...Array.from({ length: SEEDS }, (_, i) => FIRST + i)])(
    "seed %d",
    (seed) => scenario(seed, shards, mode),
    60_000,
  );
});

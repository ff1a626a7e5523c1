/**
 * Random schedules on tables without a declared key. Where each node writes only its own rows, each row exists exactly
 * once at the end, with its owner's last values and without a conflict. Where each node writes all rows, a missing row
 * was deleted by a node or is in the journal.
 */
import { afterEach, expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { decodeImage } from "../../src/change/codec.ts";
import { dumpReplica } from "../replica/lab.ts";
import { Lab, type LabNode } from "./lab.ts";

let lab: Lab;
afterEach(() => lab.close());

const SEEDS = Number(process.env.KEYLESS_SEEDS ?? 24);
const FROM = Number(process.env.KEYLESS_FROM ?? 1);
const NODES = 3;

/** `own`: rows that only their owner addresses. `n` never clashes between owners; `name` may. */
const SCHEMA = `
  CREATE TABLE own(uid TEXT, v INTEGER, twice AS (v * 2));
  CREATE TABLE single(uid TEXT, v INTEGER, n TEXT UNIQUE);
  CREATE TABLE parent(id INTEGER PRIMARY KEY);
  CREATE TABLE shared(uid TEXT, v INTEGER, name TEXT UNIQUE, parent INT REFERENCES parent(id) ON DELETE CASCADE);
  INSERT INTO parent VALUES(1), (2);
  INSERT INTO own VALUES('start', 0); INSERT INTO shared VALUES('start', 0, NULL, 1);`;

interface Model {
  /** "table/uid" ⇒ v of rows that only their owner writes. */
  readonly rows: Map<string, number>;
  /** Inserted rows of `shared`, and those that a node may have deleted. */
  readonly inserted: Set<string>;
  readonly deleted: Set<string>;
}

for (let seed = FROM; seed < FROM + SEEDS; seed++)
  test(`seed ${seed}`, async () => {
    const random = new Random(seed);
    const shards = random.pick([1, 1, 4]);
    const transactions = shards > 1 && random.chance(0.4) ? "row" : "whole";
    const merge = random.chance(0.3) ? "column" : "row";
    lab = await Lab.create(SCHEMA, NODES, shards, transactions, [], {
      merge: { usual: merge, tables: {} },
      foreignKeys: random.chance(0.5) ? "keep" : "resolve",
    });
    lab.settle();
    const model: Model = { rows: new Map(), inserted: new Set(), deleted: new Set() };
    const steps = random.between(40, 160);
    let count = 0;
    for (let i = 0; i < steps; i++) {
      const node = random.pick(lab.nodes);
      switch (random.below(12)) {
        case 0:
        case 1:
        case 2:
        case 3:
          write(node, random, model, () => `${node.number}.${count++}`);
          break;
        case 4:
        case 5:
          node.touch();
          node.turns();
          break;
        case 6:
        case 7:
          if (random.chance(0.1)) node.proposed.splice(random.below(3)); // lost on the way
          node.order();
          break;
        case 8:
          node.deliver(random.between(1, 4));
          if (random.chance(0.3)) node.applyOnly();
          else node.turns();
          break;
        case 9:
          node.deliver();
          node.turns();
          if (reflected(node)) expect(node.deviations()).toEqual([]);
          break;
        case 10:
          lab.clock += random.pick([10, 100, 3000]);
          node.pipeline.tick();
          node.turns();
          break;
        default:
          if (random.chance(0.4)) node.crash();
          else if (random.chance(0.3)) await node.adopt(random.pick(lab.nodes.filter((n) => n !== node)));
          else if (random.chance(0.2)) node.run("VACUUM");
      }
    }
    lab.settle();
    judge(model);
  });

/** The file reflects the position of the replica. */
function reflected(node: LabNode): boolean {
  const { replica } = node.replica;
  const rows = node.query("SELECT value FROM __marmot__status WHERE item = 'shard' ORDER BY name + 0");
  return (
    replica.changed.size === 0 && replica.positions().every((at, shard) => BigInt(at) === rows[shard]![0])
  );
}

function write(node: LabNode, random: Random, model: Model, fresh: () => string): void {
  const own = (table: string): string[] =>
    [...model.rows.keys()].filter((name) => name.startsWith(`${table}/${node.number}.`));
  node.run("BEGIN IMMEDIATE");
  const undo = random.chance(0.1);
  for (let i = random.between(1, 4); i > 0; i--) {
    const table = random.pick(["own", "own", "single", "shared"]);
    const v = random.below(1000);
    if (table === "shared") {
      if (!undo) writeShared(node, random, model, fresh(), v);
      continue;
    }
    const names = own(table);
    const uid = fresh();
    const name = names.length === 0 ? "" : random.pick(names);
    const [, picked] = name.split("/");
    const extra = table === "single" ? `, '${node.number}.${random.below(4)}'` : "";
    const kind = random.below(6);
    if (kind < 3 || name === "") {
      // In `single` it may replace an own row with the same value.
      node.run(`INSERT OR REPLACE INTO ${table} VALUES('${uid}', ${v}${extra})`);
      if (!undo) {
        model.rows.set(`${table}/${uid}`, v);
        if (table === "single") {
          const there = new Set(node.query("SELECT uid FROM single").flat());
          for (const other of own("single")) if (!there.has(other.split("/")[1]!)) model.rows.delete(other);
        }
      }
    } else if (kind < 5) {
      node.run(`UPDATE ${table} SET v = ${v} WHERE uid = '${picked}'`);
      if (!undo) model.rows.set(name, v);
    } else {
      node.run(`DELETE FROM ${table} WHERE uid = '${picked}'`);
      if (!undo) model.rows.delete(name);
    }
  }
  node.run(undo ? "ROLLBACK" : "COMMIT");
}

function writeShared(node: LabNode, random: Random, model: Model, uid: string, v: number): void {
  const uids = (): string[] => node.query("SELECT uid FROM shared").flat().map(String);
  const before = uids();
  const name = random.pick(["NULL", "'x'", "'y'"]);
  const some = before.length === 0 ? "" : random.pick(before);
  switch (random.below(7)) {
    case 0:
    case 1:
      node.run(`INSERT OR REPLACE INTO shared VALUES('${uid}', ${v}, ${name}, ${random.between(1, 2)})`);
      break;
    case 2:
      node.run(`UPDATE OR REPLACE shared SET v = ${v}, name = ${name} WHERE uid = '${some}'`);
      break;
    case 3:
      node.run(`UPDATE shared SET uid = '${uid}' WHERE uid = '${some}'`);
      break;
    case 4:
      node.run(`DELETE FROM parent WHERE id = 2`);
      break;
    case 5:
      node.run("INSERT OR IGNORE INTO parent VALUES(2)");
      break;
    default:
      node.run(`DELETE FROM shared WHERE uid = '${some}'`);
  }
  const after = new Set(uids());
  if (after.has(uid)) model.inserted.add(uid);
  for (const gone of before) if (!after.has(gone)) model.deleted.add(gone);
}

function judge(model: Model): void {
  const [first] = lab.nodes;
  const { journal, shapes } = first!.replica.replica;
  const conflicts = journal.list(10_000);
  const named = (table: string): number => [...shapes.values()].find((s) => s.name === table)!.id;
  expect(conflicts.filter((c) => c.table === named("own") || c.table === named("single"))).toEqual([]);
  const lost = new Set(
    conflicts.flatMap(({ losingImage }) =>
      losingImage === null ? [] : [String(decodeImage(losingImage)[1])],
    ),
  );
  for (const node of lab.nodes) {
    const rows = node.query(
      "SELECT 'own/' || uid, v FROM own WHERE uid <> 'start' UNION ALL SELECT 'single/' || uid, v FROM single ORDER BY 1",
    );
    const expected = [...model.rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => [k, BigInt(v)]);
    expect(rows).toEqual(expected);
    const there = new Set(node.query("SELECT uid FROM shared").flat());
    for (const uid of model.inserted)
      if (!there.has(uid) && !model.deleted.has(uid) && !lost.has(uid))
        throw new Error(`row ${uid} of shared is gone without a trace on n${node.number}`);
    expect(node.deviations()).toEqual([]);
    expect(node.wrongChecksums()).toEqual([]);
    expect(dumpReplica(node.replica.db, node.replica.replica)).toBe(
      dumpReplica(first!.replica.db, first!.replica.replica),
    );
  }
}

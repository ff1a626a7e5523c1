/** Ids that SQLite picks on several nodes at once: each node has its own blocks, so that ids do not collide. */
import { afterEach, describe, expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { forAll } from "../../src/change/per-table.ts";
import { IdBlocks, raisedTo } from "../../src/reflect/id-blocks.ts";
import { shapeOf } from "../../src/schema/read-shape.ts";
import { openDatabase } from "../../src/sqlite/open.ts";
import { queryOf } from "../../src/sqlite/query.ts";
import { readTable } from "../../src/sqlite/schema.ts";
import { Lab, type LabNode } from "./lab.ts";

let lab: Lab | null = null;
afterEach(() => {
  lab?.close();
  lab = null;
});

describe("raisedTo", () => {
  const place = { slot: 1, slots: 4 };
  test("an id in an own block is kept until the block is nearly used up", () => {
    // Blocks of 8: slot 0 has 1–8, slot 1 has 9–16, then 41–48.
    expect(raisedTo(9n, 8n, place)).toBeNull();
    expect(raisedTo(15n, 8n, place)).toBeNull();
    expect(raisedTo(16n, 8n, place)).toBe(40n);
  });
  test("an id in the block of another node is raised to the next own block, never lowered", () => {
    for (let next = 1n; next < 400n; next++) {
      const seq = raisedTo(next, 8n, place);
      if (seq === null) continue;
      expect(seq).toBeGreaterThanOrEqual(next - 1n);
      expect((seq / 8n) % 4n).toBe(1n);
      expect(raisedTo(seq + 1n, 8n, place)).toBeNull();
    }
  });
  test("an id never exceeds the largest integer that each driver can represent", () => {
    expect(raisedTo(BigInt(Number.MAX_SAFE_INTEGER) - 5n, 64n, place)).toBeNull();
    expect(raisedTo(2n ** 63n - 1n, 64n, place)).toBeNull();
  });
});

test("no ids are reserved for a table that was just renamed or dropped, or whose key was renamed", () => {
  const db = openDatabase(":memory:");
  for (const table of ["t", "u", "w"])
    db.exec(`CREATE TABLE ${table}(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO ${table} VALUES(5)`);
  const shapes = ["t", "u", "w"].map((name, i) => shapeOf(readTable(queryOf(db), name), i + 1));
  const blocks = new IdBlocks(db, { shapes, sizeOf: () => 8, place: () => ({ slot: 1, slots: 2 }) });
  expect(blocks.due).toBe(true);
  db.exec("ALTER TABLE t RENAME TO v; DROP TABLE u; ALTER TABLE w RENAME COLUMN id TO uid");
  expect(blocks.due).toBe(false);
  blocks.keep(new Set([1, 2, 3]))();
  db.close();
});

describe("a migration that the node has not seen yet", () => {
  const MIGRATIONS: readonly (readonly [string, string])[] = [
    [
      "ids become text",
      "CREATE TABLE n(id TEXT PRIMARY KEY, who TEXT); INSERT INTO n SELECT 'u-'||id, who FROM t",
    ],
    [
      "ids become REAL",
      "CREATE TABLE n(id REAL PRIMARY KEY, who TEXT); INSERT INTO n SELECT id + 0.5, who FROM t",
    ],
    [
      "ids become BLOBs",
      "CREATE TABLE n(id BLOB PRIMARY KEY, who TEXT); INSERT INTO n SELECT x'01'||id, who FROM t",
    ],
  ];
  const rebuilt = (sql: string): string => `BEGIN; ${sql}; DROP TABLE t; ALTER TABLE n RENAME TO t; COMMIT`;
  const cases = [
    ...MIGRATIONS.map(([what, sql]) => [what, rebuilt(sql)] as const),
    [
      "a view takes the table's name",
      "BEGIN; ALTER TABLE t RENAME TO people; CREATE VIEW t AS SELECT id, who FROM people; COMMIT",
    ],
    [
      "a view of text ids takes the table's name",
      "BEGIN; ALTER TABLE t RENAME TO people; CREATE VIEW t AS SELECT 'u-'||id AS id, who FROM people; COMMIT",
    ],
  ] as const;
  test.each(cases)("%s: the next id is not looked at, and the migration replicates", async (_, migration) => {
    lab = await Lab.create(
      "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, who TEXT); CREATE TABLE o(id INTEGER PRIMARY KEY)",
      2,
    );
    lab.settle();
    const [a, b] = [lab.nodes[0]!, lab.nodes[1]!];
    a.app.exec("INSERT INTO t(who) VALUES('x'), ('y')");
    b.app.exec("INSERT INTO t(who) VALUES('z')");
    lab.settle();
    a.app.exec(migration);
    // The look comes before the schema is.
    lab.clock += 100;
    expect(a.pipeline.session.reflector.idsDue).toBe(false);
    a.app.exec("INSERT INTO o VALUES(1)");
    lab.settle();
    const rows = (node: LabNode): unknown =>
      node.app.query("SELECT typeof(id), id, who FROM t ORDER BY id").values();
    expect(rows(a)).toEqual(rows(b) as unknown[]);
    expect((rows(a) as unknown[]).length).toBe(3);
  });
});

const SCHEMA = `CREATE TABLE parent(id INTEGER PRIMARY KEY AUTOINCREMENT, who TEXT);
  CREATE TABLE child(id INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER NOT NULL REFERENCES parent(id), who TEXT)`;

/** Nodes insert at random and see each other `delay` steps later. Returns the numbers of inserted and of lost rows. */
async function insertAtRandom(
  seed: number,
  delay: number,
  block: number,
): Promise<{ rows: number; lost: number }> {
  const random = new Random(seed);
  lab = await Lab.create(SCHEMA, 3, 1, "whole", [], { idBlock: forAll(block) });
  lab.settle();
  const pass = (node: LabNode, visible: number): void => {
    node.touch();
    node.turns();
    node.order();
    node.deliver(Math.max(0, visible - node.delivered[0]!));
    node.turns();
  };
  const lengths: number[] = [];
  let rows = 0;
  for (let step = 0; step < 150; step++) {
    for (const [i, node] of lab.nodes.entries())
      if (random.chance(0.5)) {
        node.run("BEGIN; INSERT INTO parent(who) VALUES('n" + i + "')");
        const [[id]] = node.query("SELECT last_insert_rowid()") as [[bigint]];
        const children = random.between(0, 3);
        for (let c = 0; c < children; c++) node.run(`INSERT INTO child(parent, who) VALUES(${id}, 'n${i}')`);
        node.run("COMMIT");
        rows += 1 + children;
      }
    lab.clock += 25;
    lengths.push(lab.order[0]!.length);
    for (const node of lab.nodes) pass(node, lengths[Math.max(0, step - delay)]!);
  }
  lab.settle();
  const [a, b, c] = lab.nodes.map((n) =>
    n.query("SELECT 'p', id, who FROM parent UNION ALL SELECT 'c', id, who FROM child ORDER BY 1, 2"),
  );
  expect(b).toEqual(a);
  expect(c).toEqual(a);
  const result = { rows, lost: rows - a!.length };
  expect(lab.nodes[0]!.replica.replica.journal.total).toBe(result.lost);
  if (result.lost === 0)
    expect(
      lab.nodes[0]!.query(
        "SELECT count(*) FROM child c LEFT JOIN parent p ON p.id = c.parent WHERE p.who IS NOT c.who",
      ),
    ).toEqual([[0n]]);
  lab.close();
  lab = null;
  return result;
}

describe("three nodes insert parents and children at once", () => {
  for (const delay of [2, 5, 20])
    test(`with blocks no row is lost when each sees the others ${delay} steps later`, async () => {
      const seed = Number(process.env.MARMOT_SEED ?? 7);
      const plain = await insertAtRandom(seed, delay, 0);
      const blocks = await insertAtRandom(seed, delay, 64);
      console.log(
        `seed ${seed}, delay ${delay}: lost ${plain.lost} of ${plain.rows} rows without blocks, ${blocks.lost} of ${blocks.rows} with blocks of 64`,
      );
      expect(plain.lost / plain.rows).toBeGreaterThan(0.1);
      expect(blocks.lost).toBe(0);
    });
});

const next = (node: LabNode, table: string): bigint => {
  node.run(`BEGIN; INSERT INTO ${table}(who) VALUES('x')`);
  const [[id]] = node.query("SELECT last_insert_rowid()") as [[bigint]];
  node.run("ROLLBACK");
  return id;
};

test("a joined node and the first node of a file with rows insert in their own blocks at once", async () => {
  lab = await Lab.create(
    `${SCHEMA}; INSERT INTO parent VALUES(70, 'old'); INSERT INTO child VALUES(1, 70, 'old')`,
    3,
    1,
    "whole",
    [],
    { idBlock: { usual: 64, tables: { child: 16 } } },
  );
  // Before the first write of Marmot to these files.
  expect(next(lab.nodes[1]!, "parent")).toBe(71n); // block 1 belongs to n1
  expect(next(lab.nodes[2]!, "parent")).toBe(129n);
  lab.settle();
  expect(next(lab.nodes[0]!, "parent")).toBe(513n);
  const node = lab.nodes[2]!;
  node.run("BEGIN; INSERT INTO child(parent, who) VALUES(70, 'n2')");
  expect(node.query("SELECT max(id) FROM child")).toEqual([[33n]]);
  node.run("COMMIT");
  lab.settle();
  expect(lab.nodes[0]!.query("SELECT max(id) FROM child")).toEqual([[33n]]);
});

test("ids return to the own block after sqlite_sequence was emptied, also without a quorum", async () => {
  lab = await Lab.create(SCHEMA, 2, 1);
  lab.settle();
  const [a] = lab.nodes as [LabNode];
  a.run("INSERT INTO parent(who) VALUES('a')", "DELETE FROM sqlite_sequence");
  a.run("INSERT INTO parent VALUES(64, 'by hand')"); // 65 belongs to the other node
  for (let i = 0; i < 3; i++) {
    a.touch();
    lab.clock += 20;
    a.turns(); // no entry is ordered
  }
  expect(a.query("INSERT INTO parent(who) VALUES('a') RETURNING id")).toEqual([[513n]]);
});

/** Declared foreign keys under concurrency: dangling references are kept and counted, or resolved equally on all nodes. */
import { afterEach, describe, expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { decodeImage } from "../../src/change/codec.ts";
import { forAll } from "../../src/change/per-table.ts";
import { dumpReplica } from "../replica/lab.ts";
import { Lab, type LabNode } from "./lab.ts";

const ACTIONS = ["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION"] as const;
type Action = (typeof ACTIONS)[number];

const schema = (action: Action): string => `
  CREATE TABLE parent(id INTEGER PRIMARY KEY, v TEXT);
  CREATE TABLE child(id INTEGER PRIMARY KEY, parent INTEGER DEFAULT 9 REFERENCES parent(id) ON DELETE ${action}, v TEXT);
  CREATE TABLE grandchild(id INTEGER PRIMARY KEY, child INTEGER NOT NULL REFERENCES child(id) ON DELETE CASCADE);
  INSERT INTO parent VALUES(1, 'p'), (2, 'q'), (9, 'default');
  INSERT INTO child VALUES(20, 2, 'old')`;

let lab: Lab;
afterEach(() => lab.close());

const make = async (
  sql: string,
  foreignKeys: "keep" | "resolve",
  count = 2,
  shards = 1,
  merge: "row" | "column" = "row",
  transactions: "whole" | "row" = "whole",
): Promise<LabNode[]> => {
  lab = await Lab.create(sql, count, shards, transactions, [], { foreignKeys, merge: forAll(merge) });
  lab.settle();
  return lab.nodes;
};
const send = (node: LabNode): void => {
  node.touch();
  node.turns();
  node.order();
};
/** Both write before they see each other's write; `first` is ordered first. */
const atOnce = (first: [LabNode, string], second: [LabNode, string]): void => {
  for (const [node, sql] of [first, second]) node.run("PRAGMA foreign_keys = ON", sql);
  send(first[0]);
  send(second[0]);
  lab.settle();
};
const journal = () =>
  lab.nodes[0]!.replica.replica.journal.list(100).map(
    (c) => [c.kind, c.losingImage === null ? null : decodeImage(c.losingImage)[0]] as const,
  );
const orphans = (): number[] => lab.nodes.map((n) => n.replica.replica.danglingReferences.total);
const rows = (table: string): unknown[][] => {
  const [first, ...others] = lab.nodes.map((n) => n.query(`SELECT * FROM ${table} ORDER BY id`));
  for (const other of others) expect(other).toEqual(first!);
  for (const node of lab.nodes) expect(node.deviations()).toEqual([]);
  return first!;
};

describe("a parent deleted on one node while another inserts a child", () => {
  for (const action of ACTIONS)
    for (const deleteFirst of [true, false]) {
      const run = (nodes: LabNode[]): void => {
        const [a, b] = nodes as [LabNode, LabNode];
        const remove: [LabNode, string] = [b, "DELETE FROM parent WHERE id = 1"];
        const add: [LabNode, string] = [
          a,
          "BEGIN; INSERT INTO child VALUES(10, 1, 'new'); INSERT INTO grandchild VALUES(100, 10); COMMIT",
        ];
        atOnce(...((deleteFirst ? [remove, add] : [add, remove]) as [[LabNode, string], [LabNode, string]]));
      };
      const order = deleteFirst ? "the delete first" : "the insert first";
      test(`${action}, ${order}: kept and counted`, async () => {
        run(await make(schema(action), "keep"));
        expect(rows("parent").map((r) => r[0])).toEqual([2n, 9n]);
        expect(rows("child")).toContainEqual([10n, 1n, "new"]);
        expect(journal()).toEqual([["orphan", 10n]]);
        expect(orphans()).toEqual([1, 1]);
        // The reference is counted while it dangles.
        lab.nodes[1]!.run("INSERT INTO parent VALUES(1, 'back')");
        lab.settle();
        expect(orphans()).toEqual([0, 0]);
      });
      test(`${action}, ${order}: resolved`, async () => {
        run(await make(schema(action), "resolve"));
        const parents = rows("parent").map((r) => r[0]);
        const children = rows("child").filter((r) => r[0] === 10n);
        const grandchildren = rows("grandchild");
        switch (action) {
          case "CASCADE":
            expect([parents, children, grandchildren]).toEqual([[2n, 9n], [], []]);
            expect(journal().map(([kind]) => kind)).toEqual(["cascaded", "cascaded"]);
            break;
          case "SET NULL":
            expect([parents, children]).toEqual([[2n, 9n], [[10n, null, "new"]]]);
            expect([grandchildren, journal()]).toEqual([[[100n, 10n]], [["set null", 10n]]]);
            break;
          case "SET DEFAULT":
            expect([parents, children]).toEqual([[2n, 9n], [[10n, 9n, "new"]]]);
            expect([grandchildren, journal()]).toEqual([[[100n, 10n]], [["set default", 10n]]]);
            break;
          default:
            // SQLite would have refused the later of the two.
            if (deleteFirst) {
              expect([parents, children, grandchildren]).toEqual([[2n, 9n], [], []]);
              expect(journal().toSorted()).toEqual([
                ["cascaded", 100n],
                ["refused", 10n],
              ]);
            } else {
              expect([parents, children]).toEqual([[1n, 2n, 9n], [[10n, 1n, "new"]]]);
              expect([grandchildren, journal()]).toEqual([[[100n, 10n]], [["refused", null]]]);
            }
        }
        expect(orphans()).toEqual([0, 0]);
        for (const node of lab.nodes) expect(node.query("PRAGMA foreign_key_check")).toEqual([]);
      });
    }
});

describe("--foreign-keys resolve", () => {
  test("later writes of an origin that has not seen the resolution follow it", async () => {
    const [a, b] = (await make(schema("CASCADE"), "resolve")) as [LabNode, LabNode];
    b.run("DELETE FROM parent WHERE id = 1");
    send(b);
    a.run("INSERT INTO child VALUES(10, 1, 'new')");
    send(a);
    a.run("INSERT INTO grandchild VALUES(100, 10)", "UPDATE child SET v = 'newer' WHERE id = 10");
    send(a);
    lab.settle();
    expect([rows("child").length, rows("grandchild")]).toEqual([1, []]);
    expect(lab.nodes[0]!.query("PRAGMA foreign_key_check")).toEqual([]);
  });

  test("a child that moved to a deleted parent gets its earlier reference back where RESTRICT would have refused the move", async () => {
    const [a, b] = (await make(schema("RESTRICT"), "resolve")) as [LabNode, LabNode];
    atOnce(
      [b, "DELETE FROM parent WHERE id = 1"],
      [a, "UPDATE child SET parent = 1, v = 'moved' WHERE id = 20"],
    );
    expect(rows("child")).toEqual([[20n, 2n, "old"]]);
    expect(journal()).toEqual([["refused", 20n]]);
  });

  test("an undone child takes only the rows of the same changeset that refer to it", async () => {
    const [a, b] = (await make(schema("RESTRICT"), "resolve")) as [LabNode, LabNode];
    a.run("INSERT INTO grandchild VALUES(99, 10)"); // dangles in its own file: its application does not enforce
    lab.settle();
    atOnce(
      [b, "DELETE FROM parent WHERE id = 1"],
      [a, "BEGIN; INSERT INTO child VALUES(10, 1, 'new'); INSERT INTO grandchild VALUES(100, 10); COMMIT"],
    );
    expect([rows("child").map((r) => r[0]), rows("grandchild")]).toEqual([[20n], [[99n, 10n]]]);
  });

  test("a cascade that meets a RESTRICT is not done: the reference is kept and counted", async () => {
    const sql = schema("CASCADE").replace("REFERENCES child(id) ON DELETE CASCADE", "REFERENCES child(id)");
    const [a, b] = (await make(sql, "resolve")) as [LabNode, LabNode];
    const add =
      "BEGIN; INSERT INTO child VALUES(10, 1, 'new'); INSERT INTO grandchild VALUES(100, 10); COMMIT";
    atOnce([b, "DELETE FROM parent WHERE id = 1"], [a, add]);
    expect([rows("child").map((r) => r[0]), rows("grandchild")]).toEqual([[10n, 20n], [[100n, 10n]]]);
    expect([journal(), orphans()]).toEqual([[["orphan", 10n]], [1, 1]]);
  });

  test("SET DEFAULT with a default that clashes in a UNIQUE value undoes the later write, or keeps the reference", async () => {
    const sql =
      schema("SET DEFAULT").replace("DEFAULT 9 ", "UNIQUE DEFAULT 9 ") +
      "; INSERT INTO child VALUES(21, 9, 'has it')";
    for (const deleteFirst of [true, false]) {
      const [a, b] = (await make(sql, "resolve")) as [LabNode, LabNode];
      const remove: [LabNode, string] = [b, "DELETE FROM parent WHERE id = 1"];
      const add: [LabNode, string] = [a, "INSERT INTO child VALUES(10, 1, 'new')"];
      if (deleteFirst) atOnce(remove, add);
      else atOnce(add, remove);
      expect(rows("child").map((r) => r[0])).toEqual(deleteFirst ? [20n, 21n] : [10n, 20n, 21n]);
      expect(rows("parent").map((r) => r[0])).toEqual(deleteFirst ? [2n, 9n] : [1n, 2n, 9n]);
      lab.close();
    }
    await make(sql, "resolve");
  });

  test("a restored parent brings back the rows that it refers to", async () => {
    const sql = `CREATE TABLE g(id INTEGER PRIMARY KEY); CREATE TABLE p(id INTEGER PRIMARY KEY, g INTEGER NOT NULL REFERENCES g(id) ON DELETE CASCADE);
      CREATE TABLE c(id INTEGER PRIMARY KEY, p INTEGER NOT NULL REFERENCES p(id)); INSERT INTO g VALUES(1); INSERT INTO p VALUES(1, 1)`;
    const [a, b] = (await make(sql, "resolve")) as [LabNode, LabNode];
    atOnce([a, "INSERT INTO c VALUES(1, 1)"], [b, "DELETE FROM g WHERE id = 1"]);
    expect([rows("g"), rows("p"), rows("c")]).toEqual([[[1n]], [[1n, 1n]], [[1n, 1n]]]);
    for (const node of lab.nodes) expect(node.query("PRAGMA foreign_key_check")).toEqual([]);
  });

  test("a node killed before its own entry is applied shows the resolution in its file", async () => {
    const [a, b] = (await make(schema("CASCADE"), "resolve")) as [LabNode, LabNode];
    b.run("DELETE FROM parent WHERE id = 1");
    send(b);
    a.run("INSERT INTO child VALUES(10, 1, 'new')");
    send(a);
    a.deliver();
    a.applyOnly();
    a.crash();
    lab.settle();
    expect(rows("child").map((r) => r[0])).toEqual([20n]);
  });

  test("after a received replica the files of the child's node and of the parent's show the resolution", async () => {
    for (const late of [0, 1]) {
      const [a, b] = (await make(schema("CASCADE"), "resolve", 3)) as [LabNode, LabNode];
      // An update wrote the reference: the row exists before the resolution and not after it.
      b.run("DELETE FROM parent WHERE id = 1");
      send(b);
      a.run("UPDATE child SET parent = 1 WHERE id = 20");
      send(a);
      const third = lab.nodes[2]!;
      third.deliver();
      third.turns();
      expect(await lab.nodes[late]!.adopt(third)).toBe(true);
      lab.settle();
      expect(rows("child")).toEqual([]);
      lab.close();
    }
    await make(schema("CASCADE"), "resolve");
  });

  test("foreign keys to a text key under NOCASE, and to a key of two columns, are resolved", async () => {
    const sql = `CREATE TABLE p(k TEXT PRIMARY KEY NOT NULL COLLATE NOCASE); CREATE TABLE c(id INTEGER PRIMARY KEY, k TEXT REFERENCES p(k) ON DELETE CASCADE);
      CREATE TABLE pp(a INTEGER NOT NULL, b TEXT NOT NULL, PRIMARY KEY(b, a)) WITHOUT ROWID;
      CREATE TABLE cc(id INTEGER PRIMARY KEY, a INTEGER, b TEXT, FOREIGN KEY(b, a) REFERENCES pp ON DELETE SET NULL);
      INSERT INTO p VALUES('Key'); INSERT INTO pp VALUES(1, 'x');`;
    for (const deleteFirst of [true, false]) {
      const [a, b] = (await make(sql, "resolve")) as [LabNode, LabNode];
      const remove: [LabNode, string] = [b, "DELETE FROM p; DELETE FROM pp"];
      const add: [LabNode, string] = [a, "INSERT INTO c VALUES(1, 'KEY'); INSERT INTO cc VALUES(1, 1, 'x')"];
      if (deleteFirst) atOnce(remove, add);
      else atOnce(add, remove);
      expect([rows("c"), rows("cc")]).toEqual([[], [[1n, null, null]]]);
      lab.close();
    }
    await make(sql, "resolve");
  });

  test("references written without foreign key enforcement are not resolved", async () => {
    const [a, b] = (await make(schema("CASCADE"), "resolve")) as [LabNode, LabNode];
    const before = rows("child").length;
    // Writes references to a row that never existed and to one that it deleted; deletes a parent whose child it saw.
    a.run("INSERT INTO child VALUES(30, 777, 'nowhere')");
    a.run("DELETE FROM parent WHERE id = 1", "INSERT INTO child VALUES(31, 1, 'own')");
    lab.settle();
    b.run("INSERT INTO child VALUES(32, 1, 'saw that it is gone')", "DELETE FROM parent WHERE id = 2");
    lab.settle();
    // Concurrent writes that keep the reference, of a child that dangles already or whose parent is deleted.
    a.run("UPDATE child SET v = 'a' WHERE id IN (20, 30)");
    b.run("DELETE FROM parent WHERE id = 9");
    send(a);
    send(b);
    lab.settle();
    expect(rows("child").length).toBe(before + 3);
    expect([journal(), orphans()]).toEqual([[], [0, 0]]);
  });

  test("a child whose other column was written without enforcement is not resolved when its parent is deleted", async () => {
    const [a, b] = (await make(schema("CASCADE"), "resolve")) as [LabNode, LabNode];
    a.run("UPDATE child SET v = 'a' WHERE id = 20");
    send(a);
    b.run("DELETE FROM parent WHERE id = 2");
    send(b);
    lab.settle();
    expect(rows("child")).toEqual([[20n, 2n, "a"]]);
    expect(journal()).toEqual([]);
  });

  test("several shards with --transactions row: dangling references are counted and not resolved", async () => {
    const [a, b] = (await make(schema("CASCADE"), "resolve", 2, 4, "row", "row")) as [LabNode, LabNode];
    atOnce([b, "DELETE FROM parent WHERE id = 1"], [a, "INSERT INTO child VALUES(10, 1, 'new')"]);
    expect(rows("child").map((r) => r[0])).toEqual([10n, 20n]);
    expect(journal()).toEqual([]);
    expect(orphans().some((n) => n === 1)).toBe(true);
  });
});

test("a child written by an origin that had not seen its parent lose the id belongs to the losing row", async () => {
  const [a, b, c] = (await make(schema("RESTRICT"), "keep", 3)) as [LabNode, LabNode, LabNode];
  a.run("INSERT INTO parent VALUES(5, 'first')");
  send(a);
  c.deliver();
  c.turns(); // c has seen only the first
  b.run("INSERT INTO parent VALUES(5, 'second')", "INSERT INTO child VALUES(50, 5, 'second')");
  send(b);
  // After the conflict in the log, before these nodes see it.
  a.run("INSERT INTO child VALUES(51, 5, 'first')");
  c.run("INSERT INTO child VALUES(53, 5, 'first')");
  send(a);
  send(c);
  lab.settle();
  b.run("INSERT INTO child VALUES(52, 5, 'knows')", "UPDATE child SET v = 'later' WHERE id IN (50, 51, 53)");
  lab.settle();
  const { replica } = lab.nodes[1]!.replica;
  const [conflict] = replica.journal.list(1) as [NonNullable<ReturnType<typeof replica.journal.get>>];
  const table = [...replica.shapes.values()].find((s) => s.name === "child")!.id;
  expect(conflict.kind).toBe("same key");
  const strays = (): boolean[] =>
    [50, 51, 52, 53].map((id) => replica.losersChildren.isOf(table, id, conflict));
  expect(strays()).toEqual([false, true, false, true]);
  b.run("UPDATE child SET parent = 2 WHERE id = 53"); // to another parent, and back to the winning row
  lab.settle();
  a.run("UPDATE child SET parent = 5 WHERE id = 53");
  lab.settle();
  expect(strays()).toEqual([false, true, false, false]);
  a.run("DELETE FROM child WHERE id = 51");
  lab.settle();
  a.run("INSERT INTO child VALUES(51, 5, 'knows')");
  lab.settle();
  expect(strays()).toEqual([false, false, false, false]);
});

test("a merged replica takes reference positions and column positions from the replica that is ahead in their shard", async () => {
  const sql = `${schema("RESTRICT")}; CREATE TABLE kv(k INTEGER PRIMARY KEY, v TEXT)`;
  const [a, b, c] = (await make(sql, "keep", 3, 4, "column")) as [LabNode, LabNode, LabNode];
  const { shapes } = a.replica.replica;
  const [child, kv] = ["child", "kv"].map((name) => [...shapes.values()].find((s) => s.name === name)!.id);
  const home = a.replica.replica.shardOfKey(child!, 1);
  const elsewhere = Array.from({ length: 100 }, (_, k) => [k, a.replica.replica.shardOfKey(kv!, k)] as const);
  const [key, other] = elsewhere.find(([, shard]) => shard !== home)!;
  atOnce([b, "DELETE FROM parent WHERE id = 1"], [a, "INSERT INTO child VALUES(10, 1, 'dangles')"]);
  a.run("INSERT INTO parent VALUES(5, 'first')");
  c.run("INSERT INTO parent VALUES(5, 'second')");
  send(a);
  send(c);
  a.run("INSERT INTO child VALUES(51, 5, 'first')", "INSERT INTO child VALUES(52, 5, 'first')");
  lab.settle();
  const noted = (node: LabNode): unknown[] =>
    ["orphan", "stray", "attached", "column"].map(
      (t) => node.replica.db.prepare(`SELECT count(*) AS n FROM __marmot__${t}`).get()!.n,
    );
  expect(noted(a)).toEqual([1, 2, 0, 0]);
  // c mends one, leads another away and writes columns: b hears of it, a writes elsewhere.
  c.run(
    "INSERT INTO parent VALUES(1, 'back')",
    "UPDATE child SET parent = 2 WHERE id = 51",
    "UPDATE child SET v = 'new' WHERE id = 20",
  );
  send(c);
  for (const node of [b, c]) {
    node.deliver(Number.POSITIVE_INFINITY, [home]);
    node.turns();
  }
  a.run(`INSERT INTO kv VALUES(${key}, 'elsewhere')`);
  send(a);
  for (const node of [a, c]) {
    node.deliver(Number.POSITIVE_INFINITY, [other]);
    node.turns();
  }
  expect(noted(a)).toEqual([1, 2, 0, 0]);
  expect(noted(b)).toEqual([0, 1, 1, 2]);
  const dump = (node: LabNode): string => dumpReplica(node.replica.db, node.replica.replica);
  expect(await b.adopt(a)).toBe(true);
  expect(dump(b)).toBe(dump(c));
  lab.settle();
  expect(orphans()).toEqual([0, 0, 0]);
  expect(rows("child").length).toBe(4);
});

/** Kinds of conflicts in the random runs. */
const seen = new Map<string, number>();
/** "shards/seed" of runs with a reference that dangles uncounted. */
const overlooked: string[] = [];

/**
 * Applications that enforce foreign keys write at random on three nodes: at the end no reference dangles. With several
 * shards transactions span shards, and nodes install each other's replicas.
 */
async function enforced(seed: number, shards: number): Promise<void> {
  const random = new Random(seed);
  const sql = `CREATE TABLE a(id INTEGER PRIMARY KEY, up INTEGER REFERENCES a(id) ON DELETE CASCADE);
    CREATE TABLE b(id INTEGER PRIMARY KEY, a INTEGER REFERENCES a(id) ON DELETE SET NULL, name TEXT UNIQUE);
    CREATE TABLE c(id INTEGER PRIMARY KEY, b INTEGER NOT NULL REFERENCES b(id), a INTEGER NOT NULL REFERENCES a(id) ON DELETE CASCADE);
    CREATE TABLE d(c INTEGER NOT NULL REFERENCES c(id) ON DELETE CASCADE, n INTEGER NOT NULL, v TEXT, PRIMARY KEY(c, n)) WITHOUT ROWID;
    INSERT INTO a VALUES(0, NULL), (1, NULL), (2, 1), (3, NULL), (4, 3), (5, NULL);
    INSERT INTO b VALUES(0, 0, 'p'), (1, 1, 'q'), (2, 2, 'r'), (3, NULL, 's'), (4, 4, 't'); INSERT INTO c VALUES(0, 0, 0), (1, 1, 5);
    CREATE TABLE kv(k INTEGER PRIMARY KEY, v TEXT);`;
  const nodes = await make(sql, "resolve", 3, shards, seed % 2 === 0 ? "row" : "column");
  for (const node of nodes) node.run("PRAGMA foreign_keys = ON");
  const id = (): number => random.below(6);
  const write = (node: LabNode): void => {
    const [k, x, y] = [id(), id(), id()];
    const name = random.pick(["p", "q", "r", "s", "t"]);
    // SQLite overlooks a dangling reference written by a statement that fixes another one: so the test checks, too.
    const has = (...rows: string[]): string =>
      `WHERE ${rows.map((row) => `EXISTS(SELECT 1 FROM ${row})`).join(" AND ")}`;
    const statements = [
      `INSERT OR IGNORE INTO a VALUES(${k}, NULL)`,
      `INSERT OR IGNORE INTO a SELECT ${k}, ${x} ${has(`a WHERE id = ${x}`)}`,
      `DELETE FROM a WHERE id = ${k}`,
      `INSERT OR IGNORE INTO b VALUES(${k}, NULL, '${name}')`,
      `INSERT OR IGNORE INTO b SELECT ${k}, ${x}, '${name}' ${has(`a WHERE id = ${x}`)}`,
      `UPDATE OR IGNORE b SET a = ${x} ${has(`a WHERE id = ${x}`)} AND id = ${k}`,
      `DELETE FROM b WHERE id = ${k}`,
      `INSERT OR IGNORE INTO c SELECT ${k}, ${x}, ${y} ${has(`b WHERE id = ${x}`, `a WHERE id = ${y}`)}`,
      `INSERT OR IGNORE INTO c SELECT ${k}, max(b.id), max(a.id) FROM a, b HAVING count(*) > 0`,
      `UPDATE OR IGNORE c SET b = ${x} ${has(`b WHERE id = ${x}`)} AND id = ${k}`,
      `DELETE FROM c WHERE id = ${k}`,
      `INSERT OR IGNORE INTO d SELECT ${k}, ${random.below(2)}, '${x}' ${has(`c WHERE id = ${k}`)}`,
      `UPDATE d SET v = '${x}' WHERE c = ${k}`,
    ];
    for (let i = random.between(1, 3); i > 0; i--)
      try {
        const statement = random.pick(statements);
        const elsewhere = shards > 1 && random.chance(0.5);
        node.run(...(elsewhere ? ["BEGIN", `INSERT OR REPLACE INTO kv VALUES(${x}, '${y}')`] : []));
        node.run(statement, ...(elsewhere ? ["COMMIT"] : []));
      } catch (error) {
        if (node.app.inTransaction) node.run("ROLLBACK");
        if (!/constraint/i.test(String(error))) throw error;
      }
  };
  for (let step = 0; step < 120; step++) {
    const node = random.pick(nodes);
    switch (random.below(7)) {
      case 0:
      case 1:
      case 2:
        write(node);
        break;
      case 3:
        node.touch();
        node.turns();
        break;
      case 4:
        node.order();
        break;
      case 5:
        node.deliver(random.between(1, 4), shards > 1 ? [random.below(shards)] : [0]);
        if (random.chance(0.3)) node.applyOnly();
        lab.clock += random.pick([1, 30]);
        node.turns();
        break;
      default:
        if (random.chance(0.15)) {
          if (shards > 1 && random.chance(0.5))
            await node.adopt(random.pick(nodes.filter((n) => n !== node)));
          else node.crash();
          node.run("PRAGMA foreign_keys = ON");
        }
    }
  }
  lab.settle();
  const check = nodes[0]!.query("PRAGMA foreign_key_check");
  const kinds = nodes[0]!.replica.replica.journal.list(10_000).map((c) => c.kind);
  for (const kind of kinds) seen.set(kind, (seen.get(kind) ?? 0) + 1);
  const { total } = nodes[0]!.replica.replica.danglingReferences;
  // A row's base does not tell which other keys the file held back: see docs/protocol.md.
  if (check.length > total) overlooked.push(`${shards}/${seed}`);
  else expect({ seed, dangling: check.length }).toEqual({ seed, dangling: total });
  for (const node of nodes) {
    expect({ seed, wrong: node.deviations() }).toEqual({ seed, wrong: [] });
    for (const table of ["a", "b", "c", "d"])
      expect({ seed, rows: node.query(`SELECT * FROM ${table}`) }).toEqual({
        seed,
        rows: nodes[0]!.query(`SELECT * FROM ${table}`),
      });
    expect({ seed, sums: node.wrongChecksums() }).toEqual({ seed, sums: [] });
    const [dump, first] = [node, nodes[0]!].map((n) => dumpReplica(n.replica.db, n.replica.replica));
    expect({ seed, dump }).toEqual({ seed, dump: first! });
    expect(node.query("PRAGMA integrity_check")).toEqual([["ok"]]);
  }
}

describe("random writes of applications that enforce foreign keys", () => {
  const first = Number(process.env.MARMOT_SEED ?? 1);
  const count = Number(process.env.MARMOT_SEEDS ?? 40);
  for (const shards of [1, 3])
    for (let seed = first; seed < first + count; seed++)
      test(`${shards} shards, seed ${seed}`, () => enforced(seed, shards));
  test("the random runs cover each kind of resolution and overlook almost no reference", async () => {
    await make("CREATE TABLE t(id INTEGER PRIMARY KEY)", "keep", 1);
    console.log(`conflicts of the random runs: ${JSON.stringify(Object.fromEntries(seen))}`);
    console.log(`overlooked in ${overlooked.length} of ${2 * count} runs: ${overlooked.join(", ")}`);
    expect(overlooked.length).toBeLessThanOrEqual(Math.max(2, count / 20));
    for (const kind of ["cascaded", "set null", "refused"])
      expect([kind, seen.has(kind)]).toEqual([kind, true]);
  });
});

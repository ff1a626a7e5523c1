/** Schema changes on several nodes at once, during disconnections and crashes, and with capture triggers dropped. */
import { Database } from "bun:sqlite";
import { afterEach, describe, expect, test } from "bun:test";
import { decodeImage } from "../../src/change/codec.ts";
import { Lab, type LabNode } from "../node/lab.ts";
import { expectEqual, rowsOf, SCHEMA, schemaOf } from "./schema-lab.ts";

let lab: Lab | null = null;
afterEach(() => {
  lab?.close();
  lab = null;
});

async function start(shards: number, transactions: "whole" | "row" = "whole", schema = SCHEMA): Promise<Lab> {
  lab = await Lab.create(schema, 3, shards, transactions);
  lab.settle();
  return lab;
}

/** The node checks its file and proposes; no entry is ordered yet. */
const look = (node: LabNode): void => {
  node.touch();
  node.turns();
};

const textOf = (node: LabNode, name: string): string =>
  schemaOf(node).find((o) => o.split(" ")[1] === name) ?? "";

describe.each([
  [1, "whole"],
  [16, "whole"],
  [4, "row"],
] as const)("%d shards, %s", (shards, mode) => {
  test("the same migration on all nodes at the same time gives one schema and stops no node", async () => {
    const { nodes } = await start(shards, mode);
    for (const node of nodes) {
      node.run(
        "CREATE TABLE m(id INTEGER PRIMARY KEY, v)",
        "ALTER TABLE a ADD COLUMN z DEFAULT 1",
        `INSERT INTO m VALUES(${node.number}, 'n')`,
        "PRAGMA user_version = 3",
      );
      look(node);
    }
    expectEqual(lab!, nodes[0]!);
    expect(rowsOf(nodes[1]!).m).toHaveLength(3);
    expect(nodes[0]!.replica.replica.settings.userVersion).toBe(3);
    nodes[2]!.run("INSERT INTO m VALUES(9, 'after')");
    expectEqual(lab!, nodes[2]!);
  });

  test("a table with a unique index on an expression gets a column while its rows change", async () => {
    const { nodes } = await start(
      shards,
      mode,
      "CREATE TABLE u(id INTEGER PRIMARY KEY, mail TEXT); CREATE UNIQUE INDEX by_mail ON u(lower(mail))",
    );
    const [a, b] = nodes as [LabNode, LabNode];
    b.run("INSERT INTO u VALUES(1, 'A')");
    lab!.settle();
    a.run("ALTER TABLE u ADD COLUMN active INT NOT NULL DEFAULT 1");
    look(a);
    expectEqual(lab!, a);
    b.run(
      "INSERT INTO u(id, mail, active) VALUES(2, 'B', 0)",
      "REPLACE INTO u(id, mail, active) VALUES(3, 'a', 0)",
    );
    expectEqual(lab!, b);
    expect(a.query("SELECT * FROM u ORDER BY id")).toEqual([
      [2n, "B", 0n],
      [3n, "a", 0n],
    ]);
  });

  test("two nodes rebuild a table with keys of different types: each row is on each node once", async () => {
    const { nodes } = await start(shards, mode);
    const [a, b] = nodes as [LabNode, LabNode, LabNode];
    const rebuild = (key: string): string => `CREATE TABLE n(${key} NOT NULL PRIMARY KEY, v);
      INSERT INTO n SELECT id, x FROM a; DROP TABLE a; ALTER TABLE n RENAME TO a`;
    a.run(rebuild("id"));
    look(a);
    b.run(rebuild("id TEXT"));
    look(b);
    a.order();
    expectEqual(lab!, a);
    expect(a.query("SELECT v FROM a ORDER BY id")).toEqual([["one"], ["two"], ["three"]]);
  });

  test("two changes that a node applies as one keep the values of the first", async () => {
    const { nodes } = await start(shards, mode);
    const [a, b] = nodes as [LabNode, LabNode];
    a.run("ALTER TABLE a ADD COLUMN z TEXT NOT NULL DEFAULT 'given'");
    look(a);
    a.order();
    a.deliver();
    a.turns();
    a.run(
      "CREATE TABLE n(id INTEGER PRIMARY KEY, x TEXT, y INT, z TEXT NOT NULL)",
      "INSERT INTO n SELECT id, x, y, z FROM a",
      "DROP TABLE a",
      "ALTER TABLE n RENAME TO a",
    );
    look(a);
    expectEqual(lab!, a);
    expect(b.query("SELECT z FROM a")).toEqual([["given"], ["given"], ["given"]]);
  });

  test("a renamed column of a rebuilt table keeps concurrent writes of others", async () => {
    const { nodes } = await start(shards, mode);
    const [a, b] = nodes as [LabNode, LabNode];
    a.run(
      "CREATE TABLE n(id INTEGER PRIMARY KEY, note TEXT NOT NULL, x TEXT, y INT)",
      "INSERT INTO n SELECT id, '', x, y FROM a",
      "DROP TABLE a",
      "ALTER TABLE n RENAME TO a",
      "ALTER TABLE a RENAME COLUMN x TO xx",
    );
    b.run("INSERT INTO a VALUES(9, 'of b', 90)");
    look(a);
    look(b);
    expectEqual(lab!, a);
    expect(a.query("SELECT xx, y, note FROM a WHERE id = 9")).toEqual([["of b", 90n, ""]]);
  });

  test("a new column of a rebuilt table has no values of a dropped column", async () => {
    const { nodes } = await start(shards, mode);
    const [a, b] = nodes as [LabNode, LabNode];
    a.run(
      "CREATE TABLE n(id INTEGER PRIMARY KEY, nick TEXT, y INT)",
      "INSERT INTO n SELECT id, 'nick of ' || id, y FROM a",
      "DROP TABLE a",
      "ALTER TABLE n RENAME TO a",
    );
    b.run("INSERT INTO a VALUES(9, 'secret', 90)");
    look(a);
    look(b);
    expectEqual(lab!, a);
    expect(a.query("SELECT nick FROM a WHERE id = 9")).toEqual([[null]]);
  });

  test("different migrations at the same time are all applied", async () => {
    const { nodes } = await start(shards, mode);
    const [a, b, c] = nodes as [LabNode, LabNode, LabNode];
    a.run("ALTER TABLE a ADD COLUMN c1 DEFAULT 'a'", "UPDATE a SET c1 = 'of a' WHERE id = 1");
    b.run("ALTER TABLE a ADD COLUMN c2 DEFAULT 'b'", "UPDATE a SET c2 = 'of b' WHERE id = 2");
    c.run("ALTER TABLE a RENAME COLUMN y TO yy", "CREATE TABLE m(id INTEGER PRIMARY KEY)");
    for (const node of nodes) look(node);
    expectEqual(lab!, b);
    expect(a.query("SELECT id, x, yy, c1, c2 FROM a ORDER BY id")).toEqual([
      [1n, "one", 10n, "of a", "b"],
      [2n, "two", 20n, "a", "of b"],
      [3n, "three", 30n, "a", "b"],
    ]);
  });

  test("a table created differently on two nodes: the first in the log wins", async () => {
    const { nodes } = await start(shards, mode);
    const [a, b] = nodes as [LabNode, LabNode, LabNode];
    a.run("CREATE TABLE m(id INTEGER PRIMARY KEY, v TEXT)", "INSERT INTO m VALUES(1, 'of a')");
    b.run("CREATE TABLE m(k TEXT PRIMARY KEY, w INT, u)", "INSERT INTO m VALUES('of b', 2, 3)");
    look(a);
    look(b);
    a.order();
    b.order();
    expectEqual(lab!, a);
    expect(textOf(b, "m")).toContain("v TEXT");
    expect(b.query("SELECT * FROM m")).toEqual([[1n, "of a"]]);
    for (const node of nodes) {
      const [conflict] = node.replica.replica.journal.list(9).filter((c) => c.kind === "schema clash");
      expect(conflict?.note).toMatchObject({ table: "m", columns: ["k", "w", "u"] });
      expect(decodeImage(conflict!.losingImage!)).toEqual(["of b", 2n, 3n]);
    }
  });

  test.each(["first", "later"])(
    "a quoted column that another node drops %s does not become a text; a quoted text remains one",
    async (when) => {
      const { nodes } = await start(shards, mode);
      const [a, b, c] = nodes as [LabNode, LabNode, LabNode];
      a.run(
        "INSERT INTO other VALUES(1, 'x'), (2, 'y'), (3, 'z')",
        `CREATE TABLE told(id INTEGER PRIMARY KEY, v DEFAULT "a text")`,
      );
      lab!.settle();
      a.run("ALTER TABLE other DROP COLUMN v", "ALTER TABLE a ADD COLUMN z", "ALTER TABLE told ADD COLUMN w");
      b.run(
        `CREATE UNIQUE INDEX one ON other("v")`,
        `CREATE VIEW shown AS SELECT id, "v" FROM other`,
        `CREATE INDEX meant ON a(x) WHERE x <> "some text"`,
        `CREATE INDEX of_told ON told(v) WHERE v <> "some text"`,
        `CREATE TABLE more(id INTEGER PRIMARY KEY, v DEFAULT "some text")`,
      );
      look(a);
      look(b);
      for (const node of when === "first" ? [a, b] : [b, a]) node.order();
      expectEqual(lab!, a);
      expect(c.query("SELECT id FROM other ORDER BY id")).toEqual([[1n], [2n], [3n]]);
      // Objects that refer to it are dropped, or it stays.
      expect(textOf(c, "other").includes(" v")).toBe(when === "later");
      for (const name of ["one", "shown"]) expect(textOf(c, name) === "").toBe(when === "first");
      for (const name of ["meant", "of_told", "more"]) expect(textOf(c, name)).toMatch(/(["'])some text\1/);
      expect(b.pipeline.obstacle).toBeNull();
    },
  );

  test("a schema changed while Marmot is stopped is detected at the start, with its rows", async () => {
    const { nodes } = await start(shards, mode);
    const [a, b] = nodes as [LabNode, LabNode, LabNode];
    b.run("UPDATE a SET y = 21 WHERE id = 2");
    a.stopped((app) =>
      app.exec(`CREATE TABLE m(id INTEGER PRIMARY KEY, v); INSERT INTO m VALUES(1, 'm');
        ALTER TABLE a RENAME COLUMN x TO xx; UPDATE a SET xx = 'stopped' WHERE id = 1;
        BEGIN; CREATE TABLE o2(id INTEGER PRIMARY KEY, v TEXT, w); INSERT INTO o2(id, v) SELECT id, v FROM other;
        DROP TABLE other; ALTER TABLE o2 RENAME TO other; INSERT INTO other VALUES(1, 'late', 2); COMMIT`),
    );
    expectEqual(lab!, a);
    expect(b.query("SELECT id, xx, y FROM a ORDER BY id")).toEqual([
      [1n, "stopped", 10n],
      [2n, "two", 21n],
      [3n, "three", 30n],
    ]);
    expect(b.query("SELECT * FROM other")).toEqual([[1n, "late", 2n]]);
  });

  test("a disconnected node with unacknowledged writes returns to another schema", async () => {
    const { nodes } = await start(shards, mode);
    const [a, b, c] = nodes as [LabNode, LabNode, LabNode];
    lab!.leaders.fill(0);
    c.stopped(
      (app) => app.exec("UPDATE a SET x = 'away' WHERE id = 1; INSERT INTO other VALUES(7, 'away')"),
      () => {
        a.run("ALTER TABLE a ADD COLUMN z DEFAULT 'z'", "UPDATE a SET y = 99 WHERE id = 2");
        lab!.settle([a, b]);
        b.run("ALTER TABLE a RENAME COLUMN x TO name", "ALTER TABLE other RENAME TO others");
        lab!.settle([a, b]);
        a.run("CREATE TABLE m(id INTEGER PRIMARY KEY)", "INSERT INTO m VALUES(5)");
        lab!.settle([a, b]);
      },
    );
    expectEqual(lab!, a);
    expect(a.query("SELECT id, name, y, z FROM a ORDER BY id")).toEqual([
      [1n, "away", 10n, "z"],
      [2n, "two", 99n, "z"],
      [3n, "three", 30n, "z"],
    ]);
    expect(a.query("SELECT v FROM others WHERE id = 7")).toEqual([["away"]]);
  });

  test("a disconnected node with unacknowledged writes returns by a received replica of another schema", async () => {
    const { nodes } = await start(shards, mode);
    const [a, b, c] = nodes as [LabNode, LabNode, LabNode];
    lab!.leaders.fill(0);
    c.run("UPDATE a SET x = 'away' WHERE id = 1", "INSERT INTO other VALUES(7, 'away')");
    a.run("ALTER TABLE a ADD COLUMN z DEFAULT 'z'", "UPDATE a SET y = 99 WHERE id = 2");
    lab!.settle([a, b]);
    b.run(
      "ALTER TABLE a RENAME COLUMN x TO name",
      "CREATE TABLE m(id INTEGER PRIMARY KEY)",
      "INSERT INTO m VALUES(5)",
    );
    lab!.settle([a, b]);
    a.run("UPDATE a SET name = 'new' WHERE id = 3");
    lab!.settle([a, b]);
    expect(await c.adopt(a)).toBe(true);
    expectEqual(lab!, a);
    expect(a.query("SELECT id, name, y, z FROM a ORDER BY id")).toEqual([
      [1n, "away", 10n, "z"],
      [2n, "two", 99n, "z"],
      [3n, "new", 30n, "z"],
    ]);
    expect(a.query("SELECT v FROM other WHERE id = 7")).toEqual([["away"]]);
  });

  test("changes made while the triggers were dropped by hand are detected, running and stopped", async () => {
    const { nodes } = await start(shards, mode);
    const [a, b] = nodes as [LabNode, LabNode, LabNode];
    const drop = a
      .query("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name IN ('a', 'other')")
      .map(([name]) => `DROP TRIGGER "${String(name)}"`);
    expect(drop.length).toBeGreaterThan(8);
    a.run(
      ...drop,
      "UPDATE a SET x = 'unseen' WHERE id = 1",
      "DELETE FROM a WHERE id = 3",
      "INSERT INTO other VALUES(5, 5)",
    );
    b.run("UPDATE a SET x = 'of b' WHERE id = 2");
    expectEqual(lab!, a);
    expect(b.query("SELECT id, x FROM a ORDER BY id")).toEqual([
      [1n, "unseen"],
      [2n, "of b"],
    ]);
    a.stopped((app) => {
      for (const sql of drop) app.exec(sql);
      app.exec("UPDATE a SET x = 'unseen again' WHERE id = 1; DELETE FROM other");
    });
    expectEqual(lab!, a);
    expect(b.query("SELECT x FROM a WHERE id = 1")).toEqual([["unseen again"]]);
    expect(b.query("SELECT count(*) FROM other")).toEqual([[0n]]);
  });

  test("a batch of the older schema is drained again if it has rows of the changed table, else applied", async () => {
    const { nodes } = await start(shards, mode);
    const [a, b, c] = nodes as [LabNode, LabNode, LabNode];
    b.run("UPDATE a SET y = 77 WHERE id = 1");
    look(b);
    c.run("INSERT INTO other VALUES(3, 'c')");
    look(c);
    a.run("ALTER TABLE a DROP COLUMN x");
    look(a);
    a.order();
    expectEqual(lab!, a);
    expect(a.query("SELECT id, y FROM a WHERE id = 1")).toEqual([[1n, 77n]]);
    expect(a.query("SELECT v FROM other")).toEqual([["c"]]);
  });

  test("a new unique index over clashing rows: the later row wins, the other is in the journal", async () => {
    const { nodes } = await start(shards, mode);
    const [a, b, c] = nodes as [LabNode, LabNode, LabNode];
    b.run("UPDATE a SET x = 'two and a half' WHERE id = 3");
    lab!.settle();
    b.run("UPDATE a SET x = 'clash' WHERE id = 3");
    look(b);
    b.order();
    a.run("UPDATE a SET x = 'clash' WHERE id = 1", "CREATE UNIQUE INDEX au ON a(x)");
    c.run("INSERT INTO a VALUES(50, 'clash', 1)");
    expectEqual(lab!, a);
    expect(a.query("SELECT count(*) FROM a WHERE x = 'clash'")).toEqual([[1n]]);
    expect(a.replica.replica.journal.total).toBeGreaterThan(0);
  });

  test("a kill of the origin or of another node at each step of a change loses nothing", async () => {
    for (let steps = 0; steps < 8; steps++) {
      const { nodes } = await start(shards, mode);
      const [a, b] = nodes as [LabNode, LabNode, LabNode];
      a.run(
        "ALTER TABLE a ADD COLUMN z DEFAULT 5",
        "UPDATE a SET z = 6 WHERE id = 1",
        "CREATE TABLE m(id INTEGER PRIMARY KEY)",
        "INSERT INTO m VALUES(1)",
      );
      b.run("UPDATE a SET y = 21 WHERE id = 2");
      for (let i = 0; i < steps; i++)
        for (const node of nodes) {
          look(node);
          node.order();
          node.deliver(i % 2 === 0 ? 1 : undefined);
        }
      a.crash();
      if (steps % 2 === 1) b.crash();
      expectEqual(lab!, a);
      expect(b.query("SELECT z FROM a ORDER BY id")).toEqual([[6n], [5n], [5n]]);
      expect(b.query("SELECT id FROM m")).toEqual([[1n]]);
      lab!.close();
      lab = null;
    }
  }, 180_000);
});

test("no row is reflected into an unchecked schema: uncaptured rows are not overwritten", async () => {
  const { nodes } = await start(1);
  const [a, b] = nodes as [LabNode, LabNode, LabNode];
  b.run("UPDATE a SET x = 'theirs' WHERE id = 1");
  look(b);
  b.order();
  a.run(`BEGIN; CREATE TABLE n(id INTEGER PRIMARY KEY, x TEXT, y INT); INSERT INTO n SELECT * FROM a; DROP TABLE a;
    ALTER TABLE n RENAME TO a; UPDATE a SET x = 'mine' WHERE id = 1; COMMIT`);
  a.deliver();
  a.turns(); // no file event came yet
  expect(a.query("SELECT x FROM a WHERE id = 1")).toEqual([["mine"]]);
  expectEqual(lab!, a);
  expect(b.query("SELECT x FROM a WHERE id = 1")).toEqual([["mine"]]);
  expect(b.replica.replica.journal.total).toBe(1);
});

test("an unacknowledged write without a change is not proposed over a foreign change after a schema change", async () => {
  const { nodes } = await start(1);
  const [a, b, c] = nodes as [LabNode, LabNode, LabNode];
  b.run("UPDATE a SET y = y WHERE id = 1");
  c.run("UPDATE a SET x = 'of c' WHERE id = 1");
  look(c);
  c.order();
  a.deliver();
  a.turns();
  a.run("ALTER TABLE a ADD COLUMN z DEFAULT 1");
  look(a);
  a.order();
  b.deliver();
  b.turns();
  expectEqual(lab!, a);
  expect(b.query("SELECT x, z FROM a WHERE id = 1")).toEqual([["of c", 1n]]);
  expect(b.replica.replica.journal.total).toBe(0);
});

test("a column renamed twice before the first rename is ordered keeps its last name and its values", async () => {
  const { nodes } = await start(1);
  const [a, b] = nodes as [LabNode, LabNode, LabNode];
  a.run("ALTER TABLE a RENAME COLUMN x TO x1");
  look(a);
  a.run("ALTER TABLE a RENAME COLUMN x1 TO x2", "UPDATE a SET x2 = 'again' WHERE id = 1");
  expectEqual(lab!, a);
  expect(b.query("SELECT x2 FROM a ORDER BY id")).toEqual([["again"], ["two"], ["three"]]);
  expect(b.replica.replica.journal.total).toBe(0);
});

test("a rejected schema change is still recognised as the same change", async () => {
  const { nodes } = await start(1);
  const [a, b, c] = nodes as [LabNode, LabNode, LabNode];
  a.run(
    "ALTER TABLE a DROP COLUMN x",
    "ALTER TABLE a RENAME COLUMN y TO yy",
    "ALTER TABLE a ADD COLUMN w DEFAULT 'w'",
    "CREATE UNIQUE INDEX ay ON a(yy)",
  );
  look(a);
  c.run("UPDATE a SET y = 31 WHERE id = 3");
  b.run("ALTER TABLE a ADD COLUMN z DEFAULT 'z'");
  look(b);
  b.order();
  a.order();
  expectEqual(lab!, b);
  expect(c.query("SELECT yy, w, z FROM a ORDER BY id")).toEqual([
    [10n, "w", "z"],
    [20n, "w", "z"],
    [31n, "w", "z"],
  ]);
});

test("a table that cannot be replicated stays on its node, with reason and hint, and the others replicate", async () => {
  const { nodes } = await start(1);
  const [a, b] = nodes as [LabNode, LabNode, LabNode];
  a.run(
    "CREATE VIRTUAL TABLE words USING fts5(w)",
    "INSERT INTO words VALUES('here')",
    "ALTER TABLE a ADD COLUMN z",
  );
  lab!.settle();
  expect(textOf(b, "words")).toBe("");
  expect(textOf(b, "a")).toContain("z");
  expect(a.schema.local).toMatchObject([
    {
      name: "words",
      reason: "it is a full-text index without external content, which cannot be rebuilt on another node",
    },
  ]);
  a.run("INSERT INTO a VALUES(9, 'nine', 9, 9)");
  lab!.settle();
  expect(b.query("SELECT x FROM a WHERE id = 9")).toEqual([["nine"]]);
  // The table of that name of another node cannot be created here: this node stops, and the others continue.
  b.run("CREATE TABLE words(id INTEGER PRIMARY KEY, w)", "INSERT INTO words VALUES(1, 'b')");
  lab!.leaders.fill(1);
  lab!.settle(lab!.nodes.slice(1));
  expect(lab!.nodes[2]!.query("SELECT w FROM words")).toEqual([["b"]]);
  a.deliver();
  expect(() => a.turns()).toThrow(/version 3 of the cluster's schema cannot be applied to .*words/);
  a.stopped((app) => app.exec("DROP TABLE words"));
  expectEqual(lab!, b);
});

test("a rejected table with many rows: the journal has its limit, and a file of the node has all rows exactly", async () => {
  const { nodes } = await start(1);
  const [a, b] = nodes as [LabNode, LabNode, LabNode];
  const count = 10_020;
  a.run("CREATE TABLE m(id INTEGER PRIMARY KEY, v TEXT)", "INSERT INTO m VALUES(1, 'of a')");
  b.run(
    "CREATE TABLE m(k INTEGER PRIMARY KEY, w, u TEXT)",
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
       INSERT INTO m SELECT i, CASE WHEN i % 2 THEN i * 1.0 ELSE x'00ff' END, CAST(x'ff' || i AS TEXT) FROM n`,
  );
  const lost = b.query("SELECT k, typeof(w), w, typeof(u), CAST(u AS BLOB) FROM m ORDER BY k");
  look(a);
  look(b);
  a.order();
  b.order();
  expectEqual(lab!, a);
  expect(b.query("SELECT * FROM m")).toEqual([[1n, "of a"]]);
  for (const node of nodes) {
    const clashes = node.replica.replica.journal.list(20_000);
    expect(new Set(clashes.map((c) => c.kind))).toEqual(new Set(["schema clash"]));
    expect(clashes).toHaveLength(10_000);
  }
  const file = new Database(b.lostFile, { readonly: true, safeIntegers: true });
  expect(file.query("SELECT name FROM sqlite_schema").values()).toEqual([["m (schema 2)"]]);
  const saved = file.query(
    `SELECT k, typeof(w), w, typeof(u), CAST(u AS BLOB) FROM "m (schema 2)" ORDER BY k`,
  );
  expect(saved.values()).toEqual(lost as never);
  file.close();
  // Replication continues, and the kept rows are no longer in the application's file.
  b.run("INSERT INTO m VALUES(2, 'of b')");
  expectEqual(lab!, b);
  expect(b.query("SELECT count(*) FROM __marmot__lost")).toEqual([[0n]]);
});

test.each(["pending", "in flight"])(
  "rows that a unique index of another node rejects are journalled once: %s",
  async (when) => {
    const { nodes } = await start(1);
    const [a, b] = nodes as [LabNode, LabNode, LabNode];
    a.run("CREATE UNIQUE INDEX one ON other(v)");
    look(a);
    a.order();
    const values = Array.from({ length: 1200 }, (_, i) => `(${i + 10}, 'v${i % 2}')`).join(", ");
    b.run(`INSERT INTO other VALUES${values}`);
    if (when === "in flight") look(b);
    b.deliver();
    expectEqual(lab!, a);
    expect(a.query("SELECT id FROM other ORDER BY v")).toEqual([[1208n], [1209n]]);
    const { journal, settings } = a.replica.replica;
    const lost = journal.list(20_000).map((c) => Number(decodeImage(c.losingImage!)[0]));
    expect(lost.toSorted((x, y) => x - y)).toEqual(Array.from({ length: 1198 }, (_, i) => i + 10));
    // The index, and in three slices the rows that the replica never had.
    expect(settings.schemaVersion).toBe(when === "pending" ? 5 : 2);
  },
);

describe.each(["whole", "row"] as const)("nodes at different steps of one migration, %s", (mode) => {
  const STEPS = [
    ["ALTER TABLE post ADD COLUMN slug TEXT"],
    ["UPDATE post SET slug = old || '-' || id"],
    [
      `CREATE TABLE tmp(id INTEGER PRIMARY KEY, title TEXT, slug TEXT NOT NULL UNIQUE);
       INSERT INTO tmp SELECT id, title, slug FROM post; DROP TABLE post; ALTER TABLE tmp RENAME TO post`,
    ],
  ];
  const BLOG = `CREATE TABLE post(id INTEGER PRIMARY KEY, title TEXT, old TEXT); INSERT INTO post VALUES(1, 'a', 'a'), (2, 'b', 'b'), (3, 'c', 'c')`;

  test("a filled column keeps its values when its last form comes from another node", async () => {
    const { nodes } = await start(mode === "row" ? 4 : 1, mode, BLOG);
    const [a, b] = nodes as [LabNode, LabNode, LabNode];
    for (const step of STEPS) a.run(...step);
    look(a);
    a.order();
    for (const step of STEPS.slice(0, 2)) b.run(...step);
    b.run("INSERT INTO post VALUES(4, 'd', 'd', 'd-4'), (5, 'e', 'e', 'e-5')");
    b.deliver();
    expectEqual(lab!, a);
    for (const node of nodes)
      expect(node.query("SELECT * FROM post ORDER BY id")).toEqual([
        [1n, "a", "a-1"],
        [2n, "b", "b-2"],
        [3n, "c", "c-3"],
        [4n, "d", "d-4"],
        [5n, "e", "e-5"],
      ]);
  });

  test("rows rejected on one node are restored from the replica, also after the table was rebuilt", async () => {
    const { nodes } = await start(mode === "row" ? 4 : 1, mode, BLOG);
    const [a, b] = nodes as [LabNode, LabNode, LabNode];
    a.run("CREATE UNIQUE INDEX one ON post(title)");
    look(a);
    a.order();
    b.run(
      "UPDATE post SET title = 'same'",
      `CREATE TABLE tmp(id INTEGER PRIMARY KEY, title TEXT, old TEXT, more DEFAULT 1);
       INSERT INTO tmp(id, title, old) SELECT * FROM post; DROP TABLE post; ALTER TABLE tmp RENAME TO post`,
    );
    b.deliver();
    expectEqual(lab!, a);
    expect(a.query("SELECT id, old, more FROM post ORDER BY id")).toEqual([
      [1n, "a", 1n],
      [2n, "b", 1n],
      [3n, "c", 1n],
    ]);
    expect(a.query("SELECT count(*) FROM post WHERE title = 'same'")).toEqual([[1n]]);
  });
});

test("a table that replicates and no longer can holds back itself; other tables go on, and transactions stay whole", async () => {
  const { nodes } = await start(1);
  const [a, b] = nodes as [LabNode, LabNode, LabNode];
  a.run("CREATE TABLE k2(k TEXT PRIMARY KEY COLLATE NOCASE, v)", "INSERT INTO other VALUES(7, 'first')");
  lab!.settle();
  a.run(
    "CREATE TRIGGER odd AFTER INSERT ON other BEGIN UPDATE a SET y = 1 WHERE x = NEW.v COLLATE no_such_collation; END",
  );
  lab!.settle();
  expect(a.pipeline.obstacle).toBeNull();
  expect(a.schema.held).toMatchObject([
    { name: "other", reason: expect.stringContaining("no_such_collation"), sends: true },
  ]);
  expect(a.schema.held[0]!.hint).toBe(
    "write odd with SQLite's own functions and collations only, or drop it",
  );
  a.run("INSERT INTO k2 VALUES('goes', 1)");
  b.run("INSERT INTO other VALUES(4, 'b')");
  b.run("BEGIN; INSERT INTO other VALUES(5, 'b'); INSERT INTO k2 VALUES('tied', 1); COMMIT");
  lab!.settle();
  b.run("BEGIN; UPDATE k2 SET v = 2 WHERE k = 'tied'; INSERT INTO k2 VALUES('later', 1); COMMIT");
  lab!.settle();
  b.run("INSERT INTO k2 VALUES('free', 1)");
  lab!.settle();
  expect(b.query("SELECT k FROM k2 ORDER BY k")).toEqual([["free"], ["goes"], ["later"], ["tied"]]);
  expect(a.query("SELECT k FROM k2 ORDER BY k")).toEqual([["free"], ["goes"]]);
  expect(a.query("SELECT id FROM other WHERE id < 7")).toEqual([]);
  const waiting = a.pipeline.session.holdBack.waiting();
  expect([...waiting.values()].reduce((sum, n) => sum + n, 0)).toBe(4);
  a.run(
    "UPDATE other SET v = 'own' WHERE id = 7",
    "ALTER TABLE k2 ADD COLUMN w",
    "UPDATE k2 SET w = 7 WHERE k = 'goes'",
  );
  lab!.settle();
  expect(b.query("SELECT v FROM other WHERE id = 7")).toEqual([["own"]]);
  expect(b.query("SELECT w FROM k2 WHERE k = 'goes'")).toEqual([[7n]]);
  expect(b.query("SELECT count(*) FROM sqlite_schema WHERE name = 'odd'")).toEqual([[0n]]);
  a.run("DROP TRIGGER odd");
  lab!.clock += 1000;
  expectEqual(lab!, b);
  expect(a.schema.held).toEqual([]);
  expect(a.query("SELECT k FROM k2 ORDER BY k")).toEqual([["free"], ["goes"], ["later"], ["tied"]]);
  expect(a.query("SELECT id FROM other WHERE id < 7")).toEqual([[4n], [5n]]);
});

describe.each([1, 16])("%d shards: a migration with its data", (shards) => {
  /** The rows that the node shows after each applied entry, until all are applied. */
  function watch(origin: LabNode, node: LabNode, sql: string): unknown[] {
    const seen: unknown[] = [];
    const note = (): void => {
      let now: unknown;
      try {
        now = node.app.prepare(sql).values()[0];
      } catch {
        now = "older schema";
      }
      if (JSON.stringify(seen.at(-1), text) !== JSON.stringify(now, text)) seen.push(now);
    };
    note();
    for (let i = 0; i < 200; i++) {
      for (const each of lab!.nodes) {
        look(each);
        each.order();
      }
      origin.deliver();
      node.deliver(1);
      for (let turn = 0; turn < 50 && node.pipeline.turn().again === "now"; turn++) note();
      note();
      lab!.clock += 100;
      for (const each of lab!.nodes) each.pipeline.tick();
    }
    return seen;
  }
  const text = (_key: string, value: unknown): unknown => (typeof value === "bigint" ? String(value) : value);

  test("is applied whole on another node", async () => {
    const { nodes } = await start(shards);
    lab!.leaders.fill(0);
    const [a, b] = nodes as [LabNode, LabNode, LabNode];
    a.run(`BEGIN; ALTER TABLE a ADD COLUMN z; UPDATE a SET z = x || y; CREATE TABLE moved(id INTEGER PRIMARY KEY, v);
      INSERT INTO moved SELECT id, x FROM a; UPDATE a SET x = NULL; UPDATE other SET v = 1; COMMIT`);
    const seen = watch(a, b, "SELECT count(z), count(x), (SELECT count(*) FROM moved) FROM a");
    expect(seen).toEqual(["older schema", [3n, 0n, 3n]]);
    expectEqual(lab!, a);
  }, 180_000);

  test("in many parts is applied whole, and a kill of its origin halfway leaves all of it or nothing", async () => {
    const { nodes } = await start(shards);
    lab!.leaders.fill(0);
    const [a, b] = nodes as [LabNode, LabNode, LabNode];
    a.run(`BEGIN; CREATE TABLE big(id INTEGER PRIMARY KEY, v TEXT);
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
      INSERT INTO big SELECT i, hex(zeroblob(600)) FROM n; ALTER TABLE a DROP COLUMN y; COMMIT`);
    look(a);
    expect(a.proposed.length).toBeGreaterThan(2);
    a.proposed.splice(2); // the last part is lost with its origin
    a.order();
    b.deliver();
    b.turns();
    expect(() => b.query("SELECT count(*) FROM big")).toThrow("no such table");
    a.crash();
    const seen = watch(a, b, "SELECT count(*) FROM big");
    expect(seen).toEqual(["older schema", [3000n]]);
    expectEqual(lab!, a);
  }, 180_000);
});

describe.each([1, 4])("the same migration, further on one node than on others, %d shards", (shards) => {
  const ADD = ["ALTER TABLE a ADD COLUMN slug TEXT", "UPDATE a SET slug = x || '-' || id"];
  test.each([
    ["a column that was nullable", "slug TEXT NOT NULL"],
    ["a column that was nullable, and not UNIQUE", "slug TEXT NOT NULL UNIQUE"],
  ])("%s: no row goes with the column that does not stand", async (_name, slug) => {
    const { nodes } = await start(shards);
    const [a, b] = nodes as [LabNode, LabNode];
    const rebuild = `BEGIN; CREATE TABLE a2(id INTEGER PRIMARY KEY, x TEXT, y INT, ${slug}); INSERT INTO a2 SELECT * FROM a;
      DROP TABLE a; ALTER TABLE a2 RENAME TO a; COMMIT`;
    a.run(...ADD, rebuild);
    b.run(...ADD, "INSERT INTO other VALUES(7, 'b')");
    expectEqual(lab!, a);
    expect(b.query("SELECT id, x, slug FROM a ORDER BY id")).toEqual([
      [1n, "one", "one-1"],
      [2n, "two", "two-2"],
      [3n, "three", "three-3"],
    ]);
    expect(a.query("SELECT v FROM other WHERE id = 7")).toEqual([["b"]]);
  });
});

/** Tables without a declared key: SQLite picks the same rowid on two nodes, and both rows remain. */
import { Database } from "bun:sqlite";
import { afterEach, describe, expect, test } from "bun:test";
import { copyFileSync } from "node:fs";
import { cleanupDatabase } from "../../src/node/offline/cleanup.ts";
import { dumpReplica } from "../replica/lab.ts";
import { Lab, type LabNode } from "./lab.ts";

let lab: Lab;
afterEach(() => lab.close());

const LOG = "CREATE TABLE log(v TEXT); INSERT INTO log VALUES('0')";

type Nodes = [LabNode, LabNode, ...LabNode[]];

async function start(schema = LOG, count = 2, shards = 1): Promise<Nodes> {
  lab = await Lab.create(schema, count, shards);
  lab.settle();
  return lab.nodes as Nodes;
}

/** Both nodes have inserted under the same rowid, and no entry is ordered yet. */
async function startBothInserted(): Promise<Nodes> {
  const nodes = await start();
  const [a, b] = nodes;
  b.run("INSERT INTO log VALUES('b')");
  send(b);
  a.run("INSERT INTO log VALUES('a')");
  send(a);
  return nodes;
}

const send = (node: LabNode): void => {
  node.touch();
  node.turns();
};
const hand = (node: LabNode): void => {
  node.deliver();
  node.turns();
};
const shown = (node: LabNode, sql = "SELECT v FROM log ORDER BY v"): string =>
  node.query(sql).flat().map(String).join(" ");

/** After settling all nodes show the same rows without deviation, and the journal is empty. */
function agree(expected: string, sql?: string): void {
  lab.settle();
  for (const node of lab.nodes) {
    expect(shown(node, sql)).toBe(expected);
    expect(node.deviations()).toEqual([]);
    expect(node.wrongChecksums()).toEqual([]);
    expect(node.replica.replica.journal.total).toBe(0);
    expect(dumpReplica(node.replica.db, node.replica.replica)).toBe(
      dumpReplica(lab.nodes[0]!.replica.db, lab.nodes[0]!.replica.replica),
    );
  }
}

describe("the same rowid on two nodes", () => {
  test("two inserts: the later row gets another rowid", async () => {
    const [a, b] = await startBothInserted();
    b.order();
    a.order();
    agree("0 a b");
    expect(b.query("SELECT rowid, v FROM log ORDER BY 1")).toEqual([
      [1n, "0"],
      [2n, "b"],
      [3n, "a"],
    ]);
  });

  test("two inserts, with one edit in flight and one not proposed: both edits follow the row", async () => {
    const [a, b] = await startBothInserted();
    a.run("UPDATE log SET v = 'a2' WHERE v = 'a'");
    send(a);
    expect(a.proposed).toHaveLength(2);
    b.order();
    a.order();
    a.run("UPDATE log SET v = 'a3' WHERE v = 'a2'");
    agree("0 a3 b");
  });

  const both = (node: LabNode): string =>
    shown(node, "SELECT v FROM log UNION ALL SELECT v FROM t ORDER BY 1");
  const PAIRS = `${LOG}; CREATE TABLE t(v TEXT PRIMARY KEY)`;
  const pair = (node: LabNode, v: string): void =>
    node.run(`BEGIN; INSERT INTO log VALUES('${v}'); INSERT INTO t VALUES('${v}'); COMMIT`);

  test("a transaction of another node is shown whole: an own row that did not leave yet makes room", async () => {
    const [a, b] = await start(PAIRS);
    pair(b, "b");
    send(b);
    pair(a, "a");
    b.order();
    hand(a);
    expect(both(a)).toBe("0 a a b b");
    expect(a.query("SELECT rowid, v FROM log ORDER BY 1")).toEqual([
      [1n, "0"],
      [2n, "b"],
      [3n, "a"],
    ]);
    pair(a, "c");
    agree("0 a b c");
  });

  test("a transaction of another node waits whole until an own row in flight under its rowid is ordered", async () => {
    const [a, b] = await start(PAIRS);
    pair(a, "a");
    send(a);
    pair(b, "b");
    send(b);
    b.order();
    hand(a);
    expect(both(a)).toBe("0 a a");
    pair(a, "late");
    send(a);
    expect(both(a)).toBe("0 a a late late");
    a.order();
    hand(a);
    lab.settle();
    expect(both(a)).toBe("0 a a b b late late");
    agree("0 a b late");
  });

  test("an insert and a delete: the inserted row remains", async () => {
    const [a, b] = await startBothInserted();
    a.run("DELETE FROM log WHERE v = 'a'");
    send(a);
    b.order();
    a.order();
    agree("0 b");
  });

  test("the origin's next insert already has the rowid that its redirected row would get", async () => {
    const [a, b] = await startBothInserted();
    a.run("INSERT INTO log VALUES('next')");
    send(a);
    a.run("UPDATE log SET v = v || '!' WHERE v IN ('a', 'next')", "INSERT INTO log VALUES('last')");
    b.order();
    a.order();
    agree("0 a! b last next!");
  });

  test("a delete of a redirected row does not delete the row that has its old rowid now", async () => {
    const [a, b] = await start();
    b.run("DELETE FROM log");
    send(b);
    b.run("INSERT INTO log VALUES('b')");
    send(b);
    expect(b.query("SELECT rowid FROM log")).toEqual([[1n]]);
    a.run("DELETE FROM log");
    send(a);
    b.order();
    a.order();
    agree("b");
  });

  test("an update of a deleted row restores it under another rowid", async () => {
    const [a, b] = await start();
    b.run("DELETE FROM log");
    send(b);
    b.run("INSERT INTO log VALUES('b')");
    send(b);
    a.run("UPDATE log SET v = 'a'");
    send(a);
    b.order();
    a.order();
    agree("a b");
  });

  test("two concurrent updates of a deleted row give two rows", async () => {
    const [a, b, c] = (await start(LOG, 3)) as [LabNode, LabNode, LabNode];
    c.run("INSERT INTO log VALUES('c')");
    lab.settle();
    c.run("DELETE FROM log WHERE v = 'c'");
    send(c);
    c.run("INSERT INTO log VALUES('x')");
    a.run("UPDATE log SET v = 'a' WHERE v = 'c'");
    b.run("UPDATE log SET v = 'b' WHERE v = 'c'");
    for (const node of [c, a, b]) send(node);
    for (const node of [c, a, b]) node.order();
    agree("0 a b x");
  });

  test("a restored row and a row inserted at its rowid by an origin that had not seen it both remain", async () => {
    const [a, b] = await start();
    a.run("DELETE FROM log");
    send(a);
    a.run("INSERT INTO log VALUES('a')");
    send(a);
    b.run("UPDATE log SET v = 'b'");
    send(b);
    const [gone, ...rest] = a.proposed.splice(0);
    a.proposed.push(gone!);
    a.order();
    b.order();
    a.proposed.push(...rest);
    a.order();
    lab.settle();
    for (const node of lab.nodes) expect(shown(node)).toBe("a b");
  });
});

describe("a transaction of another node whose rowid an own row has", () => {
  const BOTH = "CREATE TABLE keyed(id TEXT PRIMARY KEY); CREATE TABLE log(v TEXT)";
  const insert = (node: LabNode, v: string): void =>
    node.run("BEGIN", `INSERT INTO keyed VALUES('${v}')`, `INSERT INTO log VALUES('${v}')`, "COMMIT");
  const halves = (node: LabNode): string[] => [
    shown(node, "SELECT id FROM keyed ORDER BY 1"),
    shown(node, "SELECT v FROM log ORDER BY 1"),
  ];

  test("is shown whole while the own row is not sent yet: that row moves", async () => {
    const [a, b] = await start(BOTH);
    insert(a, "a");
    insert(b, "b");
    send(b);
    b.order();
    hand(a);
    expect(halves(a)).toEqual(["a b", "a b"]);
    expect(a.deviations()).toEqual([]);
    agree("a b");
    expect(a.query("SELECT rowid, v FROM log ORDER BY 1")).toEqual([
      [1n, "b"],
      [2n, "a"],
    ]);
  });

  test("is not shown while the own row is in flight, and whole afterwards", async () => {
    const [a, b] = await start(BOTH);
    insert(a, "a");
    send(a);
    insert(a, "a2"); // not sent before the file shows the other node's row
    insert(b, "b");
    insert(b, "b2");
    send(b);
    b.order();
    hand(a);
    send(a);
    expect(a.proposed).toHaveLength(1);
    expect(halves(a)).toEqual(["a a2", "a a2"]);
    a.order();
    hand(a);
    a.order(); // the fence of the next incarnation
    hand(a);
    expect(halves(a)).toEqual(["a a2 b b2", "a a2 b b2"]);
    expect(a.deviations()).toEqual([]);
    agree("a a2 b b2");
  });

  test("waits for a drain that has read the own row", async () => {
    const [a, b] = await start(BOTH);
    a.run(
      "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) INSERT INTO log SELECT 'a' FROM n",
    );
    let now = lab.clock;
    Object.defineProperty(lab, "clock", { get: () => (now += 10), set: () => {} });
    a.touch();
    while (!a.pipeline.usesAppDb) a.pipeline.turn(); // each slice is one step
    insert(b, "b");
    send(b);
    b.order();
    a.deliver();
    lab.settle();
    for (const node of lab.nodes) {
      expect(node.query("SELECT v, count(*) FROM log GROUP BY 1")).toEqual([
        ["a", 4000n],
        ["b", 1n],
      ]);
      expect(node.deviations()).toEqual([]);
    }
  });

  test("takes the place of a row that the application only touched", async () => {
    const [a, b] = await start(BOTH);
    insert(a, "old");
    lab.settle();
    a.run("UPDATE log SET v = v");
    b.run("DELETE FROM log");
    send(b);
    insert(b, "b");
    send(b);
    b.order();
    hand(a);
    expect(halves(a)).toEqual(["b old", "b"]);
    agree("b");
  });

  test("moves a row of which other changes are in flight when it is ordered", async () => {
    const [a, b] = await start(BOTH);
    insert(a, "a");
    send(a);
    a.run("UPDATE log SET v = 'a!'");
    insert(b, "b");
    b.run("DELETE FROM log");
    send(b);
    insert(b, "b2");
    send(b);
    b.order();
    hand(a);
    agree("a! b2");
    expect(halves(a)[0]).toBe("a b b2");
  });
});

describe("redirected rowids under failures and later writes", () => {
  test("a kill at each step loses no row", async () => {
    for (let at = 0; at < 6; at++) {
      const [a, b] = await start();
      const step = (n: number): void => {
        if (n === at) a.crash();
      };
      b.run("INSERT INTO log VALUES('b')");
      send(b);
      a.run("INSERT INTO log VALUES('a')", "INSERT INTO log VALUES('next')");
      send(a);
      step(0);
      b.order();
      a.order();
      step(1);
      a.run("UPDATE log SET v = v || '!' WHERE v IN ('a', 'next')");
      step(2);
      a.deliver();
      a.applyOnly();
      step(3);
      a.run("INSERT INTO log VALUES('more')");
      send(a);
      step(4);
      lab.settle();
      step(5);
      agree("0 a! b more next!");
      lab.close();
    }
    await start();
  });

  test("a power failure that loses the file's last transaction: the row is redirected again", async () => {
    const [a, b] = await startBothInserted();
    a.run("UPDATE log SET v = 'a2' WHERE v = 'a'", "INSERT INTO log VALUES('next')");
    a.keep();
    b.order();
    a.order();
    hand(a);
    expect(a.replica.replica.redirected).toHaveLength(1); // not before the fence
    a.order();
    hand(a);
    expect(a.replica.replica.redirected).toHaveLength(0);
    expect(a.query("SELECT rowid FROM log WHERE v = 'a2'")).toEqual([[3n]]);
    a.proposed = []; // nothing was proposed since
    a.lose("live");
    expect(a.replica.replica.redirected).toHaveLength(1);
    agree("0 a2 b next");
  });

  test("a power failure that loses the replica's last entries: a row already redirected in the file is not redirected twice", async () => {
    const [a, b] = await start();
    a.keep();
    const kept = [...a.delivered];
    b.run("INSERT INTO log VALUES('b')");
    send(b);
    a.run("INSERT INTO log VALUES('a')");
    send(a);
    b.order();
    a.order();
    lab.settle();
    a.run("UPDATE log SET v = 'b by a' WHERE v = 'b'"); // the row with the rowid that 'a' was redirected to
    a.lose("replica");
    expect(a.delivered).toEqual(kept);
    agree("0 a b by a");
  });

  test("the redirection is forgotten when the origin's next changeset confirms that its file shows it", async () => {
    const [a, b] = await start();
    const notes = (): unknown => b.replica.db.prepare(`SELECT count(*) AS n FROM "__marmot__moved"`).get()!.n;
    a.run("INSERT INTO log VALUES('a')");
    b.run("INSERT INTO log VALUES('b')");
    lab.settle();
    expect(notes()).toBe(1);
    for (const node of [a, b]) node.run("INSERT INTO log VALUES('more')");
    a.run("UPDATE log SET v = v");
    lab.settle();
    a.run("INSERT INTO log VALUES('last')");
    b.run("INSERT INTO log VALUES('last')");
    lab.settle();
    expect(Number(notes())).toBeLessThanOrEqual(1);
  });

  test("a node far behind installs a snapshot in which its own row was redirected", async () => {
    const [a, b] = await startBothInserted();
    a.run("UPDATE log SET v = 'a2' WHERE v = 'a'");
    b.order();
    a.order();
    hand(b);
    b.run("UPDATE log SET v = 'b2' WHERE v = 'b'");
    send(b);
    b.order();
    hand(b);
    expect(await a.adopt(b)).toBe(true);
    agree("0 a2 b2");
  });

  test("a node far behind installs a snapshot in which its redirected row was changed by others and is unacknowledged here", async () => {
    const [a, b] = await startBothInserted();
    a.run("UPDATE log SET v = 'a2' WHERE v = 'a'");
    b.order();
    a.order();
    hand(b);
    b.run("UPDATE log SET v = 'a by b' WHERE v = 'a'");
    send(b);
    b.order();
    hand(b);
    expect(await a.adopt(b)).toBe(true);
    lab.settle();
    for (const node of lab.nodes) {
      expect(shown(node)).toBe("0 a2 b");
      expect(node.deviations()).toEqual([]);
    }
  });

  test("a merge of two replicas, neither ahead, keeps the creation positions of both", async () => {
    lab = await Lab.create("CREATE TABLE log(v TEXT); CREATE TABLE other(v TEXT)", 3, 4, "row");
    lab.settle();
    const [a, b, c] = lab.nodes as [LabNode, LabNode, LabNode];
    const { replica } = c.replica;
    const [mine, others] = [1, 2].map((table) => replica.shardOfKey(table, 1)) as [number, number];
    expect(mine).not.toBe(others);
    c.run("INSERT INTO log VALUES('c')", "INSERT INTO other VALUES('c')");
    send(c);
    c.order();
    a.deliver(9, [mine]);
    a.turns();
    b.deliver(9, [others]);
    b.turns();
    expect(await a.adopt(b)).toBe(true);
    c.deliver();
    c.turns();
    const births = (node: LabNode): unknown =>
      node.replica.db.prepare(`SELECT * FROM "__marmot__birth" ORDER BY 1, 2`).all();
    const highest = (node: LabNode): unknown =>
      node.replica.db.prepare(`SELECT * FROM "__marmot__rowid" ORDER BY 1`).all();
    expect([births(a), highest(a)]).toEqual([births(c), highest(c)]);
    expect(births(c)).toHaveLength(2);
    lab.settle();
  });

  test("the earlier image of a redirected row is dropped in time", async () => {
    const [a, b] = await startBothInserted();
    b.order();
    hand(a);
    a.run("UPDATE log SET v = 'a2' WHERE v = 'a'");
    agree("0 a2 b");
    lab.clock += 1000;
    for (const node of lab.nodes) node.pipeline.tick();
    for (const node of lab.nodes) expect(node.replica.replica.beforeImages.size).toBe(0);
  });

  test("an update by an origin that saw the redirected row is not overwritten unseen", async () => {
    const [a, b] = await startBothInserted();
    b.order();
    a.order();
    hand(b);
    b.run("UPDATE log SET v = 'a by b' WHERE v = 'a'");
    send(b);
    b.order();
    a.run("UPDATE log SET v = 'a by a' WHERE v = 'a'");
    lab.settle();
    for (const node of lab.nodes) {
      expect(shown(node)).toBe("0 a by a b");
      expect(node.deviations()).toEqual([]);
      expect(node.replica.replica.journal.list(9)).toMatchObject([{ kind: "concurrent write" }]);
    }
  });

  test("of many rows only the colliding ones are redirected, also in a changeset of several parts", async () => {
    for (const size of [1, 2000]) {
      const [a, b] = await start("CREATE TABLE log(v TEXT)", 3);
      const insert = (node: LabNode, count: number): void => {
        node.run("BEGIN");
        for (let i = 0; i < count; i++)
          node.app.query("INSERT INTO log VALUES(?)").run(`${node.number}.${i} ${"x".repeat(size)}`);
        node.run("COMMIT");
        send(node);
      };
      insert(b, 20);
      insert(a, 3000);
      b.order();
      a.order();
      lab.settle();
      for (const node of lab.nodes) {
        expect(node.query("SELECT count(*), count(DISTINCT v), max(rowid) FROM log")).toEqual([
          [3020n, 3020n, 3020n],
        ]);
        expect(node.deviations()).toEqual([]);
        expect(node.wrongChecksums()).toEqual([]);
        expect(node.replica.replica.journal.total).toBe(0);
      }
      lab.close();
    }
    await start();
  });

  test("a collision at the largest rowid is redirected to a free one", async () => {
    const [a, b] = await start();
    const max = "9223372036854775807";
    a.run(`INSERT INTO log(rowid, v) VALUES(${max}, 'a')`);
    b.run(`INSERT INTO log(rowid, v) VALUES(${max}, 'b')`, "INSERT INTO log VALUES('more')");
    send(b);
    send(a);
    a.run("UPDATE log SET v = 'a2' WHERE v = 'a'");
    b.order();
    a.order();
    agree("0 a2 b more");
  });

  test("negative rowids collide and are redirected like others", async () => {
    const [a, b] = await start("CREATE TABLE log(v TEXT); INSERT INTO log(rowid, v) VALUES(-9, '0')");
    for (const node of [b, a]) {
      node.run(`INSERT INTO log(rowid, v) VALUES(-5, '${node.number}')`);
      send(node);
      node.order();
    }
    agree("0 0 1");
  });

  test("a full-text index over a table without a key finds each redirected row", async () => {
    const [a, b] =
      await start(`CREATE TABLE log(v TEXT); CREATE VIRTUAL TABLE search USING fts5(v, content='log');
      CREATE TRIGGER si AFTER INSERT ON log BEGIN INSERT INTO search(rowid, v) VALUES(NEW.rowid, NEW.v); END;
      CREATE TRIGGER sd AFTER DELETE ON log BEGIN INSERT INTO search(search, rowid, v) VALUES('delete', OLD.rowid, OLD.v); END;
      CREATE TRIGGER su AFTER UPDATE ON log BEGIN
        INSERT INTO search(search, rowid, v) VALUES('delete', OLD.rowid, OLD.v); INSERT INTO search(rowid, v) VALUES(NEW.rowid, NEW.v); END`);
    b.run("INSERT INTO log VALUES('b')");
    send(b);
    a.run("INSERT INTO log VALUES('a')");
    send(a);
    a.run("UPDATE log SET v = 'a2'", "INSERT INTO log VALUES('next')");
    b.order();
    a.order();
    agree("a2 b next");
    for (const node of [a, b]) {
      node.run("INSERT INTO search(search, rank) VALUES('integrity-check', 1)");
      for (const word of ["a2", "b", "next"])
        expect(node.query(`SELECT v FROM search('${word}')`)).toEqual([[word]]);
    }
  });

  test("an application trigger that deletes from a table without a key acts once", async () => {
    const [a, b] = await start(`CREATE TABLE log(v TEXT); CREATE TABLE recent(v TEXT);
      CREATE TRIGGER keep AFTER INSERT ON log BEGIN
        INSERT INTO recent VALUES(NEW.v); DELETE FROM recent WHERE rowid < (SELECT max(rowid) FROM recent); END`);
    for (const node of [b, a]) {
      node.run(`INSERT INTO log VALUES('${node.number}')`);
      send(node);
      node.run(`INSERT INTO log VALUES('${node.number} again')`);
      node.order();
    }
    agree("0 0 again 1 1 again");
    agree("0 again 1 again", "SELECT v FROM recent ORDER BY v");
  });

  test("VACUUM keeps the rowids, and cleanup removes the index that ensures it", async () => {
    const schema = `CREATE TABLE log(v TEXT, "rowid" TEXT); CREATE INDEX mine ON log(v); CREATE VIEW w AS SELECT * FROM log`;
    const [a, b] = await start(schema);
    a.run("INSERT INTO log VALUES('1', 'x'), ('2', 'x'), ('3', 'x'), ('4', 'x')");
    lab.settle();
    a.run("DELETE FROM log WHERE v IN ('1', '3')");
    lab.settle();
    const rowids = a.query("SELECT _rowid_ FROM log");
    for (const node of [a, b]) node.run("VACUUM");
    expect(a.query("SELECT _rowid_ FROM log")).toEqual(rowids);
    a.run("UPDATE log SET v = 'four' WHERE v = '4'");
    agree("2 four");
    a.run("PRAGMA wal_checkpoint(TRUNCATE)");
    const copy = `${a.file}.copy`;
    copyFileSync(a.file, copy);
    cleanupDatabase(copy, `${copy}.marmot`);
    const schemaOf = (path: string, sql = "SELECT 1"): unknown[] => {
      const db = new Database(path, { create: true });
      db.exec(sql);
      const objects = db.query("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid").values();
      db.close();
      return objects;
    };
    expect(schemaOf(copy)).toEqual(schemaOf(":memory:", schema));
  });
});

describe("a declared key that SQLite never fills", () => {
  const DRIZZLE = `CREATE TABLE "__drizzle_migrations" (id SERIAL PRIMARY KEY, hash text NOT NULL, created_at numeric);
    INSERT INTO "__drizzle_migrations" ("hash", "created_at") VALUES('0', 1)`;
  const ROWS = `SELECT hash FROM "__drizzle_migrations" WHERE id IS NULL ORDER BY hash`;
  const insert = (hash: string): string =>
    `INSERT INTO "__drizzle_migrations" ("hash", "created_at") VALUES('${hash}', 2)`;

  test("rows with a NULL key are all kept, also when two nodes insert at once", async () => {
    const [a, b] = await start(DRIZZLE);
    a.run(insert("a"), insert("b"));
    b.run(insert("c"), `UPDATE "__drizzle_migrations" SET created_at = 3 WHERE hash = '0'`);
    agree("0 a b c", ROWS);
  });

  test("rows with a key value are UNIQUE by it", async () => {
    const [a, b] = await start(DRIZZLE);
    a.run(`INSERT INTO "__drizzle_migrations" VALUES(7, 'a', 2)`);
    lab.settle();
    b.run(`INSERT OR REPLACE INTO "__drizzle_migrations" VALUES(7, 'b', 2)`);
    agree("0 b", `SELECT hash FROM "__drizzle_migrations" ORDER BY hash`);
  });
});

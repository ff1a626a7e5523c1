/** What must hold on a healthy cluster, with one shard and with sixteen: one cluster each serves all tests. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { dump, marmot, TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA = `
  CREATE TABLE kv(k INTEGER PRIMARY KEY, v TEXT);
  CREATE TABLE hot(k INTEGER PRIMARY KEY, v TEXT);
  CREATE TABLE ids(id INTEGER PRIMARY KEY, who TEXT);
  CREATE TABLE people(id INTEGER PRIMARY KEY, mail TEXT UNIQUE, name TEXT);
  CREATE TABLE words(word TEXT NOT NULL PRIMARY KEY COLLATE NOCASE, n INT) WITHOUT ROWID;
  CREATE TABLE pairs(a TEXT NOT NULL, b INT NOT NULL, v, PRIMARY KEY(a, b));
  CREATE TABLE strict_one(id INTEGER PRIMARY KEY, i INTEGER, r REAL, t TEXT, b BLOB, x ANY) STRICT;
  CREATE TABLE made(id INTEGER PRIMARY KEY, a INT, b INT GENERATED ALWAYS AS (a * 2) STORED, c TEXT GENERATED ALWAYS AS (a || '!') VIRTUAL);
  CREATE TABLE anything(id INTEGER PRIMARY KEY, x, y BLOB, z NUMERIC);
  CREATE TABLE "order"("group" INTEGER PRIMARY KEY, "select" TEXT);
  CREATE TABLE "my table"("a ""quoted"" column" INTEGER PRIMARY KEY, "ünïcode" TEXT);
  CREATE TABLE wide(id INTEGER PRIMARY KEY, ${Array.from({ length: 199 }, (_, i) => `c${i} INT DEFAULT ${i}`).join(", ")});
  CREATE TABLE slots(id INTEGER PRIMARY KEY, day TEXT, room TEXT, taken INT, UNIQUE(day, room));
  CREATE UNIQUE INDEX one_taken ON slots(room) WHERE taken = 1;
  CREATE INDEX by_name ON people(name);
  CREATE VIEW named AS SELECT name FROM people WHERE name IS NOT NULL;
  CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INT NOT NULL);
  ${Array.from({ length: 20 }, (_, i) => `CREATE TABLE quiet${i}(id INTEGER PRIMARY KEY, v TEXT);`).join("\n")}
  INSERT INTO kv VALUES(1, 'one'), (2, 'two'), (3, 'three');
  INSERT INTO hot SELECT value, '0' FROM generate_series(1, 5);
  INSERT INTO people VALUES(1, 'a@x', 'Ann'), (2, 'b@x', 'Bob'), (3, 'c@x', 'Cid');
  INSERT INTO accounts SELECT value, 1000 FROM generate_series(1, 10);
  INSERT INTO slots VALUES(1, 'mon', 'red', 1), (2, 'mon', 'blue', 1), (3, 'tue', 'red', 0);
`.replace(
  /SELECT value, ('0'|1000) FROM generate_series\((\d+), (\d+)\)/g,
  (_m, v: string, from: string, to: string) => {
    const rows = Array.from(
      { length: Number(to) - Number(from) + 1 },
      (_, i) => `(${Number(from) + i}, ${v})`,
    );
    return `VALUES${rows.join(", ")}`;
  },
);

for (const shards of [1, 16])
  describe(`${shards} ${shards === 1 ? "shard" : "shards"}`, () => {
    let cluster: TestCluster;
    let nodes: TestNode[];
    beforeAll(async () => {
      cluster = await TestCluster.start({ shards, schema: SCHEMA });
      nodes = cluster.nodes;
    });
    afterAll(() => cluster?.stop());

    test("joiners with an empty file receive rows, indexes and views byte for byte", async () => {
      await cluster.settle();
      const schema = (n: TestNode) =>
        n.query(
          `SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE '\\_\\_marmot\\_\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite%' ORDER BY name`,
        );
      expect(schema(nodes[1]!)).toEqual(schema(nodes[0]!));
      expect(schema(nodes[2]!)).toEqual(schema(nodes[0]!));
      expect(nodes[2]!.query("SELECT count(*) FROM named")).toEqual([[3n]]);
    });

    test("inserts, updates, deletes and transactions over several tables arrive on all nodes", async () => {
      nodes[0]!.run(
        "INSERT INTO kv VALUES(10, 'ten')",
        "UPDATE kv SET v = 'uno' WHERE k = 1",
        "DELETE FROM kv WHERE k = 2",
      );
      nodes[0]!.run(
        "BEGIN; INSERT INTO kv VALUES(11, 'a'), (12, 'b'); UPDATE people SET name = 'Zed' WHERE id = 1; COMMIT",
      );
      nodes[0]!.run("BEGIN; INSERT INTO kv VALUES(13, 'never'); ROLLBACK");
      await cluster.settle();
      expect(nodes[2]!.query("SELECT v FROM kv WHERE k IN (1, 2, 10, 11, 12, 13) ORDER BY k")).toEqual([
        ["uno"],
        ["ten"],
        ["a"],
        ["b"],
      ]);
      expect(nodes[1]!.query("SELECT name FROM people WHERE id = 1")).toEqual([["Zed"]]);
    });

    test("inserts on one node, updates on another and deletes on a third are all applied", async () => {
      nodes[0]!.run(...Array.from({ length: 10 }, (_, i) => `INSERT INTO kv VALUES(${100 + i}, 'x')`));
      await cluster.settle();
      nodes[1]!.run(...Array.from({ length: 5 }, (_, i) => `UPDATE kv SET v = 'y' WHERE k = ${100 + i}`));
      nodes[2]!.run(...Array.from({ length: 3 }, (_, i) => `DELETE FROM kv WHERE k = ${107 + i}`));
      await cluster.settle();
      expect(
        nodes[0]!.query("SELECT v, count(*) FROM kv WHERE k BETWEEN 100 AND 109 GROUP BY v ORDER BY v"),
      ).toEqual([
        ["x", 2n],
        ["y", 5n],
      ]);
    });

    test("rows that all nodes update at once have one of the written values, the same on every node", async () => {
      const written = new Set<string>(["0"]);
      const dbs = nodes.map((n) => n.open());
      for (let round = 0; round < 40; round++)
        for (const [i, db] of dbs.entries())
          for (let k = 1; k <= 5; k++) {
            const value = `${i}/${round}`;
            written.add(value);
            db.query("UPDATE hot SET v = ? WHERE k = ?").run(value, k);
          }
      for (const db of dbs) db.close();
      await cluster.settle();
      const rows = nodes[0]!.query("SELECT v FROM hot");
      expect(rows).toHaveLength(5);
      for (const [v] of rows) expect(written.has(v as string)).toBe(true);
    });

    test("of two inserts of one id one wins, and the journal has the loser with both images", async () => {
      const before = (await nodes[0]!.status()).conflicts.total;
      // Both commit before either is replicated: the nodes are stopped while their files are written.
      for (const n of nodes) await n.pause();
      nodes[0]!.run("INSERT INTO ids VALUES(77, 'first')");
      nodes[1]!.run("INSERT INTO ids VALUES(77, 'second')");
      for (const n of nodes) n.signal("SIGCONT");
      await cluster.settle();
      const [[winner]] = nodes[2]!.query("SELECT who FROM ids WHERE id = 77") as [[string]];
      const loser = winner === "first" ? "second" : "first";
      expect((await nodes[0]!.status()).conflicts.total).toBe(before + 1);
      const list = JSON.parse(nodes[1]!.marmot("conflicts", "list", "--json").stdout) as {
        id: string;
        table: string;
        key: string;
      }[];
      const found = list.find((c) => c.table === "ids" && c.key === "77")!;
      const detail = JSON.parse((await nodes[2]!.http(`/api/v1/conflicts/${found.id}`)).text) as {
        losingImage: { text: string }[];
        winningImage: { text: string }[];
        losingOrigin: string;
      };
      expect(detail.losingImage[1]!.text).toBe(loser);
      expect(detail.winningImage[1]!.text).toBe(winner);
      expect(detail.losingOrigin).toBe(loser === "first" ? "n0" : "n1");
      expect(nodes[0]!.marmot("conflicts", "show", found.id).stdout).toContain(loser);
    });

    test("a reader never sees an own newer write replaced by an own older one", async () => {
      const db = nodes[1]!.open();
      const set = db.query("UPDATE kv SET v = ? WHERE k = 3");
      const get = db.query("SELECT v FROM kv WHERE k = 3");
      for (let i = 1; i <= 100; i++) {
        set.run(String(i));
        const end = performance.now() + 5;
        while (performance.now() < end) expect(get.values()[0]![0]).toBe(String(i));
        await Bun.sleep(0);
      }
      db.close();
      await cluster.settle();
    });

    test("changed keys, swapped keys and swapped unique values arrive on all nodes", async () => {
      nodes[0]!.run("INSERT INTO kv VALUES(500, 'five'), (501, 'six')");
      await cluster.settle();
      nodes[1]!.run("UPDATE kv SET k = 900 WHERE k = 500");
      nodes[1]!.run(
        "BEGIN; UPDATE kv SET k = -1 WHERE k = 900; UPDATE kv SET k = 900 WHERE k = 501; UPDATE kv SET k = 501 WHERE k = -1; COMMIT",
      );
      nodes[1]!.run("UPDATE kv SET rowid = 902 WHERE k = 900");
      nodes[2]!.run(
        "BEGIN; UPDATE people SET mail = NULL WHERE id = 2; UPDATE people SET mail = 'b@x' WHERE id = 3; UPDATE people SET mail = 'c@x' WHERE id = 2; COMMIT",
      );
      await cluster.settle();
      expect(nodes[0]!.query("SELECT k, v FROM kv WHERE k IN (500, 501, 900, 902, -1) ORDER BY k")).toEqual([
        [501n, "five"],
        [902n, "six"],
      ]);
      expect(nodes[0]!.query("SELECT id, mail FROM people WHERE id IN (2, 3) ORDER BY id")).toEqual([
        [2n, "c@x"],
        [3n, "b@x"],
      ]);
    });

    test("REPLACE evicts through a second unique key, with recursive_triggers off and on; IGNORE and upserts evict nothing", async () => {
      for (const recursive of ["OFF", "ON"]) {
        const base = recursive === "ON" ? 2000 : 1000;
        nodes[0]!.run(
          `INSERT INTO people VALUES(${base}, 'p${base}@x', 'old'), (${base + 1}, 'q${base}@x', 'kept'), (${base + 2}, 'r${base}@x', 'kept')`,
        );
        await cluster.settle();
        nodes[1]!.run(
          `PRAGMA recursive_triggers = ${recursive}`,
          `INSERT OR REPLACE INTO people VALUES(${base + 5}, 'p${base}@x', 'new')`,
          `INSERT OR IGNORE INTO people VALUES(${base + 6}, 'q${base}@x', 'ignored')`,
          `INSERT INTO people VALUES(${base + 7}, 'r${base}@x', 'upsert') ON CONFLICT(mail) DO UPDATE SET name = 'touched'`,
          `INSERT OR REPLACE INTO slots VALUES(${base}, 'wed', 'red', 1)`,
        );
        await cluster.settle();
        expect(
          nodes[2]!.query(`SELECT id, name FROM people WHERE id BETWEEN ${base} AND ${base + 9} ORDER BY id`),
        ).toEqual([
          [BigInt(base + 1), "kept"],
          [BigInt(base + 2), "touched"],
          [BigInt(base + 5), "new"],
        ]);
        expect(nodes[2]!.query("SELECT count(*) FROM slots WHERE room = 'red' AND taken = 1")).toEqual([
          [1n],
        ]);
      }
    });

    test("composite and NOCASE keys, STRICT, generated columns, quoted names and 200 columns replicate", async () => {
      nodes[0]!.run(
        "INSERT INTO words VALUES('Apple', 1), ('pear', 2)",
        "INSERT INTO pairs VALUES('a', 1, 'x'), ('a', 2, 'y'), ('b', 1, 'z')",
      );
      await cluster.settle();
      nodes[1]!.run(
        "UPDATE words SET word = 'APPLE', n = 5 WHERE word = 'apple'",
        "UPDATE pairs SET b = 9 WHERE a = 'a' AND b = 2",
      );
      nodes[2]!.run("DELETE FROM words WHERE word = 'PEAR'", "UPDATE pairs SET v = NULL WHERE a = 'b'");
      nodes[0]!.run("INSERT INTO made(id, a) VALUES(1, 21), (2, NULL)", `INSERT INTO "order" VALUES(1, 'x')`);
      nodes[1]!.run(
        `INSERT INTO "my table" VALUES(1, 'é')`,
        "INSERT INTO wide(id, c7) VALUES(1, -7)",
        `UPDATE "order" SET "select" = 'y'`,
      );
      nodes[2]!.run(
        "INSERT INTO strict_one VALUES(1, 2, 3.0, 'four', x'05', 6.0), (2, NULL, NULL, NULL, NULL, NULL)",
      );
      nodes[2]!.run("INSERT INTO quiet19 VALUES(1, 'heard')");
      const rows = await cluster.settle();
      expect(rows.words).toHaveLength(1);
      expect(nodes[0]!.query("SELECT word, n FROM words")).toEqual([["APPLE", 5n]]);
      expect(nodes[2]!.query("SELECT a, b, v FROM pairs ORDER BY a, b")).toEqual([
        ["a", 1n, "x"],
        ["a", 9n, "y"],
        ["b", 1n, null],
      ]);
      expect(nodes[2]!.query("SELECT b, c FROM made ORDER BY id")).toEqual([
        [42n, "21!"],
        [null, null],
      ]);
      expect(nodes[0]!.query("SELECT typeof(r), typeof(x) FROM strict_one WHERE id = 1")).toEqual([
        ["real", "real"],
      ]);
    });

    test("each value keeps its storage class and its bits", async () => {
      const db = nodes[1]!.open();
      const values = [
        "9223372036854775807",
        "-9223372036854775808",
        "9007199254740993",
        "1",
        "1.0",
        "-0.0",
        "0.0",
        "1e308",
        "-1e308",
      ];
      values.push(
        "9e999",
        "-9e999",
        "5e-324",
        "NULL",
        "''",
        "x''",
        "'a' || char(0) || 'b'",
        "CAST(x'61ff62' AS TEXT)",
        "x'00ff'",
      );
      values.push(
        "'1'",
        "'ünïcode 😀'",
        "9223372036854775807.0",
        "4611686018427387904",
        "'2026-11-24'",
        "true",
      );
      values.forEach((v, i) => db.exec(`INSERT INTO anything VALUES(${i + 1}, ${v}, ${v}, ${v})`));
      db.exec("INSERT INTO anything VALUES(1000, randomblob(1000000), zeroblob(300000), 7)");
      db.close();
      await cluster.settle();
      const shown = (n: TestNode) =>
        n.query("SELECT id, typeof(x), hex(CAST(x AS BLOB)), x IS y FROM anything ORDER BY id");
      expect(shown(nodes[0]!)).toEqual(shown(nodes[1]!));
      expect(nodes[2]!.query("SELECT typeof(x) FROM anything WHERE id IN (4, 5) ORDER BY id")).toEqual([
        ["integer"],
        ["real"],
      ]);
      expect(nodes[2]!.query("SELECT hex(x), typeof(x) FROM anything WHERE id = 17")).toEqual([
        ["61FF62", "text"],
      ]);
      nodes[2]!.run("UPDATE anything SET x = 1.0 WHERE id = 4");
      await cluster.settle();
      expect(nodes[0]!.query("SELECT typeof(x) FROM anything WHERE id = 4")).toEqual([["real"]]);
    });

    test("a reader on any node sees a constant sum while all nodes transfer money", async () => {
      const dbs = nodes.map((n) => n.open());
      let moved = 0;
      for (let round = 0; round < 60; round++) {
        for (const [i, db] of dbs.entries()) {
          // Own accounts, so that no transfer overwrites another's.
          const from = i * 3 + 1 + (round % 3);
          const to = i * 3 + 1 + ((round + 1) % 3);
          db.exec(
            `BEGIN IMMEDIATE; UPDATE accounts SET balance = balance - 7 WHERE id = ${from}; UPDATE accounts SET balance = balance + 7 WHERE id = ${to}; COMMIT`,
          );
          moved++;
        }
        for (const db of dbs)
          expect(db.query("SELECT sum(balance) FROM accounts").values()).toEqual([[10_000n]]);
        await Bun.sleep(2);
      }
      for (const db of dbs) db.close();
      await cluster.settle();
      expect(moved).toBe(180);
    });

    test("status, verify, wait, readiness and metrics report the state of the node", async () => {
      const status = await nodes[0]!.status();
      expect(status.members.map((m) => m.name).sort()).toEqual(["n0", "n1", "n2"]);
      expect(status.cluster.shards).toBe(shards);
      expect(status.shards).toHaveLength(shards);
      expect(status.tables.replicated).toContain("my table");
      expect(nodes[1]!.marmot("wait", "--all", "--timeout", "20s").code).toBe(0);
      const verified = JSON.parse(nodes[2]!.marmot("verify", "--deep", "--json").stdout) as {
        equal: boolean;
        nodes: string[];
        rows: number;
      };
      expect(verified.equal).toBe(true);
      expect(verified.nodes.sort()).toEqual(["n0", "n1", "n2"]);
      expect(verified.rows).toBeGreaterThan(100);
      expect((await nodes[0]!.http("/healthz")).status).toBe(200);
      expect((await nodes[0]!.http("/metrics")).text).toContain("marmot_ready 1");
      expect(nodes[0]!.marmot("status").stdout).toContain("n1");
      const own = nodes[0]!.query(
        `SELECT value FROM __marmot__status WHERE item = 'node' AND name = 'peer_id'`,
      );
      expect(own).toEqual([[status.node.peerId]]);
    });

    test("verify finds and repairs a row that was changed without triggers", async () => {
      const db = nodes[2]!.open();
      // Neither a trigger nor a log row, as after a disk error or a restored file.
      const triggers = db
        .query("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'kv'")
        .values() as string[][];
      db.exec("BEGIN");
      for (const [name] of triggers) db.exec(`DROP TRIGGER "${name}"`);
      db.exec("UPDATE kv SET v = 'tampered' WHERE k = 1");
      for (const [, sql] of triggers) db.exec(sql!);
      db.exec("COMMIT");
      db.close();
      const broken = nodes[2]!.marmot("verify", "--json");
      expect(broken.code).toBe(1);
      const { differences } = JSON.parse(broken.stdout) as {
        differences: { kind: string; table: string; key: string }[];
      };
      expect(differences.map((d) => [d.kind, d.table, d.key])).toEqual([["file", "kv", "1"]]);
      nodes[2]!.marmot("verify", "--repair");
      await until(() => nodes[2]!.query("SELECT v FROM kv WHERE k = 1")[0]![0] === "uno", "the repair");
      expect(nodes[2]!.marmot("verify").code).toBe(0);
    });

    test("cleanup restores the schema byte for byte", async () => {
      await cluster.settle();
      await nodes[2]!.kill("SIGTERM");
      await nodes[1]!.kill("SIGKILL");
      const wanted = plainSchema();
      const data = dump(nodes[2]!.db);
      for (const n of [nodes[2]!, nodes[1]!]) {
        expect(marmot(["-db-path", n.db, "-cleanup"]).code).toBe(0);
        expect(
          n.query(
            "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' ORDER BY type, name",
          ),
        ).toEqual(wanted);
      }
      expect(JSON.stringify(dump(nodes[2]!.db))).toBe(JSON.stringify(data));
      expect(nodes[0]!.marmot("cleanup").stderr).toContain("a marmot runs on");
    });
  });

function plainSchema(): unknown[][] {
  const { Database } = require("bun:sqlite") as typeof import("bun:sqlite");
  const db = new Database(":memory:");
  db.exec(SCHEMA);
  const rows = db
    .query("SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' ORDER BY type, name")
    .values();
  db.close();
  return rows as unknown[][];
}

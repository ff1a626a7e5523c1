/** Everything else that applications do to their file, beside writing rows: it stops no node, and no row is lost. */
import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { Lab, type LabNode } from "../node/lab.ts";

let lab: Lab;
afterEach(() => lab.close());

const KV = "CREATE TABLE kv(k INTEGER PRIMARY KEY, v); CREATE INDEX kv_v ON kv(v);";

function expectEqual(sql: string, rows?: unknown[][]): void {
  const found = lab.nodes.map((n) => n.query(sql));
  for (const each of found) expect(each).toEqual(rows ?? found[0]!);
  expect(lab.nodes.flatMap((n) => n.deviations())).toEqual([]);
  for (const node of lab.nodes) expect(node.pipeline.obstacle).toBeNull();
}

test("VACUUM, ANALYZE, REINDEX, PRAGMA optimize and incremental_vacuum change the schema cookie, and replication goes on", async () => {
  lab = await Lab.create(`PRAGMA auto_vacuum = INCREMENTAL; VACUUM; ${KV}`, 2);
  lab.settle();
  const [a, b] = lab.nodes as [LabNode, LabNode];
  let k = 0;
  for (const sql of [
    "VACUUM",
    "ANALYZE",
    "REINDEX",
    "PRAGMA optimize",
    "PRAGMA incremental_vacuum",
    "VACUUM",
  ]) {
    for (const node of [a, b]) {
      node.run(`INSERT INTO kv VALUES(${++k}, '${sql}')`, sql, `INSERT INTO kv VALUES(${++k}, 'after')`);
      lab.settle();
    }
    expectEqual("SELECT * FROM kv ORDER BY k");
  }
  expectEqual("SELECT count(*) FROM kv", [[24n]]);
  // Statistics are each file's own.
  b.run("DELETE FROM sqlite_stat1");
  lab.settle();
  expect(a.query("SELECT count(*) > 0 FROM sqlite_stat1")).toEqual([[1n]]);
});

test("writes under ATTACH, savepoints, TEMP tables and triggers, and defensive connections are captured", async () => {
  lab = await Lab.create(KV, 2);
  lab.settle();
  const [a] = lab.nodes as [LabNode];
  const other = `${a.file}.other`;
  const aside = new Database(other, { create: true });
  aside.exec("CREATE TABLE kv(k INTEGER PRIMARY KEY, v); INSERT INTO kv VALUES(100, 'aside'), (101, 'too')");
  aside.close();
  a.run(
    "PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON; PRAGMA cell_size_check = ON; PRAGMA secure_delete = ON",
  );
  a.run(
    `ATTACH '${other}' AS other`,
    "INSERT INTO main.kv SELECT * FROM other.kv",
    "DELETE FROM other.kv WHERE k = 100",
  );
  a.run(
    "CREATE TEMP TABLE scratch(x)",
    "CREATE TEMP TRIGGER tt AFTER INSERT ON main.kv BEGIN INSERT INTO scratch VALUES(NEW.k); END",
  );
  a.run(
    "BEGIN; INSERT INTO kv VALUES(1, 'kept'); SAVEPOINT one; INSERT INTO kv VALUES(2, 'gone'); UPDATE kv SET v = 'x' WHERE k = 1",
    "ROLLBACK TO one; INSERT INTO kv VALUES(3, 'kept'); SAVEPOINT two; DELETE FROM kv WHERE k = 100; RELEASE one; COMMIT",
  );
  a.run("DETACH other");
  const defensive = new DatabaseSync(a.file, { timeout: 0 });
  defensive.enableDefensive(true);
  defensive.exec("PRAGMA trusted_schema = OFF; INSERT INTO kv VALUES(7, 'defended')");
  expect(() => defensive.exec("PRAGMA writable_schema = ON; DELETE FROM sqlite_schema")).toThrow(
    "may not be modified",
  );
  defensive.close();
  lab.settle();
  expectEqual("SELECT * FROM kv ORDER BY k", [
    [1n, "kept"],
    [3n, "kept"],
    [7n, "defended"],
    [101n, "too"],
  ]);
  expect(a.query("SELECT last_insert_rowid(), changes()")).toEqual([[3n, 1n]]);
  rmSync(other);
});

test("changes() and last_insert_rowid() return the same values with and without capture", async () => {
  lab = await Lab.create("CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE)", 2);
  const [a] = lab.nodes as [LabNode];
  a.run("INSERT INTO t VALUES(5, 'a'), (7, 'b')");
  expect(a.query("SELECT last_insert_rowid(), changes()")).toEqual([[7n, 2n]]);
  a.run("INSERT OR REPLACE INTO t VALUES(9, 'a')");
  expect(a.query("SELECT last_insert_rowid(), changes()")).toEqual([[9n, 1n]]);
  a.run("UPDATE t SET u = u || '!'");
  expect(a.query("SELECT last_insert_rowid(), changes()")).toEqual([[9n, 2n]]);
  lab.settle();
  expectEqual("SELECT * FROM t ORDER BY id", [
    [7n, "b!"],
    [9n, "a!"],
  ]);
});

for (const encoding of ["UTF-16le", "UTF-16be"])
  test(`a database in ${encoding} replicates texts byte for byte, also lone surrogates, in values and keys`, async () => {
    lab = await Lab.create(
      `PRAGMA encoding = '${encoding}'; CREATE TABLE w(k TEXT NOT NULL PRIMARY KEY, v, u UNIQUE) WITHOUT ROWID; INSERT INTO w VALUES('ä', 'ö', 1)`,
      2,
    );
    lab.settle();
    const [a, b] = lab.nodes as [LabNode, LabNode];
    const lone = encoding === "UTF-16le" ? "x'00d86100'" : "x'd8000061'";
    a.run(
      `INSERT INTO w VALUES('ünï' || char(128512), 'a' || char(0) || 'b', 2), (CAST(${lone} AS TEXT), CAST(${lone} AS TEXT), 3)`,
    );
    b.run("UPDATE w SET v = v || 'ß' WHERE k = 'ä'", "INSERT INTO w VALUES('K', x'', 3)");
    lab.settle();
    expectEqual("SELECT hex(CAST(k AS BLOB)), typeof(v), hex(CAST(v AS BLOB)) FROM w ORDER BY u, k");
    expectEqual("SELECT count(*), (SELECT count(*) FROM w WHERE u = 3) FROM w", [[3n, 1n]]);
    expectEqual("PRAGMA encoding", [[encoding]]);
  });

test("keys with NULs, broken UTF-8, blobs and REAL replicate; 1 and 1.0 are one key, the text is another", async () => {
  lab = await Lab.create(
    `CREATE TABLE loose(k NOT NULL PRIMARY KEY, v); CREATE TABLE wide(a BLOB NOT NULL, b REAL NOT NULL, c TEXT NOT NULL COLLATE NOCASE, v, PRIMARY KEY(c, a, b)) WITHOUT ROWID`,
    3,
  );
  lab.settle();
  const [a, b, c] = lab.nodes as [LabNode, LabNode, LabNode];
  a.run(
    "INSERT INTO loose VALUES(1, 'int'), ('1', 'text'), (x'31', 'blob'), (CAST(x'31ff' AS TEXT), 'odd'), (CAST(x'310031' AS TEXT), 'nul'), (2.5, 'real'), (9007199254740993, 'big'), (-0.0, 'zero')",
  );
  a.run("INSERT INTO wide VALUES(x'00ff', 1, 'K', 1), (x'', 1.5, 'k', 2), (x'00ff', 1e300, '', 3)");
  lab.settle();
  b.run(
    "UPDATE loose SET v = 'real now', k = 1.0 WHERE k = 1",
    "DELETE FROM loose WHERE k = CAST(x'31ff' AS TEXT)",
    "UPDATE loose SET k = 0 WHERE k = 0",
  );
  c.run(
    "UPDATE wide SET c = 'k', v = 9 WHERE a = x'00ff' AND b = 1",
    "UPDATE loose SET k = CAST(x'31fe' AS TEXT) WHERE v = 'nul'",
  );
  lab.settle();
  expectEqual("SELECT typeof(k), hex(CAST(k AS BLOB)), v FROM loose ORDER BY v");
  expectEqual("SELECT typeof(k) FROM loose WHERE v = 'real now'", [["real"]]);
  expectEqual("SELECT hex(k) FROM loose WHERE v = 'nul'", [["31FE"]]);
  expectEqual("SELECT c, v FROM wide WHERE b = 1.0", [["k", 9n]]);
  expectEqual("SELECT count(*) FROM loose", [[7n]]);
});

test("rows that exchange keys or UNIQUE values, within and between transactions, replicate", async () => {
  lab = await Lab.create(
    "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE); INSERT INTO t VALUES(1, 'a'), (2, 'b'), (3, 'c'); CREATE TABLE s(k TEXT NOT NULL PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO s VALUES('x', 1), ('y', 2)",
    2,
  );
  lab.settle();
  const [a, b] = lab.nodes as [LabNode, LabNode];
  a.run(
    "BEGIN; UPDATE t SET id = -1 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 2; UPDATE t SET id = 2 WHERE id = -1; COMMIT",
  );
  lab.settle();
  expectEqual("SELECT * FROM t ORDER BY id", [
    [1n, "b"],
    [2n, "a"],
    [3n, "c"],
  ]);
  b.run(
    "UPDATE t SET u = NULL",
    "UPDATE t SET u = CASE id WHEN 1 THEN 'c' WHEN 2 THEN 'b' ELSE 'a' END",
    "UPDATE t SET id = id + 1000",
    "UPDATE t SET id = 1004 - (id - 1000) - 1000",
  );
  b.run("UPDATE s SET k = k || k", "UPDATE s SET k = CASE k WHEN 'xx' THEN 'y' ELSE 'x' END");
  lab.settle();
  expectEqual("SELECT * FROM t ORDER BY id", [
    [1n, "a"],
    [2n, "b"],
    [3n, "c"],
  ]);
  expectEqual("SELECT * FROM s ORDER BY k", [
    ["x", 2n],
    ["y", 1n],
  ]);
});

test("foreign key actions take effect once on every node, with recursive triggers on and off", async () => {
  lab = await Lab.create(
    `CREATE TABLE p(id INTEGER PRIMARY KEY, n); INSERT INTO p VALUES(0, 'zero'), (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four');
     CREATE TABLE cas(id INTEGER PRIMARY KEY, p INT REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE);
     CREATE TABLE deep(id INTEGER PRIMARY KEY, c INT REFERENCES cas ON DELETE CASCADE);
     CREATE TABLE nul(id INTEGER PRIMARY KEY, p INT REFERENCES p ON DELETE SET NULL ON UPDATE SET NULL);
     CREATE TABLE def(id INTEGER PRIMARY KEY, p INT DEFAULT 0 REFERENCES p ON DELETE SET DEFAULT ON UPDATE SET DEFAULT);
     CREATE TABLE res(id INTEGER PRIMARY KEY, p INT REFERENCES p ON DELETE RESTRICT ON UPDATE NO ACTION);
     CREATE TABLE gone(id INTEGER PRIMARY KEY, what);
     CREATE TRIGGER cas_d AFTER DELETE ON cas BEGIN INSERT INTO gone(what) VALUES('cas ' || OLD.id); END;`,
    3,
  );
  lab.settle();
  const [a, b, c] = lab.nodes as [LabNode, LabNode, LabNode];
  for (const [i, node] of lab.nodes.entries())
    node.run(`PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ${i === 0 ? "ON" : "OFF"}`);
  a.run("INSERT INTO cas VALUES(10, 1), (20, 2)", "INSERT INTO deep VALUES(100, 10), (200, 20)");
  a.run(
    "INSERT INTO nul VALUES(10, 1), (20, 2)",
    "INSERT INTO def VALUES(10, 1), (20, 2)",
    "INSERT INTO res VALUES(30, 3)",
  );
  lab.settle();
  b.run("DELETE FROM p WHERE id = 1");
  expect(() => b.run("DELETE FROM p WHERE id = 3")).toThrow("FOREIGN KEY");
  lab.settle();
  c.run("UPDATE p SET id = 22 WHERE id = 2");
  lab.settle();
  expectEqual("SELECT * FROM cas", [[20n, 22n]]);
  expectEqual("SELECT * FROM deep", [[200n, 20n]]);
  expectEqual("SELECT * FROM nul ORDER BY id", [
    [10n, null],
    [20n, null],
  ]);
  expectEqual("SELECT * FROM def ORDER BY id", [
    [10n, 0n],
    [20n, 0n],
  ]);
  expectEqual("SELECT what FROM gone", [["cas 10"]]);
  a.run("REPLACE INTO p VALUES(22, 'again')");
  lab.settle();
  expectEqual("SELECT count(*) FROM cas", [[0n]]);
  expectEqual("SELECT count(*) FROM deep", [[0n]]);
  expectEqual("SELECT n FROM p WHERE id = 22", [["again"]]);
});

test("CHECK, DEFAULT and STRICT hold for the application and do not reject rows of other nodes", async () => {
  lab = await Lab.create(
    `CREATE TABLE t(id INTEGER PRIMARY KEY, n INT CHECK(n > 0), d TEXT DEFAULT (upper('x') || 'y'), r TEXT DEFAULT CURRENT_TIMESTAMP, CHECK(n < 100 OR d = 'big'));
     CREATE TABLE s(id INT NOT NULL PRIMARY KEY, i INT, x ANY, b BLOB) STRICT`,
    2,
  );
  lab.settle();
  const [a, b] = lab.nodes as [LabNode, LabNode];
  a.run("INSERT INTO t(id, n) VALUES(1, 5)", "INSERT INTO s VALUES(1, '7', '7', x'07')");
  expect(() => a.run("INSERT INTO t(id, n) VALUES(2, 0)")).toThrow("CHECK");
  expect(() => a.run("INSERT INTO s VALUES(2, 'x', 1, x'')")).toThrow("cannot store TEXT");
  // Written past the checks on one node, it is a row like any other.
  b.run("PRAGMA ignore_check_constraints = ON", "INSERT INTO t(id, n) VALUES(3, -3)");
  lab.settle();
  expectEqual("SELECT id, n, d, r IS NOT NULL FROM t ORDER BY id", [
    [1n, 5n, "Xy", 1n],
    [3n, -3n, "Xy", 1n],
  ]);
  expectEqual("SELECT typeof(i), typeof(x), typeof(b) FROM s", [["integer", "text", "blob"]]);
});

test("rows with two hundred columns, ten megabytes in one value, empty values or only NULL replicate", async () => {
  const columns = Array.from({ length: 199 }, (_, i) => `c${i}`);
  lab = await Lab.create(
    `CREATE TABLE wide(id INTEGER PRIMARY KEY, ${columns.join(", ")}); CREATE TABLE b(id INTEGER PRIMARY KEY, v)`,
    2,
  );
  lab.settle();
  const [a, b] = lab.nodes as [LabNode, LabNode];
  a.run(
    `INSERT INTO wide VALUES(1, ${columns.map((_, i) => i).join(", ")})`,
    "INSERT INTO wide(id) VALUES(2)",
  );
  a.run("INSERT INTO b VALUES(1, randomblob(10000000)), (2, x''), (3, ''), (4, zeroblob(3))");
  lab.settle();
  b.run(
    "UPDATE wide SET c198 = -0.0, c0 = 1e999, c1 = -1e999 WHERE id = 2",
    "UPDATE b SET v = v || x'00' WHERE id = 2",
  );
  lab.settle();
  expectEqual("SELECT c0, c1, typeof(c198), c50 FROM wide ORDER BY id");
  expect(a.query("SELECT v FROM b WHERE id = 1")).toEqual(b.query("SELECT v FROM b WHERE id = 1"));
  expectEqual("SELECT length(v), typeof(v) FROM b ORDER BY id");
});

/** Real clusters with schemas and drivers from elsewhere: triggers, search, other SQLite versions, many tables. */
import { afterEach, expect, test } from "bun:test";
import { TestCluster, type TestNode, until } from "./lab.ts";

let cluster: TestCluster | null = null;
afterEach(async () => {
  await cluster?.stop();
  cluster = null;
});

const FORUM = `
  CREATE TABLE post(id INTEGER PRIMARY KEY, title TEXT NOT NULL, body TEXT);
  CREATE TABLE tag(post INT NOT NULL REFERENCES post(id) ON DELETE CASCADE, word TEXT NOT NULL COLLATE NOCASE, PRIMARY KEY(post, word)) WITHOUT ROWID;
  CREATE TABLE stats(name TEXT NOT NULL PRIMARY KEY, n INT NOT NULL);
  CREATE TABLE seen(what TEXT, post INT);
  CREATE VIRTUAL TABLE search USING fts5(title, body, content='post', content_rowid='id');
  CREATE VIEW popular AS SELECT post, count(*) AS n FROM tag GROUP BY post;
  INSERT INTO stats VALUES('posts', 0);
  CREATE TRIGGER post_i AFTER INSERT ON post BEGIN INSERT INTO search(rowid, title, body) VALUES(new.id, new.title, new.body); END;
  CREATE TRIGGER post_d AFTER DELETE ON post BEGIN INSERT INTO search(search, rowid, title, body) VALUES('delete', old.id, old.title, old.body); END;
  CREATE TRIGGER post_u AFTER UPDATE ON post BEGIN
    INSERT INTO search(search, rowid, title, body) VALUES('delete', old.id, old.title, old.body);
    INSERT INTO search(rowid, title, body) VALUES(new.id, new.title, new.body); END;
  CREATE TRIGGER count_i AFTER INSERT ON post BEGIN UPDATE stats SET n = n + 1 WHERE name = 'posts'; INSERT OR IGNORE INTO tag VALUES(new.id, 'new'); END;
  CREATE TRIGGER count_d AFTER DELETE ON post BEGIN UPDATE stats SET n = n - 1 WHERE name = 'posts'; DELETE FROM tag WHERE post = old.id; END;
  INSERT INTO post VALUES(1, 'first', 'about pears');
  CREATE TRIGGER seen_i AFTER INSERT ON post BEGIN INSERT INTO seen VALUES('post', new.id); END;
`;

const SCHEMA = `SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE '\\_\\_marmot\\_\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite%' ORDER BY type, name`;
const found = (node: TestNode, word: string): unknown =>
  node.query(
    `SELECT group_concat(rowid) FROM (SELECT rowid FROM search WHERE search MATCH '${word}' ORDER BY rowid)`,
  )[0]![0];

test("each effect of a trigger occurs once and search finds the rows of every node, also on a joiner and after a crash", async () => {
  cluster = await TestCluster.start({ shards: 1, schema: FORUM, first: ["--exclude", "seen"] });
  const [a, b, c] = cluster.nodes as [TestNode, TestNode, TestNode];
  b.run("INSERT INTO post VALUES(2, 'second', 'about figs')");
  await cluster.settle(); // two counts at once would be a conflict
  c.run("INSERT INTO post VALUES(3, 'third', 'about plums and pears')");
  await cluster.settle();
  a.run("UPDATE post SET body = 'about limes' WHERE id = 2");
  b.run("DELETE FROM post WHERE id = 1");
  await cluster.settle();
  await c.kill("SIGKILL");
  a.run("INSERT INTO post VALUES(4, 'fourth', 'while one was away')", "DELETE FROM post WHERE id = 3");
  await c.start();
  await c.ready();
  const late = cluster.add();
  await late.start();
  await late.ready();
  late.run("INSERT INTO post VALUES(5, 'fifth', 'from the late one')");
  await cluster.settle([a, b, c]);
  await late.wait({ all: true });
  for (const node of cluster.nodes) {
    await until(() => node.query("SELECT n FROM stats")[0]![0] === 3n, `${node.name} counts three posts`);
    expect(node.query("SELECT n FROM stats")).toEqual([[3n]]);
    expect(node.query("SELECT post, word FROM tag ORDER BY post")).toEqual([
      [2n, "new"],
      [4n, "new"],
      [5n, "new"],
    ]);
    expect(found(node, "about")).toBe("2");
    expect(found(node, "limes")).toBe("2");
    expect(found(node, "away OR late")).toBe("4,5");
    expect(found(node, "pears")).toBeNull();
    node.run("INSERT INTO search(search, rank) VALUES('integrity-check', 1)");
    expect(node.query(SCHEMA)).toEqual(a.query(SCHEMA));
  }
  for (const node of [a, b, c])
    expect(node.query("SELECT post FROM seen ORDER BY post")).toEqual([[2n], [3n], [4n], [5n]]);
  expect(late.query("SELECT post FROM seen")).toEqual([[5n]]);
  expect(a.marmot("doctor", "--exclude", "seen").stdout).toContain("a full-text index of post");
  expect(a.marmot("verify", "--deep").code).toBe(0);
  await a.kill("SIGTERM");
  expect(a.marmot("cleanup").code).toBe(0);
  expect(a.query("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%marmot%'")).toEqual([[0n]]);
}, 180_000);

const PYTHON = Bun.which("python3");

const SCRIPT = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=20)
me = int(sys.argv[2])
db.execute("PRAGMA foreign_keys = ON")
# A connection's first use of a full-text table reads its settings: within a transaction that then writes, SQLite would not wait.
db.execute("SELECT count(*) FROM search").fetchone()
for i in range(30):
    with db:
        key = me * 1000 + i
        db.execute("INSERT INTO post VALUES(?, ?, ?)", (key, "p%d" % key, "python word%d" % i))
        db.execute("INSERT OR REPLACE INTO tag VALUES(?, ?)", (key, "Nothing"))
        db.execute("UPDATE OR REPLACE slot SET holder = ? WHERE place = ?", (me * 10 + i % 3, i % 5))
        db.executemany("INSERT INTO vals VALUES(?, ?)", [(key * 10 + j, v) for j, v in enumerate(
            [1, 1.0, -0.0, "a\\0b", b"", b"\\x00\\xff", None, 2**63 - 1, float("inf"), "\\U0001f600"])])
        db.execute("INSERT INTO vals VALUES(?, CAST(x'61ff' AS TEXT))", (key * 10 + 10 + 1000000,))
    if i % 10 == 5:
        db.execute("DELETE FROM post WHERE id = ?", (me * 1000 + i - 1,))
        db.commit()
    if i == 17:
        db.execute("VACUUM")
        db.execute("ANALYZE")
        db.execute("SELECT count(*) FROM search").fetchone()  # the schema changed: its settings are read again
print(sqlite3.sqlite_version)
`;

test.skipIf(PYTHON === null)(
  `Python's sqlite3 writes on all nodes at once${PYTHON === null ? " (skipped: there is no python3 here)" : ""}`,
  async () => {
    cluster = await TestCluster.start({
      shards: 1,
      schema: `${FORUM} CREATE TABLE vals(id INTEGER PRIMARY KEY, v);
        CREATE TABLE slot(place INTEGER PRIMARY KEY, holder INT UNIQUE);
        INSERT INTO slot VALUES(0, 1000), (1, 1001), (2, 1002), (3, 1003), (4, 1004);`,
      first: ["--exclude", "seen"],
    });
    const writers = cluster.nodes.map((node, i) =>
      Bun.spawn([PYTHON!, "-c", SCRIPT, node.db, String(i + 1)], { stdout: "pipe", stderr: "pipe" }),
    );
    for (const writer of writers) {
      const code = await writer.exited;
      expect(`${code} ${await new Response(writer.stderr).text()}`).toBe("0 ");
    }
    // `seen` is local to each node and records the order in which rows arrived.
    for (const node of cluster.nodes) expect(await node.wait({ all: true, timeout: "60s" })).toBe(true);
    for (const node of cluster.nodes) node.run("DELETE FROM seen");
    const rows = await cluster.settle();
    expect(rows.post).toHaveLength(1 + 3 * 27);
    expect(rows.vals).toHaveLength(3 * 30 * 11);
    const classes = cluster.nodes.map((n) =>
      n.query("SELECT typeof(v), count(*) FROM vals GROUP BY 1 ORDER BY 1"),
    );
    expect(classes[1]).toEqual(classes[0]!);
    for (const node of cluster.nodes) {
      expect(node.query("SELECT count(*) FROM search WHERE search MATCH 'python'")).toEqual([[81n]]);
      node.run("INSERT INTO search(search, rank) VALUES('integrity-check', 1)");
      expect(node.marmot("verify").code).toBe(0);
    }
  },
  180_000,
);

test("a cluster with five hundred tables starts, replicates, and uses little CPU when idle", async () => {
  const tables = Array.from(
    { length: 500 },
    (_, i) =>
      `CREATE TABLE t${i}(id INTEGER PRIMARY KEY, a TEXT UNIQUE, b INT); INSERT INTO t${i} VALUES(1, 'a', ${i});`,
  );
  cluster = await TestCluster.start({ shards: 1, schema: tables.join("\n"), quiet: true });
  const [a, b, c] = cluster.nodes as [TestNode, TestNode, TestNode];
  a.run(...Array.from({ length: 50 }, (_, i) => `INSERT INTO t${i * 10} VALUES(2, 'b', ${i})`));
  b.run("BEGIN; UPDATE t0 SET b = 7; UPDATE t499 SET b = 8; DELETE FROM t250; COMMIT");
  await cluster.settle();
  expect(c.query("SELECT b FROM t499")).toEqual([[8n]]);
  await c.kill("SIGTERM");
  await c.start();
  await c.ready();
  // Idle cost, of the process itself: well below a tenth of a core, as without so many tables.
  const spent = (node: TestNode): number => {
    const fields = Bun.spawnSync(["ps", "-o", "cputimes=", "-p", String(node.process!.pid)]);
    return Number(fields.stdout.toString());
  };
  const before = spent(c);
  await Bun.sleep(6_000);
  expect(spent(c) - before).toBeLessThanOrEqual(1);
}, 240_000);

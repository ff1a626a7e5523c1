/** `--load-extension` with a compiled library: a function and a collation that the application has, too. */
import type { Database } from "bun:sqlite";
import { afterAll, afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TestCluster, type TestNode, until } from "./lab.ts";

const SOURCE = `#include <sqlite3ext.h>
SQLITE_EXTENSION_INIT1
#include <string.h>

static void twice(sqlite3_context *context, int count, sqlite3_value **values) {
  sqlite3_result_int64(context, 2 * sqlite3_value_int64(values[0]));
}

static int backwards(void *nothing, int m, const void *left, int n, const void *right) {
  const unsigned char *a = left, *b = right;
  while (m > 0 && n > 0)
    if (a[--m] != b[--n]) return a[m] < b[n] ? -1 : 1;
  return m - n;
}

int sqlite3_extension_init(sqlite3 *db, char **message, const sqlite3_api_routines *api) {
  SQLITE_EXTENSION_INIT2(api);
  int result = sqlite3_create_function(db, "twice", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, 0, twice, 0, 0);
  return result ? result : sqlite3_create_collation(db, "backwards", SQLITE_UTF8, 0, backwards);
}
`;

const folder = mkdtempSync(join(tmpdir(), "marmot-extension-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** The compiled library; null: no compiler, or no header of SQLite, is here. */
function compile(): string | null {
  const compiler = Bun.which("cc") ?? Bun.which("gcc") ?? Bun.which("clang");
  if (compiler === null) return null;
  const [source, library] = [join(folder, "app.c"), join(folder, "app.so")];
  writeFileSync(source, SOURCE);
  const done = Bun.spawnSync([compiler, "-shared", "-fPIC", "-O1", "-o", library, source]);
  return done.exitCode === 0 ? library : null;
}
const LIBRARY = compile();

let cluster: TestCluster | null = null;
afterEach(async () => {
  await cluster?.stop();
  cluster = null;
});

function application(node: TestNode): Database {
  const db = node.open();
  db.loadExtension(LIBRARY!);
  return db;
}

async function restart(node: TestNode): Promise<void> {
  await node.kill("SIGTERM");
  await node.start(["--load-extension", LIBRARY!]);
  await node.ready();
}

test.skipIf(LIBRARY === null)(
  "a collation and a function of a library: held back without it, and everywhere with it (needs a C compiler)",
  async () => {
    cluster = await TestCluster.start({
      shards: 1,
      schema: `CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE o(id INTEGER PRIMARY KEY, v TEXT);
        INSERT INTO t VALUES(1, 'ab'), (2, 'ba')`,
    });
    const { nodes } = cluster;
    const [a, b] = nodes as [TestNode, TestNode];
    const held = async (): Promise<string> => JSON.stringify((await b.status()).tables.held);
    const app = application(b);
    app.exec("CREATE INDEX i ON t(v COLLATE backwards)");
    await until(
      async () => (await held()).includes("its index i needs the collation backwards"),
      "b holds t",
    );
    expect(await held()).toContain("(hint: give it to marmot with --load-extension FILE");
    a.run("INSERT INTO o VALUES(1, '7')");
    await until(() => app.query("SELECT 1 FROM o").values().length === 1, "another table goes on");
    // The hint. A UNIQUE index waits for the other nodes.
    await restart(b);
    await until(async () => (await held()) === "[]", "nothing is held back");
    app.exec("CREATE UNIQUE INDEX u ON o(twice(v))");
    await until(async () => (await held()).includes("n0, n2 has other functions"), "b names the nodes");
    for (const node of [a, nodes[2]!]) await restart(node);
    const texts = (node: TestNode): string =>
      JSON.stringify(
        node.query("SELECT name FROM sqlite_schema WHERE name IN ('i', 'u', 's') ORDER BY name"),
      );
    await until(() => nodes.every((node) => texts(node) === '[["i"],["u"]]'), "the indexes are everywhere");
    app.exec(
      "CREATE TABLE s(id INTEGER PRIMARY KEY, n INTEGER, d AS (twice(n)) STORED); INSERT INTO s(n) VALUES(21); CREATE INDEX sd ON s(twice(n))",
    );
    await until(
      () => nodes.every((node) => texts(node) === '[["i"],["s"],["u"]]'),
      "the table is everywhere",
    );
    const other = application(a);
    other.exec("INSERT INTO o VALUES(3, '8'); INSERT INTO s(id, n) VALUES(100, 4)");
    expect(() => other.exec("INSERT INTO o VALUES(4, '08')")).toThrow("UNIQUE");
    other.close();
    await cluster.settle();
    for (const node of nodes) {
      const db = application(node);
      expect(db.query("PRAGMA integrity_check").values()).toEqual([["ok"]]);
      expect(db.query("SELECT d FROM s ORDER BY id").values()).toEqual([[42n], [8n]]);
      db.close();
    }
    app.close();
  },
  120_000,
);

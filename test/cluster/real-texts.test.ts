/** An application on a SQLite that formats REAL values in another way than Marmot's. Python has one, on many machines. */
import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatsAlike } from "../../src/sqlite/versions/real-format.ts";
import { parseVersion } from "../../src/sqlite/versions/sqlite-version.ts";
import { marmot, TestCluster, type TestNode, until } from "./lab.ts";

let cluster: TestCluster | null = null;
afterEach(async () => {
  await cluster?.stop();
  cluster = null;
});

function python(code: string): string {
  const done = Bun.spawnSync(["python3", "-c", `import sqlite3\n${code}`], { stderr: "pipe" });
  return done.exitCode === 0 ? done.stdout.toString().trim() : "";
}
const VERSION = Bun.which("python3") === null ? "" : python("print(sqlite3.sqlite_version)");
const isOther = VERSION !== "" && !formatsAlike(parseVersion(VERSION));

/** The application of the node. */
const write = (node: Pick<TestNode, "db">, sql: string): string =>
  python(
    `c = sqlite3.connect(${JSON.stringify(node.db)}, timeout=20)\nc.executescript(${JSON.stringify(sql)})\nprint("done")`,
  );
const ids = (node: TestNode, table: string): string => {
  const db = node.open();
  try {
    return db.query(`SELECT id FROM ${table} ORDER BY id`).values().flat().join(" ");
  } finally {
    db.close();
  }
};

test.skipIf(!isOther)(
  "an index of REAL values as text holds back its table on the node that made it, and a verify finds damaged indexes",
  async () => {
    cluster = await TestCluster.start({
      shards: 1,
      schema: `CREATE TABLE t(id INTEGER PRIMARY KEY, price REAL); CREATE TABLE o(id INTEGER PRIMARY KEY, v TEXT);
        CREATE TABLE s(id INTEGER PRIMARY KEY, v TEXT); CREATE INDEX si ON s(v)`,
    });
    const { nodes } = cluster;
    const [a, b] = nodes as [TestNode, TestNode];
    expect(write(b, "CREATE INDEX ti ON t(price || ''); INSERT INTO t VALUES(1, 0.1 + 0.2)")).toBe("done");
    await until(() => nodes.every((n) => ids(n, "t") === "1"), "rows of b arrive");
    const held = async (): Promise<string> => JSON.stringify((await b.status()).tables.held);
    await until(async () => (await held()).includes(`the application's SQLite ${VERSION}`), "b holds t back");
    const known = performance.now();
    expect(await held()).toContain("its index ti has REAL values of price as text");
    const other = a.open();
    other.exec("INSERT INTO t VALUES(2, 0.5)");
    expect(marmot(["wait", "--data-dir", a.dataDir, "--timeout", "20s"]).code).toBe(0);
    other.exec("INSERT INTO o VALUES(1, 'goes')");
    await until(() => nodes.every((n) => ids(n, "o") === "1"), "another table goes on");
    expect([ids(a, "t"), ids(b, "t")]).toEqual(["1 2", "1"]);
    // The hint.
    expect(write(b, 'DROP INDEX "ti"')).toBe("done");
    await until(() => ids(b, "t") === "1 2", "the row arrives");
    await until(async () => (await held()) === "[]", "nothing is held back");
    // Another node's application would find its file malformed.
    await until(async () => {
      const { lastSeenMs } = (await a.status()).members.find(({ name }) => name === "n1")!;
      return (lastSeenMs !== null && lastSeenMs < performance.now() - known) || `${lastSeenMs} ms`;
    }, "b told its SQLite to a");
    const heldHere = async (): Promise<string> => JSON.stringify((await a.status()).tables.held);
    other.exec("CREATE INDEX ta ON t(price || '')");
    await until(async () => (await heldHere()).includes("(on n1)"), "a holds t back for b");
    other.exec("DROP INDEX ta");
    await until(async () => (await heldHere()) === "[]", "nothing is held back on a");
    // An index without a row, as two formats leave it.
    const hide = (condition: string): string =>
      `UPDATE sqlite_schema SET sql = 'CREATE INDEX si ON s(v)${condition}' WHERE name = 'si'; PRAGMA writable_schema = RESET`;
    const on = "PRAGMA writable_schema = ON";
    const hidden = `${on}; ${hide(" WHERE 0")}; INSERT INTO s VALUES(1, 'x'); ${on}; ${hide("")}`;
    expect(write(b, `BEGIN IMMEDIATE; ${hidden}; COMMIT`)).toBe("done");
    expect(marmot(["wait", "--data-dir", b.dataDir, "--all", "--timeout", "20s"]).code).toBe(0);
    const verified = marmot(["verify", "--data-dir", a.dataDir]);
    expect(verified.code).toBe(1);
    expect(verified.stdout + verified.stderr).toContain("missing from index si");
    expect(verified.stdout + verified.stderr).toContain("run REINDEX in the file of n1");
    other.close();
  },
);

test.skipIf(!isOther)("doctor refuses such a table by name, and its hints work", () => {
  const folder = mkdtempSync(join(tmpdir(), "marmot-real-"));
  try {
    const file = join(folder, "app.db");
    const make = "CREATE TABLE t(id INTEGER PRIMARY KEY, p REAL); CREATE INDEX i ON t(p || '')";
    expect(write({ db: file }, `${make}; CREATE TABLE o(id INTEGER PRIMARY KEY)`)).toBe("done");
    const refused = marmot(["doctor", "--db", file]);
    expect(refused.code).toBe(1);
    expect(refused.stdout).toContain("its index i has REAL values of p as text");
    expect(marmot(["doctor", "--db", file, "--exclude", "t"]).code).toBe(0);
    expect(write({ db: file }, 'DROP INDEX "i"')).toBe("done");
    expect(marmot(["doctor", "--db", file]).code).toBe(0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

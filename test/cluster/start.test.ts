/** Refusals at the start: the message has the expected and the given value and a hint, and nothing is written. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BINARY, marmot, TestCluster, until } from "./lab.ts";

let folder = "";
let cluster: TestCluster | null = null;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-start-"));
});
afterEach(async () => {
  await cluster?.stop();
  cluster = null;
  rmSync(folder, { recursive: true, force: true });
});

const file = (name: string): string => join(folder, name);
const LOCAL = ["--listen", "/ip4/127.0.0.1/tcp/0", "--admin", "off"];

function database(name: string, schema: string): string {
  const db = new Database(file(name), { create: true });
  db.exec(schema);
  db.close();
  return file(name);
}

test("a wrong path is an error, not a new empty file", () => {
  const { code, stderr } = marmot(["run", "--db", file("missing.db"), ...LOCAL]);
  expect(code).toBe(1);
  expect(stderr).toContain("does not exist");
  expect(stderr).toContain("--create");
  expect(readdirSync(folder)).toEqual([]);
});

test("a file that is not a database is refused and not changed", () => {
  writeFileSync(
    file("text.db"),
    "this is a text, and a long one, so that it is no empty database either".repeat(20),
  );
  mkdirSync(file("folder.db"));
  for (const [name, word] of [
    ["text.db", "not a database"],
    ["folder.db", "folder"],
  ] as const) {
    const { code, stderr } = marmot(["run", "--db", file(name), ...LOCAL]);
    expect(code).toBe(1);
    expect(stderr).toContain(word);
    expect(existsSync(`${file(name)}.marmot`)).toBe(false);
  }
});

test("all wrong options are named together, with exit code 2", () => {
  const { code, stderr } = marmot(
    [
      "run",
      "--shards",
      "65",
      "--peers",
      "node-1:8160",
      "--role",
      "king",
      "--lisen",
      "x",
      "--admin",
      "0.0.0.0:1",
      "--tables",
      "a",
      "--exclude",
      "a",
    ],
    { MARMOT_LOG_LEVEL: "loud" },
  );
  expect(code).toBe(2);
  for (const part of [
    "--shards should be a whole number from 1 to 64",
    "a multiaddr such as",
    "voter or learner",
    "did you mean --listen",
    "MARMOT_LOG_LEVEL should be debug or info",
  ])
    expect(stderr).toContain(part);
  const second = marmot([
    "run",
    "--admin",
    "0.0.0.0:6010",
    "--tables",
    "a",
    "--exclude",
    "a",
    "--create",
    "--peers",
    "/ip4/1.2.3.4/tcp/1",
  ]);
  expect(second.code).toBe(2);
  for (const part of ["--db FILE is needed", "--admin-token", "both name a", "--create"])
    expect(second.stderr).toContain(part);
  expect(marmot(["rum"]).stderr).toContain("did you mean run?");
});

test("options come from flags, the environment and a file, in that order", () => {
  database("a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE u(id INTEGER PRIMARY KEY)");
  writeFileSync(file("m.toml"), `db = "${file("nowhere.db")}"\nexclude = ["u"]\n`);
  const shown = marmot(["doctor", "--json", "--config", file("m.toml")], { MARMOT_DB: file("a.db") });
  expect(shown.code).toBe(0);
  const { tables } = JSON.parse(shown.stdout) as { tables: { name: string; verdict: string }[] };
  expect(tables.find((t) => t.name === "u")?.verdict).toBe("skipped");
  writeFileSync(file("bad.toml"), "colour = 1\n");
  expect(marmot(["doctor", "--config", file("bad.toml")]).stderr).toContain("there is no option colour");
});

test("unsupported tables are refused by name with a hint; with these excluded the others replicate", () => {
  const db = database(
    "a.db",
    `CREATE TABLE good(id INTEGER PRIMARY KEY); CREATE TABLE keyless(rowid, oid, _rowid_); CREATE VIRTUAL TABLE search USING fts5(x);
     CREATE TABLE watched(id INTEGER PRIMARY KEY); CREATE TRIGGER w AFTER INSERT ON watched BEGIN DELETE FROM good; INSERT INTO keyless VALUES(1, 2, 3); END`,
  );
  const { code, stderr } = marmot(["run", "--db", db, ...LOCAL]);
  expect(code).toBe(1);
  for (const name of ["keyless", "search", "watched"]) expect(stderr).toContain(`--exclude ${name}`);
  const doctor = marmot(["doctor", "--db", db]);
  expect(doctor.code).toBe(1);
  expect(doctor.stdout).toContain("it has no declared primary key");
  expect(marmot(["doctor", "--db", db, "--exclude", "keyless,search,watched"]).code).toBe(0);
  expect(marmot(["run", "--db", db, "--exclude", "nothing", ...LOCAL]).stderr).toContain("it has no nothing");
});

test("a wrong key, an unreadable key and a joiner without a key are refused", () => {
  const peers = ["--peers", "/ip4/127.0.0.1/tcp/1"];
  const none = marmot(["run", "--db", file("a.db"), ...peers, ...LOCAL]);
  expect(none.code).toBe(1);
  expect(none.stderr).toContain("the cluster's key is needed");
  writeFileSync(file("bad.key"), "marmot-cluster-key-1:AAAA\n");
  const bad = marmot(["run", "--db", file("a.db"), "--cluster-key", file("bad.key"), ...peers, ...LOCAL]);
  expect(bad.stderr).toContain("line 1 should read marmot-cluster-key-1:");
  expect(
    marmot(["run", "--db", file("a.db"), "--cluster-key", file("no.key"), ...peers, ...LOCAL]).stderr,
  ).toContain("cannot be read");
  expect(readdirSync(folder)).toEqual(["bad.key"]);
});

test("an occupied port is an error with a hint", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const db = database("a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY)");
  const peer = marmot(["run", "--db", db, "--listen", `/ip4/127.0.0.1/tcp/${port}`, "--admin", "off"]);
  expect(peer.code).toBe(1);
  expect(peer.stderr).toContain("choose a free address with --listen");
  const admin = marmot([
    "run",
    "--db",
    db,
    "--listen",
    "/ip4/127.0.0.1/tcp/0",
    "--admin",
    `127.0.0.1:${port}`,
  ]);
  expect(admin.code).toBe(1);
  expect(admin.stderr).toContain("choose a free port with --admin");
  server.close();
});

test("a verb without a running node says so and names the command that starts one", () => {
  const db = database("a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY)");
  for (const verb of ["status", "wait", "verify"]) {
    const { code, stderr } = marmot([verb, "--db", db]);
    expect(code).toBe(1);
    expect(stderr).toContain("marmot run");
  }
  expect(marmot(["status"]).code).toBe(2);
});

test("the binary ignores .env and bunfig.toml in the folder in which it is started", () => {
  writeFileSync(file(".env"), "MARMOT_SHARDS=99\n");
  writeFileSync(file("bunfig.toml"), "preload = ['./nothing.ts']\n");
  const done = Bun.spawnSync([BINARY, "version"], { cwd: folder, stdout: "pipe", stderr: "pipe" });
  expect(done.exitCode).toBe(0);
  const run = Bun.spawnSync([BINARY, "run", "--db", "no.db"], {
    cwd: folder,
    stdout: "pipe",
    stderr: "pipe",
  });
  expect(run.stderr.toString()).not.toContain("MARMOT_SHARDS");
});

test("a joiner with an equal file is accepted; one with another file is refused with the choices, and the file is not changed", async () => {
  cluster = await TestCluster.start({
    shards: 1,
    schema: "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'a')",
  });
  const [first] = cluster.nodes;
  const same = cluster.add();
  same.run("CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'a')");
  await same.start();
  await same.ready();
  // A copy of another node's file carries that node's change logs.
  const copied = cluster.add();
  await first!.wait();
  const source = first!.open();
  source.exec(`VACUUM INTO '${copied.db}'`);
  source.close();
  await copied.start();
  await copied.ready();
  first!.run("INSERT INTO t VALUES(2, 'b')");
  await cluster.settle();
  const other = cluster.add();
  other.run("CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'other')");
  await other.start();
  await until(() => other.process!.exitCode !== null, "it stops");
  expect(other.process!.exitCode).toBe(1);
  expect(other.log()).toContain("holds other data than the cluster");
  expect(other.query("SELECT v FROM t")).toEqual([["other"]]);
  expect(other.query("SELECT count(*) FROM sqlite_schema")).toEqual([[1n]]);
});

test("an empty database that applications have open receives the data; refused joins leave no member", async () => {
  cluster = await TestCluster.start({
    shards: 1,
    schema: `CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT UNIQUE); INSERT INTO t(v) VALUES('a');
      CREATE TRIGGER touched AFTER UPDATE ON t BEGIN UPDATE t SET v = new.v || '!' WHERE id = new.id AND new.v NOT LIKE '%!'; END;
      PRAGMA user_version = 7`,
    count: 1,
  });
  const [first] = cluster.nodes;
  const modes = ["DELETE", "WAL"];
  for (const mode of modes) {
    const joiner = cluster.add();
    const application = new Database(joiner.db, { create: true });
    application.exec(`PRAGMA journal_mode = ${mode}; PRAGMA busy_timeout = 20000`);
    await joiner.start();
    await joiner.ready();
    expect(application.query("PRAGMA user_version").values()).toEqual([[7]]);
    application.exec(`INSERT INTO t(v) VALUES('of ${joiner.name}')`);
    expect(await joiner.wait()).toBeTrue();
    application.exec("UPDATE t SET v = 'b' WHERE id = 1");
    application.close();
    await cluster.settle();
  }
  expect(first!.query("SELECT v FROM t ORDER BY id")).toEqual([["b!"], ["of n1"], ["of n2"]]);
  // With settings of an application it is not empty.
  const other = cluster.add();
  for (const [option, value] of [
    ["--shards", "7"],
    ["--exclude", "t"],
  ] as const) {
    await other.start([option, value]);
    await until(() => other.process!.exitCode !== null, "it stops");
    expect(other.log()).toContain(`${option} ${value} was given, but the cluster`);
    expect(existsSync(other.db)).toBeFalse();
  }
  other.run("PRAGMA user_version = 3");
  await other.start();
  await until(() => other.process!.exitCode !== null, "it stops");
  expect(other.log()).toContain("another schema than the cluster");
  expect((await first!.status()).members.map(({ name }) => name)).toEqual(["n0", "n1", "n2"]);
});

test("a file without its data directory forms no new cluster", async () => {
  cluster = await TestCluster.start({
    shards: 1,
    schema: "CREATE TABLE t(id INTEGER PRIMARY KEY)",
    count: 1,
  });
  const [node] = cluster.nodes;
  await node!.kill("SIGTERM");
  rmSync(node!.dataDir, { recursive: true });
  const { code, stderr } = marmot(["run", "--db", node!.db, ...LOCAL]);
  expect(code).toBe(1);
  expect(stderr).toContain("belongs to node");
  expect(stderr).toContain("--peers");
});

test("a second process on a data directory, another number of shards and a missing file are refused", async () => {
  cluster = await TestCluster.start({
    shards: 1,
    schema: "CREATE TABLE t(id INTEGER PRIMARY KEY)",
    count: 1,
  });
  const [node] = cluster.nodes;
  expect(marmot(["run", "--db", node!.db, ...LOCAL]).stderr).toContain("another marmot runs on");
  await node!.kill("SIGTERM");
  expect(
    marmot(["run", "--db", node!.db, "--shards", "4", "--cluster-key", cluster.key, ...LOCAL]).stderr,
  ).toContain("the cluster has 1");
  for (const suffix of ["", "-wal", "-shm"]) rmSync(node!.db + suffix, { force: true });
  expect(marmot(["run", "--db", node!.db, "--cluster-key", cluster.key, ...LOCAL]).stderr).toContain(
    "is missing",
  );
});

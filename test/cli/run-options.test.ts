/** `marmot run`: settings from options, contradictions, and the checks before anything is written. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Database } from "bun:sqlite";
import { parseOptions } from "../../src/cli/options/options.ts";
import { contradictions, RUN_OPTIONS, type RunSettings, runSettings } from "../../src/cli/run-options.ts";
import { survey } from "../../src/cli/run-survey.ts";

const KEY = `marmot-cluster-key-1:${Buffer.alloc(32, 7).toString("base64")}`;

function settings(argv: string[], environment: Record<string, string> = {}): RunSettings {
  const known = RUN_OPTIONS.map((o) => o.name);
  const sources = { argv, environment, readFile: () => "" };
  const { options, problems } = parseOptions({ specs: RUN_OPTIONS, words: 0, known }, sources);
  expect(problems).toEqual([]);
  return runSettings(options, { environment, hostName: "host-7" });
}

test("defaults", () => {
  expect(settings(["--db", "app.db"])).toEqual({
    admin: { host: "127.0.0.1", port: 6010 },
    token: null,
    tokenFile: null,
    open: [],
    node: {
      db: "app.db",
      dataDir: "app.db.marmot",
      listen: ["/ip4/0.0.0.0/tcp/8160"],
      backups: null,
      feed: null,
      archive: null,
      historyBytes: 256 << 20,
      announce: [],
      peers: [],
      mdns: false,
      group: null,
      bootstrapExpect: null,
      name: null,
      hostName: "host-7",
      role: null,
      admit: null,
      replaceAfterMs: 600_000,
      leaderFollowsWriter: true,
      create: false,
      unsafeFileSystem: false,
      clusterKeyText: null,
      clusterKeyFile: null,
      shards: null,
      transactions: null,
      merge: null,
      foreignKeys: null,
      idBlock: null,
      tables: null,
      exclude: null,
      functions: null,
      libraries: [],
      scan: {},
    },
  });
});

test("settings by table", () => {
  const { node } = settings(["--db", "a", "--merge", "Orders=column,a=b=row", "--id-block", "16,orders=0"]);
  expect(node.merge).toEqual({ usual: "row", tables: { orders: "column", "a=b": "row" } });
  expect(node.idBlock).toEqual({ usual: 16, tables: { orders: 0 } });
  expect(settings(["--db", "a", "--id-block", "orders=8"]).node.idBlock!.usual).toBe(64);
  expect(settings(["--db", "a", "--merge", "column"]).node.merge).toEqual({ usual: "column", tables: {} });
});

test("the admin address", () => {
  expect(settings(["--db", "a", "--admin", "off"]).admin).toBe(null);
  expect(settings(["--db", "a", "--admin", "[::1]:0"]).admin).toEqual({ host: "::1", port: 0 });
});

describe("the cluster key", () => {
  const key = (argv: string[], environment: Record<string, string>): [string | null, string | null] => {
    const { node } = settings(["--db", "a", ...argv], environment);
    return [node.clusterKeyFile, node.clusterKeyText];
  };
  test("the variable holds it", () => expect(key([], { MARMOT_CLUSTER_KEY: KEY })).toEqual([null, KEY]));
  test("a variable that names no file is taken as a key, not as a path", () =>
    expect(key([], { MARMOT_CLUSTER_KEY: "half-a-key" })).toEqual([null, "half-a-key"]));
  test("the flag names a file", () =>
    expect(key(["--cluster-key", "k"], { MARMOT_CLUSTER_KEY: KEY })).toEqual(["k", null]));
  test("a variable that names a file is that file", () =>
    expect(key([], { MARMOT_CLUSTER_KEY: import.meta.path })).toEqual([import.meta.path, null]));
});

describe("contradictions", () => {
  const wrong = (...argv: string[]): string[] =>
    contradictions(settings(["--db", "a.db", ...argv])).map((p) => p.message);
  test("an admin address that is not loopback, without a token", () => {
    for (const host of ["0.0.0.0", "10.0.0.1", "[::]", "node-1"])
      expect(wrong("--admin", `${host}:6010`)[0]).toContain("--admin-token");
    for (const host of ["127.0.0.1", "127.9.9.9", "localhost", "[::1]"])
      expect(wrong("--admin", `${host}:6010`)).toEqual([]);
    expect(wrong("--admin", "0.0.0.0:6010", "--admin-token", "long-enough")).toEqual([]);
  });
  test("a table that is both in and out", () => {
    expect(wrong("--tables", "a,b", "--exclude", "B,c")).toEqual(["--tables and --exclude both name b"]);
    expect(wrong("--tables", "a,b", "--exclude", "c")).toEqual([]);
  });
  test("--create and --peers", () => expect(wrong("--create", "--peers", "/dns/a/tcp/1").length).toBe(1));
  test("whole transactions and rows are both valid with any number of shards", () => {
    for (const how of ["whole", "row"])
      for (const shards of ["1", "16"]) expect(wrong("--transactions", how, "--shards", shards)).toEqual([]);
  });
});

describe("before anything is written", () => {
  let folder = "";
  let taken: Server;
  let port = 0;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "marmot-survey-"));
    taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    port = (taken.address() as { port: number }).port;
    const db = new Database(join(folder, "good.db"), { create: true });
    db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY)");
    db.close();
  });
  afterEach(async () => {
    await new Promise((resolve) => taken.close(resolve));
    rmSync(folder, { recursive: true, force: true });
  });
  /** The problems found. Ports are checked only where they are given. */
  const look = async (db: string, ...argv: string[]): Promise<string> => {
    const quiet = [
      ...(argv.includes("--listen") ? [] : ["--listen", "/ip4/127.0.0.1/tcp/0"]),
      ...(argv.includes("--admin") ? [] : ["--admin", "off"]),
    ];
    const found = await survey(settings(["--db", join(folder, db), ...quiet, ...argv]));
    return found.map((p) => `${p.message} | ${p.hint}`).join("\n");
  };

  test("a good file is good", async () => expect(await look("good.db")).toBe(""));
  test("no file: only where it is made or received", async () => {
    expect(await look("none.db")).toContain("does not exist");
    expect(await look("none.db", "--create")).toBe("");
    expect(await look("none.db", "--peers", "/dns/a/tcp/1")).toBe("");
  });
  test("a missing folder is reported once", async () => {
    const found = await look("nowhere/a.db");
    expect(found).toContain("should be a folder, but does not exist");
    expect(found.split("\n").length).toBe(1);
  });
  test("a data directory that is a file", async () => {
    expect(await look("good.db", "--data-dir", join(folder, "good.db"))).toContain("is a file");
  });
  test("a learner needs a cluster", async () => {
    expect(await look("good.db", "--role", "learner")).toContain("--peers");
    expect(await look("good.db", "--role", "learner", "--peers", "/dns/a/tcp/1")).toBe("");
  });
  test("all problems are reported together, and nothing is written", async () => {
    writeFileSync(join(folder, "text.db"), "no database ".repeat(100));
    mkdirSync(join(folder, "folder.db"));
    writeFileSync(join(folder, "bad.key"), `${KEY.slice(0, -5)}\n`);
    const before = readdirSync(folder);
    const address = `/ip4/127.0.0.1/tcp/${port}`;
    const argv = [
      "--listen",
      address,
      "--admin",
      `127.0.0.1:${port}`,
      "--cluster-key",
      join(folder, "bad.key"),
    ];
    const found = await look("text.db", ...argv);
    for (const part of [
      "should be a SQLite file",
      "line 1 should read marmot-cluster-key-1:",
      `Cannot listen for peers on ${address}`,
      `Cannot listen for the admin API on 127.0.0.1:${port}`,
      "choose a free address with --listen",
      "choose a free port with --admin",
    ])
      expect(found).toContain(part);
    expect(await look("folder.db")).toContain("is a folder");
    expect(await look("good.db", "--listen", "/ip4/192.0.2.1/tcp/8160")).toContain(
      "Cannot listen for peers on",
    );
    expect(readdirSync(folder)).toEqual(before);
  });
});

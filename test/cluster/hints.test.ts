/** Hints of a node alone, whose file and data directory have names that a shell must quote. Each is run by a shell as printed. */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePorts } from "../../src/cli/free-ports.ts";
import { BINARY, type Result, until } from "./lab.ts";

let folder: string;
let db: string;
let data: string;
let admin: number;
let child: Bun.Subprocess | null = null;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "marmot-hints-"));
  mkdirSync(join(folder, "bin"));
  symlinkSync(BINARY, join(folder, "bin", "marmot"));
  mkdirSync(join(folder, "it's here"));
  db = join(folder, "it's here", "my app.db");
  data = join(folder, "node data");
  const file = new Database(db, { create: true });
  file.exec(
    "PRAGMA journal_mode = WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES(1, 'first')",
  );
  file.close();
  await start();
  await until(async () => (await readyz()) === "ready", "the node is ready");
});
afterEach(async () => {
  await stop();
  rmSync(folder, { recursive: true, force: true });
});

const log = (): string => readFileSync(join(folder, "log"), "utf8");

async function start(): Promise<void> {
  const [port, http] = (await freePorts(2)) as [number, number];
  admin = http;
  const output = openSync(join(folder, "log"), "w");
  child = Bun.spawn(
    [
      ...[BINARY, "run", "--db", db, "--data-dir", data, "--log-level", "warn"],
      ...["--listen", `/ip4/127.0.0.1/tcp/${port}`, "--admin", `127.0.0.1:${admin}`],
    ],
    { stdout: output, stderr: output, stdin: "ignore" },
  );
  closeSync(output);
}

async function stop(): Promise<void> {
  child?.kill("SIGTERM");
  await child?.exited;
  child = null;
}

/** The sentence of `/readyz`. */
async function readyz(): Promise<string> {
  if (child?.exitCode !== null) return `exited: ${log()}`;
  try {
    return (await (await fetch(`http://127.0.0.1:${admin}/readyz`)).text()).trim();
  } catch {
    return "no answer";
  }
}

async function said(name: string): Promise<string> {
  let text = "";
  await until(async () => (text = await readyz()).includes(name) || text, `the node says ${name}`);
  return text;
}

const shell = (command: string): Result => {
  const env = { ...process.env, PATH: `${join(folder, "bin")}:${process.env.PATH}` };
  const done = Bun.spawnSync(["sh", "-c", command], { env, stdout: "pipe", stderr: "pipe" });
  return { code: done.exitCode, stdout: done.stdout.toString(), stderr: done.stderr.toString() };
};

/** The command of the hint, up to the word after it. */
const commandIn = (text: string, verb: string, end: string): string => {
  const at = text.indexOf(`marmot ${verb} `);
  expect(at).toBeGreaterThan(0);
  return text.slice(at, text.indexOf(end, at));
};

function query(sql: string): unknown[][] {
  const file = new Database(db);
  try {
    return file.query(sql).values() as unknown[][];
  } finally {
    file.close();
  }
}

const write = (sql: string): void => {
  const file = new Database(db);
  file.exec(`PRAGMA busy_timeout = 15000; ${sql}`);
  file.close();
};

const place = (): string => `--db '${db.replace("'", "'\\''")}' --data-dir '${data}'`;

test("a damaged file: the hint names file and data directory as a shell takes them", async () => {
  write("INSERT INTO t VALUES(2, 'confirmed')");
  expect(shell(`marmot wait ${place()} --timeout 30s`).code).toBe(0);
  await stop();
  write("PRAGMA wal_checkpoint(TRUNCATE)");
  const file = openSync(db, "r+");
  writeSync(file, new Uint8Array(4096).fill(0xa5), 0, 4096, 0);
  closeSync(file);
  await start();
  const text = await said("damaged");
  expect(text).not.toContain("--peers"); // there is no other member to join
  const repaired = shell(commandIn(text, "repair", " builds"));
  expect([repaired.code, repaired.stderr]).toEqual([0, ""]);
  await until(async () => (await readyz()) === "ready", "the node is ready");
  expect(query("SELECT v FROM t ORDER BY id")).toEqual([["first"], ["confirmed"]]);

  await stop();
  for (const suffix of ["", "-wal", "-shm"]) rmSync(db + suffix, { force: true });
  mkdirSync(db);
  for (const verb of ["repair", "cleanup", "rejoin", "doctor", "run"]) {
    const { code, stdout, stderr } = shell(`marmot ${verb} ${place()}`);
    expect([verb, code, stdout + stderr]).toEqual([verb, 1, expect.stringContaining("is a folder")]);
    expect(stderr).not.toMatch(/^\s+at /m);
  }
});

test("a log that lost its end, or is damaged: the whole cluster is formed again from the file", async () => {
  await stop();
  const image = join(folder, "image");
  cpSync(data, image, { recursive: true, filter: (path) => !path.endsWith(".sock") });
  await start();
  await until(async () => (await readyz()) === "ready", "the node is ready");
  write("INSERT INTO t VALUES(2, 'confirmed')");
  expect(shell(`marmot wait ${place()} --timeout 30s`).code).toBe(0);
  await stop();
  rmSync(data, { recursive: true });
  cpSync(image, data, { recursive: true });
  write("INSERT INTO t VALUES(3, 'not sent')");
  await start();
  await formAgain(await said("log-lost"));
  expect(query("SELECT v FROM t ORDER BY id")).toEqual([["first"], ["confirmed"], ["not sent"]]);

  await stop();
  const file = openSync(join(data, "log.db"), "r+");
  writeSync(file, new Uint8Array(4096).fill(0xa5), 0, 4096, 0);
  closeSync(file);
  await start();
  await until(() => child?.exitCode !== null || "it runs", "the node refuses to start");
  expect(log()).not.toMatch(/^\s+at /m);
  await formAgain(log());
  expect(query("SELECT v FROM t ORDER BY id")).toEqual([["first"], ["confirmed"], ["not sent"]]);
});

test("a member whose data directory has its key alone forms no new cluster by itself", async () => {
  write("INSERT INTO t VALUES(2, 'not lost')");
  await stop();
  for (const name of readdirSync(data).filter((name) => name !== "node.key"))
    rmSync(join(data, name), { recursive: true });
  await start();
  await until(() => child?.exitCode !== null || "it runs", "the node refuses to start");
  expect(log()).toContain("neither its replica nor its log");
  await formAgain(log());
  expect(query("SELECT v FROM t ORDER BY id")).toEqual([["first"], ["not lost"]]);
});

/** Does as the hint says. */
async function formAgain(text: string): Promise<void> {
  await stop();
  const cleaned = shell(commandIn(text, "cleanup", ", "));
  expect([cleaned.code, cleaned.stdout]).toEqual([0, expect.stringContaining("removed")]);
  expect(text).toMatch(/move (only )?'[^']*node data'/);
  rmSync(data, { recursive: true });
  await start();
  await until(async () => (await readyz()) === "ready", "the node is ready");
}

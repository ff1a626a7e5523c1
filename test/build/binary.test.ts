/** The compiled binary: in an empty folder, beside configuration files of others, with pipes and signals. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const BINARY = join(import.meta.dir, "../../dist/marmot");
const DEADLINE_MS = 30_000;

let folder = "";
const children: Bun.Subprocess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-binary-"));
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
  rmSync(folder, { recursive: true, force: true });
});

const marmot = (...argv: string[]): { exitCode: number; stdout: string; stderr: string } => {
  // Without PATH, HOME and other variables of this machine.
  const done = Bun.spawnSync([BINARY, ...argv], { cwd: folder, env: {}, stdout: "pipe", stderr: "pipe" });
  return { exitCode: done.exitCode, stdout: done.stdout.toString(), stderr: done.stderr.toString() };
};

/** Starts a node. `said` returns its output until now. */
function start(
  argv: readonly string[],
  env: Record<string, string> = {},
): { child: Bun.Subprocess; said: () => string } {
  const log = join(folder, "log.txt");
  writeFileSync(log, "");
  const ports = ["--listen", "/ip4/127.0.0.1/tcp/0", "--admin", "off"];
  const child = Bun.spawn([BINARY, "run", ...ports, ...argv], {
    cwd: folder,
    env,
    stdin: "ignore",
    stdout: "ignore",
    stderr: Bun.file(log),
  });
  children.push(child);
  return { child, said: () => readFileSync(log, "utf8") };
}

/** Command lines of all processes of this machine. */
function commandLines(): readonly string[] {
  if (!existsSync("/proc/self/cmdline"))
    return Bun.spawnSync(["ps", "-eo", "args"], { stdout: "pipe" }).stdout.toString().split("\n");
  return readdirSync("/proc").flatMap((pid) => {
    try {
      return /^\d+$/.test(pid) ? [readFileSync(`/proc/${pid}/cmdline`, "utf8")] : [];
    } catch {
      return []; // the process has ended
    }
  });
}

async function until(condition: () => boolean, what: () => string): Promise<void> {
  const end = performance.now() + DEADLINE_MS;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${DEADLINE_MS} ms: ${what()}`);
    await Bun.sleep(20);
  }
}

const isReady = (data: string): boolean => marmot("status", "--data-dir", data).exitCode === 0;
/** Whether a node answers, ready or not. */
const isUp = (data: string): boolean => marmot("status", "--data-dir", data).stdout !== "";

test("it runs from an empty folder and knows its version", () => {
  const { exitCode, stdout, stderr } = marmot("version", "--json");
  expect([exitCode, stderr]).toEqual([0, ""]);
  const { version } = JSON.parse(readFileSync(join(import.meta.dir, "../../package.json"), "utf8")) as {
    version: string;
  };
  const said = JSON.parse(stdout) as Record<string, string>;
  expect(said.marmot).toBe(version);
  expect(said.libp2p).toMatch(/^\d+\.\d+\.\d+$/);
  expect(readdirSync(folder)).toEqual([]);
});

test("it reads no .env, bunfig.toml, package.json or tsconfig.json of the folder it is started in", () => {
  writeFileSync(join(folder, ".env"), "MARMOT_SHARDS=0\n");
  writeFileSync(join(folder, "bunfig.toml"), 'preload = ["./stranger.ts"]\n');
  writeFileSync(join(folder, "stranger.ts"), "throw new Error('loaded');\n");
  writeFileSync(join(folder, "package.json"), "{ broken");
  writeFileSync(join(folder, "tsconfig.json"), "{ broken");
  const { exitCode, stderr } = marmot(
    "run",
    "--db",
    "none.db",
    "--admin",
    "off",
    "--listen",
    "/ip4/127.0.0.1/tcp/0",
  );
  expect(exitCode).toBe(1); // not 2: the variable was not read
  expect(stderr).toContain("none.db does not exist");
  expect(stderr).not.toContain("SHARDS");
});

test("a large result reaches a slow reader completely", () => {
  const path = join(folder, "many.db");
  const db = new Database(path, { create: true });
  db.exec("BEGIN");
  for (let i = 0; i < 3000; i++) db.exec(`CREATE TABLE table_with_a_long_name_${i}(id TEXT PRIMARY KEY, v)`);
  db.exec("COMMIT");
  db.close();
  const slow = Bun.spawnSync(["sh", "-c", `"${BINARY}" doctor --db many.db --json | (sleep 0.3; cat)`], {
    cwd: folder,
    stdout: "pipe",
  });
  const text = slow.stdout.toString();
  expect(text.length).toBeGreaterThan(200_000);
  expect((JSON.parse(text) as { tables: unknown[] }).tables.length).toBe(3000);
});

test("a reader that closes the pipe ends it without a stack trace", () => {
  const left = Bun.spawnSync(["sh", "-c", `"${BINARY}" help 2>&1 | true; "${BINARY}" help | head -1`], {
    cwd: folder,
    stdout: "pipe",
    stderr: "pipe",
  });
  expect(left.stderr.toString()).toBe("");
  expect(left.stdout.toString()).toStartWith("marmot replicates");
});

test("SIGTERM stops a node: exit code 0, no socket left, and the next one starts", async () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    const { child, said } = start(["--db", "app.db", ...(signal === "SIGTERM" ? ["--create"] : [])]);
    await until(() => isReady(join(folder, "app.db.marmot")), said);
    child.kill(signal);
    expect([await child.exited, said()]).toEqual([0, said()]);
    expect(said()).toContain("stopped");
    expect(readdirSync(join(folder, "app.db.marmot"))).not.toContain("control.sock");
  }
});

test.skipIf(!existsSync("/proc/self/environ"))(
  "a node is the process that was started, with an engine that keeps its heap small, unless told otherwise",
  async () => {
    for (const [given, expected] of [
      [{}, "BUN_JSC_forceRAMSize=260000000"],
      [{ BUN_JSC_forceRAMSize: "4000000000" }, "BUN_JSC_forceRAMSize=4000000000"],
    ] as const) {
      rmSync(join(folder, "app.db.marmot"), { recursive: true, force: true });
      rmSync(join(folder, "app.db"), { force: true });
      const { child, said } = start(["--db", "app.db", "--create"], given);
      await until(() => isUp(join(folder, "app.db.marmot")), said);
      expect(readFileSync(`/proc/${child.pid}/environ`, "utf8").split("\0")).toContain(expected);
      expect(readFileSync(`/proc/${child.pid}/cmdline`, "utf8").split("\0").slice(0, 2)).toEqual([
        BINARY,
        "run",
      ]);
      expect(said()).not.toContain("Warning");
      child.kill("SIGTERM");
      expect(await child.exited).toBe(0);
    }
  },
);

test("a node keeps running when the reader of standard error closes the pipe", async () => {
  const child = Bun.spawn(
    [
      "sh",
      "-c",
      `exec "${BINARY}" run --db app.db --create --admin off --listen /ip4/127.0.0.1/tcp/0 --log-level debug`,
    ],
    { cwd: folder, env: { PATH: process.env.PATH ?? "" }, stdin: "ignore", stdout: "ignore", stderr: "pipe" },
  );
  children.push(child);
  const reader = child.stderr.getReader();
  await reader.read();
  await reader.cancel();
  const data = join(folder, "app.db.marmot");
  await until(
    () => isUp(data),
    () => `exit code ${child.exitCode}`,
  );
  const db = new Database(join(folder, "app.db"));
  db.close();
  expect(marmot("wait", "--data-dir", data, "--timeout", "20s").exitCode).toBe(0);
  expect(child.exitCode).toBe(null);
});

test("Ctrl-C ends status --watch", async () => {
  // A joiner whose peer never answers: its status stays "not ready".
  const key = marmot("key", "generate").stdout;
  writeFileSync(join(folder, "c.key"), key);
  const { said } = start(["--db", "app.db", "--peers", "/ip4/127.0.0.1/tcp/1", "--cluster-key", "c.key"]);
  const data = join(folder, "app.db.marmot");
  await until(() => isUp(data), said);
  const watch = Bun.spawn([BINARY, "status", "--data-dir", data, "--watch", "--json"], {
    cwd: folder,
    stdout: "pipe",
  });
  children.push(watch);
  const reader = watch.stdout.getReader();
  await reader.read();
  watch.kill("SIGINT");
  expect(await watch.exited).toBe(0);
});

test("with --log-format json every line on standard error is JSON", async () => {
  const { child, said } = start(["--db", "app.db", "--create", "--log-format", "json"]);
  await until(() => isUp(join(folder, "app.db.marmot")), said);
  child.kill("SIGTERM");
  await child.exited;
  const lines = said()
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { message: string });
  expect(lines.map((l) => l.message)).toContain("started");
});

test("an interrupted demo removes its folder and ends its processes", async () => {
  const temporary = join(folder, "tmp");
  mkdirSync(temporary);
  const demo = Bun.spawn([BINARY, "demo", "--once"], {
    cwd: folder,
    env: { TMPDIR: temporary, MARMOT_SHARDS: "16" },
    stdout: "pipe",
    stderr: "pipe",
  });
  children.push(demo);
  const reader = demo.stdout.getReader();
  let told = "";
  while (!told.includes("starts with the Chinook")) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`it ended: ${told}${await new Response(demo.stderr).text()}`);
    told += new TextDecoder().decode(value);
  }
  const running = (): readonly string[] => commandLines().filter((line) => line.includes(temporary));
  expect(running().join()).toContain("run");
  demo.kill("SIGINT");
  expect(await demo.exited).toBe(1);
  expect(readdirSync(temporary)).toEqual([]);
  expect(running()).toEqual([]);
});

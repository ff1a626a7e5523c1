/**
 * Measures a node besides its bulk work: idle CPU, memory, start, the page, the first writes, many tables. Clusters of
 * three real processes on loopback. Needs dist/marmot, and Chromium for the page.
 *
 *   bun scripts/bench-idle.ts [--only idle,page,start,paint,first,tables,memory] [--limit PATH] [--rows N] [--json PATH] [--docs] [--from PATH]
 *
 * --limit: a program that prints the least time to listen as JSON when it is called with `start`; --rows: of the measure `memory`,
 * which is left out by default; --docs: writes the table into docs/benchmarks.md; --from: from the file that --json wrote.
 */
import { Database } from "bun:sqlite";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { freePorts } from "../src/cli/free-ports.ts";
import { BINARY, TestCluster, type TestNode } from "../test/cluster/lab.ts";
import { Browser, chromium } from "../test/page/browser.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const DOCS = join(import.meta.dir, "../docs/benchmarks.md");
const COLUMNS = "(id INTEGER PRIMARY KEY, a INT, b TEXT, c REAL, d BLOB)";
const REST_MS = 60_000;
const STARTS = 11;
const WRITES = 200;
const WRITES_PER_SECOND = 100;
const LARGE_TRANSACTION = 0.5;

interface Measure {
  readonly name: string;
  readonly value: string;
  readonly goal: string;
}

interface Run {
  readonly cores: number;
  readonly load: number;
  readonly measures: readonly Measure[];
}

const measures: Measure[] = [];
const round = (x: number, digits = 2): number => Number(x.toFixed(digits));
const percentile = (values: readonly number[], p: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * p))] ?? Number.NaN;
const median = (values: readonly number[]): number => percentile(values, 0.5);

function note(name: string, value: string, goal = ""): void {
  measures.push({ name, value, goal });
  console.log(`${name}: ${value}${goal === "" ? "" : ` (goal: ${goal})`}`);
}

const tablesOf = (count: number): string =>
  Array.from({ length: count }, (_, i) => `CREATE TABLE t${i}${COLUMNS};`).join("");

const pidOf = (node: TestNode): number => node.process!.pid;
/** Of user and system, in milliseconds. */
function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(stat[11]) + Number(stat[12])) * 10;
}
const megabytes = (pid: number): number =>
  Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1024);

/** Percent of a core over the time that `during` takes. */
async function share(nodes: readonly TestNode[], during: () => Promise<void>): Promise<number[]> {
  const before = nodes.map((n) => cpuOf(pidOf(n)));
  const start = performance.now();
  await during();
  const ms = performance.now() - start;
  return nodes.map((n, i) => round(((cpuOf(pidOf(n)) - before[i]!) / ms) * 100));
}

const percents = (all: readonly number[]): string => `${all.join(", ")} %`;

// ------------------------------------------------------------------------------------------ idle and page

async function idle(withPage: boolean): Promise<void> {
  const kinds = [
    { name: "1 shard", shards: 1, tables: 1, goal: "0.7 %" },
    { name: "16 shards", shards: 16, tables: 1, goal: "1.0 %" },
    { name: "200 tables", shards: 1, tables: 200, goal: "1.0 %" },
  ];
  const clusters: TestCluster[] = [];
  try {
    for (const { shards, tables } of kinds)
      clusters.push(await TestCluster.start({ shards, schema: tablesOf(tables), quiet: true }));
    const [first] = clusters as [TestCluster];
    note("memory of a node just started, MB", first.nodes.map((n) => megabytes(pidOf(n))).join(", "), "85");
    await Bun.sleep(REST_MS);
    const shares = await Promise.all(clusters.map(({ nodes }) => share(nodes, () => Bun.sleep(REST_MS))));
    kinds.forEach(({ name, goal }, i) =>
      note(`idle, second minute, ${name}: CPU of each node`, percents(shares[i]!), goal),
    );
    if (withPage) await page(first.nodes[0]!, shares[0]![0]!);
  } finally {
    await Promise.all(clusters.map((c) => c.stop()));
  }
}

/** The page is open, and metrics are read each second. */
async function page(node: TestNode, idleShare: number): Promise<void> {
  if (chromium === null) return note("page open and metrics read each second", "not measured: no Chromium");
  const browser = await Browser.start();
  try {
    await browser.open(`http://127.0.0.1:${node.admin}/`);
    const [all] = await share([node], async () => {
      for (const end = performance.now() + REST_MS; performance.now() < end; await Bun.sleep(1000))
        await node.http("/metrics");
    });
    note("page open and metrics read each second: CPU beyond idle", `${round(all! - idleShare)} %`, "1 %");
  } finally {
    await browser.stop();
  }
}

async function paint(): Promise<void> {
  if (chromium === null) return note("first paint of the page", "not measured: no Chromium");
  const cluster = await TestCluster.start({ shards: 1, schema: tablesOf(20), quiet: true });
  const browser = await Browser.start();
  try {
    const times: number[] = [];
    for (let i = 0; i < 6; i++) {
      await browser.open(`http://127.0.0.1:${cluster.nodes[0]!.admin}/?${i}`);
      await browser.until("performance.getEntriesByName('first-contentful-paint').length > 0");
      times.push(
        await browser.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"),
      );
    }
    const [cold, ...warm] = times;
    note(
      "first paint of the page, first and later visits",
      `${round(cold!, 0)}, ${round(median(warm), 0)} ms`,
      "300 ms",
    );
  } finally {
    await browser.stop();
    await cluster.stop();
  }
}

// ------------------------------------------------------------------------------------------ start

const accepts = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });

const isReady = async (port: number): Promise<boolean> => {
  try {
    return (await fetch(`http://127.0.0.1:${port}/readyz`)).status === 200;
  } catch {
    return false;
  }
};

/** Milliseconds from the start of the process until peers can connect, and until it is ready; and its CPU until then. */
async function startOnce(db: string): Promise<{ listening: number; ready: number; cpu: number }> {
  const [peers, admin] = (await freePorts(2)) as [number, number];
  const start = performance.now();
  const node = Bun.spawn(
    [BINARY, "run", "--db", db, "--listen", `/ip4/127.0.0.1/tcp/${peers}`, "--admin", `127.0.0.1:${admin}`],
    { stdout: "ignore", stderr: "ignore", stdin: "ignore" },
  );
  try {
    let listening = 0;
    const end = start + 30_000;
    while (!(await isReady(admin))) {
      // Only the node itself answers; the check of its options opens the port for a moment.
      if (listening === 0 && (await accepts(admin)) && (await accepts(peers)))
        listening = performance.now() - start;
      if (performance.now() > end) throw new Error(`the node of ${db} was not ready within 30 s`);
      await Bun.sleep(1);
    }
    const ready = performance.now() - start;
    return { listening: listening === 0 ? ready : listening, ready, cpu: cpuOf(node.pid) };
  } finally {
    node.kill("SIGTERM");
    await node.exited;
  }
}

async function starts(limit: string | undefined): Promise<void> {
  const least = limit === undefined ? null : await leastStart(limit);
  const folder = mkdtempSync(join(tmpdir(), "marmot-bench-"));
  try {
    const make = (name: string): string => {
      const path = join(folder, name);
      const db = new Database(path, { create: true });
      db.exec(`PRAGMA journal_mode = WAL; CREATE TABLE t${COLUMNS}`);
      db.close();
      return path;
    };
    const again = make("again.db");
    await startOnce(again);
    for (const [name, db] of [
      ["again", () => again],
      ["for the first time", (i: number) => make(`${i}.db`)],
    ] as const) {
      const all: Awaited<ReturnType<typeof startOnce>>[] = [];
      for (let i = 0; i < STARTS; i++) all.push(await startOnce(db(i)));
      const of = (key: "listening" | "ready" | "cpu"): number => round(median(all.map((x) => x[key])), 0);
      const ratio =
        least === null ? "" : `, ${round(of("listening") / least)} of the least (${round(least, 0)} ms)`;
      note(
        `start ${name}: listening${ratio}`,
        `${of("listening")} ms`,
        least === null ? "90 ms" : "90 ms, 1.25 of the least",
      );
      note(`start ${name}: ready`, `${of("ready")} ms, ${of("cpu")} ms of CPU`, "120 ms");
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Of a binary with libp2p that does nothing besides. */
async function leastStart(program: string): Promise<number> {
  if (!existsSync(program)) throw new Error(`${program} does not exist`);
  const child = Bun.spawn([process.execPath, program, "start"], {
    ...{ stdout: "pipe", stderr: "ignore" },
    env: { ...process.env, LIMIT_DEPS: join(import.meta.dir, "..") },
  });
  for (const line of (await new Response(child.stdout).text()).split("\n")) {
    if (!line.includes('"binary libp2p"')) continue;
    return (JSON.parse(line) as { listening_ms: { p50: number } }).listening_ms.p50;
  }
  throw new Error(`${program} start printed no line of "binary libp2p"`);
}

// ------------------------------------------------------------------------------------------ writes

/** The application: milliseconds from each commit until the row is visible in all other files. */
function write(
  file: string,
  others: readonly string[],
  table: string,
  first: number,
  rows: number,
): number[] {
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  const nap = (ms: number): void => void Atomics.wait(sleeper, 0, 0, ms);
  const db = new Database(file);
  db.exec("PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 10000");
  const insert = db.query(`INSERT INTO ${table} VALUES(?, ?, 'hello world', 1.5, NULL)`);
  const tops = others.map((other) =>
    new Database(other, { readonly: true }).query(`SELECT max(id) FROM ${table}`),
  );
  const latencies: number[] = [];
  const start = performance.now() + 5;
  for (let i = 0; i < rows; i++) {
    while (performance.now() < start + (i * 1000) / WRITES_PER_SECOND) nap(0.1);
    insert.run(first + i, i);
    const committed = performance.now();
    while (
      tops.some((top) => Number(top.values()[0]![0] ?? -1) < first + i) &&
      performance.now() < committed + 5000
    )
      nap(0.05);
    latencies.push(performance.now() - committed);
  }
  return latencies;
}

async function writes(cluster: TestCluster, table: string, first: number, rows = WRITES): Promise<number[]> {
  const [writer, ...others] = cluster.nodes.map((n) => n.db) as [string, ...string[]];
  const task = JSON.stringify([writer, others, table, first, rows]);
  const child = Bun.spawn([process.execPath, import.meta.path, "app", task], {
    stdout: "pipe",
    stderr: "inherit",
  });
  return JSON.parse(await new Response(child.stdout).text()) as number[];
}

async function firstWrites(): Promise<void> {
  const ratios: number[] = [];
  const cold: number[] = [];
  for (let i = 0; i < 3; i++) {
    const cluster = await TestCluster.start({ shards: 1, schema: tablesOf(1), quiet: true });
    try {
      const fresh = median(await writes(cluster, "t0", 0));
      await writes(cluster, "t0", 10_000, 5 * WRITES);
      cold.push(fresh);
      ratios.push(fresh / median(await writes(cluster, "t0", 20_000)));
    } finally {
      await cluster.stop();
    }
  }
  note(
    `the first ${WRITES} writes of a cluster just started, visible on all: p50, and of the p50 when warm`,
    `${round(median(cold), 1)} ms, ${round(median(ratios))}`,
    "1.3",
  );
}

async function manyTables(): Promise<void> {
  const one = await TestCluster.start({ shards: 1, schema: tablesOf(1), quiet: true });
  const many = await TestCluster.start({ shards: 1, schema: tablesOf(200), quiet: true });
  try {
    const all: Record<"one" | "many", number[]> = { one: [], many: [] };
    for (let i = 0; i < 6; i++)
      for (const [name, cluster, table] of [
        ["one", one, "t0"],
        ["many", many, "t7"],
      ] as const) {
        const latencies = await writes(cluster, table, i * 1000);
        if (i > 0) all[name].push(...latencies); // the first round compiles the hot code
      }
    const of = (p: number): string =>
      `${round(percentile(all.many, p), 1)} (${round(percentile(all.many, p) / percentile(all.one, p))})`;
    note(
      "200 tables of which one is written, visible on all, ms: p50 and p90 (of one table)",
      `${of(0.5)}, ${of(0.9)}`,
      "1.15 of one table",
    );
  } finally {
    await Promise.all([one.stop(), many.stop()]);
  }
}

// ------------------------------------------------------------------------------------------ memory

/** The most memory of any node while rows are written in transactions of that size until they are visible on all. */
async function memory(rows: number, batch: number): Promise<void> {
  const cluster = await TestCluster.start({ shards: 1, schema: tablesOf(1), quiet: true });
  let most = 0;
  const timer = setInterval(() => {
    for (const node of cluster.nodes) most = Math.max(most, megabytes(pidOf(node)));
  }, 250);
  try {
    const [writer, ...others] = cluster.nodes as [TestNode, ...TestNode[]];
    const child = Bun.spawn(
      [process.execPath, import.meta.path, "bulk", JSON.stringify([writer.db, rows, batch])],
      {
        ...{ stdout: "inherit", stderr: "inherit" },
      },
    );
    await child.exited;
    for (const node of others)
      for (const end = performance.now() + 900_000; performance.now() < end; await Bun.sleep(250))
        if (Number(node.query("SELECT max(id) FROM t0")[0]![0] ?? 0) >= rows) break;
    note(
      `memory of a node while ${rows.toLocaleString("en")} rows are written, ${batch === rows ? "one transaction" : "1,000 a transaction"}, at most`,
      `${most} MB`,
      "300 MB",
    );
  } finally {
    clearInterval(timer);
    await cluster.stop();
  }
}

function bulk(file: string, rows: number, batch: number): void {
  const db = new Database(file);
  db.exec("PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 60000");
  const insert = db.query("INSERT INTO t0 VALUES(?, ?, 'hello world', 1.5, NULL)");
  for (let i = 0; i < rows; i += batch) {
    db.exec("BEGIN IMMEDIATE");
    for (let k = i; k < Math.min(rows, i + batch); k++) insert.run(k + 1, k);
    db.exec("COMMIT");
  }
}

// ------------------------------------------------------------------------------------------ all

function writeDocs({ cores, load, measures: all }: Run): void {
  const text = readFileSync(DOCS, "utf8");
  const parts = text.split(/<!-- bench-idle -->[^]*<!-- \/bench-idle -->/);
  if (parts.length !== 2) throw new Error(`${DOCS} has no place for the table`);
  const rows = all.map(({ name, value, goal }) => `| ${name} | ${value} | ${goal} |`);
  const table = [
    `${cores} cores; the load of the machine was ${load} at the start. The goals are for a machine with nothing else to do.`,
    ...["", "| Measure | Value | Goal |", "| --- | --- | --- |", ...rows],
  ].join("\n");
  writeFileSync(DOCS, `${parts[0]}<!-- bench-idle -->\n\n${table}\n\n<!-- /bench-idle -->${parts[1]}`);
}

async function main(): Promise<void> {
  const { values } = parseScriptArgs(import.meta.path, {
    only: { type: "string", default: "idle,page,start,paint,first,tables" },
    limit: { type: "string" },
    rows: { type: "string", default: "10000000" },
    json: { type: "string" },
    docs: { type: "boolean", default: false },
    from: { type: "string" },
  });
  const only = new Set(values.only.split(","));
  const load = round(loadavg()[0]!, 1);
  let run: Run = { cores: cpus().length, load, measures };
  if (values.from === undefined) {
    console.log(`${cpus().length} cores, load ${load}`);
    if (only.has("start")) await starts(values.limit);
    if (only.has("idle")) await idle(only.has("page"));
    if (only.has("paint")) await paint();
    if (only.has("first")) await firstWrites();
    if (only.has("tables")) await manyTables();
    if (only.has("memory")) {
      const rows = Number(values.rows);
      await memory(rows, 1000);
      await memory(rows * LARGE_TRANSACTION, rows * LARGE_TRANSACTION);
    }
  } else run = JSON.parse(readFileSync(values.from, "utf8")) as Run;
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(run, null, 2)}\n`);
  if (values.docs) writeDocs(run);
}

const [mode, task] = process.argv.slice(2);
if (mode === "app") console.log(JSON.stringify(write(...(JSON.parse(task!) as Parameters<typeof write>))));
else if (mode === "bulk") bulk(...(JSON.parse(task!) as Parameters<typeof bulk>));
else await main();

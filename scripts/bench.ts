/**
 * Measures replication: clusters of the compiled binary beside plain SQLite in the same run. Read the ratios; machines
 * differ. Needs dist/marmot.
 *
 *   bun scripts/bench.ts [--shards N] [--only single,bulk,blobs,large,triggers,latency,memory,idle,catchup,captured]
 *     [--quick] [--json PATH]
 *
 * --quick: each load once and a fifth of its rows, without large, memory, idle and captured; --json: also writes all measures to a file.
 */
import { Database } from "bun:sqlite";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { cleanupDatabase } from "../src/node/offline/cleanup.ts";
import { TestCluster, type TestNode, until } from "../test/cluster/lab.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const COLUMNS = "(id INTEGER PRIMARY KEY, a INT, b TEXT, c REAL, d BLOB)";
/** `u` has a trigger of the application's, whose effects replicate, too. */
const SCHEMA = `CREATE TABLE t${COLUMNS}; CREATE TABLE u${COLUMNS};
  CREATE TABLE audit(id INTEGER PRIMARY KEY, row_id INT, what TEXT);
  CREATE TRIGGER u_insert AFTER INSERT ON u BEGIN INSERT INTO audit(row_id, what) VALUES(NEW.id, NEW.b); END`;
const SINGLE_ROWS = 5000;
const BULK_ROWS = 100_000;
const BULK_BATCH = 1000;
const BLOB_ROWS = 500;
const BLOB_BYTES = 100_000;
/** Large rows: name, rows, bytes of each, and rows of a transaction. */
const LARGE = [
  ["30 BLOBs of 1 MB, one transaction", 30, 1_000_000, 30],
  ["a row of 40 MB", 1, 40_000_000, 1],
  ["a row of 100 MB", 1, 100_000_000, 1],
] as const;
/** Left out by --quick. */
const SLOW: ReadonlySet<string> = new Set(["memory", "idle", "captured", "large"]);

interface AppTask {
  readonly kind: "load" | "latency";
  readonly write: string;
  readonly read: readonly string[];
  readonly rows: number;
  readonly batch: number;
  readonly first: number;
  readonly perSecond: number;
  /** Default "t". */
  readonly table?: "t" | "u";
  /** Of a BLOB in each row; default: none. */
  readonly blobBytes?: number;
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));
const nap = (ms: number): void => void Atomics.wait(sleeper, 0, 0, ms);
const round = (x: number, digits = 2): number => Number(x.toFixed(digits));
const percentile = (values: readonly number[], p: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * p))] ?? Number.NaN;
const median = (values: readonly number[]): number => percentile(values, 0.5);

/** The application: another process, with nothing of Marmot in it. */
function app(task: AppTask): void {
  const db = new Database(task.write);
  db.exec("PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 10000");
  const table = task.table ?? "t";
  const insert = db.query(`INSERT INTO ${table} VALUES(?, ?, ?, ?, ?)`);
  const blob = task.blobBytes === undefined ? null : new Uint8Array(task.blobBytes).fill(7);
  const tops = task.read.map((file) => {
    const reader = new Database(file, { readonly: true });
    return reader.query(`SELECT max(id) FROM ${table}`);
  });
  const seen = (i: number): number => Number(tops[i]!.values()[0]![0] ?? -1);
  const last = task.first + task.rows - 1;
  if (task.kind === "load") {
    const start = performance.now();
    for (let i = 0; i < task.rows; i += task.batch) {
      if (task.batch > 1) db.exec("BEGIN IMMEDIATE");
      for (let k = i; k < i + task.batch; k++)
        insert.run(task.first + k, k, `hello world ${k}`, k * 1.5, blob);
      if (task.batch > 1) db.exec("COMMIT");
    }
    const wrote = performance.now() - start;
    const end = performance.now() + 120_000;
    while (performance.now() < end && tops.some((_, i) => seen(i) < last)) nap(1);
    const visible = tops.every((_, i) => seen(i) >= last) ? performance.now() - start : null;
    console.log(JSON.stringify({ wrote, visible }));
    return;
  }
  const gap = 1000 / task.perSecond;
  const latencies: number[] = [];
  const commits: number[] = [];
  const start = performance.now() + 5;
  for (let i = 0; i < task.rows; i++) {
    while (performance.now() < start + i * gap) nap(0.1);
    const before = performance.now();
    insert.run(task.first + i, i, `hello world ${i}`, i * 1.5, blob);
    const committed = performance.now();
    commits.push(committed - before);
    while (tops.some((_, n) => seen(n) < task.first + i) && performance.now() < committed + 5000) nap(0.05);
    latencies.push(performance.now() - committed);
  }
  console.log(JSON.stringify({ latencies, commits }));
}

async function runApp<T>(task: AppTask): Promise<T> {
  const child = Bun.spawn([process.execPath, import.meta.path, "app", JSON.stringify(task)], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const text = await new Response(child.stdout).text();
  return JSON.parse(text) as T;
}

interface Load {
  readonly wrote: number;
  readonly visible: number | null;
}

const load = (
  write: string,
  read: readonly string[],
  rows: number,
  batch: number,
  first: number,
  more: Pick<AppTask, "table" | "blobBytes"> = {},
): Promise<Load> => runApp<Load>({ kind: "load", write, read, rows, batch, first, perSecond: 0, ...more });

async function plain(rows: number, batch: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "marmot-bench-"));
  try {
    const rates: number[] = [];
    for (let i = 0; i < 3; i++) {
      const file = join(folder, `${i}.db`);
      const db = new Database(file);
      db.exec(`PRAGMA journal_mode = WAL; ${SCHEMA}`);
      db.close();
      const { wrote } = await load(file, [], rows, batch, 0);
      rates.push((rows / wrote) * 1000);
    }
    return median(rates);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** User and system CPU of a process in milliseconds, and its memory in MB. */
function usage(node: TestNode): { cpu: number; rss: number } {
  const { pid } = node.process!;
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1024;
  return { cpu: (Number(stat[11]) + Number(stat[12])) * 10, rss };
}

const measures: Record<string, unknown>[] = [];

function print(measure: string, values: Record<string, unknown>): void {
  measures.push({ measure, ...values });
  console.log(JSON.stringify(measures.at(-1)));
}

/** Milliseconds of CPU that the nodes used so far. */
const cpuOf = (nodes: readonly TestNode[]): number => nodes.reduce((sum, node) => sum + usage(node).cpu, 0);

interface Repeated {
  readonly visible_on_all_rows_per_s: number;
  readonly application_rows_per_s: number;
  /** Of all nodes together. */
  readonly cpu_us_a_row: number;
}

/** Medians of several equal loads. */
async function repeated(
  nodes: readonly TestNode[],
  times: number,
  rows: number,
  once: () => Promise<Load>,
): Promise<Repeated> {
  const results: Load[] = [];
  const before = cpuOf(nodes);
  for (let i = 0; i < times; i++) results.push(await once());
  const cpu = (cpuOf(nodes) - before) * 1000;
  return {
    visible_on_all_rows_per_s: Math.round(
      median(results.map((r) => (r.visible === null ? 0 : (rows / r.visible) * 1000))),
    ),
    application_rows_per_s: Math.round(median(results.map((r) => (rows / r.wrote) * 1000))),
    cpu_us_a_row: round(cpu / (times * rows), 1),
  };
}

async function idle(name: string, nodes: readonly TestNode[]): Promise<void> {
  await Bun.sleep(15_000);
  const seconds = 15;
  const before = nodes.map(usage);
  await Bun.sleep(seconds * 1000);
  const after = nodes.map(usage);
  print(name, {
    cpu_percent: after.map((x, i) => round((x.cpu - before[i]!.cpu) / seconds / 10, 2)),
    rss_mb: after.map((x) => Math.round(x.rss)),
  });
}

interface CaptureFiles {
  readonly plain: string;
  readonly captured: string;
  readonly least: string;
}

/** One file three times: without Marmot, with its triggers, and with the least that any trigger can do, log one number. */
function captureFiles(db: string): CaptureFiles {
  const files = { plain: `${db}.plain`, captured: `${db}.captured`, least: `${db}.least` };
  const whole = new Database(db);
  for (const file of Object.values(files)) whole.query("VACUUM INTO ?").run(file);
  whole.close();
  for (const file of Object.values(files)) {
    if (file !== files.captured) cleanupDatabase(file, `${file}.marmot`);
    const copy = new Database(file);
    copy.exec("PRAGMA journal_mode = WAL");
    if (file === files.least)
      copy.exec(`CREATE TABLE least(id INTEGER PRIMARY KEY, k);
        CREATE TRIGGER least_insert AFTER INSERT ON t BEGIN INSERT INTO least(k) VALUES(NEW.id); END`);
    copy.close();
  }
  return files;
}

/** What the triggers alone cost, the application with the machine to itself: rates in turn, medians of their ratios. */
async function captured(
  files: CaptureFiles,
  rows: number,
  batch: number,
  take: (rows: number) => number,
  more: Pick<AppTask, "blobBytes"> = {},
): Promise<{ of_plain: number; least_of_plain: number }> {
  const ratios: { captured: number; least: number }[] = [];
  for (let i = 0; i < 7; i++) {
    const first = take(rows);
    const wrote = async (file: string): Promise<number> =>
      (await load(file, [], rows, batch, first, more)).wrote;
    const plain = await wrote(files.plain);
    ratios.push({
      captured: plain / (await wrote(files.captured)),
      least: plain / (await wrote(files.least)),
    });
  }
  return {
    of_plain: round(median(ratios.map((r) => r.captured))),
    least_of_plain: round(median(ratios.map((r) => r.least))),
  };
}

/** Samples the nodes' memory until the returned function is called: megabytes in each quarter of the time, and at most. */
function watchMemory(nodes: readonly TestNode[]): () => { quarters: number[][]; most: number[] } {
  const samples: number[][] = [];
  const timer = setInterval(() => samples.push(nodes.map((n) => usage(n).rss)), 250);
  return () => {
    clearInterval(timer);
    const quarter = (q: number): number[] => {
      const from = Math.floor((samples.length * q) / 4);
      const part = samples.slice(from, Math.max(from + 1, Math.floor((samples.length * (q + 1)) / 4)));
      return nodes.map((_, n) => Math.round(part.reduce((sum, s) => sum + s[n]!, 0) / part.length));
    };
    return {
      quarters: [0, 1, 2, 3].map(quarter),
      most: nodes.map((_, n) => Math.round(Math.max(...samples.map((s) => s[n]!)))),
    };
  };
}

const termsOf = async (nodes: readonly TestNode[]): Promise<number[]> =>
  await Promise.all(nodes.map(async (node) => (await node.status()).shards[0]!.term));

async function main(): Promise<void> {
  const { values } = parseScriptArgs(import.meta.path, {
    shards: { type: "string", default: "1" },
    only: { type: "string" },
    quick: { type: "boolean", default: false },
    json: { type: "string" },
  });
  const shards = Number(values.shards);
  const wanted = values.only?.split(",");
  const on = (name: string): boolean => wanted?.includes(name) ?? !(values.quick && SLOW.has(name));
  const times = values.quick ? 1 : 3;
  const share = (rows: number): number => (values.quick ? rows / 5 : rows);
  print("machine", { cores: cpus().length, load: round(loadavg()[0]!), shards, bun: Bun.version });
  const single = await plain(SINGLE_ROWS, 1);
  const bulk = await plain(BULK_ROWS, BULK_BATCH);
  print("plain SQLite", { single_rows_per_s: Math.round(single), bulk_rows_per_s: Math.round(bulk) });
  const cluster = await TestCluster.start({ shards, schema: SCHEMA, quiet: true });
  const { nodes } = cluster;
  const [first, second, third] = nodes as [TestNode, TestNode, TestNode];
  const others = [second.db, third.db];
  let next = 1_000_000;
  const take = (rows: number): number => {
    const from = next;
    next += rows + 1000;
    return from;
  };
  try {
    if (on("idle")) await idle("idle, fresh", nodes);
    await load(first.db, others, 3000, 1, take(3000)); // compiles what is hot
    await load(first.db, others, 20_000, BULK_BATCH, take(20_000));
    for (const [name, measure, rows, batch, base] of [
      ["single", "1-row transactions", share(SINGLE_ROWS), 1, single],
      ["bulk", "1,000-row transactions", share(BULK_ROWS), BULK_BATCH, bulk],
    ] as const) {
      if (!on(name)) continue;
      const result = await repeated(nodes, times, rows, () =>
        load(first.db, others, rows, batch, take(rows)),
      );
      print(measure, { ...result, of_plain: round(result.application_rows_per_s / base) });
    }
    if (on("blobs")) {
      const rows = share(BLOB_ROWS);
      const more = { blobBytes: BLOB_BYTES };
      print("BLOBs of 100 kB, one a transaction", {
        ...(await repeated(nodes, times, rows, () => load(first.db, others, rows, 1, take(rows), more))),
      });
    }
    if (on("large"))
      for (const [name, rows, blobBytes, batch] of LARGE) {
        const before = await termsOf(nodes);
        const watched = watchMemory(nodes);
        const { visible } = await load(first.db, others, rows, batch, take(rows), { blobBytes });
        const after = await termsOf(nodes);
        print(name, {
          visible_on_all_mb_per_s: visible === null ? null : round((rows * blobBytes) / visible / 1000, 1),
          elections: after.reduce((sum, term, i) => Math.max(sum, term - before[i]!), 0),
          rss_mb_most: watched().most,
        });
      }
    if (on("triggers")) {
      const rates = { t: [] as number[], u: [] as number[] };
      for (let i = 0; i < 3; i++)
        for (const table of ["t", "u"] as const) {
          const { visible } = await load(first.db, others, BULK_ROWS, BULK_BATCH, take(BULK_ROWS), { table });
          rates[table].push(visible === null ? 0 : (BULK_ROWS / visible) * 1000);
        }
      print("1,000-row transactions into a table with a trigger", {
        visible_on_all_rows_per_s: Math.round(median(rates.u)),
        of_one_without: round(median(rates.u) / median(rates.t)),
      });
    }
    if (on("latency")) {
      const task = {
        kind: "latency",
        write: first.db,
        read: others,
        rows: 500,
        batch: 1,
        perSecond: 100,
      } as const;
      const { latencies, commits } = await runApp<{ latencies: number[]; commits: number[] }>({
        ...task,
        first: take(500),
      });
      print("commit to visible on both others, ms", {
        p50: round(percentile(latencies, 0.5)),
        p90: round(percentile(latencies, 0.9)),
        p99: round(percentile(latencies, 0.99)),
        application_commit_p50: round(percentile(commits, 0.5), 3),
      });
    }
    if (on("memory")) {
      const before = nodes.map((n) => Math.round(usage(n).rss));
      const rows = 1_000_000;
      const watched = watchMemory(nodes);
      const { visible } = await load(first.db, others, rows, BULK_BATCH, take(rows));
      const { quarters, most } = watched();
      print("1,000,000 rows", {
        visible_on_all_rows_per_s: visible === null ? null : Math.round((rows / visible) * 1000),
        rss_mb_before: before,
        rss_mb_by_quarter: quarters,
        rss_mb_most: most,
      });
    }
    if (on("idle")) await idle("idle, after all that", nodes);
    if (on("catchup")) {
      await third.kill();
      const from = take(50_000);
      await load(first.db, [second.db], 50_000, BULK_BATCH, from);
      const start = performance.now();
      await third.start();
      await until(
        () => Number(third.query("SELECT max(id) FROM t")[0]![0]) >= from + 49_999,
        "caught up",
        120_000,
      );
      const took = performance.now() - start;
      print("catch-up of 50,000 rows", { ms_from_start: Math.round(took) });
    }
    if (on("captured")) {
      await Promise.all(nodes.map((n) => n.kill()));
      const files = captureFiles(first.db);
      print("captured, nodes stopped", {
        single: await captured(files, SINGLE_ROWS, 1, take),
        bulk: await captured(files, BULK_ROWS, BULK_BATCH, take),
        blobs_of_100_kB: await captured(files, BLOB_ROWS, 1, take, { blobBytes: BLOB_BYTES }),
      });
    }
  } finally {
    await cluster.stop();
  }
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(measures, null, 2)}\n`);
}

if (process.argv[2] === "app") app(JSON.parse(process.argv[3]!) as AppTask);
else await main();

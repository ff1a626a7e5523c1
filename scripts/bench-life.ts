/**
 * Measures the life of a cluster with real processes on loopback: a large file to a new node, missed rows, a killed leader,
 * an empty node, a rolling restart. Each beside a plain copy or plain SQLite in the same run. Needs dist/marmot.
 *
 *   bun scripts/bench-life.ts [--shards 1,16] [--only bootstrap,missed,leader,empty,rolling] [--mb 1000] [--json PATH] [--docs] [--from PATH]
 *
 * --docs: writes the table into docs/benchmarks.md; --from: from the file that --json wrote, without a run.
 */
import { Database } from "bun:sqlite";
import {
  closeSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { TestCluster, TestNode, until } from "../test/cluster/lab.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, {
  shards: { type: "string", default: "1,16" },
  only: { type: "string", default: "bootstrap,missed,leader,empty,rolling" },
  mb: { type: "string", default: "1000" },
  json: { type: "string" },
  docs: { type: "boolean", default: false },
  from: { type: "string" },
});

const DOCS = join(import.meta.dir, "../docs/benchmarks.md");
const ROW_BYTES = 4000;
const MISSED_ROWS = 100_000;
const LEADERS_KILLED = 5;
const EMPTY_NODES = 3;
const SCHEMA =
  "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b TEXT, c REAL); CREATE TABLE u(id INTEGER PRIMARY KEY, v TEXT)";

interface Measure {
  readonly shards: number;
  readonly name: string;
  readonly value: string;
  readonly goal: string;
  /** To a plain copy, or plain SQLite, in the same run; "": there is none. */
  readonly ratio: string;
}

const measures: Measure[] = [];
const only = new Set(values.only.split(","));

const seconds = (ms: number): string => `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
const rate = (bytes: number, ms: number): number => bytes / 1e6 / (ms / 1000);
const shown = (mbPerSecond: number): string => `${mbPerSecond.toFixed(0)} MB/s`;
const median = (all: readonly number[]): number =>
  [...all].sort((a, b) => a - b)[Math.floor(all.length / 2)]!;

function note(measure: Measure): void {
  measures.push(measure);
  const { shards, name, value, goal, ratio } = measure;
  console.log(`${shards} shards: ${name}: ${value} (goal ${goal})${ratio === "" ? "" : `, ${ratio}`}`);
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Reads and writes a file in pieces, and syncs it. */
function plainCopy(from: string, to: string): number {
  const start = performance.now();
  const [input, output] = [openSync(from, "r"), openSync(to, "w")];
  const buffer = Buffer.allocUnsafe(1 << 20);
  for (let length = 1; length > 0;) {
    length = readSync(input, buffer, 0, buffer.length, null);
    if (length > 0) writeSync(output, buffer, 0, length);
  }
  fsyncSync(output);
  closeSync(input);
  closeSync(output);
  return performance.now() - start;
}

function fill(node: TestNode, bytes: number): void {
  const db = node.open();
  db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; CREATE TABLE big(id INTEGER PRIMARY KEY, x BLOB);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${Math.ceil(bytes / ROW_BYTES)})
    INSERT INTO big SELECT i, randomblob(${ROW_BYTES - 60}) FROM n; PRAGMA wal_checkpoint(TRUNCATE)`);
  db.close();
}

/** Clock ticks of a process in a second: USER_HZ of Linux. */
const TICKS_A_SECOND = 100;

/** Seconds of CPU that a process has used. Its rate of bytes is the same on a busy machine. */
function cpuSeconds(node: TestNode): number {
  const stat = readFileSync(`/proc/${node.process!.pid}/stat`, "utf8");
  const [user, system] = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .slice(11, 13)
    .map(Number);
  return (user! + system!) / TICKS_A_SECOND;
}

async function bootstrap(shards: number): Promise<void> {
  const bytes = Number(values.mb) * 1e6;
  const cluster = await TestCluster.start({
    ...{ shards, schema: null, quiet: true, count: 1 },
    prepare: ({ nodes }) => fill(nodes[0]!, bytes),
  });
  try {
    const [donor] = cluster.nodes as [TestNode];
    const { size } = statSync(donor.db);
    const copy = plainCopy(donor.db, join(cluster.folder, "copy.db"));
    rmSync(join(cluster.folder, "copy.db"));
    const joiner = cluster.add();
    const donorBefore = cpuSeconds(donor);
    let began = 0;
    let ended = 0;
    const start = performance.now();
    await joiner.start();
    await until(
      async () => {
        const status = await joiner.status().catch(() => null);
        const isReceiving = status?.progress?.work === "snapshot";
        if (isReceiving && began === 0) began = performance.now();
        if (began > 0 && ended === 0 && !isReceiving && status !== null) ended = performance.now();
        return status?.node.ready === true;
      },
      "the new node is ready",
      600_000,
    );
    const ready = performance.now() - start;
    const cpu = { donor: cpuSeconds(donor) - donorBefore, joiner: cpuSeconds(joiner) };
    const plain = rate(size, copy);
    const transfer = rate(size, ended - began);
    const all = rate(size, ready);
    const name = `a file of ${Math.round(size / 1e6)} MB to a new node`;
    note({
      shards,
      name: `${name}: transfer`,
      value: shown(transfer),
      goal: "110 MB/s",
      ratio: `${(transfer / plain).toFixed(2)} of a plain copy (${shown(plain)})`,
    });
    note({
      shards,
      name: `${name}: start to ready`,
      value: shown(all),
      goal: "60 MB/s",
      ratio: `${(all / plain).toFixed(2)} of a plain copy`,
    });
    const perGb = (seconds: number): string => `${((seconds * 1e9) / size).toFixed(1)} s`;
    note({
      shards,
      name: `${name}: CPU for a GB, sender and receiver until it is ready`,
      ...{ value: `${perGb(cpu.donor)}, ${perGb(cpu.joiner)}`, goal: "", ratio: "" },
    });
  } finally {
    await cluster.stop();
  }
}

const insertRows = (db: Database, from: number, count: number): void => {
  const insert = db.query("INSERT INTO t VALUES(?, ?, ?, ?)");
  for (let i = from; i < from + count; i += 1000) {
    db.exec("BEGIN IMMEDIATE");
    for (let k = i; k < Math.min(i + 1000, from + count); k++) insert.run(k, k, `hello world ${k}`, k * 1.5);
    db.exec("COMMIT");
  }
};

function plainInsert(): number {
  const folder = mkdtempSync(join(tmpdir(), "marmot-bench-"));
  const db = new Database(join(folder, "plain.db"));
  db.exec(`PRAGMA journal_mode = WAL; ${SCHEMA}`);
  const start = performance.now();
  insertRows(db, 0, MISSED_ROWS);
  const ms = performance.now() - start;
  db.close();
  rmSync(folder, { recursive: true });
  return ms;
}

async function missed(cluster: TestCluster): Promise<void> {
  const [a, , c] = cluster.nodes as [TestNode, TestNode, TestNode];
  await c.kill();
  const db = a.open();
  insertRows(db, 1, MISSED_ROWS);
  db.close();
  if (!(await a.wait({ timeout: "120s" }))) throw new Error("the rows were not ordered");
  const ms = await timed(async () => {
    await c.start();
    await until(
      () => Number(c.query("SELECT max(id) FROM t").flat()[0] ?? 0) >= MISSED_ROWS,
      "the rows are visible",
      120_000,
    );
  });
  const plain = plainInsert();
  note({
    ...{
      shards: cluster.shards,
      name: "100,000 missed rows: start to visible",
      value: seconds(ms),
      goal: "3 s",
    },
    ratio: `${(ms / plain).toFixed(1)} times plain inserts (${seconds(plain)})`,
  });
  await c.ready();
}

async function leaders(cluster: TestCluster): Promise<void> {
  const times: number[] = [];
  for (let i = 0; i < LEADERS_KILLED; i++) {
    const status = await cluster.nodes[0]!.status();
    const leader = cluster.nodes.find((n) => n.name === status.shards[0]!.leader)!;
    const other = cluster.nodes.find((n) => n !== leader)!;
    await leader.kill();
    const start = performance.now();
    other.run(`INSERT INTO u(v) VALUES('leader ${i}')`);
    if (!(await other.wait({ timeout: "60s" }))) throw new Error("no new leader");
    times.push(performance.now() - start);
    await leader.start();
    for (const node of cluster.nodes) await node.ready();
  }
  const worst = Math.max(...times);
  note({
    ...{
      shards: cluster.shards,
      name: `a killed leader: a write is confirmed again, median and longest of ${times.length}`,
    },
    ...{ value: `${seconds(median(times))}, ${seconds(worst)}`, goal: "2 s", ratio: "" },
  });
}

async function empty(cluster: TestCluster): Promise<void> {
  const times: number[] = [];
  for (let i = 0; i < EMPTY_NODES; i++) {
    const node = new TestNode(cluster, 100 + i);
    times.push(
      await timed(async () => {
        await node.start();
        await node.ready();
      }),
    );
    const { code, stderr } = await cluster.nodes[0]!.verb("members", "remove", node.name);
    if (code !== 0) throw new Error(stderr);
    await node.kill();
  }
  note({
    ...{ shards: cluster.shards, name: `an empty node: start to ready, median of ${times.length}` },
    ...{ value: seconds(median(times)), goal: "2 s", ratio: "" },
  });
}

/** Commits of an application beside each node, each confirmed by `wait` on that node. */
async function rolling(cluster: TestCluster): Promise<void> {
  let isStopping = false;
  let errors = 0;
  let commits = 0;
  const waits = { running: 0, own: 0 };
  let restarting: TestNode | null = null;
  const application = async (node: TestNode): Promise<void> => {
    const db = node.open();
    while (!isStopping) {
      try {
        db.exec(`INSERT INTO u(v) VALUES('${node.name}')`);
        commits++;
      } catch (error) {
        errors++;
        console.log(`${node.name}: ${String(error)}`);
      }
      const start = performance.now();
      let wasDown = false;
      for (let isConfirmed = false; !isConfirmed && !isStopping;) {
        wasDown ||= restarting === node;
        isConfirmed = await node.wait({ timeout: "20s" }).catch(() => false);
        if (!isConfirmed) await Bun.sleep(20);
      }
      const ms = performance.now() - start;
      if (isStopping) break;
      if (wasDown || restarting === node) waits.own = Math.max(waits.own, ms);
      else waits.running = Math.max(waits.running, ms);
      await Bun.sleep(5);
    }
    db.close();
  };
  const applications = cluster.nodes.map(application);
  for (const node of cluster.nodes) {
    await Bun.sleep(1000);
    restarting = node;
    await node.kill("SIGTERM");
    await node.start();
    await node.ready();
    await Bun.sleep(500);
    restarting = null;
  }
  await Bun.sleep(1000);
  isStopping = true;
  await Promise.all(applications);
  await cluster.settle();
  note({
    ...{
      shards: cluster.shards,
      name: "rolling restart under load: longest wait on the other nodes, on the restarted one",
    },
    ...{
      value: `${seconds(waits.running)}, ${seconds(waits.own)}`,
      goal: "3 s",
      ratio: `${errors} errors in ${commits} commits`,
    },
  });
}

interface Run {
  readonly cores: number;
  /** Of the machine, at the start and at the end. */
  readonly load: readonly [number, number];
  readonly measures: readonly Measure[];
}

function table({ cores, load, measures: all }: Run): string {
  const rows = all.map(
    ({ shards, name, value, goal, ratio }) => `| ${shards} | ${name} | ${value} | ${goal} | ${ratio} |`,
  );
  return [
    `${cores} cores; the load of the machine was ${load[0]} at the start and ${load[1]} at the end. The goals are for a machine with nothing else to do.`,
    "",
    ...["| Shards | Measure | Value | Goal | Beside it |", "| --- | --- | --- | --- | --- |", ...rows],
  ].join("\n");
}

function writeDocs(run: Run): void {
  const text = readFileSync(DOCS, "utf8");
  const [before, after] = text.split(/<!-- bench-life -->[^]*<!-- \/bench-life -->/) as [
    string,
    string | undefined,
  ];
  if (after === undefined) throw new Error(`${DOCS} has no place for the table`);
  writeFileSync(DOCS, `${before}<!-- bench-life -->\n\n${table(run)}\n\n<!-- /bench-life -->${after}`);
}

const loadNow = (): number => Number(loadavg()[0]!.toFixed(1));

async function measureAll(): Promise<Run> {
  const start = loadNow();
  console.log(`${cpus().length} cores, load ${start}`);
  for (const shards of values.shards.split(",").map(Number)) {
    if (only.has("bootstrap")) await bootstrap(shards);
    if ([...only].every((name) => name === "bootstrap")) continue;
    const cluster = await TestCluster.start({ shards, schema: SCHEMA, quiet: true, count: 3 });
    try {
      if (only.has("empty")) await empty(cluster);
      if (only.has("leader")) await leaders(cluster);
      if (only.has("rolling")) await rolling(cluster);
      if (only.has("missed")) await missed(cluster);
    } finally {
      await cluster.stop();
    }
  }
  const end = loadNow();
  console.log(`load ${end}`);
  return { cores: cpus().length, load: [start, end], measures };
}

const run =
  values.from === undefined ? await measureAll() : (JSON.parse(readFileSync(values.from, "utf8")) as Run);
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(run, null, 2)}\n`);
if (values.docs) writeDocs(run);

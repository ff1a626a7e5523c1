/**
 * Compares kinds of tables and statements on three nodes, and with --beside also two builds, in alternated runs of one
 * sitting: rates depend on the other work of the machine, CPU a row hardly does. Needs dist/marmot.
 *
 *   bun scripts/bench-kinds.ts [--kind insert,update,delete,unique,reference,text,wide] [--rows 30000] [--transaction 1000]
 *     [--rounds 3] [--shards 1] [--beside BINARY] [--profile FOLDER]
 *
 * --transaction: rows of one transaction of the application; --profile: also writes a CPU profile of each node there.
 */
import { Database } from "bun:sqlite";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { BINARY, TestCluster } from "../test/cluster/lab.ts";
import { BENCH_KINDS, type BenchKind, ofTable } from "./lib/bench-tables.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, {
  kind: { type: "string", default: Object.keys(BENCH_KINDS).join(",") },
  rows: { type: "string", default: "30000" },
  transaction: { type: "string", default: "1000" },
  rounds: { type: "string", default: "3" },
  shards: { type: "string", default: "1" },
  beside: { type: "string" },
  profile: { type: "string" },
});
const ROWS = Number(values.rows);
const PER = Number(values.transaction);
const DEADLINE_MS = 120_000;
/** The work of the nodes after the rows are visible counts, too. */
const REST_MS = 400;
const TICK_MS = 10;

const kinds = values.kind.split(",").map((name): [string, BenchKind] => {
  const kind = BENCH_KINDS[name];
  if (kind === undefined) throw new Error(`--kind ${name} is none of ${Object.keys(BENCH_KINDS).join(", ")}`);
  return [name, kind];
});
const SCHEMA = kinds.map(([name, { schema }]) => ofTable(schema, `t_${name}`)).join("\n");

interface Run {
  readonly rowsPerS: number;
  /** Of the application alone. */
  readonly wroteRowsPerS: number;
  /** By node. */
  readonly cpuMicros: readonly number[];
}

const median = (of: readonly number[]): number => [...of].sort((a, b) => a - b)[of.length >> 1] ?? Number.NaN;

/** Writes rows in transactions. Returns the milliseconds. */
function write(db: Database, sql: string, first: number, round: number): number {
  const statement = db.prepare(sql);
  const start = performance.now();
  for (let from = first; from < first + ROWS; from += PER) {
    if (PER > 1) db.exec("BEGIN IMMEDIATE");
    for (let id = from; id < Math.min(from + PER, first + ROWS); id++) statement.run(id, round);
    if (PER > 1) db.exec("COMMIT");
  }
  statement.finalize();
  return performance.now() - start;
}

/** The application of a cluster: it writes at the first node and reads at the others. */
class Bench {
  readonly name: string;
  readonly #cluster: TestCluster;
  readonly #db: Database;
  readonly #readers: readonly Database[];
  #next = 1;
  #round = 0;

  constructor(name: string, cluster: TestCluster) {
    this.name = name;
    this.#cluster = cluster;
    this.#db = cluster.nodes[0]!.open();
    this.#db.exec("PRAGMA synchronous = NORMAL");
    this.#readers = cluster.nodes.slice(1).map((node) => new Database(node.db, { readonly: true }));
  }

  async run(table: string, kind: BenchKind): Promise<Run> {
    const first = this.#next;
    this.#next += ROWS + 1000;
    if (kind.again !== undefined) {
      write(this.#db, ofTable(kind.sql, table), first, this.#round);
      await this.#visible();
    }
    await Bun.sleep(REST_MS);
    const before = this.#cpu();
    const start = performance.now();
    const wrote = write(this.#db, ofTable(kind.again ?? kind.sql, table), first, this.#round + 1);
    await this.#visible();
    const visible = performance.now() - start;
    await Bun.sleep(REST_MS);
    const after = this.#cpu();
    this.#round += 2;
    return {
      rowsPerS: (ROWS / visible) * 1000,
      wroteRowsPerS: (ROWS / wrote) * 1000,
      cpuMicros: after.map((ms, i) => ((ms - before[i]!) * 1000) / ROWS),
    };
  }

  /** A last row is visible on the other nodes, and everything before it. */
  async #visible(): Promise<void> {
    const id = this.#next++;
    this.#db.query("INSERT INTO done VALUES(?)").run(id);
    const end = performance.now() + DEADLINE_MS;
    for (const reader of this.#readers) {
      const newest = reader.query("SELECT max(id) FROM done");
      while (Number(newest.values()[0]?.[0] ?? 0) !== id) {
        if (performance.now() > end) throw new Error(`not visible within ${DEADLINE_MS} ms`);
        await Bun.sleep(1);
      }
    }
  }

  /** Milliseconds of each node. */
  #cpu(): number[] {
    return this.#cluster.nodes.map(({ process: child }) => {
      const stat = readFileSync(`/proc/${child!.pid}/stat`, "utf8").split(") ")[1]!.split(" ");
      return (Number(stat[11]) + Number(stat[12])) * TICK_MS;
    });
  }

  async stop(): Promise<void> {
    if (values.profile !== undefined) await Promise.all(this.#cluster.nodes.map((n) => n.kill("SIGTERM")));
    await this.#cluster.stop();
  }
}

async function startBench(name: string, binary: string): Promise<Bench> {
  const cluster = await TestCluster.start({
    ...{ shards: Number(values.shards), quiet: true },
    schema: `${SCHEMA} CREATE TABLE done(id INTEGER PRIMARY KEY);`,
    prepare: ({ nodes }) => {
      for (const node of nodes) {
        node.binary = binary;
        if (values.profile === undefined) continue;
        const options = `--cpu-prof --cpu-prof-dir=${join(values.profile, `${name}-${node.name}`)}`;
        node.environment = { BUN_OPTIONS: options, BUN_JSC_forceRAMSize: "260000000" };
      }
    },
  });
  return new Bench(name, cluster);
}

/** Rows a second of SQLite alone. */
function plain(table: string, kind: BenchKind): number {
  const folder = mkdtempSync(join(tmpdir(), "marmot-bench-"));
  try {
    const db = new Database(join(folder, "plain.db"));
    db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; ${SCHEMA}`);
    if (kind.again !== undefined) write(db, ofTable(kind.sql, table), 1, 0);
    const ms = write(db, ofTable(kind.again ?? kind.sql, table), 1, 1);
    db.close();
    return (ROWS / ms) * 1000;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function print(label: string, runs: readonly Run[], plainRate: number): void {
  const rate = Math.round(median(runs.map((r) => r.rowsPerS)));
  const cpu = [0, 1, 2].map((i) => median(runs.map((r) => r.cpuMicros[i] ?? 0)).toFixed(1));
  const all = median(runs.map((r) => r.cpuMicros.reduce((sum, x) => sum + x, 0)));
  console.log(
    `${label.padEnd(24)} ${all.toFixed(1).padStart(6)} µs a row (${cpu.join(" + ")})  ${rate} rows/s, ${(rate / plainRate).toFixed(3)} of plain`,
  );
}

const builds = { new: BINARY, ...(values.beside === undefined ? {} : { beside: values.beside }) };
const benches: Bench[] = [];
try {
  for (const [name, binary] of Object.entries(builds)) benches.push(await startBench(name, binary));
  console.log(`load ${loadavg()[0]!.toFixed(1)}; CPU of all nodes (the writer's, and the others')`);
  for (const [name, kind] of kinds) {
    for (const bench of benches) await bench.run(`t_${name}`, kind);
    const runs = new Map<Bench, Run[]>();
    for (let round = 0; round < Number(values.rounds); round++)
      for (const bench of round % 2 === 0 ? benches : benches.toReversed())
        runs.set(bench, [...(runs.get(bench) ?? []), await bench.run(`t_${name}`, kind)]);
    const plainRate = plain(`t_${name}`, kind);
    for (const [bench, of] of runs) print(`${name} (${bench.name})`, of, plainRate);
  }
} finally {
  for (const bench of benches) await bench.stop();
}

/**
 * What large values cost three nodes: CPU a megabyte, and bytes written for each byte of a value, with the files that they are
 * written to where strace is there. Two binaries can be measured in turn, so that other work on the machine meets both.
 *
 *   bun scripts/bench-large.ts [--binaries dist/marmot,OTHER] [--rounds 3] [--only blobs,transaction,row,updates] [--files]
 *
 * --files: a round more of each under strace, which counts bytes and calls by file; with --rounds 0 that one alone.
 */
import { Database } from "bun:sqlite";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { loadavg } from "node:os";
import { join, resolve } from "node:path";
import { parseScriptArgs } from "./lib/usage.ts";
import { TestCluster, type TestNode, until } from "../test/cluster/lab.ts";

interface Load {
  readonly name: string;
  readonly bytes: number;
  readonly rows: number;
  /** Rows of a transaction. */
  readonly batch: number;
  /** The rows exist; only their text changes. */
  readonly small?: true;
}

const LOADS: Record<string, Load> = {
  blobs: { name: "BLOBs of 100 kB, one a transaction", bytes: 100_000, rows: 400, batch: 1 },
  transaction: { name: "30 BLOBs of 1 MB, one transaction", bytes: 1_000_000, rows: 30, batch: 30 },
  row: { name: "a row of 40 MB", bytes: 40_000_000, rows: 1, batch: 1 },
  updates: { name: "BLOBs of 100 kB written over", bytes: 100_000, rows: 400, batch: 1 },
};
const SCHEMA = "CREATE TABLE t(id INTEGER PRIMARY KEY, b TEXT, d BLOB)";
const WARM_ROWS = 200;
const DEADLINE_MS = 120_000;

const { values } = parseScriptArgs(import.meta.path, {
  binaries: { type: "string", default: "dist/marmot" },
  rounds: { type: "string", default: "3" },
  only: { type: "string", default: Object.keys(LOADS).join(",") },
  files: { type: "boolean", default: false },
});

const round = (x: number, digits = 1): number => Number(x.toFixed(digits));
const median = (list: readonly number[]): number =>
  [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN;

interface Used {
  readonly cpuMs: number;
  readonly written: number;
  readonly read: number;
  readonly mostRss: number;
}

function usedBy(nodes: readonly TestNode[]): Used {
  const each = nodes.map(({ process }) => {
    const of = (name: string): string => readFileSync(`/proc/${process!.pid}/${name}`, "utf8");
    const stat = of("stat").split(") ")[1]!.split(" ");
    const io = (name: string): number => Number(new RegExp(`${name}: (\\d+)`).exec(of("io"))![1]);
    return {
      cpuMs: (Number(stat[11]) + Number(stat[12])) * 10,
      written: io("wchar"),
      read: io("rchar"),
      mostRss: Number(/VmHWM:\s+(\d+)/.exec(of("status"))![1]) / 1024,
    };
  });
  const sum = (of: (used: Used) => number): number => each.reduce((all, used) => all + of(used), 0);
  return {
    cpuMs: sum((u) => u.cpuMs),
    written: sum((u) => u.written),
    read: sum((u) => u.read),
    mostRss: Math.max(...each.map((u) => u.mostRss)),
  };
}

/** Bytes that cannot be compressed and are not equal to those of another row. */
function blobOf(bytes: number, seed: number): Uint8Array {
  const blob = new Uint8Array(bytes);
  const words = new Uint32Array(blob.buffer, 0, bytes >> 2);
  let x = (seed * 2654435761) >>> 0 || 1;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
  return blob;
}

interface Result {
  readonly mbPerS: number;
  readonly cpuMsAMb: number;
  readonly written: number;
  readonly read: number;
  readonly rssMb: number;
}

class Bench {
  readonly #cluster: TestCluster;
  readonly #app: Database;
  readonly #readers: readonly Database[];
  #next = 1;
  #mark = 0;

  constructor(cluster: TestCluster) {
    this.#cluster = cluster;
    const [first, ...others] = cluster.nodes;
    this.#app = new Database(first!.db);
    this.#app.exec("PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 10000");
    this.#readers = others.map(({ db }) => new Database(db, { readonly: true }));
  }

  async load({ bytes, rows, batch }: Load, over = false): Promise<Result> {
    const first = over ? this.#next - rows : this.#next;
    if (!over) this.#next += rows;
    const mark = `m${++this.#mark}`;
    const blobs = Array.from({ length: Math.min(rows, 8) }, (_, i) => blobOf(bytes, this.#mark * 31 + i));
    const put = this.#app.query("INSERT OR REPLACE INTO t VALUES(?, ?, ?)");
    const { nodes } = this.#cluster;
    const before = usedBy(nodes);
    const start = performance.now();
    for (let at = 0; at < rows; at += batch) {
      this.#app.exec("BEGIN IMMEDIATE");
      for (let i = at; i < at + batch; i++) put.run(first + i, mark, blobs[i % blobs.length]!);
      this.#app.exec("COMMIT");
      await Bun.sleep(0);
    }
    const last = first + rows - 1;
    const seen = (db: Database): boolean =>
      db.query("SELECT b FROM t WHERE id = ?").values(last)[0]?.[0] === mark;
    await until(() => this.#readers.every(seen), "the last row is visible on all nodes", DEADLINE_MS);
    const ms = performance.now() - start;
    // Also the work that follows: acknowledgements, checkpoints.
    await Bun.sleep(3000);
    const after = usedBy(nodes);
    const mb = (bytes * rows) / 1e6;
    return {
      mbPerS: (mb / ms) * 1000,
      cpuMsAMb: (after.cpuMs - before.cpuMs) / mb,
      written: (after.written - before.written) / (bytes * rows),
      read: (after.read - before.read) / (bytes * rows),
      rssMb: after.mostRss,
    };
  }

  close(): void {
    for (const db of [this.#app, ...this.#readers]) db.close();
  }
}

/** Bytes that the nodes write by file, for each byte of a value, while `work` runs. */
async function byFile(cluster: TestCluster, bytes: number, work: () => Promise<unknown>): Promise<void> {
  const out = join(cluster.folder, "trace");
  const pids = cluster.nodes.map(({ process }) => ["-p", String(process!.pid)]).flat();
  const calls = "trace=pwrite64,pread64,write,writev,sendto,sendmsg,recvfrom,read,fdatasync,fsync";
  const tracer = Bun.spawn(["strace", "-ff", "-y", "-qq", "-s", "0", "-e", calls, "-o", out, ...pids], {
    stdout: "ignore",
    stderr: "ignore",
  });
  await Bun.sleep(1000);
  await work();
  tracer.kill("SIGINT");
  await tracer.exited;
  const sums = new Map<string, { calls: number; bytes: number }>();
  for (const file of readdirSync(cluster.folder).filter((name) => name.startsWith("trace.")))
    for (const line of readFileSync(join(cluster.folder, file), "utf8").split("\n")) {
      const match = /^(\w+)\(\d+<([^>]*)>.*= (\d+)/.exec(line);
      if (match === null) continue;
      const [call, path, size] = [match[1]!, match[2]!, Number(match[3])];
      const name = /^(?:TCP|socket|UNIX)/.test(path) ? "socket" : path.replace(/^.*\//, "");
      const key = `${call.replace(/64$/, "")} ${name}`;
      const sum = sums.get(key) ?? { calls: 0, bytes: 0 };
      sum.calls++;
      sum.bytes += size;
      sums.set(key, sum);
    }
  for (const [key, sum] of [...sums].sort((a, b) => b[1].bytes - a[1].bytes))
    if (sum.bytes > bytes / 100 || key.includes("sync"))
      console.log(`    ${key.padEnd(32)} ${round(sum.bytes / bytes, 2)} ×, ${sum.calls} calls`);
}

async function clusterOf(binary: string): Promise<{ cluster: TestCluster; bench: Bench }> {
  const prepare = ({ nodes }: TestCluster): void => {
    for (const node of nodes) node.binary = binary;
  };
  const cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, quiet: true, prepare });
  const bench = new Bench(cluster);
  await bench.load({ name: "warm", bytes: 20_000, rows: WARM_ROWS, batch: 1 });
  return { cluster, bench };
}

function show(binaries: readonly string[], results: ReadonlyMap<string, Result[]>): void {
  console.log(
    `load of the machine ${round(loadavg()[0]!)}; medians of ${values.rounds}; CPU and bytes of all three nodes`,
  );
  for (const key of values.only.split(",")) {
    console.log(LOADS[key]!.name);
    for (const binary of binaries) {
      const list = results.get(`${key} ${binary}`)!;
      const of = (field: keyof Result): number => round(median(list.map((r) => r[field])), 1);
      console.log(
        `  ${binary}: ${of("mbPerS")} MB/s, ${of("cpuMsAMb")} ms of CPU a MB, written ${of("written")} ×, read ${of("read")} ×, at most ${of("rssMb")} MB`,
      );
    }
  }
}

async function main(): Promise<void> {
  const binaries = values.binaries.split(",").map((path) => resolve(path));
  for (const binary of binaries) if (!existsSync(binary)) throw new Error(`${binary} does not exist`);
  const results = new Map<string, Result[]>();
  for (let i = 0; i < Number(values.rounds); i++)
    for (const binary of binaries) {
      const { cluster, bench } = await clusterOf(binary);
      try {
        for (const key of values.only.split(",")) {
          const result = await bench.load(LOADS[key]!, key === "updates");
          const list = results.get(`${key} ${binary}`) ?? [];
          results.set(`${key} ${binary}`, [...list, result]);
        }
      } finally {
        bench.close();
        await cluster.stop();
      }
    }
  if (results.size > 0) show(binaries, results);
  if (!values.files) return;
  for (const binary of binaries) {
    console.log(`bytes by file: ${binary}`);
    const { cluster, bench } = await clusterOf(binary);
    try {
      for (const key of values.only.split(",")) {
        const load = LOADS[key]!;
        console.log(`  ${load.name}`);
        await byFile(cluster, load.bytes * load.rows, () => bench.load(load, key === "updates"));
      }
    } finally {
      bench.close();
      await cluster.stop();
    }
  }
}

await main();

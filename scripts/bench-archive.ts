/**
 * The cost of keeping the past, as ratios within one run: recording the history, a backup against a copy of the file, a restore, and the
 * change feed; shipping to an archive, and moments restored from it. Needs dist/marmot.
 *
 *   bun scripts/bench-archive.ts [--only history,archive,moments,backup,feed,readers] [--rows N] [--seconds T] [--docs]
 *
 * --docs: writes the measured lines into the table of docs/benchmarks.md.
 */
import { Database } from "bun:sqlite";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestCluster, type TestNode } from "../test/cluster/lab.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, {
  only: { type: "string", default: "history,archive,moments,backup,feed,readers" },
  rows: { type: "string", default: "100000" },
  seconds: { type: "string", default: "10" },
  docs: { type: "boolean", default: false },
});
const parts = values.only.split(",");
const rows = Number(values.rows);
const seconds = Number(values.seconds);

const SCHEMA = "CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT NOT NULL, n INT, body TEXT)";
const BODY = "x".repeat(100);
const PERCENT = 100;
const BINARY = join(import.meta.dir, "../dist/marmot");
/** Rows written behind a snapshot. */
const MOST_ENTRIES = 200_000;

const measured: [name: string, value: string][] = [];

function report(name: string, value: string): void {
  measured.push([name.trim(), value]);
  console.log(`${name.padEnd(58)} ${value}`);
}

const DOCS = join(import.meta.dir, "../docs/benchmarks.md");

/** Lines of earlier runs that this run did not measure stay. */
function writeDocs(): void {
  const text = readFileSync(DOCS, "utf8");
  const [before, table, after] = text.split(/<!-- \/?bench-archive -->/) as [string, string, string];
  const rows = new Map(
    [...table.matchAll(/^\| (.+?) \| (.+?) \|$/gm)].slice(2).map(([, name, value]) => [name!, value!]),
  );
  for (const [name, value] of measured) rows.set(name, value);
  const lines = [...rows].map(([name, value]) => `| ${name} | ${value} |`);
  writeFileSync(
    DOCS,
    `${before}<!-- bench-archive -->\n\n${["| Measure | Value |", "| --- | --- |", ...lines].join("\n")}\n\n<!-- /bench-archive -->${after}`,
  );
}

/** The schema with rows, which the first node takes over when it forms the cluster. */
const schemaWith = (count: number): string =>
  `${SCHEMA}; INSERT INTO item WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < ${count})
   SELECT n, 'name ' || n, n, '${BODY}' FROM i`;

function fill(node: TestNode, from: number, count: number, at: number): void {
  const db = node.open();
  const insert = db.query("INSERT INTO item VALUES(?, ?, ?, ?)");
  for (let i = from; i < from + count; i += at) {
    db.exec("BEGIN IMMEDIATE");
    for (let j = i; j < Math.min(from + count, i + at); j++) insert.run(j, `name ${j}`, j, BODY);
    db.exec("COMMIT");
  }
  db.close();
}

async function bulk(history: string, archive = false): Promise<number> {
  const cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, quiet: true });
  try {
    for (const node of cluster.nodes) {
      await node.kill("SIGTERM");
      await node.startAlone([
        "--history",
        history,
        ...(archive ? ["--archive", join(cluster.folder, "archive")] : []),
      ]);
      await node.ready();
    }
    fill(cluster.nodes[0]!, 1, 5000, 1000);
    await cluster.settle();
    const start = performance.now();
    fill(cluster.nodes[0]!, 10_000, rows, 1000);
    if (!(await cluster.nodes[0]!.wait({ all: true, timeout: "300s" }))) throw new Error("not shown in time");
    return rows / ((performance.now() - start) / 1000);
  } finally {
    await cluster.stop();
  }
}

async function benchHistory(): Promise<void> {
  const off: number[] = [];
  const on: number[] = [];
  for (let i = 0; i < 2; i++) {
    off.push(await bulk("off"));
    on.push(await bulk("256MB"));
  }
  const best = [Math.max(...off), Math.max(...on)] as const;
  report("bulk rows/s shown on three nodes, without a history", best[0].toFixed(0));
  report("  with a history", `${best[1].toFixed(0)} (${((best[1] / best[0]) * PERCENT).toFixed(0)} %)`);
}

/** CPU seconds of a process so far, on Linux. */
function cpuOf(node: TestNode): number {
  const stat = readFileSync(`/proc/${node.process!.pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  const TICKS = 100;
  return (Number(stat[11]) + Number(stat[12])) / TICKS;
}

async function idle(archive: boolean): Promise<number> {
  const cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, count: 1, quiet: true });
  try {
    const [node] = cluster.nodes as [TestNode];
    await node.kill("SIGTERM");
    await node.startAlone(archive ? ["--archive", join(cluster.folder, "archive")] : []);
    await node.ready();
    await Bun.sleep(5000);
    const [before, start] = [cpuOf(node), performance.now()];
    await Bun.sleep(seconds * 1000);
    return (cpuOf(node) - before) / ((performance.now() - start) / 1000);
  } finally {
    await cluster.stop();
  }
}

async function shippedBy(node: TestNode): Promise<void> {
  for (;;) {
    const { archive: at } = await node.status();
    if (at !== null && at.position !== null && at.behindEntries === 0) return;
    await Bun.sleep(50);
  }
}

async function benchRestore(): Promise<void> {
  const cluster = await TestCluster.start({ shards: 1, schema: schemaWith(rows), count: 1, quiet: true });
  try {
    const [node] = cluster.nodes as [TestNode];
    const archive = join(cluster.folder, "archive");
    const restore = (name: string): ReturnType<typeof timed> =>
      timed(BINARY, "restore", archive, "--db", join(cluster.folder, `${name}.db`));
    await node.kill("SIGTERM");
    await node.startAlone(["--archive", archive]);
    await node.ready();
    await shippedBy(node);
    const first = restore("snapshot");
    const { size } = statSync(join(cluster.folder, "snapshot.db"));
    report(
      "a moment right after a snapshot",
      `${shownRate(size, first)}, ${(first.s / (size / 1e9)).toFixed(1)} s a GB`,
    );
  } finally {
    await cluster.stop();
  }
}

/** Of a small archive, so that the snapshot hardly counts: the newest state against the first one. */
async function benchEntries(): Promise<void> {
  const cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, count: 1, quiet: true });
  try {
    const [node] = cluster.nodes as [TestNode];
    const archive = join(cluster.folder, "archive");
    await node.kill("SIGTERM");
    await node.startAlone(["--archive", archive]);
    await node.ready();
    await shippedBy(node);
    const { position } = (await node.status()).archive!;
    const count = Math.min(rows, MOST_ENTRIES);
    fill(node, 1, count, 1000);
    await node.wait({ timeout: "300s" });
    await shippedBy(node);
    const restore = (name: string, ...at: string[]): ReturnType<typeof timed> =>
      timed(BINARY, "restore", archive, ...at, "--db", join(cluster.folder, `${name}.db`));
    const first = restore("first", "--position", position!);
    const all = restore("all");
    const [s, cpuMs] = [all.s - first.s, all.cpuMs - first.cpuMs];
    report(
      "entries behind a snapshot, in transactions of 1,000 rows",
      `${(count / Math.max(0.001, s)).toFixed(0)} rows/s, ${((1000 * cpuMs) / count).toFixed(0)} µs of CPU a row`,
    );
  } finally {
    await cluster.stop();
  }
}

async function benchArchive(): Promise<void> {
  const off: number[] = [];
  const on: number[] = [];
  for (let i = 0; i < 2; i++) {
    off.push(await bulk("256MB"));
    on.push(await bulk("256MB", true));
  }
  const best = [Math.max(...off), Math.max(...on)] as const;
  report("bulk rows/s shown on three nodes, without an archive", best[0].toFixed(0));
  report("  with an archive", `${best[1].toFixed(0)} (${((best[1] / best[0]) * PERCENT).toFixed(0)} %)`);
  const [without, shipping] = [await idle(false), await idle(true)];
  report("idle node, share of a core, without an archive", `${(without * PERCENT).toFixed(2)} %`);
  report("  with an archive", `${(shipping * PERCENT).toFixed(2)} %`);
}

/** Runs a command to its end. Waiting for other work of the machine costs no CPU. */
function timed(...cmd: string[]): { readonly s: number; readonly cpuMs: number } {
  const start = performance.now();
  const done = Bun.spawnSync(cmd, { stdout: "ignore", stderr: "pipe" });
  if (done.exitCode !== 0) throw new Error(done.stderr.toString());
  const MICROSECONDS = 1000;
  return {
    s: (performance.now() - start) / 1000,
    cpuMs: Number(done.resourceUsage!.cpuTime.total) / MICROSECONDS,
  };
}

const shownRate = (size: number, { s, cpuMs }: ReturnType<typeof timed>): string =>
  `${(size / s / 1e6).toFixed(0)} MB/s, ${(cpuMs / (size / 1e6)).toFixed(1)} ms of CPU a megabyte`;

async function benchBackup(): Promise<void> {
  const cluster = await TestCluster.start({ shards: 1, schema: schemaWith(rows), count: 1, quiet: true });
  try {
    const copy = join(cluster.folder, "copy.db");
    const backup = timed(BINARY, "backup", copy, "--db", cluster.nodes[0]!.db);
    const { size } = statSync(copy);
    const plain = timed("sh", "-c", `cp ${copy} ${copy}.cp && sync ${copy}.cp`);
    const restore = timed(BINARY, "restore", copy, "--db", join(cluster.folder, "restored.db"));
    report("size of the file", `${(size / 1e6).toFixed(0)} MB`);
    report("a plain copy with a sync", shownRate(size, plain));
    report(
      "backup, with integrity_check and SHA-256",
      `${shownRate(size, backup)} (${(plain.s / backup.s).toFixed(2)} of the copy's rate)`,
    );
    report("restore into a new file, with both checks", shownRate(size, restore));
  } finally {
    await cluster.stop();
  }
}

async function* lines(node: TestNode): AsyncGenerator<string, void> {
  const answer = await fetch(`http://127.0.0.1:${node.admin}/api/v1/changes`, {
    headers: { accept: "application/x-ndjson" },
  });
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
    const all = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = all.pop()!;
    yield* all;
  }
}

/** From a commit until the feed of the same node has it, and from there until the reader has it. */
async function benchFeed(): Promise<void> {
  const cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, quiet: true });
  try {
    const [writer, node] = cluster.nodes as [TestNode, TestNode];
    const seen = new Map<number, number>();
    void (async () => {
      for await (const line of lines(node))
        for (const m of line.matchAll(/"key":\{"id":(\d+)\}/g)) seen.set(Number(m[1]), performance.now());
    })().catch(() => {});
    await Bun.sleep(500);
    const db = writer.open();
    const shown = new Database(node.db, { readonly: true });
    const feed: number[] = [];
    for (let i = 1; i <= 300; i++) {
      db.query("INSERT INTO item VALUES(?, 'n', 1, '')").run(i);
      while (shown.query("SELECT 1 FROM item WHERE id = ?").get(i) === null) await Bun.sleep(0);
      const at = performance.now();
      while (!seen.has(i)) await Bun.sleep(0);
      feed.push(seen.get(i)! - at);
    }
    db.close();
    shown.close();
    feed.sort((a, b) => a - b);
    report(
      "feed, ms after the file shows a row: p50, p99",
      `${feed[150]!.toFixed(1)}, ${feed[297]!.toFixed(1)}`,
    );
  } finally {
    await cluster.stop();
  }
}

const cpuMs = (pid: number): number => {
  const [user, system] = readFileSync(`/proc/${pid}/stat`, "utf8")
    .split(") ")[1]!
    .split(" ")
    .slice(11, 13)
    .map(Number);
  return (user! + system!) * 10;
};

async function benchReaders(): Promise<void> {
  const cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, quiet: true });
  try {
    const [writer, node] = cluster.nodes as [TestNode, TestNode];
    let next = 1;
    const load = async (): Promise<number> => {
      const db = writer.open();
      const before = cpuMs(node.process!.pid);
      const start = performance.now();
      while (performance.now() - start < seconds * 1000) {
        db.exec("BEGIN IMMEDIATE");
        for (let i = 0; i < 10; i++) db.query("INSERT INTO item VALUES(?, 'n', 1, '')").run(next++);
        db.exec("COMMIT");
        await Bun.sleep(9);
      }
      db.close();
      return (cpuMs(node.process!.pid) - before) / (performance.now() - start);
    };
    const alone = await load();
    for (let i = 0; i < 100; i++)
      void (async () => {
        for await (const _ of lines(node));
      })().catch(() => {});
    await Bun.sleep(1000);
    const followed = await load();
    report("CPU of a node at about 1,000 rows/s", `${(alone * PERCENT).toFixed(0)} % of a core`);
    report("  with 100 readers of the feed", `${(followed * PERCENT).toFixed(0)} %`);
  } finally {
    await cluster.stop();
  }
}

if (parts.includes("history")) await benchHistory();
if (parts.includes("archive")) await benchArchive();
if (parts.includes("moments")) {
  await benchRestore();
  await benchEntries();
}
if (parts.includes("backup")) await benchBackup();
if (parts.includes("feed")) await benchFeed();
if (parts.includes("readers")) await benchReaders();
if (values.docs) writeDocs();
process.exit(0);

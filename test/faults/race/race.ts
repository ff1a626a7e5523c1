/**
 * The race of SQLite's WAL-reset bug, forced: an application whose checkpoints pause, beside a node that commits into the
 * same file all the time. Afterwards every acknowledged row must be there, and no checkpoint of the application may have
 * had the WAL restarted under it by Marmot.
 */
import { Database } from "bun:sqlite";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { TestCluster, type TestNode, until } from "../../cluster/lab.ts";

export interface RaceOptions {
  /** The application, from `buildApplication`. */
  readonly application: string;
  readonly seed: number;
  /** Processes of the application, each with one connection. */
  readonly connections: number;
  /** Of each. */
  readonly commits: number;
  /** Longest pauses, microseconds. */
  readonly beforeLockUs: number;
  readonly afterReadUs: number;
  /** Pages of WAL after which a connection of the application begins a checkpoint. */
  readonly autocheckpoint: number;
}

export interface RaceResult {
  readonly version: string;
  readonly acknowledged: number;
  readonly checkpoints: number;
  /** Checkpoints that found the WAL wholly in the file. */
  readonly whole: number;
  readonly stale: number;
  readonly strange: number;
  /** Of the WAL, as a connection of the application saw them at its checkpoints. */
  readonly restarts: number;
  /** What is wrong, in words. */
  readonly wrong: readonly string[];
}

type Counters = Omit<RaceResult, "wrong">;

/** Between two commits on the other node. */
const OTHER_MS = 2;

async function play(file: string, shared: string, options: RaceOptions): Promise<Counters[]> {
  const { application, seed, connections, commits, beforeLockUs, afterReadUs, autocheckpoint } = options;
  const processes = Array.from({ length: connections }, (_, i) =>
    Bun.spawn(
      [
        ...[application, file, String(1 + i * 10_000_000), String(commits), String(seed + i)],
        ...[String(beforeLockUs), String(afterReadUs), String(autocheckpoint), shared],
      ],
      { stdout: "pipe", stderr: "pipe", stdin: "ignore" },
    ),
  );
  return Promise.all(
    processes.map(async (child) => {
      const [said, error] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
      ]);
      if ((await child.exited) !== 0) throw new Error(`the application failed: ${error}`);
      return JSON.parse(said) as Counters;
    }),
  );
}

function sum(all: readonly Counters[], wrong: readonly string[]): RaceResult {
  const add = (of: (c: Counters) => number): number => all.reduce((total, c) => total + of(c), 0);
  return {
    version: all[0]!.version,
    acknowledged: add((c) => c.acknowledged),
    checkpoints: add((c) => c.checkpoints),
    whole: add((c) => c.whole),
    stale: add((c) => c.stale),
    strange: add((c) => c.strange),
    restarts: Math.max(...all.map((c) => c.restarts)),
    wrong,
  };
}

/** Acknowledged rows that the file lacks, and damage. */
function check(file: string, { connections, commits }: RaceOptions): string[] {
  const db = new Database(file, { readwrite: true, create: false });
  try {
    db.exec("PRAGMA busy_timeout = 20000");
    const wrong: string[] = [];
    const [health] = db.query("PRAGMA integrity_check").values()[0] as [string];
    if (health !== "ok") wrong.push(`integrity_check of ${file}: ${health.slice(0, 300)}`);
    const [count] = db.query("SELECT count(*) FROM t WHERE id < 1000000000").values()[0] as [number];
    if (count !== connections * commits)
      wrong.push(`${connections * commits - count} acknowledged rows are not in ${file}`);
    return wrong;
  } catch (error) {
    return [`${file}: ${(error as Error).message}`];
  } finally {
    db.close();
  }
}

/** The application alone in its file, without a node: with several connections the race must happen. */
export async function raceAlone(folder: string, options: RaceOptions): Promise<RaceResult> {
  const file = join(folder, "alone.db");
  for (const end of ["", "-wal", "-shm"]) rmSync(file + end, { force: true });
  const db = new Database(file);
  db.exec("PRAGMA journal_mode = WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)");
  try {
    return sum(await play(file, join(folder, "restarts"), options), []);
  } finally {
    db.close();
  }
}

/** Commits on another node until `stop`, so that this one writes into the application's file between its commits. */
async function writeElsewhere(node: TestNode, stop: AbortSignal): Promise<number> {
  const db = node.open();
  let rows = 0;
  const insert = db.query("INSERT INTO t VALUES(?, zeroblob(300))");
  while (!stop.aborted) {
    insert.run(1_000_000_000 + rows++);
    await Bun.sleep(OTHER_MS);
  }
  db.close();
  return rows;
}

/** The application beside a node of a cluster of two. */
export async function race(options: RaceOptions): Promise<RaceResult> {
  const schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)";
  const cluster = await TestCluster.start({ shards: 1, schema, count: 2, quiet: true });
  const stop = new AbortController();
  try {
    const [node, other] = cluster.nodes as [TestNode, TestNode];
    const elsewhere = writeElsewhere(other, stop.signal);
    const all = await play(node.db, join(cluster.folder, "restarts"), options);
    stop.abort();
    await elsewhere;
    const wrong: string[] = [];
    const strange = all.reduce((total, c) => total + c.strange, 0);
    if (strange > 0) wrong.push(`Marmot restarted the WAL under ${strange} checkpoints of the application`);
    for (const each of [node, other]) {
      const confirmed = await each.wait({ all: true, timeout: "60s" }).catch(() => false);
      if (!confirmed) wrong.push(`marmot wait --all fails on ${each.name}: ${each.log().slice(-1000)}`);
    }
    for (const { db } of cluster.nodes) wrong.push(...check(db, options));
    const rows = (n: TestNode): string =>
      JSON.stringify(n.query("SELECT count(*), sum(id), sum(length(v)) FROM t"), (_, v: unknown) =>
        String(v),
      );
    await until(
      () => rows(node) === rows(other) || `${rows(node)} and ${rows(other)}`,
      "the files are equal",
    ).catch((error: Error) => wrong.push(error.message));
    return sum(all, wrong);
  } finally {
    stop.abort();
    await cluster.stop();
  }
}

/** Clusters of the compiled binary on loopback, seen from outside: plain SQLite, HTTP, signals. */
import { Database } from "bun:sqlite";
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, closeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Random } from "../../src/base/random.ts";
import { freePorts } from "../../src/cli/free-ports.ts";
import type { NodeStatus } from "../../src/operations/api.ts";
import { Links } from "../faults/links.ts";

export const BINARY = process.env.MARMOT_BINARY ?? join(import.meta.dir, "../../dist/marmot");

const DEADLINE_MS = 60_000;

/** Waits for a condition with a deadline; the last reason is in the error. */
export async function until(
  condition: () => boolean | string | Promise<boolean | string>,
  what: string,
  ms = DEADLINE_MS,
): Promise<void> {
  const end = performance.now() + ms;
  for (;;) {
    const result = await condition();
    if (result === true) return;
    if (performance.now() > end)
      throw new Error(`not within ${ms} ms: ${what}${typeof result === "string" ? ` (${result})` : ""}`);
    await Bun.sleep(25);
  }
}

export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export function marmot(args: readonly string[], environment: Record<string, string> = {}): Result {
  const done = Bun.spawnSync([BINARY, ...args], {
    env: { ...process.env, ...environment },
    stdout: "pipe",
    stderr: "pipe",
  });
  return { code: done.exitCode, stdout: done.stdout.toString(), stderr: done.stderr.toString() };
}

/** Every application table's rows as text with storage classes, independent of the order of rows; virtual tables aside. */
export function dump(file: string): Record<string, string[]> {
  const db = new Database(file, { readwrite: true, create: false, safeIntegers: true });
  try {
    db.exec("PRAGMA busy_timeout = 10000; BEGIN");
    const tables = db
      .query(
        `SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name`,
      )
      .values()
      .map(([name]) => name as string)
      .filter((name) => !isMarmots(db, name));
    const out: Record<string, string[]> = {};
    for (const table of tables) {
      const quoted = `"${table.replaceAll('"', '""')}"`;
      const columns = db
        .query(
          `SELECT name FROM pragma_table_xinfo(${`'${table.replaceAll("'", "''")}'`}) WHERE hidden IN (0, 2, 3)`,
        )
        .values()
        .map(([name]) => `"${(name as string).replaceAll('"', '""')}"`);
      const shown = columns.map(
        (c) =>
          `typeof(${c}) || ':' || CASE typeof(${c}) WHEN 'real' THEN printf('%!.17g', ${c}) ELSE hex(${c}) END`,
      );
      out[table] = db
        .query(`SELECT ${shown.join(" || '|' || ")} FROM ${quoted}`)
        .values()
        .map(([row]) => row as string)
        .sort();
    }
    db.exec("COMMIT");
    return out;
  } finally {
    db.close();
  }
}

function isMarmots(db: Database, name: string): boolean {
  if (!name.startsWith("__marmot__")) return false;
  const registry = db.query(`SELECT 1 FROM sqlite_schema WHERE name = '__marmot__table'`).values().length > 0;
  if (!registry) return false;
  if (/^__marmot__(?:meta|status|table|base|shadow|lost|awaited)$/.test(name)) return true;
  return db.query(`SELECT 1 FROM "__marmot__table" WHERE "log" = ?`).values(name).length > 0;
}

/** No process listens there: the nodes of a cluster with proxied links must not find each other directly. */
const NOWHERE = "/ip4/127.0.0.1/tcp/1";

export class TestNode {
  readonly db: string;
  readonly dataDir: string;
  readonly folder: string;
  readonly name: string;
  /** Added to the process's environment. */
  environment: Record<string, string> = {};
  /** The program of its next process. */
  binary = BINARY;
  port = 0;
  admin = 0;
  process: Bun.Subprocess | null = null;
  readonly #cluster: TestCluster;
  readonly #log: string;

  constructor(cluster: TestCluster, number: number) {
    this.#cluster = cluster;
    this.name = `n${number}`;
    this.folder = join(cluster.folder, this.name);
    this.#log = join(cluster.folder, `${this.name}.log`);
    mkdirSync(this.folder);
    this.db = join(this.folder, "app.db");
    this.dataDir = `${this.db}.marmot`;
  }

  get address(): string {
    return `/ip4/127.0.0.1/tcp/${this.port}`;
  }

  /** `extra` replaces or adds options. */
  async start(extra: readonly string[] = []): Promise<void> {
    if (this.port === 0) {
      [this.port, this.admin] = (await freePorts(2)) as [number, number];
    }
    const { nodes, key, shards, links, options } = this.#cluster;
    const others = nodes.filter((n) => n !== this && n.port !== 0);
    const peers = others.map((n) => links?.address(this.name, n.name) ?? n.address).join(",");
    const founding = this === nodes[0] && (links === null || !existsSync(join(this.dataDir, "replica.db")));
    const log = openSync(this.#log, "a");
    const usual = [
      ...["--db", this.db, "--name", this.name, "--cluster-key", key],
      ...["--listen", this.address, "--admin", `127.0.0.1:${this.admin}`],
      ...["--log-level", this.#cluster.logLevel],
      ...(founding ? ["--shards", String(shards)] : ["--peers", peers]),
      ...(links === null ? [] : ["--announce", NOWHERE]),
      ...options,
    ];
    this.process = Bun.spawn(
      [...[this.binary, "run"], ...usual.filter((_, at) => !extra.includes(usual[at - (at % 2)]!)), ...extra],
      {
        cwd: this.folder,
        env: { ...process.env, ...this.environment },
        stdout: log,
        stderr: log,
        stdin: "ignore",
      },
    );
    closeSync(log);
  }

  /** Starts a member as `marmot run --db FILE`, with its addresses alone. */
  async startAlone(extra: readonly string[] = []): Promise<void> {
    const log = openSync(this.#log, "a");
    const addresses = ["--listen", this.address, "--admin", `127.0.0.1:${this.admin}`];
    this.process = Bun.spawn([this.binary, "run", "--db", this.db, ...addresses, ...extra], {
      cwd: this.folder,
      env: { ...process.env, ...this.environment },
      ...{ stdout: log, stderr: log, stdin: "ignore" },
    });
    closeSync(log);
    await Promise.resolve();
  }

  log(): string {
    return existsSync(this.#log) ? readFileSync(this.#log, "utf8").slice(-3000) : "";
  }

  async kill(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    const child = this.process;
    if (child === null) return;
    child.kill(signal);
    const late = setTimeout(() => child.kill("SIGKILL"), 20_000);
    await child.exited;
    clearTimeout(late);
    this.process = null;
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.process?.kill(signal);
  }

  /**
   * Stops the process between two of its transactions: an application can write to the file meanwhile. A process that is
   * stopped inside a transaction keeps the file's write lock.
   */
  async pause(): Promise<void> {
    const db = this.open();
    db.exec("PRAGMA busy_timeout = 0");
    try {
      await until(() => {
        this.signal("SIGSTOP");
        const stat = `/proc/${this.process?.pid}/stat`;
        if (existsSync(stat) && !/\) T /.test(readFileSync(stat, "utf8"))) return "it still runs";
        try {
          db.exec("BEGIN IMMEDIATE; ROLLBACK");
          return true;
        } catch (error) {
          this.signal("SIGCONT");
          return (error as Error).message;
        }
      }, `${this.name} stops outside of a transaction`);
    } finally {
      db.close();
    }
  }

  /** The admin API answers. A process that ended is an error with the end of its log. */
  async answers(): Promise<void> {
    await until(async () => {
      if (this.process?.exitCode !== null) throw new Error(`${this.name} exited: ${this.log()}`);
      try {
        return (await this.http("/healthz")).status > 0;
      } catch {
        return "no answer";
      }
    }, `${this.name} answers`);
  }

  async http(path: string, method = "GET"): Promise<{ status: number; text: string }> {
    const response = await fetch(`http://127.0.0.1:${this.admin}${path}`, {
      method,
      signal: AbortSignal.timeout(70_000),
    });
    return { status: response.status, text: await response.text() };
  }

  async ready(ms = DEADLINE_MS): Promise<void> {
    try {
      await until(
        async () => {
          if (this.process?.exitCode !== null) throw new Error(`${this.name} exited: ${this.log()}`);
          try {
            const { status, text } = await this.http("/readyz");
            return status === 200 ? true : text;
          } catch {
            return "no answer";
          }
        },
        `${this.name} ready`,
        ms,
      );
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${this.log()}`);
    }
  }

  async status(): Promise<NodeStatus> {
    return JSON.parse((await this.http("/api/v1/status")).text) as NodeStatus;
  }

  /** `marmot wait`: whether it was confirmed in time. */
  async wait(options: { all?: boolean; timeout?: string } = {}): Promise<boolean> {
    const { status } = await this.http(
      `/api/v1/wait?timeout=${options.timeout ?? "30s"}&all=${options.all ?? false}`,
      "POST",
    );
    return status === 200;
  }

  marmot(verb: string, ...args: readonly string[]): Result {
    return marmot([verb, "--db", this.db, ...args]);
  }

  /** The same without stopping this process: where the network between the nodes runs in it. */
  async verb(verb: string, ...args: readonly string[]): Promise<Result> {
    const child = Bun.spawn([BINARY, verb, "--db", this.db, ...args], { stdout: "pipe", stderr: "pipe" });
    const [stdout, stderr] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    return { code: await child.exited, stdout, stderr };
  }

  /** An application's connection. */
  open(): Database {
    const db = new Database(this.db, { readwrite: true, create: true, safeIntegers: true });
    db.exec("PRAGMA busy_timeout = 15000");
    return db;
  }

  run(...statements: readonly string[]): void {
    const db = this.open();
    try {
      for (const sql of statements) db.exec(sql);
    } finally {
      db.close();
    }
  }

  query(sql: string): unknown[][] {
    const db = this.open();
    try {
      return db.query(sql).values() as unknown[][];
    } finally {
      db.close();
    }
  }
}

export class TestCluster {
  readonly folder = mkdtempSync(join(tmpdir(), "marmot-test-"));
  readonly nodes: TestNode[] = [];
  readonly key: string;
  readonly shards: number;
  /** null: nodes reach each other directly. */
  readonly links: Links | null;
  logLevel = "debug";
  /** More options of every node: pairs of name and value. */
  options: readonly string[] = [];
  /** Tables that stay on their nodes and may differ. */
  local: readonly string[] = [];

  constructor(count: number, shards: number, links: Links | null = null) {
    this.shards = shards;
    this.links = links;
    this.key = join(this.folder, "cluster.key");
    const made = marmot(["key", "generate", "--cluster-key", this.key]);
    if (made.code !== 0) throw new Error(`no key: ${made.stderr}`);
    for (let i = 0; i < count; i++) this.nodes.push(new TestNode(this, i));
  }

  /**
   * The first node has `schema`, or with null the file that `prepare` made; the others receive it. `linked`: all bytes between
   * nodes go through `links`.
   */
  static async start(options: {
    shards: number;
    schema: string | null;
    count?: number;
    quiet?: boolean;
    linked?: Random;
    /** Before anything is written. */
    prepare?: (cluster: TestCluster) => void;
    /** More options of every node. */
    options?: readonly string[];
    /** More options of the first node. */
    first?: readonly string[];
  }): Promise<TestCluster> {
    const { linked } = options;
    const links = linked === undefined ? null : new Links(linked);
    const cluster = new TestCluster(options.count ?? 3, options.shards, links);
    cluster.options = options.options ?? [];
    cluster.logLevel = options.quiet ? "info" : "debug";
    try {
      for (const from of cluster.nodes)
        for (const to of cluster.nodes) if (from !== to) await links?.open(from.name, to.name, () => to.port);
      options.prepare?.(cluster);
      if (options.schema !== null) cluster.nodes[0]!.run("PRAGMA journal_mode = WAL", options.schema);
      for (const node of cluster.nodes) {
        await node.start(node === cluster.nodes[0] ? options.first : []);
        await node.ready();
      }
      await cluster.voters();
      // The first node had no address to dial; addresses are not gossiped here.
      if (links !== null)
        for (const node of cluster.nodes.slice(0, -1)) {
          await node.kill("SIGTERM");
          await node.start();
          await node.ready();
        }
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  add(): TestNode {
    const node = new TestNode(this, this.nodes.length);
    this.nodes.push(node);
    return node;
  }

  /** All nodes are voters. */
  async voters(): Promise<void> {
    await until(async () => {
      const { members } = await this.nodes[0]!.status();
      return members.length === this.nodes.length && members.every((m) => m.role === "voter");
    }, "all are voters");
  }

  /** The leader of shard 0, as one of the nodes says of itself. */
  async leader(nodes: readonly TestNode[] = this.nodes): Promise<TestNode> {
    let leader: TestNode | undefined;
    await until(async () => {
      const roles = await Promise.all(nodes.map(async (n) => (await n.status()).shards[0]!.role));
      leader = nodes[roles.indexOf("leader")];
      return leader !== undefined || roles.join();
    }, "shard 0 has a leader");
    return leader!;
  }

  /** Everything that was committed anywhere is everywhere, and the files are equal. */
  async settle(nodes: readonly TestNode[] = this.nodes): Promise<Record<string, string[]>> {
    for (const node of nodes) await node.answers();
    for (const node of nodes)
      if (!(await node.wait({ all: true, timeout: "60s" })))
        throw new Error(`${node.name} waits for ever: ${node.log()}`);
    let dumps: Record<string, string[]>[] = [];
    await until(
      () => {
        dumps = nodes.map((n) => dump(n.db));
        for (const table of this.local) for (const rows of dumps) delete rows[table];
        const texts = dumps.map((d) => JSON.stringify(d));
        return texts.every((t) => t === texts[0]) ? true : difference(dumps);
      },
      "all files are equal",
      20_000,
    );
    return dumps[0]!;
  }

  /** `unmount`: between the processes' end and the folder's. */
  async stop(unmount: () => void = () => {}): Promise<void> {
    for (const node of this.nodes) node.signal("SIGCONT");
    await Promise.all(this.nodes.map((n) => n.kill("SIGKILL")));
    this.links?.close();
    unmount();
    if (process.env.KEEP_TEST_FILES === undefined) rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The first rows in which dumps differ, for the error message. */
function difference(dumps: readonly Record<string, string[]>[]): string {
  for (const table of Object.keys(dumps[0]!))
    for (let i = 1; i < dumps.length; i++) {
      const left = new Set(dumps[0]![table]);
      const right = new Set(dumps[i]![table] ?? []);
      const only0 = [...left].filter((r) => !right.has(r)).slice(0, 3);
      const only1 = [...right].filter((r) => !left.has(r)).slice(0, 3);
      if (only0.length + only1.length > 0)
        return `${table}: only on n0 ${only0.map(readable).join("; ")}, only on n${i} ${only1.map(readable).join("; ")}`;
    }
  return "row counts differ";
}

/** A dumped row for people: the ends of its values. */
const readable = (row: string): string =>
  row
    .split("|")
    .map((cell) => {
      const [type, hex] = cell.split(":") as [string, string];
      return type === "real" ? hex : Buffer.from(hex, "hex").toString("utf8").slice(-80);
    })
    .join(" | ");

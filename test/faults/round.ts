/**
 * One round: a cluster of the compiled binary, an application process beside each node, faults drawn from a seed,
 * then a time without faults, and the checks. The seed replays faults and choices of the applications, not the timing
 * of the machine.
 */
import { Database } from "bun:sqlite";
import { join } from "node:path";
import { Random } from "../../src/base/random.ts";
import type { ConflictSummary } from "../../src/operations/api.ts";
import { TestCluster, type TestNode, until } from "../cluster/lab.ts";
import { type AppOptions, readAll } from "./app.ts";
import { check, type ReadyReading } from "./check.ts";
import { buildShim, ShiftedClock } from "./clock.ts";
import { canMount, SmallDisk } from "./disk.ts";
import { ACCOUNTS_PER_NODE, filling, now, OPENING_BALANCE, readHistory, SCHEMA } from "./history.ts";
import { Injector } from "./injector.ts";
import { describeFault, schedule } from "./schedule.ts";

const DATA_DISK_MB = 96;
const FILE_DISK_MB = 64;
/** Conflicts that the admin API lists at most. */
const CONFLICTS_LISTED = 10_000;

export interface RoundOptions {
  readonly seed: number;
  readonly seconds: number;
  readonly shards: number;
  readonly nodes: number;
  readonly say: (line: string) => void;
}

export interface RoundResult {
  readonly wrong: readonly string[];
  readonly transactions: number;
  readonly confirmed: number;
  readonly faults: number;
}

export const command = ({ seed, seconds, shards, nodes }: Omit<RoundOptions, "say">): string =>
  `bun scripts/faults.ts --seed ${seed} --seconds ${seconds} --shards ${shards} --nodes ${nodes}`;

/** The applications, one process a node. */
class Applications {
  readonly #cluster: TestCluster;
  readonly #seed: number;
  readonly #children: (Bun.Subprocess | null)[];
  readonly #sessions: number[];

  constructor(cluster: TestCluster, seed: number) {
    this.#cluster = cluster;
    this.#seed = seed;
    this.#children = cluster.nodes.map(() => null);
    this.#sessions = cluster.nodes.map(() => 0);
  }

  history(n: number): string {
    return join(this.#cluster.folder, `app${n}.jsonl`);
  }

  start(n: number): void {
    const { nodes } = this.#cluster;
    const options: AppOptions = {
      db: nodes[n]!.db,
      admin: nodes[n]!.admin,
      node: n,
      nodes: nodes.length,
      seed: this.#seed + n,
      session: this.#sessions[n]!++,
      history: this.history(n),
    };
    const script = join(import.meta.dir, "app.ts");
    this.#children[n] = Bun.spawn([process.execPath, script, JSON.stringify(options)], {
      stdout: "ignore",
      stderr: "inherit",
    });
  }

  async kill(n: number): Promise<void> {
    this.#children[n]!.kill("SIGKILL");
    await this.#children[n]!.exited;
    this.start(n);
  }

  killAll(): void {
    for (const child of this.#children) child?.kill("SIGKILL");
  }

  /** The names of those that ended by themselves. */
  async stop(): Promise<string[]> {
    const ended = this.#children.flatMap((c, n) =>
      c !== null && c.exitCode !== null ? [`application ${n}`] : [],
    );
    for (const child of this.#children) child?.kill("SIGTERM");
    const late = setTimeout(() => {
      for (const child of this.#children) child?.kill("SIGKILL");
    }, 20_000);
    await Promise.all(this.#children.flatMap((c) => (c === null ? [] : [c.exited])));
    clearTimeout(late);
    return ended;
  }
}

export async function round(options: RoundOptions): Promise<RoundResult> {
  const { seed, seconds, shards, nodes: count, say } = options;
  const random = new Random(seed);
  const plan = schedule(random.fork(), count, seconds * 1000);
  say(`faults: ${command(options)}`);
  for (const planned of plan) say(`  ${describeFault(planned)}`);
  const disks: Partial<Record<"data" | "file", SmallDisk>> = {};
  const clocks: ShiftedClock[] = [];
  const cannotMount = canMount();
  if (cannotMount !== null) say(`  no full disks: ${cannotMount}`);
  let apps: Applications | null = null;
  let cluster: TestCluster | null = null;
  const onExit = (): void => {
    apps?.killAll();
    for (const node of cluster?.nodes ?? []) node.process?.kill("SIGKILL");
  };
  process.on("exit", onExit);
  try {
    cluster = await TestCluster.start({
      shards,
      count,
      schema: SCHEMA + filling(count),
      linked: random.fork(),
      quiet: true,
      prepare: (fresh) => {
        if (cannotMount === null) {
          // One node's data directory, and another's file: its data directory has room.
          const [data, file] = [fresh.nodes[1 % count]!, fresh.nodes[2 % count]!];
          Bun.spawnSync(["mkdir", "-p", data.dataDir]);
          disks.data = new SmallDisk(data.dataDir, DATA_DISK_MB);
          disks.file = new SmallDisk(file.folder, FILE_DISK_MB);
          disks.file.bind(file.dataDir, join(fresh.folder, `${file.name}.data`));
        }
        const shim = buildShim(join(fresh.folder, "clock"));
        if (shim === null) say("  no clock jumps: no C compiler");
        else
          for (const node of fresh.nodes) {
            const clock = new ShiftedClock(shim, join(fresh.folder, `${node.name}.clock`));
            clocks.push(clock);
            node.environment = clock.environment;
          }
      },
    });
    apps = new Applications(cluster, random.next());
    return await play(options, cluster, apps, { plan, disks, clocks });
  } finally {
    process.off("exit", onExit);
    await apps?.stop();
    for (const disk of Object.values(disks)) disk.empty();
    await cluster?.stop(() => {
      for (const disk of Object.values(disks)) disk.unmount();
    });
  }
}

async function play(
  { say }: RoundOptions,
  cluster: TestCluster,
  apps: Applications,
  {
    plan,
    disks,
    clocks,
  }: {
    plan: ReturnType<typeof schedule>;
    disks: Partial<Record<"data" | "file", SmallDisk>>;
    clocks: readonly ShiftedClock[];
  },
): Promise<RoundResult> {
  const { nodes } = cluster;
  const ready: ReadyReading[] = [];
  const watching = new Set<Promise<void>>();
  let over = false;
  /** Reads the contents of a node as soon as it is ready after a start. */
  const watch = async (node: TestNode, startedAt: number): Promise<void> => {
    await Bun.sleep(30);
    const { process: child } = node;
    while (!over && child !== null && node.process === child && child.exitCode === null) {
      try {
        if ((await node.http("/readyz")).status === 200) {
          const db = new Database(node.db, { readwrite: true, create: false });
          try {
            ready.push({ node: node.name, startedAt, saw: readAll(db) });
          } finally {
            db.close();
          }
          return;
        }
      } catch {
        await Bun.sleep(30); // not started yet, or killed
      }
      await Bun.sleep(10);
    }
  };
  const injector = new Injector({
    cluster,
    disks,
    clocks,
    onStart: (node) => {
      const startedAt = now();
      const watched = Bun.sleep(0).then(() => watch(node, startedAt));
      watching.add(watched);
    },
    killApplication: (n) => apps.kill(n),
  });
  for (const n of nodes.keys()) apps.start(n);
  const began = performance.now();
  let faults = 0;
  await Promise.all(
    plan.map(async (planned) => {
      await Bun.sleep(planned.at - (performance.now() - began));
      if (injector.unavailable(planned.fault) !== null) return;
      faults++;
      await injector.inject(planned);
    }),
  );
  const wrong: string[] = [];
  await Bun.sleep(500);
  wrong.push(...(await apps.stop()).map((name) => `${name} ended by itself`));
  over = true;
  await Promise.all(watching);
  for (const node of nodes)
    if (node.process?.exitCode !== null) wrong.push(`${node.name} stopped by itself: ${node.log()}`);
  const histories = nodes.map((node, n) => ({ name: node.name, lines: readHistory(apps.history(n)) }));
  const lines = histories.flatMap((h) => h.lines);
  const counted = {
    transactions: lines.filter((l) => l.kind === "committed").length,
    confirmed: lines.filter((l) => l.kind === "confirmed").length,
    faults,
  };
  if (wrong.length === 0)
    try {
      for (const node of nodes) await node.ready();
      await cluster.settle();
      wrong.push(...(await inspect(cluster)));
      const db = nodes[0]!.open();
      const elements = db.query("SELECT id, list, n FROM elements").values() as [string, bigint, bigint][];
      db.close();
      const plain = new Database(nodes[0]!.db, { readwrite: true, create: false });
      const final = readAll(plain);
      plain.close();
      wrong.push(
        ...check({
          nodes: histories,
          ready,
          final,
          finalElements: elements.map(([id, list, n]) => ({ id, list: Number(list), n: Number(n) })),
          journal: await journalOfDuels(cluster, wrong),
          total: nodes.length * ACCOUNTS_PER_NODE * OPENING_BALANCE,
          whole: true,
        }),
      );
    } catch (error) {
      wrong.push((error as Error).message);
    }
  say(
    `  ${counted.transactions} transactions, ${counted.confirmed} confirmed waits, ${faults} faults, ` +
      `${ready.length} restarts to ready, ${wrong.length} wrong`,
  );
  return { wrong: wrong.slice(0, 20).map((w) => w.slice(0, 3000)), ...counted };
}

/** What every node says of itself once all is quiet. */
async function inspect(cluster: TestCluster): Promise<string[]> {
  const wrong: string[] = [];
  for (const node of cluster.nodes) {
    await until(
      async () => (await node.status()).pending.changes === 0,
      `${node.name} has nothing pending`,
      20_000,
    );
    const verified = await node.verb("verify", "--json");
    if (verified.code !== 0)
      wrong.push(`${node.name}: verify: ${verified.stdout.slice(0, 500)}${verified.stderr}`);
    for (const file of [node.db, join(node.dataDir, "replica.db")]) {
      const db = new Database(file, { readwrite: true, create: false });
      const [[found]] = db.query("PRAGMA integrity_check").values() as [[string]];
      db.close();
      if (found !== "ok") wrong.push(`${file}: integrity_check ${found}`);
    }
  }
  return wrong;
}

/** The journal of rows that two nodes wrote; the same on all nodes. */
async function journalOfDuels(
  cluster: TestCluster,
  wrong: string[],
): Promise<{ row: number; loser: string }[]> {
  const journals = await Promise.all(
    cluster.nodes.map(async (node) => {
      const { text } = await node.http(`/api/v1/conflicts?limit=${CONFLICTS_LISTED}`);
      const all = JSON.parse(text) as ConflictSummary[];
      if (all.length >= CONFLICTS_LISTED) wrong.push(`${node.name}: too many conflicts to check the journal`);
      return all
        .filter((c) => c.table === "duels")
        .map((c) => ({ row: Number(/\d+/.exec(c.key)![0]), loser: c.losingOrigin }))
        .sort((a, b) => a.row - b.row || a.loser.localeCompare(b.loser));
    }),
  );
  const texts = journals.map((j) => JSON.stringify(j));
  if (texts.some((t) => t !== texts[0])) wrong.push(`journals differ: ${texts.join("\n")}`);
  return journals[0]!;
}

/**
 * One application that no one here wrote, unchanged, on three nodes: it migrates on one node, writes on all at once, one
 * node is killed while its application goes on, and in the end all files are equal, the application sees the same
 * everywhere, and its own check finds nothing.
 */
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TestCluster, type TestNode, until } from "../../cluster/lab.ts";
import { execute } from "../packages.ts";
import type { Guest, GuestVerb } from "./guest.ts";

const COMMAND_MS = 240_000;
/** Of a migration that another write overtakes. */
const TRIES = 10;
const SETTLE = { all: true, timeout: "60s" } as const;

interface Report {
  readonly kept: number;
}

class Guests {
  readonly #guest: Guest;
  readonly #folder: string;

  constructor(guest: Guest, folder: string) {
    this.#guest = guest;
    this.#folder = folder;
  }

  /**
   * Its output; an error with everything it said when it fails. A migration that reads before it writes cannot wait for
   * Marmot's write: it is started again, as people do.
   */
  async run(
    verb: GuestVerb,
    node: Pick<TestNode, "db" | "name">,
    ...args: readonly string[]
  ): Promise<string> {
    const command = this.#guest.command(this.#folder, verb, node.db, ...args);
    let done = await execute(command, COMMAND_MS);
    for (let i = 1; i < TRIES && verb === "migrate" && /is locked/.test(done.stdout + done.stderr); i++)
      done = await execute(command, COMMAND_MS);
    if (done.code === 0) return done.stdout;
    throw new Error(`${verb} on ${node.name}: ${done.code} ${done.stdout}${done.stderr}`);
  }

  async fill(node: TestNode, round: string): Promise<number> {
    const output = await this.run("fill", node, `${round}-${node.name}`);
    const { afterFill } = this.#guest;
    if (afterFill !== undefined && node.process !== null) {
      const done = await node.verb(afterFill[0]!, ...afterFill.slice(1));
      // A node that is dead is not compared.
      const isDone = done.code === 0 || /^not compared: n2/m.test(done.stdout + done.stderr);
      if (!isDone) throw new Error(`${afterFill.join(" ")}: ${done.stdout}${done.stderr}`);
    }
    return (JSON.parse(output.trim().split("\n").at(-1)!) as Report).kept;
  }

  async fillAll(nodes: readonly TestNode[], round: string): Promise<number> {
    const counts = await Promise.all(nodes.map((node) => this.fill(node, round)));
    return counts.reduce((a, b) => a + b, 0);
  }

  async report(node: TestNode): Promise<Report> {
    return JSON.parse(await this.run("report", node)) as Report;
  }
}

function same(expected: unknown, found: unknown, subject: string): void {
  const [a, b] = [JSON.stringify(expected), JSON.stringify(found)];
  if (a !== b) throw new Error(`${subject}: ${b.slice(0, 1500)} instead of ${a.slice(0, 1500)}`);
}

async function expectSound(guests: Guests, cluster: TestCluster, guest: Guest, kept: number): Promise<void> {
  await cluster.settle();
  const reports = await Promise.all(cluster.nodes.map((node) => guests.report(node)));
  const lost = reports.some((report) => report.kept !== kept)
    ? await cluster.nodes[0]!.verb("conflicts")
    : null;
  for (const [i, report] of reports.entries()) {
    if (lost !== null) throw new Error(`${report.kept} of ${kept} rows: ${lost.stdout.slice(0, 3000)}`);
    same(kept, report.kept, `rows that ${cluster.nodes[i]!.name} has`);
    same(reports[0], report, `the report of ${cluster.nodes[i]!.name}`);
  }
  for (const node of cluster.nodes) await guests.run("check", node);
  const [first] = cluster.nodes as [TestNode];
  const verified = await first.verb("verify", "--deep");
  if (verified.code !== 0) throw new Error(`verify: ${verified.stdout}${verified.stderr}`);
  const { conflicts } = await first.status();
  if (guest.conflicts !== undefined || conflicts.total === 0) return;
  throw new Error(`${conflicts.total} conflicts: ${(await first.verb("conflicts")).stdout.slice(0, 3000)}`);
}

const exclude = ({ local = [] }: Guest): string[] =>
  local.length === 0 ? [] : ["--exclude", local.join(",")];

async function migrate(guests: Guests, guest: Guest, nodes: readonly TestNode[]): Promise<void> {
  const second = nodes[guest.migrateBefore === true ? 0 : 1]!;
  if (guest.migrateBefore !== true) await guests.run("migrate", second);
  for (const node of nodes) if (!(await node.wait(SETTLE))) throw new Error(`${node.name}: ${node.log()}`);
  if (guest.migrateEverywhere === true)
    for (const node of nodes) if (node !== second) await guests.run("migrate", node);
  for (const node of nodes) await until(() => node.query(TABLES).length > 0, `${node.name} has its tables`);
}

const TABLES = `SELECT 1 FROM sqlite_schema WHERE name NOT LIKE '\\_\\_marmot\\_\\_%' ESCAPE '\\' LIMIT 1`;

/** Plays it in a new cluster. Returns the number of rows; throws at the first deviation. */
export async function play(guest: Guest, folder: string, shards: number): Promise<number> {
  const before = mkdtempSync(join(tmpdir(), "marmot-guest-"));
  const file = join(before, "app.db");
  writeFileSync(file, "");
  if (guest.migrateBefore === true)
    await new Guests(guest, folder).run("migrate", { db: file, name: "a file" });
  const cluster = await TestCluster.start({
    shards,
    schema: null,
    quiet: true,
    first: ["--id-block", "4096", ...exclude(guest)],
    options: guest.options ?? [],
    prepare: ({ nodes }) => copyFileSync(file, nodes[0]!.db),
  });
  cluster.local = [...(guest.local ?? []), ...(guest.shadows ?? [])];
  try {
    const guests = new Guests(guest, folder);
    const [a, b, c] = cluster.nodes as [TestNode, TestNode, TestNode];
    await migrate(guests, guest, cluster.nodes);
    const writers = guest.writers === "all" ? cluster.nodes : [a];
    let kept = await guests.fillAll(writers, "all");
    await cluster.settle();
    await c.kill();
    // The application of the dead node goes on as well.
    kept += await guests.fillAll(guest.writers === "all" ? cluster.nodes : [a], "killed");
    for (const node of [a, b]) if (!(await node.wait({ timeout: "60s" }))) throw new Error(node.log());
    await c.start();
    await c.ready();
    kept += await guests.fillAll(writers, "back");
    await expectSound(guests, cluster, guest, kept);
    return kept;
  } finally {
    await cluster.stop();
    rmSync(before, { recursive: true, force: true });
  }
}

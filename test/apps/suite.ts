/**
 * An application that nobody here wrote the libraries of, unchanged, on three nodes: what it migrated before there was a
 * cluster, and what it writes on all nodes at once.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TestCluster, type TestNode } from "../cluster/lab.ts";
import { type Command, type Done, execute } from "./packages.ts";

/** Two releases of one application: the second has other tables, and migrations that lead there. */
export type Release = 1 | 2;

/**
 * `migrate` leads to the release; `check` ends with 0 when there is nothing to do. `fill WHO ROUNDS` writes transactions and
 * says how many rows it kept; `report` says what the application sees.
 */
export type Verb = "migrate" | "check" | "fill" | "report";

export interface Application {
  readonly name: string;
  /** Why it cannot run here, or null. */
  readonly missing: string | null;
  /** Transactions that each node's `fill` makes. */
  readonly rounds: number;
  command(release: Release, verb: Verb, db: string, ...args: readonly string[]): Command;
}

export interface Report {
  readonly kept: number;
  /** Rows that are not with those that were written with them. */
  readonly strayed: number;
}

const SCHEMA = `SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE '\\_\\_marmot\\_\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name`;

export class Runs {
  readonly application: Application;
  constructor(application: Application) {
    this.application = application;
  }

  tried(release: Release, verb: Verb, db: string, ...args: readonly string[]): Promise<Done> {
    return execute(this.application.command(release, verb, db, ...args));
  }

  /** Its output; throws with everything it said when it fails. */
  async done(release: Release, verb: Verb, db: string, ...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.tried(release, verb, db, ...args);
    if (code !== 0)
      throw new Error(`${this.application.name} ${verb} ${args.join(" ")}: ${code} ${stdout}${stderr}`);
    return stdout;
  }

  async fill(release: Release, db: string, who: string): Promise<number> {
    return (
      JSON.parse(await this.done(release, "fill", db, who, String(this.application.rounds))) as {
        kept: number;
      }
    ).kept;
  }

  async report(release: Release, db: string): Promise<Report> {
    return JSON.parse(await this.done(release, "report", db)) as Report;
  }

  /** Everybody writes at once; the number of rows that they keep of it. */
  async fillAll(release: Release, nodes: readonly TestNode[], name: string): Promise<number> {
    const counts = await Promise.all(nodes.map((n) => this.fill(release, n.db, `${name}-${n.name}`)));
    return counts.reduce((a, b) => a + b);
  }

  /** Files and schemas are equal, the application sees the same on each, has nothing to migrate and misses nothing. */
  async expectEqual(release: Release, cluster: TestCluster, kept: number): Promise<void> {
    await cluster.settle();
    const [first, ...others] = cluster.nodes as [TestNode, ...TestNode[]];
    for (const node of others) expect(node.query(SCHEMA)).toEqual(first.query(SCHEMA));
    const reports = await Promise.all(cluster.nodes.map((n) => this.report(release, n.db)));
    for (const report of reports) expect(report).toEqual(reports[0]!);
    expect(reports[0]).toMatchObject({ kept, strayed: 0 });
    await Promise.all(cluster.nodes.map((n) => this.done(release, "check", n.db)));
    expect((await first.verb("verify", "--deep")).code).toBe(0);
  }
}

/** `skip` is told in the test's name, and counted as skipped. */
export const titled = (application: Application, what: string): string =>
  `${application.name}: ${what}${application.missing === null ? "" : ` (skipped: ${application.missing})`}`;

export function tryApplication(application: Application): void {
  const runs = new Runs(application);
  const folder = mkdtempSync(join(tmpdir(), "marmot-apps-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  describe.skipIf(application.missing !== null)(application.name, () => {
    for (const shards of [1, 16])
      test(
        titled(
          application,
          `a file it migrated and wrote, then a cluster that it writes on, ${shards} shards`,
        ),
        async () => {
          const file = join(folder, `${shards}.db`);
          await runs.done(1, "migrate", file);
          let kept = await runs.fill(1, file, "before");
          const cluster = await TestCluster.start({
            shards,
            schema: null,
            quiet: true,
            prepare: ({ nodes }) => copyFileSync(file, nodes[0]!.db),
          });
          try {
            kept += await runs.fillAll(1, cluster.nodes, "all");
            await runs.expectEqual(1, cluster, kept);
            expect((await cluster.nodes[0]!.status()).conflicts.total).toBe(0);
          } finally {
            await cluster.stop();
          }
        },
        180_000,
      );
  });
}

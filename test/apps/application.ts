/** The commands that every application here understands. */
import { expect } from "bun:test";
import type { TestCluster, TestNode } from "../cluster/lab.ts";
import { until } from "../cluster/lab.ts";
import { type Command, type Done, execute } from "./packages.ts";

/** Two releases of one application: the second has other tables, and migrations that lead there. */
export type Release = 1 | 2;

/**
 * `migrate` migrates to the release; `check` ends with 0 when there is nothing to migrate. `fill WHO ROUNDS` writes
 * transactions and prints the number of rows that it kept; `report` prints the rows that the application sees.
 */
export type Verb = "migrate" | "check" | "fill" | "report";

export interface Application {
  readonly name: string;
  /** Why it cannot run here, or null. */
  readonly missing: string | null;
  /** Transactions that each node's `fill` makes. */
  readonly rounds: number;
  command(release: Release, verb: Verb, db: string, ...args: readonly string[]): Command;
  /** Of the first release: an INSERT of a row of that name, into a table that the migrations change. */
  insertOld(name: string): string;
  /** `report` counts that row as kept. */
  readonly oldIsKept: boolean;
  /** Of the second release: the names in that table. */
  readonly names: string;
}

interface Report {
  readonly kept: number;
  /** Rows that are not with those that were written with them. */
  readonly strayed: number;
}

const SCHEMA = `SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE '\\_\\_marmot\\_\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name`;

/** What an old release meets when another node migrated: its own affair. */
const OUTDATED = /no such (?:table|column)|has no column|NOT NULL constraint failed/;
const PAUSE_MS = 5;

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
    const output = await this.done(release, "fill", db, who, String(this.application.rounds));
    return (JSON.parse(output) as { kept: number }).kept;
  }

  /** All nodes write at once; the result is the number of rows that they keep. */
  async fillAll(release: Release, nodes: readonly TestNode[], name: string): Promise<number> {
    const counts = await Promise.all(nodes.map((n) => this.fill(release, n.db, `${name}-${n.name}`)));
    return counts.reduce((a, b) => a + b);
  }

  /** The old release writes on a node until `over`; `committed` gets the names of those rows that it was told are. */
  async writeOld(node: TestNode, committed: string[], over: Promise<unknown>): Promise<void> {
    const ended = over.then(
      () => true,
      () => true,
    );
    const db = node.open();
    try {
      for (let i = 0; ; i++) {
        const name = `during ${node.name} ${i}`;
        try {
          db.run(this.application.insertOld(name));
          committed.push(name);
        } catch (error) {
          if (!OUTDATED.test(String(error))) throw error;
        }
        if (await Promise.race([ended, Bun.sleep(PAUSE_MS)])) return;
      }
    } finally {
      db.close();
    }
  }

  /** On every node there is nothing to migrate, now or soon. */
  async migrated(release: Release, nodes: readonly TestNode[]): Promise<void> {
    for (const node of nodes)
      await until(async () => {
        const { code, stdout, stderr } = await this.tried(release, "check", node.db);
        return code === 0 ? true : `${stdout}${stderr}${node.log()}`;
      }, `${this.application.name} has nothing to migrate on ${node.name}`);
  }

  /** Files and schemas are equal, the application sees the same on each and misses nothing. */
  async expectEqual(release: Release, cluster: TestCluster, kept: number): Promise<void> {
    await cluster.settle();
    const [first, ...others] = cluster.nodes as [TestNode, ...TestNode[]];
    for (const node of others) expect(node.query(SCHEMA)).toEqual(first.query(SCHEMA));
    const reports = await Promise.all(
      cluster.nodes.map(async (n) => JSON.parse(await this.done(release, "report", n.db)) as Report),
    );
    for (const report of reports) expect(report).toEqual(reports[0]!);
    expect(reports[0]).toMatchObject({ kept, strayed: 0 });
    expect((await first.verb("verify", "--deep")).code).toBe(0);
  }
}

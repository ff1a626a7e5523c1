/**
 * An unchanged application with its libraries on three nodes: its migrations before there is a cluster, its writes on
 * all nodes at once, and its migrations on one node or on all while the cluster runs.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TestCluster, type TestNode, until } from "../cluster/lab.ts";
import { type Application, type Release, Runs } from "./application.ts";

const MIGRATE_MS = 180_000;
/** Rows that the others wrote when a migration begins. */
const ALREADY = 10;

/** Registers an application's tests; without its runtime or packages they are skipped, and their names say why. */
export function tryApplication(application: Application): void {
  const { name, missing } = application;
  const runs = new Runs(application);
  const folder = mkdtempSync(join(tmpdir(), "marmot-apps-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const start = async (shards: number, file: string): Promise<TestCluster> =>
    TestCluster.start({
      shards,
      schema: null,
      quiet: true,
      // However long a node has to wait for a processor, a burst of rows fits.
      first: ["--id-block", "4096"],
      prepare: ({ nodes }) => copyFileSync(file, nodes[0]!.db),
    });

  /** Started on all nodes at the same moment. One that another node's migration overtook is started again, as people do. */
  const migrateAll = async (release: Release, nodes: readonly TestNode[]): Promise<void> => {
    await Promise.all(
      nodes.map((node) =>
        until(
          async () => {
            const { code, stdout, stderr } = await runs.tried(release, "migrate", node.db);
            return code === 0 ? true : `${stdout}${stderr}`;
          },
          `${name} is migrated on ${node.name}`,
          MIGRATE_MS,
        ),
      ),
    );
    for (const node of nodes) expect(await node.wait({ all: true, timeout: "60s" })).toBe(true);
  };

  describe.skipIf(missing !== null)(missing === null ? name : `${name} (skipped: ${missing})`, () => {
    for (const shards of [1, 16]) {
      test(`an existing file is written on all nodes and migrated on one while the others write, ${shards} shards`, async () => {
        const file = join(folder, `${shards}.db`);
        await runs.done(1, "migrate", file);
        let kept = await runs.fill(1, file, "before");
        const cluster = await start(shards, file);
        try {
          const [a, b, c] = cluster.nodes as [TestNode, TestNode, TestNode];
          kept += await runs.fillAll(1, cluster.nodes, "all");
          await cluster.settle();
          expect((await a.status()).conflicts.total).toBe(0);

          const committed: string[] = [];
          const migration = until(() => committed.length > ALREADY, "the others write").then(() =>
            runs.done(2, "migrate", b.db),
          );
          await Promise.all([migration, ...[a, c].map((node) => runs.writeOld(node, committed, migration))]);
          await runs.migrated(2, cluster.nodes);
          await cluster.settle();
          const found = new Set(c.query(application.names).flat());
          expect(committed.filter((who) => !found.has(who))).toEqual([]);

          if (application.oldIsKept) kept += committed.length;
          kept += await runs.fillAll(2, cluster.nodes, "late");
          await runs.expectEqual(2, cluster, kept);
        } finally {
          await cluster.stop();
        }
      }, 400_000);

      test(`the migrations of each release run on all nodes at once, from an empty file, ${shards} shards`, async () => {
        const file = join(folder, `empty${shards}.db`);
        writeFileSync(file, "");
        const cluster = await start(shards, file);
        try {
          await migrateAll(1, cluster.nodes);
          let kept = await runs.fillAll(1, cluster.nodes, "one");
          // A data migration writes every row: a concurrent change of another node would be a conflict.
          await cluster.settle();
          await migrateAll(2, cluster.nodes);
          await runs.migrated(2, cluster.nodes);
          kept += await runs.fillAll(2, cluster.nodes, "two");
          await runs.expectEqual(2, cluster, kept);
        } finally {
          await cluster.stop();
        }
      }, 400_000);
    }
  });
}

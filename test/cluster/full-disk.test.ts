/** Behaviour 21: a full disk gives a clear state, no crash loop, no lost entry, and recovery when there is room again. */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { canMount, SmallDisk } from "../faults/disk.ts";
import { TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA = "CREATE TABLE kv(k INTEGER PRIMARY KEY, v TEXT)";
const DISK_MB = 96;

let cluster: TestCluster | null = null;
let disk: SmallDisk | null = null;
afterEach(async () => {
  disk?.empty();
  await cluster?.stop(() => disk?.unmount());
  disk?.unmount();
  cluster = disk = null;
});

/** `count` rows of some kilobytes, each its own transaction. */
const write = (node: TestNode, from: number, count: number): void => {
  const db = node.open();
  const insert = db.query("INSERT INTO kv VALUES(?, hex(randomblob(2000)))");
  for (let i = 0; i < count; i++) insert.run(from + i);
  db.close();
};

const rows = (node: TestNode): number => Number(node.query("SELECT count(*) FROM kv")[0]![0]);

/** Three nodes; the third's data directory or file is on a small disk. */
async function start(of: "data" | "file"): Promise<TestNode[]> {
  cluster = await TestCluster.start({
    shards: 1,
    schema: SCHEMA,
    prepare: ({ nodes, folder }) => {
      const node = nodes[2]!;
      if (of === "data") {
        mkdirSync(node.dataDir);
        disk = new SmallDisk(node.dataDir, DISK_MB);
      } else {
        disk = new SmallDisk(node.folder, DISK_MB);
        disk.bind(node.dataDir, join(folder, "roomy"));
      }
    },
  });
  return cluster.nodes;
}

const saysFull = (node: TestNode): Promise<void> =>
  until(async () => {
    if (node.process?.exitCode !== null) throw new Error(`${node.name} exited: ${node.log()}`);
    try {
      const { status, text } = await node.http("/readyz");
      return (status === 503 && text.includes("the disk is full")) || `${status} ${text}`;
    } catch {
      return "no answer"; // it is starting
    }
  }, `${node.name} says that its disk is full`);

const reason = canMount();
if (reason !== null) console.log(`full disks are not tested: ${reason}`);

describe.skipIf(reason !== null)("a full disk", () => {
  test("for log and replica: the node waits and reports it, the other nodes continue, and no write is lost", async () => {
    const [first, second, full] = (await start("data")) as [TestNode, TestNode, TestNode];
    write(first, 0, 50);
    await cluster!.settle();
    disk!.fill();
    write(first, 1000, 300);
    expect(await first.wait()).toBe(true);
    await saysFull(full);
    expect((await full.status()).node.waitingFor).toContain("the disk is full");
    expect((await full.http("/healthz")).status).toBe(200);
    // Its application writes on: its own disk has room. It cannot confirm that.
    write(full, 2000, 20);
    const waited = await full.verb("wait", "--timeout", "1s");
    expect([waited.code, waited.stderr]).toEqual([1, expect.stringContaining("the disk is full")]);
    // Killed or stopped, and started on the full disk, it is in the same state and does not exit.
    for (const signal of ["SIGKILL", "SIGTERM"] as const) {
      await full.kill(signal);
      disk!.fill();
      await full.start();
      await saysFull(full);
    }
    write(second, 3000, 50);
    expect(await second.wait()).toBe(true);
    expect(full.log()).not.toContain("damaged");
    disk!.empty();
    await full.ready();
    await cluster!.settle();
    expect(cluster!.nodes.map(rows)).toEqual([420, 420, 420]);
    expect((await full.verb("verify", "--json")).code).toBe(0);
  }, 180_000);

  test("for the app database: no ordered change is lost, and the file receives the changes when there is room", async () => {
    const [first, , full] = (await start("file")) as [TestNode, TestNode, TestNode];
    write(first, 0, 50);
    await cluster!.settle();
    disk!.fill();
    expect(() => write(full, 5000, 2000)).toThrow(/full/);
    write(first, 1000, 300);
    expect(await first.wait()).toBe(true);
    await saysFull(full);
    disk!.empty();
    await full.ready();
    await cluster!.settle();
    write(full, 9000, 10);
    await cluster!.settle();
    const kept = rows(full);
    expect(kept).toBeGreaterThanOrEqual(360);
    expect(cluster!.nodes.map(rows)).toEqual([kept, kept, kept]);
    expect(full.query("PRAGMA integrity_check")).toEqual([["ok"]]);
    expect((await full.verb("verify", "--json")).code).toBe(0);
  }, 180_000);

  test("of a joining node: it says so, waits, and joins when there is room", async () => {
    cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, count: 1 });
    const [donor] = cluster.nodes as [TestNode];
    write(donor, 0, 500);
    const joiner = cluster.add();
    mkdirSync(joiner.dataDir, { recursive: true });
    disk = new SmallDisk(joiner.dataDir, DISK_MB);
    donor.process!.kill("SIGSTOP");
    await joiner.start();
    await until(() => joiner.log().includes("waits for") || joiner.log(), "the joining node has started");
    disk.fill();
    donor.process!.kill("SIGCONT");
    await saysFull(joiner);
    expect(joiner.log().match(/the disk is full; this node waits/g)).toHaveLength(1);
    disk.empty();
    await joiner.ready();
    await cluster.settle();
  });
});

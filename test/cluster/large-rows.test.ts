/** Large rows between real processes: they arrive whole on all nodes, start no election, and take a bounded memory. */
import { afterEach, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { TestCluster, type TestNode, until } from "./lab.ts";

const MB = 1_000_000;
/** Far above the need: a row is in memory a few times over. */
const MOST_RSS_MB = 900;
const DEADLINE_MS = 150_000;

let cluster: TestCluster | null = null;
afterEach(async () => {
  await cluster?.stop();
  cluster = null;
});

const rssMb = (node: TestNode): number => {
  const status = readFileSync(`/proc/${node.process!.pid}/status`, "utf8");
  return Number(/VmHWM:\s+(\d+)/.exec(status)![1]) / 1024;
};

/** BLOBs that differ from each other, and whose parts differ. */
function blob(bytes: number, number: number): Uint8Array {
  const words = new Uint32Array(bytes / 4);
  for (let i = 0, x = number + 1; i < words.length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    words[i] = x;
  }
  return new Uint8Array(words.buffer);
}

function insert(node: TestNode, rows: readonly (readonly [id: number, data: Uint8Array])[]): void {
  const db = node.open();
  db.exec("BEGIN IMMEDIATE");
  for (const [id, data] of rows) db.query("INSERT INTO t VALUES(?, ?)").run(id, data);
  db.exec("COMMIT");
  db.close();
}

/** id ⇒ hash of its BLOB. */
function hashes(node: TestNode): string {
  const db = node.open();
  const rows = db.query("SELECT id FROM t ORDER BY id").values() as [bigint][];
  const read = db.query("SELECT b FROM t WHERE id = ?");
  const out = rows.map(([id]) => `${id}:${Bun.hash.xxHash64((read.values(id)[0] as [Uint8Array])[0])}`);
  db.close();
  return out.join(" ");
}

test("30 BLOBs of 1 MB at once and a row of 40 MB reach all nodes; no term changes and memory is bounded", async () => {
  cluster = await TestCluster.start({
    shards: 1,
    schema: "CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)",
    quiet: true,
  });
  const { nodes } = cluster;
  const [first, second] = nodes as [TestNode, TestNode];
  const terms = async (): Promise<number[]> =>
    await Promise.all(nodes.map(async (node) => (await node.status()).shards[0]!.term));
  const before = await terms();
  insert(
    first,
    Array.from({ length: 30 }, (_, i) => [i, blob(MB, i)]),
  );
  insert(second, [[100, blob(40 * MB, 100)]]);
  await until(
    () => nodes.every((node) => node.query("SELECT count(*) FROM t")[0]![0] === 31n),
    "all rows are on all nodes",
    DEADLINE_MS,
  );
  const [expected, ...others] = nodes.map(hashes);
  expect(expected!.split(" ")).toHaveLength(31);
  for (const other of others) expect(other).toBe(expected!);
  expect(await terms()).toEqual(before);
  for (const node of nodes) expect(rssMb(node)).toBeLessThan(MOST_RSS_MB);
});

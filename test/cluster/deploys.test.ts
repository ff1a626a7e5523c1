/** A deploy without downtime: two releases of an application beside one file and on two nodes, the old one draining. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA = "CREATE TABLE job(id TEXT PRIMARY KEY NOT NULL, title TEXT NOT NULL, legacy INT DEFAULT 0)";
const WORKER = join(import.meta.dir, "deploy-worker.ts");
/** Rows that a release writes before the next step. */
const ROWS = 25;

class Release {
  readonly committed: string[] = [];
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #read: Promise<void>;

  constructor(node: TestNode, release: 1 | 2, name: string) {
    const words = [process.execPath, WORKER, node.db, String(release), name];
    this.#child = Bun.spawn(words, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    this.#read = this.#follow();
  }

  async #follow(): Promise<void> {
    let rest = "";
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stdout) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop()!;
      this.committed.push(...lines);
    }
  }

  /** It goes on to write. */
  async writes(): Promise<void> {
    const enough = this.committed.length + ROWS;
    await until(async () => {
      if (this.#child.exitCode !== null) throw new Error(await new Response(this.#child.stderr).text());
      return this.committed.length >= enough;
    }, "the release writes");
  }

  /** As a supervisor ends it: it finishes the open transaction. */
  async drain(): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#read;
    const code = await this.#child.exited;
    if (code !== 0) throw new Error(`${code}: ${await new Response(this.#child.stderr).text()}`);
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

const columns = (node: TestNode): unknown[] => node.query("SELECT name FROM pragma_table_info('job')").flat();

test("the old release drains while the new one migrates and writes, beside one file and on two nodes", async () => {
  const cluster = await TestCluster.start({ shards: 1, schema: SCHEMA, count: 2, quiet: true });
  const releases: Release[] = [];
  const begin = (node: TestNode, release: 1 | 2, name: string): Release => {
    const begun = new Release(node, release, name);
    releases.push(begun);
    return begun;
  };
  try {
    const [a, b] = cluster.nodes as [TestNode, TestNode];
    const [oldA, oldB] = [begin(a, 1, "old-a"), begin(b, 1, "old-b")];
    await Promise.all([oldA.writes(), oldB.writes()]);

    // Beside one file.
    const newA = begin(a, 2, "new-a");
    await newA.writes();
    await oldA.writes();
    await oldA.drain();

    // On two nodes: the old release of the second goes on under the schema of the first.
    await until(() => columns(b).includes("owner"), "the second node has the new schema");
    await oldB.writes();
    const newB = begin(b, 2, "new-b");
    await newB.writes();
    await oldB.drain();
    expect((await b.verb("wait", "--all", "--timeout", "60s")).code).toBe(0);

    // No process of the old release is left: the migration that removes follows.
    b.run("ALTER TABLE job DROP COLUMN legacy");
    await until(() => !columns(a).includes("legacy"), "the first node has lost the column");
    await Promise.all([newA.writes(), newB.writes()]);
    await Promise.all([newA.drain(), newB.drain()]);
    await cluster.settle();

    const committed = releases.flatMap((release) => release.committed).sort();
    for (const node of [a, b]) {
      expect(node.query("SELECT id FROM job").flat().map(String).sort()).toEqual(committed);
      expect(node.query("SELECT count(*) FROM job WHERE (owner = 'none') <> (id LIKE 'old-%')")).toEqual([
        [0n],
      ]);
      expect(node.query("SELECT count(*) FROM job WHERE id LIKE 'old-%' AND title NOT LIKE '%!'")).toEqual([
        [0n],
      ]);
      expect(node.query("SELECT count(*) FROM note")).toEqual(
        node.query("SELECT count(*) FROM job WHERE id LIKE 'new-%'"),
      );
    }
    expect((await a.status()).conflicts.total).toBe(0);
  } finally {
    for (const release of releases) release.kill();
    await cluster.stop();
  }
}, 120_000);

/** `marmot demo`: three nodes on this machine with a real database, a tour of what they do, and what came of it. */
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import chinook from "../../../test/data/chinook.sql" with { type: "text" };
import { errorMessage, UserError } from "../../base/errors.ts";
import type { NodeStatus, VerifyResult } from "../../node/api.ts";
import { NodeClient } from "../client.ts";
import type { CliContext } from "../context.ts";
import type { Options } from "../options.ts";
import { CONFIG_OPTION, flag, type Verb } from "../verb.ts";

const NAMES = ["amsterdam", "berlin", "chennai"] as const;
const READY_MS = 60_000;

interface DemoNode {
  readonly name: string;
  readonly db: string;
  readonly port: number;
  readonly admin: number;
  process: Bun.Subprocess | null;
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

/** An application's connection. */
function write<T>(file: string, work: (db: DatabaseSync) => T): T {
  const db = new DatabaseSync(file, { timeout: 10_000 });
  try {
    return work(db);
  } finally {
    db.close();
  }
}

/** A hash over every row of every table of the application, with storage classes. */
function dump(file: string): { rows: number; hash: string } {
  return write(file, (db) => {
    db.exec("BEGIN");
    let rows = 0;
    let hash = 0n;
    const tables = db
      .prepare(
        `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_\\_marmot\\_\\_%' ESCAPE '\\' ORDER BY name`,
      )
      .all() as { name: string }[];
    for (const { name } of tables) {
      const statement = db.prepare(`SELECT * FROM "${name.replaceAll('"', '""')}"`);
      statement.setReadBigInts(true);
      let sum = 0n;
      for (const row of statement.iterate()) {
        const text = JSON.stringify(Object.values(row), (_k, v: unknown) =>
          typeof v === "bigint" ? `${v}n` : v,
        );
        sum = BigInt.asUintN(64, sum + Bun.hash.xxHash64(text));
        rows++;
      }
      hash = Bun.hash.xxHash64(`${name} ${sum}`, hash);
    }
    return { rows, hash: hash.toString(16) };
  });
}

class Demo {
  readonly #context: CliContext;
  readonly folder = mkdtempSync(join(tmpdir(), "marmot-demo-"));
  readonly nodes: DemoNode[] = [];
  #stopped = false;

  constructor(context: CliContext) {
    this.#context = context;
  }

  async start(): Promise<void> {
    for (const name of NAMES) {
      mkdirSync(join(this.folder, name));
      this.nodes.push({
        name,
        db: join(this.folder, name, "app.db"),
        port: await freePort(),
        admin: await freePort(),
        process: null,
      });
    }
    write(this.nodes[0]!.db, (db) => db.exec(`BEGIN; ${chinook}; COMMIT`));
    for (const node of this.nodes) {
      this.spawn(node);
      await this.ready(node);
    }
  }

  spawn(node: DemoNode): void {
    const first = this.nodes[0]!;
    const peers = this.nodes.filter((n) => n !== node).map((n) => `/ip4/127.0.0.1/tcp/${n.port}`);
    const log = openSync(join(this.folder, node.name, "log.txt"), "a");
    node.process = Bun.spawn(
      [
        ...[...this.#context.command, "run", "--db", node.db, "--name", node.name],
        ...["--listen", `/ip4/127.0.0.1/tcp/${node.port}`, "--admin", `127.0.0.1:${node.admin}`],
        ...(node === first
          ? []
          : ["--peers", peers.join(","), "--cluster-key", `${first.db}.marmot/cluster.key`]),
      ],
      { stdout: log, stderr: log, stdin: "ignore", env: process.env },
    );
  }

  async ready(node: DemoNode): Promise<void> {
    const end = performance.now() + READY_MS;
    let reason = "";
    while (performance.now() < end) {
      if (this.#stopped) throw new UserError("interrupted", "start the demo again");
      if (node.process?.exitCode !== null) break;
      try {
        const response = await fetch(`http://127.0.0.1:${node.admin}/readyz`);
        if (response.ok) return;
        reason = await response.text();
      } catch (error) {
        reason = errorMessage(error);
      }
      await Bun.sleep(20);
    }
    const log = readFileSync(join(this.folder, node.name, "log.txt"), "utf8").slice(-1500);
    throw new UserError(`${node.name} did not get ready: ${reason.trim()}\n${log}`, "see the log above");
  }

  client(node: DemoNode): NodeClient {
    return new NodeClient(`${node.db}.marmot`);
  }

  async waitAll(node: DemoNode): Promise<void> {
    const { done, missing } = await this.client(node).requestWait<{ done: boolean; missing: string }>(
      "/api/v1/wait?timeout=60s&all=true",
      70_000,
    );
    if (!done) throw new UserError(`${node.name} still waits for ${missing}`, "see marmot status");
  }

  async kill(node: DemoNode, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    node.process?.kill(signal);
    await node.process?.exited;
    node.process = null;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.nodes.map((n) => this.kill(n, "SIGTERM")));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function tour(demo: Demo, context: CliContext): Promise<boolean> {
  const [first, second, third] = demo.nodes as [DemoNode, DemoNode, DemoNode];
  const timed = async (what: string, work: () => Promise<void> | void): Promise<void> => {
    const start = performance.now();
    await work();
    context.print(`  ${what.padEnd(62)} ${((performance.now() - start) / 1000).toFixed(2)} s`);
  };
  const everywhere = async (): Promise<void> => {
    for (const node of demo.nodes) if (node.process !== null) await demo.waitAll(node);
  };
  await timed("an artist added on the first node is on all three", async () => {
    write(first.db, (db) => db.exec(`INSERT INTO "Artist"("Name") VALUES('Marmota marmota')`));
    await everywhere();
  });
  await timed("writes on all three: a price, a title, a deleted line", async () => {
    write(first.db, (db) => db.exec(`UPDATE "Track" SET "UnitPrice" = 1.29 WHERE "GenreId" = 1`));
    write(second.db, (db) =>
      db.exec(`UPDATE "Album" SET "Title" = 'Restless and Wild (2026)' WHERE "AlbumId" = 3`),
    );
    write(third.db, (db) => db.exec(`DELETE FROM "InvoiceLine" WHERE "InvoiceLineId" = 1`));
    await everywhere();
  });
  await timed(
    `${third.name} is killed (SIGKILL); 10,000 rows on ${first.name}, 1,000 on its file`,
    async () => {
      await demo.kill(third, "SIGKILL");
      const insert = (db: DatabaseSync, from: number, count: number): void => {
        const statement = db.prepare(`INSERT INTO "Artist"("ArtistId", "Name") VALUES(?, ?)`);
        db.exec("BEGIN IMMEDIATE");
        for (let i = 0; i < count; i++) statement.run(from + i, `artist ${from + i}`);
        db.exec("COMMIT");
      };
      write(first.db, (db) => insert(db, 100_000, 10_000));
      write(third.db, (db) => insert(db, 200_000, 1000));
      await demo.waitAll(first);
    },
  );
  await timed(`${third.name} is back and has caught up`, async () => {
    demo.spawn(third);
    await demo.ready(third);
    await everywhere();
  });
  const result = await demo.client(first).request<VerifyResult>("POST", "/api/v1/verify?timeout=30s", 60_000);
  context.print(
    `  verify: replicas of ${result.nodes.join(", ")} ${result.equal ? "are equal" : "DIFFER"} at ${result.positions.join(", ")}`,
  );
  const dumps = demo.nodes.map((n) => dump(n.db));
  for (const [i, node] of demo.nodes.entries())
    context.print(`  ${node.name.padEnd(10)} ${dumps[i]!.rows} rows, hash ${dumps[i]!.hash}`);
  const equal =
    result.equal &&
    result.nodes.length === 3 &&
    dumps.every((d) => d.hash === dumps[0]!.hash && d.rows === dumps[0]!.rows);
  context.print(equal ? "all files are equal" : "THE FILES DIFFER");
  return equal;
}

async function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const demo = new Demo(context);
  try {
    context.print("three nodes on this machine, each with its own copy of the Chinook database");
    const start = performance.now();
    const finished = (async () => {
      await demo.start();
      context.print(
        `  started, joined and equal ${"".padEnd(37)} ${((performance.now() - start) / 1000).toFixed(2)} s`,
      );
      return tour(demo, context);
    })();
    const equal = await Promise.race([finished, context.interrupted.then(() => null)]);
    if (equal === null) {
      finished.catch(() => {}); // it ends with its nodes
      return 1;
    }
    if (flag(options, "once")) return equal ? 0 : 1;
    const status = await demo.client(demo.nodes[0]!).request<NodeStatus>("GET", "/api/v1/status");
    context.print(
      `\ncluster ${status.cluster.id}; dashboards: ${demo.nodes.map((n) => `http://127.0.0.1:${n.admin}/`).join("  ")}`,
    );
    context.print(`try it: sqlite3 ${demo.nodes[1]!.db} "UPDATE Artist SET Name = 'you' WHERE ArtistId = 1"`);
    context.print(`        sqlite3 ${demo.nodes[2]!.db} "SELECT Name FROM Artist WHERE ArtistId = 1"`);
    context.print("Ctrl-C ends it and leaves nothing behind");
    await context.interrupted;
    return equal ? 0 : 1;
  } finally {
    await demo.stop();
  }
}

export const demoVerb: Verb = {
  name: "demo",
  summary:
    "Three nodes on this machine with a sample database: writes on all, a node killed and\nback, and whether all files are equal. Ctrl-C leaves nothing behind.",
  usage: "demo [--once]",
  options: [
    { name: "once", type: "flag", help: "the tour alone; exit code 0 when all files are equal" },
    CONFIG_OPTION,
  ],
  example: "marmot demo --once",
  run,
};

/** The change feed, its webhook, diff and undo, on real nodes. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { UndoResult } from "../../src/operations/changes-api.ts";
import { marmot, TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA = `
  CREATE TABLE account(id INTEGER PRIMARY KEY, balance INT NOT NULL);
  CREATE TABLE person(id INTEGER PRIMARY KEY, mail TEXT UNIQUE, name TEXT);
  CREATE TABLE note(id TEXT PRIMARY KEY NOT NULL, body);
  CREATE TABLE parent(id INTEGER PRIMARY KEY, name TEXT);
  CREATE TABLE child(id INTEGER PRIMARY KEY, parent INT REFERENCES parent(id));
  CREATE TABLE audit(id INTEGER PRIMARY KEY, what TEXT);
  CREATE TRIGGER person_gone AFTER DELETE ON person BEGIN INSERT INTO audit(what) VALUES('deleted ' || old.name); END;
  INSERT INTO account VALUES(1, 1000), (2, 1000), (3, 1000), (4, 1000), (5, 1000), (6, 1000);
  INSERT INTO person VALUES(1, 'a@x', 'Ann'), (2, 'b@x', 'Bob');`;

interface Change {
  readonly table: string;
  readonly op: string;
  readonly key: Record<string, unknown>;
  readonly before: Record<string, unknown> | null;
  readonly after: Record<string, unknown> | null;
}

interface FeedEvent {
  readonly kind: string;
  readonly position?: string;
  readonly last: boolean;
  readonly entry: string;
  readonly origin: string;
  readonly reason?: string;
  readonly changes?: readonly Change[];
  readonly conflict?: { readonly kind: string };
}

let cluster: TestCluster;
let nodes: [TestNode, TestNode, TestNode];
beforeAll(async () => {
  cluster = await TestCluster.start({ shards: 3, schema: SCHEMA, quiet: true });
  nodes = cluster.nodes as typeof nodes;
}, 120_000);
afterAll(() => cluster?.stop());

const url = ({ admin }: TestNode, query: string): string =>
  `http://127.0.0.1:${admin}/api/v1/changes?${query}`;

/** A consumer that keeps a copy of the tables, and the position of the last event that it completed. */
class Consumer {
  readonly rows = new Map<string, string>();
  readonly entries = new Map<string, number>();
  readonly kinds = new Set<string>();
  position: string;
  #sinceLast: FeedEvent[] = [];

  constructor(position: string) {
    this.position = position;
  }

  /** Reads until `enough`, or until the connection is cut after some bytes. */
  async read(node: TestNode, enough: () => boolean, cutAfter = Number.POSITIVE_INFINITY): Promise<void> {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), 60_000);
    this.#sinceLast = [];
    try {
      const answer = await fetch(url(node, `since=${this.position}`), {
        headers: { accept: "application/x-ndjson" },
        signal: abort.signal,
      });
      expect(answer.status).toBe(200);
      let rest = "";
      let bytes = 0;
      const decoder = new TextDecoder();
      for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
        const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
        rest = lines.pop()!;
        for (const line of lines) this.#take(JSON.parse(line) as FeedEvent);
        bytes += chunk.length;
        if (enough() || bytes > cutAfter) return;
      }
    } finally {
      clearTimeout(timer);
      abort.abort();
    }
  }

  #take(event: FeedEvent): void {
    if (event.kind === "alive") return;
    if (event.kind === "end") throw new Error(event.reason);
    this.#sinceLast.push(event);
    if (!event.last) return;
    // An event counts when its position is complete.
    for (const { kind, entry, changes = [] } of this.#sinceLast) {
      this.kinds.add(kind);
      if (kind === "transaction") this.entries.set(entry, (this.entries.get(entry) ?? 0) + 1);
      for (const { table, key, before, after } of changes) {
        const name = `${table}/${JSON.stringify(Object.values(key))}`;
        if (this.rows.has(name)) expect([name, this.rows.get(name)]).toEqual([name, JSON.stringify(before)]);
        this.rows.set(name, JSON.stringify(after));
      }
    }
    this.#sinceLast = [];
    this.position = event.position!;
  }
}

const positionOf = (node: TestNode): string =>
  (JSON.parse(node.marmot("wait", "--json").stdout) as { position: string }).position;

test("a consumer that is cut off and goes on, on another node each time, sees every transaction once", async () => {
  await cluster.settle();
  const consumer = new Consumer(positionOf(nodes[0]));
  const rounds = 60;
  let written = 0;
  const writing = nodes.map(async (node, n) => {
    const db = node.open();
    for (let i = 0; i < rounds; i++, written++) {
      const [from, to] = [1 + 2 * n + (i % 2), 2 + 2 * n - (i % 2)];
      db.exec(
        `BEGIN IMMEDIATE; UPDATE account SET balance = balance - 7 WHERE id = ${from}; UPDATE account SET balance = balance + 7 WHERE id = ${to};
         INSERT INTO note VALUES('${n}/${i}', ${i}); COMMIT`,
      );
      await Bun.sleep(5);
    }
    db.close();
  });
  const isComplete = (): boolean =>
    [...consumer.rows.keys()].filter((name) => name.startsWith("note/")).length === 3 * rounds;
  for (let i = 0; !isComplete(); i++) await consumer.read(nodes[i % 3]!, isComplete, i < 12 ? 3000 : 1 << 30);
  await Promise.all(writing);
  expect(written).toBe(3 * rounds);
  await cluster.settle();
  expect([...consumer.entries.values()].filter((times) => times !== 1)).toEqual([]);
  for (const [id, balance] of nodes[2].query("SELECT id, balance FROM account") as [bigint, bigint][])
    expect(consumer.rows.get(`account/[${id}]`)).toBe(`{"id":${id},"balance":${balance}}`);
}, 120_000);

test("schema changes and conflicts are events; server-sent events, tables, and exact values", async () => {
  const since = positionOf(nodes[0]);
  nodes[0].run(
    "ALTER TABLE note ADD COLUMN extra",
    "INSERT INTO note VALUES('exact', 1.0, 9223372036854775807)",
  );
  await cluster.settle();
  for (const node of nodes) await node.pause();
  nodes[0].run("UPDATE person SET name = 'one' WHERE id = 1");
  nodes[1].run("UPDATE person SET name = 'two' WHERE id = 1");
  for (const node of nodes) node.signal("SIGCONT");
  await cluster.settle();
  const read = async (query: string, accept: string): Promise<string> => {
    const answer = await fetch(url(nodes[2], `since=${since}&follow=false${query}`), { headers: { accept } });
    expect(answer.status).toBe(200);
    return answer.text();
  };
  const lines = (await read("", "application/x-ndjson")).trim().split("\n");
  const events = lines.map((line) => JSON.parse(line) as FeedEvent);
  expect(new Set(events.map((e) => e.kind))).toEqual(new Set(["schema", "transaction", "conflict"]));
  expect(events.find((e) => e.kind === "conflict")!.conflict!.kind).toBe("concurrent write");
  expect(lines.some((line) => line.includes(`"body":1.0,"extra":{"integer":"9223372036854775807"}`))).toBe(
    true,
  );
  const text = await read("&tables=person", "text/event-stream");
  const positions = [...text.matchAll(/^id: (c:\S+)$/gm)].map((m) => m[1]!);
  expect(positions.length).toBeGreaterThan(1);
  expect(text).not.toContain(`"table":"note"`);
  const rest = await fetch(url(nodes[2], "tables=person&follow=false"), {
    headers: { "last-event-id": positions[0]! },
  });
  expect([...(await rest.text()).matchAll(/^id: (c:\S+)$/gm)].map((m) => m[1])).toEqual(positions.slice(1));
  for (const [query, reason] of [
    ["since=c:0.0.0", "begins at"],
    ["since=c:9", "of another cluster"],
    ["since=soon", "a position, a time"],
    ["since=c:99999999.0.0", "is not ordered"],
    ["since=2999-01-01", "is in the future"],
    ["tables=note,nothing", "no table nothing replicates"],
  ] as const) {
    const refused = await fetch(url(nodes[2], query));
    expect([query, refused.status, await refused.text()]).toEqual([
      query,
      400,
      expect.stringContaining(reason),
    ]);
  }
});

test("undo takes back what it is asked for, leaves rows that others changed since, and can be undone", async () => {
  nodes[0].run(...Array.from({ length: 60 }, (_, i) => `INSERT INTO note(id, body) VALUES('undo ${i}', 1)`));
  await cluster.settle();
  const before = nodes[0].query("SELECT * FROM person ORDER BY id");
  const start = positionOf(nodes[1]);
  nodes[1].run(
    "BEGIN; UPDATE person SET mail = NULL WHERE id = 2; UPDATE person SET mail = 'b@x' WHERE id = 1; UPDATE person SET mail = 'a@x' WHERE id = 2; COMMIT",
    "INSERT INTO person VALUES(3, 'c@x', 'Cid')",
  );
  await cluster.settle();
  nodes[2].run("DELETE FROM note WHERE id LIKE 'undo %'", "INSERT INTO person VALUES(4, 'd@x', 'Dee')");
  await cluster.settle();
  const changed = nodes[0].query("SELECT * FROM person ORDER BY id");
  const undo = (...args: string[]): UndoResult & { position: string } => {
    const { code, stdout, stderr } = nodes[0].marmot("undo", "--json", ...args);
    expect([code, stderr]).toEqual([0, ""]);
    return JSON.parse(stdout) as UndoResult & { position: string };
  };
  const plan = undo("--since", start, "--origin", "n1", "--dry-run");
  expect(plan.tables).toEqual([{ table: "person", rows: 3 }]);
  expect(nodes[0].query("SELECT * FROM person ORDER BY id")).toEqual(changed);
  const done = undo("--since", start, "--origin", "n1", "--yes");
  await cluster.settle();
  expect(nodes[2].query("SELECT * FROM person ORDER BY id")).toEqual([...before, [4n, "d@x", "Dee"]]);
  // Its trigger fired, as for any delete.
  expect(nodes[2].query("SELECT what FROM audit WHERE what LIKE '%Cid'")).toEqual([["deleted Cid"]]);
  undo("--position", entryOf(nodes[0], done.position, "person"), "--table", "person", "--yes");
  await cluster.settle();
  expect(nodes[1].query("SELECT * FROM person ORDER BY id")).toEqual(changed);
  nodes[1].run("UPDATE person SET name = 'Dora' WHERE id = 4");
  await cluster.settle();
  const left = undo("--since", start, "--origin", "n2", "--table", "person", "--dry-run");
  expect(left.left).toEqual([{ table: "person", key: "4", reason: "it was changed since" }]);
  const forced = undo("--since", start, "--origin", "n2", "--force", "--yes");
  expect(forced.tables.map((t) => t.table).sort()).toEqual(["note", "person"]);
  await cluster.settle();
  expect(nodes[1].query("SELECT count(*) FROM note WHERE id LIKE 'undo %'")).toEqual([[60n]]);
  expect(nodes[1].query("SELECT count(*) FROM person WHERE id = 4")).toEqual([[0n]]);
  const diff = nodes[2].marmot("diff", "--since", start, "--table", "person");
  expect(diff.stdout).toContain('insert person (id 4): id 4, mail "d@x", name "Dee"');
  for (const [args, code] of [
    [["--since", start, "--position", start], 2],
    [[], 2],
    [["--since", start], 1],
    [["--since", start, "--yes", "--table", "nothing"], 1],
    [["--position", "0:999999", "--yes"], 1],
  ] as const)
    expect([args, nodes[0].marmot("undo", ...args).code]).toEqual([args, code]);
}, 60_000);

test("undo leaves a row to which rows of others refer, and one whose parent is not there, unless --force", async () => {
  const undo = (since: string, ...args: string[]): UndoResult => {
    const { code, stdout, stderr } = nodes[2].marmot("undo", "--json", "--since", since, "--yes", ...args);
    expect([code, stderr]).toEqual([0, ""]);
    return JSON.parse(stdout) as UndoResult;
  };
  const start = positionOf(nodes[0]);
  nodes[0].run("INSERT INTO parent VALUES(1, 'a'), (2, 'b')");
  await cluster.settle();
  nodes[1].run("INSERT INTO child VALUES(10, 1)");
  await cluster.settle();
  expect(undo(start, "--origin", "n0").left).toEqual([
    { table: "parent", key: "1", reason: "rows of child refer to it" },
  ]);
  await cluster.settle();
  expect(nodes[0].query("SELECT id FROM parent")).toEqual([[1n]]);
  const beforeDelete = positionOf(nodes[1]);
  nodes[1].run("DELETE FROM child");
  await cluster.settle();
  nodes[0].run("DELETE FROM parent");
  await cluster.settle();
  const orphan = undo(beforeDelete, "--table", "child");
  expect([orphan.tables, orphan.left]).toEqual([
    [],
    [{ table: "child", key: "10", reason: "the row of parent to which it refers is not there" }],
  ]);
  expect(undo(beforeDelete, "--table", "child", "--force").tables).toEqual([{ table: "child", rows: 1 }]);
  const both = undo(beforeDelete, "--table", "parent");
  expect([both.tables, both.left]).toEqual([[{ table: "parent", rows: 1 }], []]);
}, 60_000);

test("undo of changes from before a column was added keeps its values, and gives returning rows its default", async () => {
  nodes[0].run("INSERT INTO parent VALUES(7, 'x'), (8, 'y')");
  await cluster.settle();
  const start = positionOf(nodes[1]);
  nodes[1].run("UPDATE parent SET name = 'z' WHERE id = 7", "DELETE FROM parent WHERE id = 8");
  await cluster.settle();
  nodes[0].run(
    "ALTER TABLE parent ADD COLUMN extra INT DEFAULT 5",
    "UPDATE parent SET extra = 6 WHERE id = 7",
  );
  await cluster.settle();
  const { code, stdout } = nodes[2].marmot("undo", "--since", start, "--origin", "n1", "--yes", "--json");
  expect([code, (JSON.parse(stdout) as UndoResult).left]).toEqual([0, []]);
  await cluster.settle();
  expect(nodes[0].query("SELECT * FROM parent WHERE id IN (7, 8) ORDER BY id")).toEqual([
    [7n, "x", 6n],
    [8n, "y", 5n],
  ]);
}, 60_000);

/** The entry, as the feed names it, of the newest change of a table up to a position. */
function entryOf(node: TestNode, position: string, table: string): string {
  const all = JSON.parse(node.marmot("diff", "--since", "1h", "--table", table, "--json").stdout) as {
    readonly entry: string;
  }[];
  expect(position).toMatch(/^c:/);
  return all.at(-1)!.entry;
}

test("the webhook sends every event in order, signed, until it is taken, and goes on after a kill", async () => {
  const [, , node] = nodes;
  const secret = "a-secret-of-32-characters-or-more";
  const file = join(cluster.folder, "feed.secret");
  writeFileSync(file, `${secret}\n`);
  const taken: string[] = [];
  let calls = 0;
  let redirects = true;
  const consumer = Bun.serve({
    port: 0,
    async fetch(request) {
      const body = await request.text();
      const expected = `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`;
      if (request.headers.get("marmot-signature") !== expected) return new Response("", { status: 403 });
      if (redirects) return new Response("", { status: 302, headers: { location: "http://127.0.0.1:1/" } });
      if (++calls % 4 === 0) return new Response("", { status: 503 });
      const event = JSON.parse(body) as FeedEvent;
      expect(request.headers.get("marmot-position")).toBe(event.last ? event.position! : null);
      for (const { table, after } of event.changes ?? [])
        if (table === "note" && after !== null && String(after.id).startsWith("hook"))
          taken.push(String(after.id));
      return new Response("taken");
    },
  });
  const start = async (): Promise<void> => {
    await node.startAlone([
      "--feed-to",
      `http://127.0.0.1:${consumer.port}/x?token=hidden`,
      "--feed-secret-file",
      file,
    ]);
    await node.ready();
  };
  try {
    await node.kill("SIGTERM");
    await start();
    await until(async () => ((await node.status()).feed?.position ?? "") !== "", "the feed begins");
    nodes[0].run("INSERT INTO note(id, body) VALUES('redirected', 0)");
    await until(async () => ((await node.status()).feed?.error ?? "") !== "", "the redirect is refused");
    const { error } = (await node.status()).feed!;
    expect([error, error.includes("hidden")]).toEqual([expect.stringContaining("a redirect"), false]);
    redirects = false;
    for (let i = 0; i < 20; i++) {
      nodes[i % 2]!.run(`INSERT INTO note(id, body) VALUES('hook ${i}', ${i})`);
      await cluster.nodes[i % 2]!.wait();
      if (i === 10) {
        await node.kill("SIGKILL");
        await start();
      }
    }
    await until(() => new Set(taken).size === 20 || `${new Set(taken).size} of 20`, "all are taken");
    const firsts = [...new Set(taken)];
    expect(firsts).toEqual(Array.from({ length: 20 }, (_, i) => `hook ${i}`));
    const { feed } = await node.status();
    expect(feed!.to).toBe(`http://127.0.0.1:${consumer.port}/x`);
  } finally {
    await consumer.stop(true);
  }
}, 90_000);

test("a reader that is too slow for the history is told so; without a history nothing is followed", async () => {
  const [, node] = nodes;
  const restart = async (size: string): Promise<void> => {
    await node.kill("SIGTERM");
    await node.startAlone(["--history", size]);
    await node.ready();
  };
  await restart("1MB");
  const since = positionOf(node);
  // A client that does not read after the first event: its socket is paused.
  const socket = connect({ host: "127.0.0.1", port: node.admin });
  socket.write(
    `GET /api/v1/changes?since=${since} HTTP/1.1\r\nHost: 127.0.0.1:${node.admin}\r\nAccept: application/x-ndjson\r\n\r\n`,
  );
  let text = "";
  socket.on("data", (chunk) => {
    text = (text + chunk.toString("latin1")).slice(-1000);
  });
  nodes[0].run("INSERT INTO note(id, body) VALUES('first', 1)");
  await until(() => text.includes('"first"'), "the feed begins");
  socket.pause();
  const db = new Database(nodes[0].db, { readwrite: true });
  db.exec("PRAGMA busy_timeout = 10000");
  const big = "x".repeat(60_000);
  for (let i = 0; i < 400; i++)
    db.query("INSERT OR REPLACE INTO note(id, body) VALUES(?, ?)").run(`big ${i}`, big + i);
  db.close();
  await cluster.settle();
  socket.resume();
  await until(() => text.includes(`"kind":"end"`) || text.slice(-60), "the reader is told the end");
  socket.destroy();
  expect(text).toContain(`"reason":"too slow: the entries after c:`);
  await restart("off");
  const refused = await fetch(url(node, ""));
  expect([refused.status, await refused.text()]).toEqual([
    400,
    expect.stringContaining("records no history"),
  ]);
  expect(marmot(["run", "--db", node.db, "--history", "little"]).code).toBe(2);
}, 150_000);

/** The change feed and undo beyond the history of a node: the archive gives the rest, and the seam is not seen. */
import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { UndoResult } from "../../src/operations/changes-api.ts";
import { BINARY, marmot, TestCluster, type TestNode, until } from "./lab.ts";
import { hasMoto, S3Lab } from "./s3-lab.ts";

const SCHEMA = `CREATE TABLE note(id INTEGER PRIMARY KEY, body);
  CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO person VALUES(1, 'Ann'), (2, 'Bob');`;

const positionOf = (node: TestNode): string =>
  (JSON.parse(node.marmot("wait", "--json").stdout) as { position: string }).position;

interface Answer {
  readonly status: number;
  readonly text: string;
}

async function feed(node: TestNode, query: string): Promise<Answer> {
  const answer = await fetch(`http://127.0.0.1:${node.admin}/api/v1/changes?follow=false&${query}`, {
    headers: { accept: "application/x-ndjson" },
  });
  return { status: answer.status, text: await answer.text() };
}

/** Events without signs of life. */
async function events(node: TestNode, query: string): Promise<string[]> {
  const { status, text } = await feed(node, query);
  expect([query, status, status === 200 ? "" : text]).toEqual([query, 200, ""]);
  return text.split("\n").filter((line) => line !== "" && !line.startsWith(`{"kind":"alive"`));
}

/** The position after which a reader has all of these events; null: within an entry. */
const positionIn = (line: string): string | null =>
  /"position":"(c:[\d.]+)","last":true/.exec(line)?.[1] ?? null;

/** More than the smallest history keeps. */
function fill(node: TestNode, from: number, count: number): void {
  const db = node.open();
  for (let i = from; i < from + count; i++)
    db.query("INSERT INTO note VALUES(?, ?)").run(i, "x".repeat(60_000));
  db.close();
}

async function shipped(node: TestNode): Promise<void> {
  await until(async () => {
    const { archive } = await node.status();
    return (archive?.position != null && archive.behindEntries === 0) || JSON.stringify(archive);
  }, "the archive has all entries");
}

test("one shard, an encrypted folder: the events are those of a node that has them all, from each position on", async () => {
  const base = join(tmpdir(), `marmot-past-${process.pid}`);
  const [key, place, temporary] = [`${base}.key`, `${base}.archive`, `${base}.tmp`];
  mkdirSync(temporary);
  writeFileSync(key, "the key of this archive\n");
  const archive = ["--archive", place, "--archive-key", key, "--archive-interval", "100ms"];
  const cluster = await TestCluster.start({
    ...{ shards: 1, count: 2, quiet: true, schema: SCHEMA },
    options: archive,
    prepare: (made) => {
      for (const node of made.nodes) node.environment = { TMPDIR: temporary };
    },
  });
  try {
    const [all, few] = cluster.nodes as [TestNode, TestNode];
    await few.kill("SIGTERM");
    await few.startAlone([...archive, "--history", "1MB"]);
    await few.ready();
    await cluster.settle();
    await shipped(all);
    const start = positionOf(all);
    few.run("UPDATE person SET name = 'first' WHERE id = 1");
    await cluster.settle();
    const first = positionOf(all);
    for (const node of cluster.nodes) await node.pause();
    all.run("UPDATE person SET name = 'one' WHERE id = 2");
    few.run("UPDATE person SET name = 'two' WHERE id = 2");
    for (const node of cluster.nodes) node.signal("SIGCONT");
    await cluster.settle();
    all.run("ALTER TABLE person ADD COLUMN age INT", "UPDATE person SET age = 7 WHERE id = 2");
    await cluster.settle();
    // In several parts: each node counts the values alike, wherever it keeps them.
    all.run(
      `WITH RECURSIVE i(n) AS (SELECT 100 UNION ALL SELECT n + 1 FROM i WHERE n < 120)
       INSERT INTO note SELECT n, hex(zeroblob(30000)) FROM i`,
    );
    await cluster.settle();
    fill(all, 1, 40);
    few.run("UPDATE person SET age = 8 WHERE id = 2");
    await cluster.settle();
    await shipped(all);

    const expected = await events(all, `since=${start}`);
    expect(new Set(expected.map((line) => (JSON.parse(line) as { kind: string }).kind))).toEqual(
      new Set(["transaction", "conflict", "schema"]),
    );
    expect(await events(few, `since=${start}`)).toEqual(expected);
    // Of each place in turn, in the archive, near the seam, and in the history.
    for (const at of [0, 3, 8, 20, 30, expected.length - 1]) {
      const position = positionIn(expected[at]!);
      if (position === null) continue;
      expect([at, await events(few, `since=${position}`)]).toEqual([at, expected.slice(at + 1)]);
    }
    expect(await events(few, `since=${start}&tables=person`)).toEqual(
      await events(all, `since=${start}&tables=person`),
    );
    const alone = Bun.spawnSync([
      BINARY,
      "changes",
      "--archive",
      place,
      "--archive-key",
      key,
      ...["--since", start, "--until", positionIn(expected.at(-1)!)!, "--db", few.db],
    ]);
    expect(alone.stdout.toString().trim().split("\n").map(withoutConflict)).toEqual(
      expected.map(withoutConflict),
    );

    const from = expected.findIndex((line) => positionIn(line) === first) + 1;
    // A reader that follows passes the seam.
    const follower = Bun.spawn([BINARY, "changes", "--follow", "--since", first, "--db", few.db], {
      stdout: "pipe",
      // As in the environment of a container.
      env: { ...process.env, MARMOT_ARCHIVE: place, MARMOT_ARCHIVE_KEY: key },
    });
    let text = "";
    const reading = (async () => {
      for await (const chunk of follower.stdout as unknown as AsyncIterable<Uint8Array>)
        text += new TextDecoder().decode(chunk);
    })();
    await until(
      () => text.split("\n").length > expected.length - from || `${text.length} characters`,
      "the archive is told",
    );
    all.run("INSERT INTO person VALUES(9, 'later', 1)");
    await until(() => text.includes("later"), "the follower has a later row");
    follower.kill("SIGTERM");
    await reading;
    expect(
      text
        .trim()
        .split("\n")
        .slice(0, expected.length - from),
    ).toEqual(expected.slice(from));

    await undoes(all, few, start, first);
    await refuses(few, start, place);
    await interrupt(["at", first, "--archive", place, "--archive-key", key], temporary);
    await until(
      () => readdirSync(temporary).join() === "" || readdirSync(temporary).join(),
      "no file is left",
    );
  } finally {
    await cluster.stop();
    for (const path of [key, place, temporary]) rmSync(path, { recursive: true, force: true });
  }
}, 120_000);

/** A signal ends a command that has files in the folder for temporary files. */
async function interrupt(args: readonly string[], temporary: string): Promise<void> {
  const cmd = [BINARY, ...args, "--", "sh", "-c", "sleep 60", "{}"];
  const child = Bun.spawn(cmd, { env: { ...process.env, TMPDIR: temporary }, stderr: "pipe" });
  await until(() => readdirSync(temporary).some((name) => name.startsWith("marmot-at-")), "it has begun");
  child.kill("SIGTERM");
  expect([await child.exited, await new Response(child.stderr).text()]).toEqual([
    1,
    expect.stringContaining("interrupted"),
  ]);
}

/** The journal of a node tells a conflict in the present columns, and with its state. */
const withoutConflict = (line: string): string => line.replace(/,"conflict":\{.*$/, "");

async function undoes(all: TestNode, few: TestNode, start: string, first: string): Promise<void> {
  const undo = (node: TestNode, ...args: string[]): UndoResult => {
    const { code, stdout, stderr } = node.marmot("undo", "--json", ...args);
    expect([code, stderr]).toEqual([0, ""]);
    return JSON.parse(stdout) as UndoResult;
  };
  const since = ["--since", start, "--dry-run"];
  expect(undo(few, ...since)).toEqual(undo(all, ...since));
  expect(undo(few, ...since, "--table", "person").transactions).toBeGreaterThan(3);
  const done = undo(few, "--position", first, "--yes");
  expect(done.rows).toEqual([{ table: "person", key: "1", done: "changed back" }]);
  expect(few.query("SELECT name FROM person WHERE id = 1")).toEqual([["Ann"]]);
  await few.wait({ all: true });
}

async function refuses(few: TestNode, start: string, place: string): Promise<void> {
  const early = await feed(few, "since=400d");
  expect([early.status, early.text]).toEqual([
    400,
    expect.stringContaining("the history of this node begins at c:"),
  ]);
  expect(early.text).toMatch(/is before the first snapshot of the archive .*: it has c:\d+ \(.*\) to c:\d+ /);
  for (const wrong of [
    ["--archive", place],
    ["--archive", place, "--follow"],
    ["--archive", place, "--since", start, "--position", start],
    ["--db", few.db, "--since", start, "--until", start],
    ["--db", few.db, "--archive", place, "--until", "x", "--since", start],
    ["--since", start],
  ])
    expect([wrong, marmot(["changes", ...wrong]).code]).toEqual([wrong, 2]);
  const unknown = few.marmot("undo", "--position", "0:1", "--dry-run");
  expect([unknown.code, unknown.stderr]).toEqual([1, expect.stringContaining("has no transaction at 0:1")]);
  expect(unknown.stderr).toContain("is before the first snapshot of the archive");
  renameSync(place, `${place}.gone`);
  const gone = await feed(few, `since=${start}`);
  renameSync(`${place}.gone`, place);
  expect([gone.status, gone.text]).toEqual([400, expect.stringContaining(`there is no archive at ${place}`)]);
  expect((await few.http("/readyz")).status).toBe(200);
}

test.skipIf(!hasMoto)(
  "three shards, a store with faults: a consumer that is cut off sees every row once, and a store without an answer is named",
  async () => {
    const store = await S3Lab.start();
    const cluster = await TestCluster.start({
      ...{ shards: 3, count: 1, quiet: true, schema: SCHEMA },
      options: ["--archive", "s3://box/app", "--archive-interval", "100ms", "--history", "1MB"],
      prepare: (made) => {
        for (const node of made.nodes) node.environment = store.environment;
      },
    });
    try {
      const [node] = cluster.nodes as [TestNode];
      await shipped(node);
      const start = positionOf(node);
      for (let i = 0; i < 8; i++) {
        node.run(
          ...Array.from({ length: 5 }, (_, n) => `INSERT INTO person VALUES(${100 + 5 * i + n}, 'p')`),
        );
        fill(node, 5 * i, 5);
        expect(await node.wait()).toBe(true);
      }
      await shipped(node);
      const seen = new Map<string, number>();
      let position = start;
      for (let round = 0; ; round++) {
        const lines = await events(node, `since=${position}`);
        // It handles a part, and is cut off.
        const handled = round < 4 ? lines.slice(0, 1 + Math.floor(lines.length / 3)) : lines;
        const lastDone = handled.findLastIndex((line) => positionIn(line) !== null);
        for (const line of handled.slice(0, lastDone + 1)) {
          const { changes } = JSON.parse(line) as { changes: { table: string; key: { id: number } }[] };
          for (const { table, key } of changes) {
            const name = `${table} ${key.id}`;
            seen.set(name, (seen.get(name) ?? 0) + 1);
          }
        }
        position = positionIn(handled[lastDone]!) ?? position;
        if (round === 4) break;
      }
      expect([...seen.values()].filter((times) => times !== 1)).toEqual([]);
      expect(seen.size).toBe(80);
      store.fault = "503";
      const refused = await feed(node, `since=${start}`);
      expect([refused.status, refused.text]).toEqual([
        400,
        expect.stringContaining("the store s3://box/app"),
      ]);
      expect(refused.text).not.toContain("a-secret");
      expect((await node.http("/readyz")).status).toBe(200);
      store.fault = "none";
    } finally {
      await cluster.stop();
      await store.stop();
    }
  },
  120_000,
);

test("a webhook whose consumer was away for longer than the history gets the rest from the archive", async () => {
  const taken: number[] = [];
  let isOpen = false;
  const consumer = Bun.serve({
    port: 0,
    async fetch(request) {
      if (!isOpen) return new Response("", { status: 503 });
      const { changes = [] } = (await request.json()) as { changes?: { key: { id: number } }[] };
      taken.push(...changes.map(({ key }) => key.id));
      return new Response("taken");
    },
  });
  const place = join(tmpdir(), `marmot-past-hook-${process.pid}`);
  const cluster = await TestCluster.start({
    ...{ shards: 1, count: 1, quiet: true, schema: SCHEMA },
    options: [
      ...["--archive", place, "--archive-interval", "100ms", "--history", "1MB"],
      ...["--feed-to", `http://127.0.0.1:${consumer.port}/changes`],
    ],
  });
  try {
    const [node] = cluster.nodes as [TestNode];
    // The archive begins later than the feed, which first has to pass its beginning.
    await until(async () => ((await node.status()).feed?.position ?? "") !== "", "the feed begins");
    await shipped(node);
    isOpen = true;
    node.run("INSERT INTO note VALUES(1000, 'first')");
    await until(async () => taken.length > 0 || JSON.stringify((await node.status()).feed), "a row is taken");
    isOpen = false;
    for (let i = 0; i < 8; i++) {
      fill(node, 5 * i, 5);
      expect(await node.wait()).toBe(true);
    }
    await shipped(node);
    isOpen = true;
    await until(async () => {
      if (taken.length > 40) return true;
      return `${taken.length} rows, ${JSON.stringify((await node.status()).feed)}`;
    }, "all rows are taken");
    expect([...new Set(taken)]).toEqual([1000, ...Array.from({ length: 40 }, (_, i) => i)]);
  } finally {
    await cluster.stop();
    await consumer.stop(true);
    rmSync(place, { recursive: true, force: true });
  }
}, 120_000);

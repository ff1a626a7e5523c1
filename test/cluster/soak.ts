/**
 * Writers on three nodes while nodes are killed and restarted at random. Each writer owns its keys, so at the end
 * every row must hold the last write of its owner. Rows that all write must only be equal. A seed replays the
 * schedule of kills and the writes, not the timing of the machine.
 */
import type { Database } from "bun:sqlite";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Random } from "../../src/base/random.ts";
import { TestCluster, type TestNode } from "./lab.ts";

const CHINOOK = readFileSync(join(import.meta.dir, "../../assets/chinook.sql"), "utf8");

const SCHEMA = `
  ${CHINOOK}
  CREATE TABLE own(id INTEGER PRIMARY KEY, owner INT, items TEXT NOT NULL);
  CREATE TABLE names(name TEXT NOT NULL PRIMARY KEY, owner INT, n INT) WITHOUT ROWID;
  CREATE TABLE pairs(a INT NOT NULL, b TEXT NOT NULL, v REAL, PRIMARY KEY(a, b));
  CREATE TABLE shared(id INTEGER PRIMARY KEY, v TEXT);
`;

/** What a writer's rows must be at the end. */
class Model {
  readonly own = new Map<number, string>();
  readonly names = new Map<string, number>();
  readonly pairs = new Map<string, number>();
}

class Writer {
  readonly model = new Model();
  writes = 0;
  readonly #number: number;
  readonly #random: Random;
  readonly #db: Database;

  constructor(node: TestNode, number: number, random: Random) {
    this.#number = number;
    this.#random = random;
    this.#db = node.open();
  }

  close(): void {
    this.#db.close();
  }

  /** One transaction of some statements; the model follows once it is committed. */
  write(): void {
    const random = this.#random;
    const undo = new Model();
    this.#db.exec("BEGIN IMMEDIATE");
    for (let i = random.between(1, 12); i > 0; i--) this.#statement(undo);
    this.#db.exec("COMMIT");
    for (const [k, v] of undo.own) this.model.own.set(k, v);
    for (const [k, v] of undo.names) this.model.names.set(k, v);
    for (const [k, v] of undo.pairs) this.model.pairs.set(k, v);
    this.writes++;
  }

  #statement(next: Model): void {
    const random = this.#random;
    const n = this.#number;
    switch (random.below(7)) {
      case 0:
      case 1: {
        // A list that only its owner appends to: an element lost, doubled or out of order shows.
        const id = n * 1_000_000 + random.below(200);
        const items = `${next.own.get(id) ?? this.model.own.get(id) ?? ""}${this.writes},`;
        this.#db
          .query("INSERT INTO own VALUES(?, ?, ?) ON CONFLICT(id) DO UPDATE SET items = excluded.items")
          .run(id, n, items);
        next.own.set(id, items);
        return;
      }
      case 2: {
        const name = `n${n}-${random.below(300)}`;
        const value = random.below(1e9);
        this.#db.query("INSERT OR REPLACE INTO names VALUES(?, ?, ?)").run(name, n, value);
        next.names.set(name, value);
        return;
      }
      case 3: {
        const name = `n${n}-${random.below(300)}`;
        this.#db.query("DELETE FROM names WHERE name = ?").run(name);
        next.names.set(name, Number.NaN);
        return;
      }
      case 4: {
        const [a, b] = [n, `p${random.below(300)}`];
        const value = random.below(1000);
        this.#db
          .query("INSERT INTO pairs VALUES(?, ?, ?) ON CONFLICT(a, b) DO UPDATE SET v = excluded.v")
          .run(a, b, value);
        next.pairs.set(`${a}/${b}`, value);
        return;
      }
      case 5:
        this.#db
          .query("INSERT INTO shared VALUES(?, ?) ON CONFLICT(id) DO UPDATE SET v = excluded.v")
          .run(random.below(20), `${n}/${this.writes}`);
        return;
      default:
        this.#db
          .query(`UPDATE "Track" SET "UnitPrice" = ? WHERE "TrackId" % 3 = ? AND "TrackId" < ?`)
          .run(random.below(300) / 100, n, random.between(3, 60));
    }
  }
}

/** The rows of the writers on a node, compared with their writes. */
function missing(node: TestNode, writers: readonly Writer[]): string[] {
  const wrong: string[] = [];
  const own = new Map(
    node.query("SELECT id, items FROM own").map(([id, items]) => [Number(id), items as string]),
  );
  const names = new Map(
    node.query("SELECT name, n FROM names").map(([name, n]) => [name as string, Number(n)]),
  );
  const pairs = new Map(
    node.query("SELECT a || '/' || b, v FROM pairs").map(([k, v]) => [k as string, v as number]),
  );
  for (const { model } of writers) {
    for (const [id, items] of model.own)
      if (own.get(id) !== items)
        wrong.push(`own ${id}: ${String(own.get(id)).slice(-40)}, written ${items.slice(-40)}`);
    for (const [name, n] of model.names)
      if (Number.isNaN(n) ? names.has(name) : names.get(name) !== n)
        wrong.push(`names ${name}: ${names.get(name)}, written ${n}`);
    for (const [key, v] of model.pairs)
      if (pairs.get(key) !== v) wrong.push(`pairs ${key}: ${pairs.get(key)}, written ${v}`);
  }
  return wrong;
}

export interface SoakResult {
  readonly transactions: number;
  readonly kills: number;
  readonly waits: number;
  /** What is wrong at the end; empty: nothing. */
  readonly wrong: readonly string[];
}

export async function soak(options: {
  seed: number;
  seconds: number;
  shards: number;
  say: (line: string) => void;
}): Promise<SoakResult> {
  const random = new Random(options.seed);
  options.say(`soak: seed ${options.seed}, ${options.shards} shards, ${options.seconds} s`);
  const cluster = await TestCluster.start({ shards: options.shards, schema: SCHEMA });
  const { nodes } = cluster;
  const writers = nodes.map((node, i) => new Writer(node, i, random.fork()));
  let kills = 0;
  let waits = 0;
  let stop = false;
  try {
    const writing = writers.map(async (writer) => {
      const pace = random.fork();
      while (!stop) {
        for (let i = pace.between(1, 8); i > 0; i--) writer.write();
        await Bun.sleep(pace.below(12));
      }
    });
    const killing = (async () => {
      const end = performance.now() + options.seconds * 1000;
      while (performance.now() < end) {
        await Bun.sleep(random.between(200, 2500));
        // Mostly one; sometimes two, which leaves no quorum; sometimes all.
        const count = random.pick([1, 1, 1, 1, 2, 3]);
        const victims = [...nodes].sort(() => random.below(3) - 1).slice(0, count);
        await Promise.all(victims.map((v) => v.kill("SIGKILL")));
        kills += victims.length;
        await Bun.sleep(random.between(0, 1500));
        for (const v of victims) await v.start();
        if (random.chance(0.5)) {
          const node = random.pick(nodes);
          await node.ready();
          if (await node.wait({ timeout: "20s" })) waits++;
        }
      }
    })();
    await killing;
    stop = true;
    await Promise.all(writing);
    for (const node of nodes) {
      if (node.process?.exitCode !== null)
        return { transactions: 0, kills, waits, wrong: [`${node.name} stopped by itself: ${node.log()}`] };
      await node.ready();
    }
    await cluster.settle();
    const wrong = nodes.flatMap((node) => missing(node, writers).map((w) => `${node.name}: ${w}`));
    for (const node of nodes) {
      const verified = JSON.parse(node.marmot("verify", "--json").stdout) as {
        equal: boolean;
        differences: unknown[];
      };
      if (!verified.equal)
        wrong.push(`${node.name}: verify ${JSON.stringify(verified.differences).slice(0, 500)}`);
      const check = node.query("PRAGMA integrity_check")[0]![0];
      if (check !== "ok") wrong.push(`${node.name}: integrity_check ${String(check)}`);
    }
    const transactions = writers.reduce((sum, w) => sum + w.writes, 0);
    options.say(
      `soak: ${transactions} transactions, ${kills} kills, ${waits} confirmed waits, ${wrong.length} wrong`,
    );
    return { transactions, kills, waits, wrong: wrong.slice(0, 20) };
  } finally {
    stop = true;
    for (const writer of writers) writer.close();
    await cluster.stop();
  }
}

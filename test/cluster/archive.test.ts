/** Three real nodes that ship to an S3-compatible store with faults, and moments restored from it by the command. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Random } from "../../src/base/random.ts";
import type { VerifiedArchive } from "../../src/node/backup/restore-archive.ts";
import { BINARY, dump, marmot, type Result, TestCluster, type TestNode, until } from "./lab.ts";
import { hasMoto, S3Lab } from "./s3-lab.ts";

const CHINOOK = readFileSync(join(import.meta.dir, "../../assets/chinook.sql"), "utf8");
const PLACE = "s3://box/app";
/** Positions that are restored. */
const MOMENTS = 20;

let store: S3Lab;
let cluster: TestCluster;
let nodes: TestNode[];
beforeAll(async () => {
  if (!hasMoto) return;
  store = await S3Lab.start();
  cluster = await TestCluster.start({
    ...{ shards: 1, quiet: true, schema: CHINOOK },
    // The others take the setting over.
    first: ["--archive", PLACE, "--archive-interval", "100ms"],
    prepare: (made) => {
      for (const node of made.nodes) node.environment = store.environment;
      writeFileSync(join(made.folder, "archive.key"), "the key of another archive\n");
    },
  });
  nodes = cluster.nodes;
}, 120_000);
afterAll(async () => {
  await cluster?.stop();
  await store?.stop();
});

const at = (...path: string[]): string => join(cluster.folder, ...path);

/** Without stopping this process, in which the store's proxy runs. */
async function command(...args: readonly string[]): Promise<Result> {
  const env = { ...process.env, ...store.environment };
  const child = Bun.spawn([BINARY, ...args], { env, stdout: "pipe", stderr: "pipe" });
  const texts = [new Response(child.stdout).text(), new Response(child.stderr).text()];
  const [stdout, stderr] = (await Promise.all(texts)) as [string, string];
  return { code: await child.exited, stdout, stderr };
}
const restore = (args: readonly string[], db: string): Promise<Result> =>
  command("restore", PLACE, ...args, "--db", db);

/** Transactions on all nodes until `stop`. */
function writers(): { stop(): Promise<number> } {
  let [stopped, written] = [false, 0];
  const all = nodes.map(async (node, n) => {
    const random = new Random(n);
    while (!stopped) {
      const db = node.open();
      const id = random.between(1, 275);
      db.exec(
        `BEGIN IMMEDIATE; UPDATE Artist SET Name = 'n${n} ${written}' WHERE ArtistId = ${id};
         INSERT INTO Playlist(PlaylistId, Name) VALUES(${1000 + 3 * written + n}, 'p');
         DELETE FROM PlaylistTrack WHERE TrackId = ${random.between(1, 3503)}; COMMIT`,
      );
      db.close();
      written++;
      await Bun.sleep(20);
    }
  });
  return {
    stop: async () => {
      stopped = true;
      await Promise.all(all);
      return written;
    },
  };
}

async function leader(): Promise<TestNode> {
  for (let i = 0; ; i = (i + 1) % nodes.length) {
    const node = nodes[i]!;
    if (node.process === null) continue;
    const { shards } = await node.status();
    if (shards[0]?.role === "leader") return node;
    await Bun.sleep(20);
  }
}

async function caughtUp(node: TestNode): Promise<void> {
  await until(async () => {
    const { archive } = await node.status();
    if (archive === null) return "no archive";
    const isThere = archive.position !== null && archive.behindEntries === 0 && archive.error === "";
    return isThere || JSON.stringify(archive);
  }, `the archive has what ${node.name} has`);
}

test.skipIf(!hasMoto)(
  "Chinook on three nodes, faults of the store, the shipping node killed: each position is restored as it was",
  async () => {
    const load = writers();
    const seen: { readonly position: string; readonly rows: Record<string, string[]> }[] = [];
    const look = async (i: number): Promise<void> => {
      const copy = at(`seen-${i}.db`);
      const made = await nodes[1]!.verb("backup", copy, "--json");
      expect([made.code, made.stderr]).toEqual([0, ""]);
      seen.push({ position: (JSON.parse(made.stdout) as { position: string }).position, rows: dump(copy) });
    };
    for (let i = 0; i < MOMENTS; i++) {
      if (i % 4 === 1) store.fault = (["503", "cut", "hang", "lost"] as const)[Math.floor(i / 4) % 4]!;
      if (i % 4 === 3) store.fault = "none";
      if (i === 10) {
        const ships = await leader();
        // The node that is looked at stays.
        const victim = ships === nodes[1] ? nodes[0]! : ships;
        await victim.kill();
        await Bun.sleep(300);
        await victim.start();
      }
      await look(i);
    }
    store.fault = "none";
    expect(await load.stop()).toBeGreaterThan(20);
    for (const node of nodes) await node.ready();
    await cluster.settle();
    await caughtUp(await leader());
    expect(store.faults).toBeGreaterThan(0);
    const target = at("restored.db");
    for (const { position, rows } of seen) {
      const { code, stderr } = await restore(["--position", position], target);
      expect([position, code, stderr]).toEqual([position, 0, ""]);
      expect(dump(target)).toEqual(rows);
      for (const suffix of ["", "-wal", "-shm"])
        await Bun.file(target + suffix)
          .delete()
          .catch(() => {});
    }
    const verified = await command("archive", "verify", PLACE, "--json");
    expect([verified.code, verified.stderr]).toEqual([0, ""]);
    const { gaps, checked } = JSON.parse(verified.stdout) as VerifiedArchive;
    expect([gaps, checked]).toEqual([[], true]);
  },
  180_000,
);

test.skipIf(!hasMoto)(
  "a store that fails is paused in status, metrics and log, without its credentials, and goes on",
  async () => {
    const ships = await leader();
    store.fault = "503";
    ships.run("UPDATE Artist SET Name = 'paused' WHERE ArtistId = 1");
    await until(async () => (await ships.status()).archive?.state === "paused", "the archive is paused");
    const shown = await ships.verb("status");
    expect(shown.stdout).toContain(`The archive ${PLACE} is paused`);
    expect((await ships.http("/metrics")).text).toMatch(/^marmot_archive_up 0$/m);
    expect(ships.log()).not.toContain("a-secret");
    // Replication does not wait for it.
    expect(await ships.wait({ all: true })).toBe(true);
    store.fault = "none";
    await caughtUp(ships);
    const after = await command("archive", "status", "--db", ships.db, "--json");
    expect((JSON.parse(after.stdout) as { node: object }).node).toMatchObject({
      state: "shipping",
      error: "",
    });
  },
  60_000,
);

test.skipIf(!hasMoto)(
  "moments by time, a command at a moment, the cluster set back, and what cannot be restored",
  async () => {
    const [, node] = nodes as [TestNode, TestNode, TestNode];
    const time = (): string => new Date().toISOString();
    node.run("UPDATE Genre SET Name = 'before' WHERE GenreId = 1");
    expect(await node.wait({ all: true })).toBe(true);
    await Bun.sleep(20);
    const moment = time();
    await Bun.sleep(20);
    node.run("UPDATE Genre SET Name = 'after' WHERE GenreId = 1", "DELETE FROM InvoiceLine");
    expect(await node.wait({ all: true })).toBe(true);
    const target = at("moment.db");
    const made = await restore(["--at", moment, "--json"], target);
    expect([made.code, made.stderr]).toEqual([0, ""]);
    const db = new Database(target, { readonly: true });
    expect(db.query("SELECT Name FROM Genre WHERE GenreId = 1").values()).toEqual([["before"]]);
    expect(db.query("SELECT count(*) > 2000 FROM InvoiceLine").values()).toEqual([[1]]);
    db.close();
    const count =
      "import sqlite3,sys; print(sqlite3.connect('file:'+sys.argv[1]+'?mode=ro',uri=True).execute('select Name from Genre where GenreId = 1').fetchone()[0], sys.argv[1]); sys.exit(7)";
    const ran = await command("at", moment, "--db", node.db, "--", "python3", "-c", count, "{}");
    const [name, file] = ran.stdout.trim().split(" ");
    expect([ran.code, name]).toEqual([7, "before"]);
    expect(existsSync(file!)).toBe(false);
    const diff = ["diff", "--since", moment, "--table", "Genre", "--json", "--db", node.db];
    const [shown, archived] = [await command(...diff), await command(...diff, "--archive", PLACE)];
    expect([archived.code, archived.stderr]).toEqual([0, ""]);
    expect((JSON.parse(shown.stdout) as { op: string }[]).map(({ op }) => op)).toEqual(["update"]);
    expect(JSON.parse(archived.stdout)).toEqual(JSON.parse(shown.stdout));
    const back = await command(
      "restore",
      PLACE,
      "--at",
      moment,
      "--into-cluster",
      "--yes",
      "--json",
      "--db",
      node.db,
    );
    expect(back.code).toBe(0);
    const rows = await cluster.settle();
    expect(rows.InvoiceLine!.length).toBeGreaterThan(2000);

    const fresh = at("fresh.db");
    for (const [args, reason] of [
      [["--position", "c:1"], "is before the first snapshot of the archive"],
      [["--position", "c:99999999"], "is after the end of the archive"],
      [["--at", "400d"], "is before the first snapshot of the archive"],
      [["--at", "2126-01-01"], "is after the end of the archive"],
      [["--at", "yesterday evening"], "is no time"],
      [["--position", "x"], "is no position"],
      [["--at", "1m", "--archive-key", at("archive.key")], "is not encrypted"],
    ] as const) {
      const { code, stderr } = await restore(args, fresh);
      expect([args, code, stderr]).toEqual([args, 1, expect.stringContaining(reason)]);
      expect(stderr).toContain("\nhint: ");
      expect(existsSync(fresh)).toBe(false);
    }
    expect((await restore(["--at", "1m"], node.db)).stderr).toContain("exists");
    const none = await command("archive", "verify", "s3://box/other");
    expect([none.code, none.stderr]).toEqual([
      1,
      expect.stringContaining("there is no archive at s3://box/other"),
    ]);
    const other = new Database(at("other.db"), { create: true });
    other.exec("CREATE TABLE t(x)");
    other.close();
    const second = await command("run", "--db", at("other.db"), "--archive", PLACE);
    expect([second.code, second.stderr]).toEqual([
      1,
      expect.stringContaining("has the archive of the cluster"),
    ]);
    const locked = await command(
      ...["run", "--db", at("other.db"), "--archive", PLACE, "--archive-key", at("archive.key")],
    );
    expect([locked.code, locked.stderr]).toEqual([1, expect.stringContaining("is not encrypted")]);
    const lost = await command(
      ...["run", "--db", at("other.db"), "--archive", PLACE, "--archive-key", at("no.key")],
    );
    expect([lost.code, lost.stderr]).toEqual([1, expect.stringContaining("cannot be read")]);
    expect(existsSync(at("other.db.marmot"))).toBe(false);
    for (const args of [
      ["archive"],
      ["archive", "verify"],
      ["at", "10m"],
      ["at", "10m", "--archive", PLACE, "--", "cat"],
    ])
      expect([args, marmot(args).code]).toEqual([args, 2]);
  },
  120_000,
);

test("one node, an encrypted archive in a folder: a drill restores it, and a removed link is named", async () => {
  const key = join(tmpdir(), `marmot-archive-${process.pid}.key`);
  writeFileSync(key, "the key of this archive\n");
  const folder = `${key}.archive`;
  const one = await TestCluster.start({
    ...{ shards: 4, count: 1, quiet: true, schema: "CREATE TABLE t(k INTEGER PRIMARY KEY, v)" },
    options: ["--archive", folder, "--archive-key", key, "--archive-keep", "5"],
  });
  try {
    const [node] = one.nodes as [TestNode];
    for (let i = 0; i < 5; i++) {
      node.run(`INSERT INTO t VALUES(${i}, 'SEE-ME')`);
      expect(await node.wait()).toBe(true);
      await caughtUp(node);
    }
    await until(async () => {
      const { archive } = await node.status();
      return archive?.drill == null ? JSON.stringify(archive) : true;
    }, "a drill was made");
    const { archive } = await node.status();
    expect(archive).toMatchObject({ drill: { ok: true, error: "" }, keepSnapshots: 5, keyFile: key });
    expect((await node.http("/metrics")).text).toMatch(/^marmot_archive_drill_ok 1$/m);
    expect(Bun.spawnSync(["grep", "-rl", "SEE-ME", folder]).stdout.toString()).toBe("");
    const at = ["archive", "verify", folder];
    expect(marmot(at)).toMatchObject({ code: 1, stderr: expect.stringContaining("is encrypted") as string });
    expect(marmot([...at, "--archive-key", key]).code).toBe(0);
    rmSync(join(folder, "chain/000000/0000000003"));
    const broken = marmot([...at, "--db", node.db]);
    expect([broken.code, broken.stderr]).toEqual([1, expect.stringContaining("0000000003")]);
    expect(broken.stderr).toContain("is missing");
  } finally {
    await one.stop();
    for (const path of [key, folder]) rmSync(path, { recursive: true, force: true });
  }
}, 120_000);

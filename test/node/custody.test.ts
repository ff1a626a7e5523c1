/** Files that went back, beside a replica that did not: which verdict they get, and which log ids count. Files only, no processes. */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { copyFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { asPeerId } from "../../src/base/ids.ts";
import { nextTurn } from "../../src/base/clock.ts";
import { repairFile } from "../../src/node/file/repair-file.ts";
import { takeFile } from "../../src/node/file/file-custody.ts";
import { inspectFile, type InspectedFile } from "../../src/node/file/inspect-file.ts";
import { dataPaths } from "../../src/replication/machine/data-paths.ts";
import { writeFileNote, readFileNote } from "../../src/replica/store/file-note.ts";
import { FileChangedError, readFileLife } from "../../src/rows/file-life.ts";
import { Lab, type LabNode } from "./lab.ts";

let lab: Lab;
let a: LabNode;
beforeEach(async () => {
  lab = await Lab.create(
    "CREATE TABLE kv(k INTEGER PRIMARY KEY, v TEXT); INSERT INTO kv VALUES(1, 'first')",
    2,
  );
  lab.settle();
  a = lab.nodes[0]!;
});
afterEach(() => lab.close());

const inspected = (): InspectedFile => ({
  file: a.file,
  paths: dataPaths(`${a.file}.marmot`),
  peerId: asPeerId(a.peerId),
  pause: nextTurn,
});

/** Notes as a running node does after each sync. */
function syncing(): void {
  a.replica.replica.fileNote.synced = readFileLife(a.appDb);
}

function write(...statements: string[]): void {
  const app = new Database(a.file);
  for (const sql of statements) app.exec(sql);
  app.close();
}

/** The stopped node's file is the one that was copied before. */
function putBack(): void {
  for (const suffix of ["", "-wal", "-shm"]) rmSync(a.file + suffix, { force: true });
  copyFileSync(`${a.file}.old`, a.file);
}

const copy = (): void => a.run(`VACUUM INTO '${a.file}.old'`);
const verdict = async (): Promise<string> => {
  const found = await inspectFile(inspected());
  return found.kind === "halt" ? found.halt.name : found.kind;
};

/** An own row is written, ordered, shown and acknowledged. */
function round(k: number): void {
  a.run(`INSERT INTO kv VALUES(${k}, 'own')`);
  syncing();
  lab.settle();
}

test("a file with a lower life than noted is older: renewed if no one wrote to it, halted if the application did", async () => {
  copy();
  round(10);
  round(11);
  a.close();
  expect(await verdict()).toBe("take");
  putBack();
  expect(await verdict()).toBe("renew");
  write("INSERT INTO kv VALUES(20, 'into the copy')");
  expect(await verdict()).toBe("file-older");
  a.open();
});

test("a lower life tells an older copy also where another node wrote the only lost row since", async () => {
  copy();
  round(10);
  round(11);
  lab.nodes[1]!.run("UPDATE kv SET v = 'other' WHERE k > 1");
  lab.settle();
  a.close();
  putBack();
  write("INSERT INTO kv VALUES(20, 'into the copy')");
  expect(await verdict()).toBe("file-older");
  a.open();
});

test("a renewed file has another epoch, shows everything again, and its log ids begin above the used ones", async () => {
  copy();
  round(10);
  round(11);
  a.close();
  putBack();
  expect(await takeFile(inspected())).toMatchObject({ halt: null });
  a.open();
  expect(readFileNote(a.replica.db)?.epoch).toBe(readFileLife(a.appDb)!.epoch);
  a.run("INSERT INTO kv VALUES(20, 'later')");
  lab.settle();
  for (const node of lab.nodes)
    expect(node.query("SELECT k FROM kv ORDER BY k")).toEqual([[1n], [10n], [11n], [20n]]);
});

test("a copy of the same life without an own row that the replica took is older", async () => {
  copy();
  // Ordered and applied, and the node is killed before the file says so.
  a.run("INSERT INTO kv VALUES(10, 'own')");
  a.touch();
  a.turns();
  a.order();
  a.deliver();
  a.applyOnly();
  a.close();
  expect(await verdict()).toBe("take");
  putBack();
  write("INSERT INTO kv VALUES(20, 'under the same log id')");
  expect(await verdict()).toBe("file-older");
  a.open();
});

test("a write under a log id that an older copy used again is sent all the same", () => {
  copy();
  a.run("INSERT INTO kv VALUES(10, 'own')");
  a.touch();
  a.turns();
  a.order();
  a.deliver();
  a.applyOnly();
  a.close();
  putBack();
  write("INSERT INTO kv VALUES(20, 'under the same log id')");
  a.open();
  lab.settle();
  for (const node of lab.nodes)
    expect(node.query("SELECT k FROM kv ORDER BY k")).toEqual([[1n], [10n], [20n]]);
});

test("a file without Marmot's tables is installed again if it has every row of the replica, and halted if not", async () => {
  round(10);
  a.close();
  const strip = (): void => {
    const app = new Database(a.file);
    const names = app.query(
      "SELECT type, name FROM sqlite_schema WHERE name LIKE '\\_\\_marmot%' ESCAPE '\\' ORDER BY type DESC",
    );
    for (const [type, name] of names.values()) app.exec(`DROP ${String(type)} IF EXISTS "${String(name)}"`);
    app.close();
  };
  strip();
  write("INSERT INTO kv VALUES(20, 'not captured')");
  expect(await takeFile(inspected())).toMatchObject({ halt: null });
  a.open();
  lab.settle();
  expect(lab.nodes[1]!.query("SELECT k FROM kv ORDER BY k")).toEqual([[1n], [10n], [20n]]);
  a.close();
  strip();
  write("DELETE FROM kv WHERE k = 1");
  expect(await verdict()).toBe("file-replaced");
  expect(
    (
      await repairFile(
        { db: a.file, paths: dataPaths(`${a.file}.marmot`), peerId: asPeerId(a.peerId) },
        { wallTime: () => 0, onProgress: () => {} },
      )
    ).rows,
  ).toEqual([]);
  a.open();
  lab.settle();
  expect(a.query("SELECT k FROM kv ORDER BY k")).toEqual([[1n], [10n], [20n]]);
});

test("a missing, emptied, shortened or foreign file is no file of this node", async () => {
  round(10);
  a.appDb.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  a.close();
  copyFileSync(a.file, `${a.file}.old`);
  for (const suffix of ["-wal", "-shm"]) rmSync(a.file + suffix, { force: true });
  truncateSync(a.file, 4096 * 3);
  expect(await verdict()).toBe("damaged");
  truncateSync(a.file, 0);
  expect(await verdict()).toBe("damaged");
  writeFileSync(a.file, "x".repeat(8192));
  expect(await verdict()).toBe("damaged");
  copyFileSync(lab.nodes[1]!.file, a.file);
  expect(await verdict()).toBe("file-replaced");
  rmSync(a.file);
  expect(await verdict()).toBe("file-replaced");
  putBack();
  expect(await verdict()).toBe("take");
  a.open();
});

test("an orderly stop is noted with the life of the file", () => {
  const life = readFileLife(a.appDb)!;
  writeFileNote(a.replica.db, life);
  expect(readFileNote(a.replica.db)).toEqual(life);
  round(10);
  expect(readFileLife(a.appDb)!.life).toBeGreaterThan(life.life);
});

test("a look finds that the open file was restored, and no look finds it after Marmot's own commits", () => {
  round(10);
  a.reader.begin();
  expect(a.reader.schemaMoved()).toBe(false);
  a.reader.end();
  a.run(`UPDATE "__marmot__status" SET value = value - 1 WHERE name = 'life'`);
  expect(() => a.reader.newestIds()).toThrow(FileChangedError);
  expect(() => a.pipeline.turn()).not.toThrow(); // nothing to do
  a.touch();
  expect(() => a.turns()).toThrow(FileChangedError);
  a.reader.end();
  a.run(`UPDATE "__marmot__status" SET value = value + 1 WHERE name = 'life'`);
});

import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { requireDatabase } from "../../src/node/startup/check-files.ts";

const folder = mkdtempSync(join(tmpdir(), "marmot-locked-"));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** An exclusive lock, as the first process has while it recovers the WAL after a crash: no other process can read. */
const HOLD = `const { Database } = require("bun:sqlite"); const db = new Database(process.argv[1]);
  db.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; INSERT INTO t VALUES(1)"); console.log("held"); setTimeout(() => { db.exec("COMMIT"); db.close(); }, 500);`;

test("opening a file that another process locks exclusively waits for the lock", async () => {
  const file = join(folder, "app.db");
  const db = new Database(file);
  db.exec("PRAGMA journal_mode = WAL; CREATE TABLE t(a)");
  db.close();
  const child = Bun.spawn([process.execPath, "-e", HOLD, file], { stdout: "pipe" });
  await child.stdout.getReader().read();
  requireDatabase(file);
  expect(await child.exited).toBe(0);
});

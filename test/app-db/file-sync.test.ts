/** Syncing the application's file must not cost the locks that SQLite holds on it in this process. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileSync } from "../../src/app-db/file-sync.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-live-file-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Bun's own SQLite keeps the WAL when the last connection closes; most drivers remove it, Python's among them. */
const python = Bun.which("python3");

/** An application: another process, which closes the file when it is done. */
function application(file: string, sql: string): void {
  const script =
    "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute(sys.argv[2]); db.commit(); db.close()";
  const { exitCode, stderr } = Bun.spawnSync([python!, "-c", script, file, sql]);
  if (exitCode !== 0) throw new Error(stderr.toString());
}

if (python === null) console.log("skipped: no python3 here to be the application");

test.skipIf(python === null)(
  "an application that closes last leaves the WAL to those who still have the file open",
  () => {
    const path = join(folder, "app.db");
    const own = new Database(path, { create: true });
    own.exec("PRAGMA journal_mode = WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    const appDb = new FileSync(path);
    appDb.sync();
    application(path, "INSERT INTO t VALUES(2)");
    expect(existsSync(`${path}-wal`)).toBe(true);
    appDb.sync();
    own.exec("INSERT INTO t VALUES(3)");
    application(path, "INSERT INTO t VALUES(4)");
    expect(own.query("SELECT a FROM t ORDER BY a").values()).toEqual([[1], [2], [3], [4]]);
    own.close();
  },
);

/** The watcher misses no commit, whatever the application's `synchronous`, and also when events are lost. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { Watcher } from "../../src/app-db/watcher.ts";

for (const [name, synchronous, lossy] of [
  ["synchronous NORMAL", "NORMAL", false],
  ["synchronous FULL", "FULL", false],
  ["every event lost", "NORMAL", true],
] as const)
  test(`sees the last of many commits: ${name}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "marmot-watch-"));
    const path = join(folder, "a.db");
    const db = new Database(path, { create: true });
    db.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = ${synchronous}; CREATE TABLE t(i INTEGER PRIMARY KEY)`,
    );
    const reader = new Database(path);
    const version = reader.query("PRAGMA data_version");
    const newest = reader.query("SELECT max(i) FROM t");
    let last: unknown;
    let seen = 0;
    const watcher = new Watcher(path, {
      clock: systemClock,
      moved: () => {
        const now = version.values()[0]![0];
        const moved = now !== last;
        last = now;
        return moved;
      },
      wake: () => {
        seen = Number(newest.values()[0]![0] ?? 0);
      },
      ...(lossy ? { watchFolder: () => ({ close() {} }) } : {}),
    });
    watcher.start();
    try {
      const app = Bun.spawn(
        [
          process.execPath,
          "-e",
          `import { Database } from "bun:sqlite";
           const db = new Database(${JSON.stringify(path)});
           db.exec("PRAGMA synchronous = ${synchronous}");
           for (let i = 1; i <= 60; i++) { db.query("INSERT INTO t VALUES(?)").run(i); await Bun.sleep(i % 7); }`,
        ],
        { stdout: "inherit", stderr: "inherit" },
      );
      await app.exited;
      const end = performance.now() + 10_000;
      while (seen < 60 && performance.now() < end) await Bun.sleep(5);
      expect(seen).toBe(60);
    } finally {
      watcher.stop();
      reader.close();
      db.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });

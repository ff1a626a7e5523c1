/** The version of the application's SQLite is stored in the replica, but not while a schema change is on trial there. */
import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OpenReplica } from "../../src/replica/open-replica.ts";
import { ApplicationSqlite } from "../../src/replication/machine/application-sqlite.ts";
import { openDatabase } from "../../src/sqlite/open.ts";
import { silentLogger } from "../silent-logger.ts";

const folder = mkdtempSync(join(tmpdir(), "marmot-application-"));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("a new version waits until the trial of a schema change has ended", () => {
  const file = join(folder, "replica.db");
  const db = openDatabase(file);
  db.exec(`PRAGMA journal_mode = WAL; CREATE TABLE "__marmot__local_node"("name" TEXT PRIMARY KEY, "value")`);
  const replica = { db, replica: { betweenEntries: true } } as unknown as OpenReplica;
  const application = new ApplicationSqlite(
    replica,
    { sync: () => {}, look: () => null, close: () => {}, writerVersion: () => 3_040_001 },
    {},
    { logger: silentLogger },
  );
  const trial = openDatabase(file);
  trial.exec("BEGIN IMMEDIATE");
  application.tick(false);
  expect(application.version).toBe(3_040_001);
  const stored = db.prepare(`SELECT count(*) AS n FROM "__marmot__local_node"`);
  expect(stored.get()).toEqual({ n: 0 });
  trial.exec("ROLLBACK");
  trial.close();
  application.tick(true);
  expect(stored.get()).toEqual({ n: 1 });
  db.close();
});

/**
 * Marmot's writing connection to the application's file: `node:sqlite`, because its authorizer can silence triggers on
 * this connection alone. Nothing here waits for a lock: the caller tries again on a later turn.
 */
import { constants, DatabaseSync } from "node:sqlite";
import { assert } from "../base/assert.ts";

/** SQLITE_BUSY and its extended codes: somebody else holds the write lock. */
export function isBusy(error: unknown): boolean {
  const code = (error as { errcode?: unknown }).errcode;
  if (typeof code === "number") return (code & 0xff) === 5;
  return /database is locked/.test(error instanceof Error ? error.message : "");
}

/** Everything a trigger would do is ignored while this connection writes. */
function silenceTriggers(db: DatabaseSync): void {
  db.setAuthorizer((_action, _a, _b, _database, trigger) =>
    trigger === null || trigger === undefined ? constants.SQLITE_OK : constants.SQLITE_IGNORE,
  );
}

/** Proves on a database of its own that the authorizer silences triggers in this build. */
export function selfTest(): void {
  const db = new DatabaseSync(":memory:");
  try {
    db.exec(`CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE TABLE log(a);
      CREATE TRIGGER i AFTER INSERT ON t BEGIN INSERT INTO log VALUES(NEW.a); END;
      CREATE TRIGGER u AFTER UPDATE ON t BEGIN INSERT INTO log VALUES(NEW.a); END;
      CREATE TRIGGER d AFTER DELETE ON t BEGIN INSERT INTO log VALUES(OLD.a); END;`);
    silenceTriggers(db);
    db.prepare("INSERT INTO t VALUES(1, 1) ON CONFLICT(a) DO UPDATE SET b = excluded.b").run();
    db.prepare("INSERT INTO t VALUES(1, 2) ON CONFLICT(a) DO UPDATE SET b = excluded.b").run();
    db.prepare("DELETE FROM t WHERE a = 1").run();
    const { n } = db.prepare("SELECT count(*) AS n FROM log").get() as { n: number };
    assert(n === 0, "the authorizer silences triggers on its own connection");
  } finally {
    db.close();
  }
}

/** Opens the file for reflecting. It must exist and be in WAL mode. */
export function openLiveConnection(file: string): DatabaseSync {
  const db = new DatabaseSync(file, { enableForeignKeyConstraints: false, timeout: 0 });
  db.exec(
    "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8000; PRAGMA ignore_check_constraints = ON; PRAGMA recursive_triggers = OFF",
  );
  silenceTriggers(db);
  return db;
}

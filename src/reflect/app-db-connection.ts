/**
 * Marmot's writing connection to the app database: `node:sqlite`, because its authorizer can silence triggers on this
 * connection alone. It never waits for a lock: the caller tries again on a later turn.
 */
import { assert } from "../base/assert.ts";
import { LIFE_SQL, LifeCounter, requireLife } from "../rows/file-life.ts";
import { prepareExact } from "../rows/exact-values.ts";
import { LOCKED_MS } from "../sqlite/locked.ts";
import { openDatabase } from "../sqlite/open.ts";
import { type AppDatabase, openAppDb } from "../sqlite/open-app-db.ts";
import { TriggerSilencer } from "./trigger-silencer.ts";

export interface AppDbConnection {
  readonly db: AppDatabase;
  readonly triggers: TriggerSilencer;
  /** Each transaction of Marmot on this connection raises it. */
  readonly life: LifeCounter;
}

/** At the beginning of a transaction. Throws `FileChangedError` if the file is not as this connection left it. */
export function requireSameFile({ db, life }: AppDbConnection): void {
  requireLife(life.current, prepareExact(db, LIFE_SQL).get()!);
}

const SELF_TEST = `
  CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE TABLE u(a INTEGER PRIMARY KEY, b); CREATE TABLE local(a);
  CREATE TABLE "__marmot__t_change_log"(a);
  CREATE VIRTUAL TABLE f USING fts5(b, content='t', content_rowid='a');
  INSERT INTO u VALUES(1, 0), (2, 0);
  CREATE TRIGGER "__marmot__1_insert" AFTER INSERT ON t BEGIN INSERT INTO "__marmot__t_change_log" VALUES(NEW.a); END;
  CREATE TRIGGER "__marmot__1_update" AFTER UPDATE ON t BEGIN INSERT INTO "__marmot__t_change_log" VALUES(NEW.a); END;
  CREATE TRIGGER "__marmot__1_delete" AFTER DELETE ON t BEGIN INSERT INTO "__marmot__t_change_log" VALUES(OLD.a); END;
  CREATE TRIGGER silent AFTER INSERT ON t BEGIN INSERT INTO u VALUES(9, 9); UPDATE u SET b = b + 1; END;
  CREATE TRIGGER refuses BEFORE INSERT ON t BEGIN SELECT RAISE(ABORT, 'no'); END;
  CREATE TRIGGER passes AFTER INSERT ON t BEGIN INSERT INTO local VALUES(NEW.a); INSERT INTO u VALUES(8, 8); END;
  CREATE TRIGGER deletes AFTER INSERT ON t BEGIN DELETE FROM u WHERE a = 2; END;
  CREATE TRIGGER fi AFTER INSERT ON t BEGIN INSERT INTO f(rowid, b) VALUES(NEW.a, NEW.b); END;
  CREATE TRIGGER fu AFTER UPDATE ON t BEGIN INSERT INTO f(f, rowid, b) VALUES('delete', OLD.a, OLD.b);
    INSERT INTO f(rowid, b) VALUES(NEW.a, NEW.b); END;
  CREATE TRIGGER fd AFTER DELETE ON t BEGIN INSERT INTO f(f, rowid, b) VALUES('delete', OLD.a, OLD.b); END;`;

/** Proves in a separate database that this build silences triggers, and that their allowed effects happen. */
export function selfTest(): void {
  const db = openDatabase(":memory:");
  try {
    db.exec(SELF_TEST);
    const schema = (): string =>
      JSON.stringify(db.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY rowid").all());
    const before = schema();
    const triggers = new TriggerSilencer(db, ["t", "u"]);
    const write = (sql: string): void => {
      db.exec("BEGIN");
      triggers.begin();
      triggers.prepare("t");
      db.prepare(sql).run();
      triggers.restore();
      db.exec("COMMIT");
    };
    write("INSERT INTO t VALUES(1, 'one') ON CONFLICT(a) DO UPDATE SET b = excluded.b");
    write("INSERT INTO t VALUES(2, 'two') ON CONFLICT(a) DO UPDATE SET b = excluded.b");
    write("INSERT INTO t VALUES(1, 'uno') ON CONFLICT(a) DO UPDATE SET b = excluded.b");
    write("DELETE FROM t WHERE a = 2");
    const shown = (sql: string): string => JSON.stringify(db.prepare(sql).all());
    assert(
      shown(`SELECT count(*) n FROM "__marmot__t_change_log"`) === '[{"n":0}]' &&
        shown("SELECT a, b FROM u") === '[{"a":1,"b":0},{"a":2,"b":0}]',
      "the authorizer silences triggers on its own connection",
    );
    assert(
      shown("SELECT a FROM local") === '[{"a":1},{"a":2}]' &&
        shown("SELECT rowid FROM f WHERE f MATCH 'one OR two OR uno'") === '[{"rowid":1}]',
      "writes of triggers to tables of this node alone happen",
    );
    assert(schema() === before, "suspended triggers are re-created as they were");
  } finally {
    db.close();
  }
}

let proven = false;

/** Runs the self-test once per process: a build does not change while it runs. */
export function proveTriggers(): void {
  if (!proven) selfTest();
  proven = true;
}

/** Opens the file for reflecting. It must exist and be in WAL mode. `replicated`: the names of its replicated tables. */
export function openAppDbConnection(file: string, replicated: readonly string[]): AppDbConnection {
  const db = openAppDb(file, { timeout: LOCKED_MS });
  db.exec(
    "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8000; PRAGMA ignore_check_constraints = ON; PRAGMA recursive_triggers = OFF",
  );
  const triggers = new TriggerSilencer(db, replicated);
  db.exec("PRAGMA busy_timeout = 0"); // reflecting never waits for the application
  return { db, triggers, life: new LifeCounter(db) };
}

/** Reads the app database for drains, on separate `bun:sqlite` connections with integers as bigint. */
import type { Database, Statement } from "bun:sqlite";
import type { TableShape } from "../change/shape.ts";
import { ChangeLogReader, selectsOfBun } from "../rows/change-log-reader.ts";
import type { CapturedTable } from "../rows/change-logs.ts";
import { type FileLife, LIFE_SQL, requireLife } from "../rows/file-life.ts";
import { fingerprint, type KnownSchema, VERSIONS_SQL } from "../schema/catalogue.ts";
import { newestIdsSql } from "../schema/app-db-tables.ts";
import { closingFully, openAppDbReader } from "../sqlite/open-app-db.ts";
import { queryOfBun } from "../sqlite/query.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import {
  hasAllSince,
  type LogPages,
  type LogRange,
  tablesByCommit,
  type WalState,
  walState,
} from "./wal-commits.ts";

/** Whether a connection sees the schema that capture was installed for. */
class SchemaWatch {
  readonly #db: Database;
  readonly #life: Statement;
  readonly #expectedLife: () => FileLife | null;
  /** The schema's fingerprint; null: no schema is the expected one. */
  readonly #expected: string | null;
  readonly #versions: Statement;
  /** The versions when the schema was last known to be the expected one. */
  #seen: string;

  constructor(db: Database, expected: KnownSchema | null, life: () => FileLife | null) {
    this.#db = db;
    this.#life = db.prepare(LIFE_SQL);
    this.#expectedLife = life;
    this.#expected = expected?.fingerprint ?? null;
    const { schema, user, application } = expected?.versions ?? {};
    this.#seen = [schema, user, application].join("/");
    this.#versions = db.prepare(VERSIONS_SQL);
  }

  /** Throws `FileChangedError` if the file is not as Marmot left it. */
  requireLife(): void {
    requireLife(this.#expectedLife(), this.#life.values()[0]!);
  }

  moved(): boolean {
    this.requireLife();
    if (this.#expected === null) return true;
    const seen = this.#versions.values()[0]!.join("/");
    if (seen === this.#seen) return false;
    if (fingerprint(queryOfBun(this.#db)) !== this.#expected) return true;
    this.#seen = seen;
    return false;
  }
}

export interface AppDbReaderOptions {
  readonly file: string;
  readonly shapes: readonly TableShape[];
  readonly captured: readonly CapturedTable[];
  /** Other tables whose log rows wait: only their newest ids are read. */
  readonly waiting: readonly number[];
  readonly encoding: string;
  readonly expected: KnownSchema | null;
  /** Of the last transaction of Marmot in the file; null: unknown. */
  readonly life: () => FileLife | null;
}

export class AppDbReader {
  readonly logs: readonly ChangeLogReader[];
  readonly #db: Database;
  /** For reads beside a drain, which may hold the first connection's transaction over several turns. */
  readonly #second: Database;
  readonly #closeDb: () => void;
  readonly #closeSecond: () => void;
  readonly #newest: readonly Statement[];
  readonly #newestBeside: readonly Statement[];
  readonly #begin: Statement;
  readonly #end: Statement;
  readonly #dataVersion: Statement;
  readonly #schema: SchemaWatch;
  readonly #schemaBeside: SchemaWatch;
  readonly #wal: string;
  readonly #logNames: ReadonlyMap<number, string>;
  /** NULL can get into a key, or rows wait. */
  readonly #mayHold: boolean;
  #version: unknown = null;
  /** The WAL when the open transaction began, and when the last one began whose news are all drained. */
  #begun: WalState | null = null;
  #drained: WalState | null = null;

  constructor({ file, shapes, captured, waiting, encoding, expected, life }: AppDbReaderOptions) {
    this.#db = openAppDbReader(file, 8000);
    this.#closeDb = closingFully(this.#db);
    const log = new Map(captured.map((c) => [c.id, c.log]));
    this.#wal = `${file}-wal`;
    this.#logNames = log;
    this.#mayHold = waiting.length > 0 || shapes.some((shape) => mayHoldNull(this.#db, shape));
    const select = selectsOfBun(this.#db);
    this.logs = shapes.map(
      (shape) => new ChangeLogReader(select, { shape, log: log.get(shape.id)!, encoding }),
    );
    this.#second = openAppDbReader(file, 500);
    this.#closeSecond = closingFully(this.#second);
    const looked = [...shapes.map(({ id }) => id), ...waiting].sort((a, b) => a - b);
    const looks = newestIdsSql(looked.map((id) => ({ id, log: log.get(id)! })));
    this.#newest = looks.map((sql) => this.#db.prepare(sql));
    this.#newestBeside = looks.map((sql) => this.#second.prepare(sql));
    this.#begin = this.#db.prepare("BEGIN");
    this.#end = this.#db.prepare("COMMIT");
    this.#dataVersion = this.#db.prepare("PRAGMA data_version");
    this.#schema = new SchemaWatch(this.#db, expected, life);
    this.#schemaBeside = new SchemaWatch(this.#second, expected, life);
  }

  /** Another connection committed since the last call. */
  moved(): boolean {
    const version = this.#dataVersion.values()[0]![0];
    if (version === this.#version) return false;
    this.#version = version;
    return true;
  }

  /** Begins the read transaction. */
  begin(): void {
    if (this.#mayHold) this.#begun = walState(this.#wal, this.#begun);
    this.#begin.run();
  }

  /** Every log row that the transaction saw is drained, or waits. */
  drained(): void {
    this.#drained = this.#begun;
  }

  /** Rows that were drained before are drained again. */
  restarted(): void {
    this.#drained = null;
  }

  /**
   * Inside the transaction: tables that were written together, for each commit since the last call of `drained`. null: the
   * WAL does not tell.
   */
  writtenTogether(ranges: readonly LogRange[]): readonly ReadonlySet<number>[] | null {
    const since = this.#drained;
    const isWhole = (): boolean => since !== null && hasAllSince(since, walState(this.#wal, null));
    if (!isWhole()) return null;
    try {
      const pages = this.#db.prepare("SELECT pageno FROM dbstat WHERE name = ? AND NOT aggregate");
      const logs = ranges.map((range): LogPages => {
        const log = this.#logNames.get(range.table)!;
        const count = this.#db.prepare(
          `SELECT count(*) FROM main.${quoteIdentifier(log)} WHERE id > ? AND id <= ?`,
        );
        return {
          ...range,
          pages: new Set(pages.values(log).map(([page]) => Number(page))),
          rows: Number(count.values(range.from, range.to)[0]![0]),
        };
      });
      const commits = tablesByCommit(this.#wal, logs);
      return isWhole() ? commits : null;
    } catch {
      return null; // a SQLite without dbstat
    }
  }

  /** Ends it. */
  end(): void {
    this.#end.run();
  }

  /** Inside the transaction: the schema is not the expected one. */
  schemaMoved(): boolean {
    return this.#schema.moved();
  }

  /** The same in a separate snapshot, independent of a drain. */
  schemaMovedBeside(): boolean {
    return this.#schemaBeside.moved();
  }

  /** Inside the transaction: table ⇒ highest id of its log, in the order of tables; empty logs may be left out. */
  newest(): Map<number, number> {
    return newestOf(this.#newest);
  }

  /** Highest id of every change log that holds rows, in a separate snapshot, independent of a drain. */
  newestIds(): Map<number, number> {
    this.#second.exec("BEGIN");
    try {
      this.#schemaBeside.requireLife();
      return newestOf(this.#newestBeside);
    } finally {
      this.#second.exec("COMMIT");
    }
  }

  close(): void {
    // An open snapshot would keep its place in the WAL until garbage collection.
    if (this.#db.inTransaction) this.#db.exec("ROLLBACK");
    this.#closeSecond();
    this.#closeDb();
  }
}

/** SQLite takes NULL for a declared key of a rowid table, unless it is the rowid. */
function mayHoldNull(db: Database, { name, integerKey, withoutRowid }: TableShape): boolean {
  if (integerKey || withoutRowid) return false;
  const nullable = `SELECT 1 FROM pragma_table_info(?, 'main') WHERE pk > 0 AND NOT "notnull"`;
  return db.prepare(nullable).values(name).length > 0;
}

function newestOf(looks: readonly Statement[]): Map<number, number> {
  const rows = looks.flatMap((look) => look.values() as [bigint, bigint][]);
  return new Map(rows.map(([table, id]) => [Number(table), Number(id)]));
}

/**
 * `marmot restore SOURCE --into-cluster`: makes the content of the application's file that of a backup, in one transaction, as an
 * application would. The node beside it orders the transaction, and every node follows. Rows that do not differ are not written.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { nextTurn, sleep, systemClock } from "../../base/clock.ts";
import { errorMessage, UserError } from "../../base/errors.ts";
import { foldName, isSameName } from "../../base/names.ts";
import { type KeyId, keyValues } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import { compareRows } from "../../replica/copies/compare-rows.ts";
import { removeDatabase } from "../../replica/copies/database-files.ts";
import { readContents } from "../../replica/copies/fill-application.ts";
import { dataPaths } from "../../replication/machine/data-paths.ts";
import { RowAccess } from "../../rows/row-access.ts";
import { writeRows } from "../../rows/write-rows.ts";
import { addStandIns } from "../../schema/classify/writable.ts";
import { shapeOf } from "../../schema/read-shape.ts";
import { isVirtual, withoutShadowTables } from "../../schema/virtual-tables.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { readObjects, readTable } from "../../sqlite/schema.ts";
import { isBusy } from "../../sqlite/locked.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { type AppDatabase, openAppDb } from "../../sqlite/open-app-db.ts";
import { queryOf } from "../../sqlite/query.ts";
import { trusted } from "../../sqlite/typed-rows.ts";
import { fetchBackup, type RestoredFile } from "./restore-file.ts";

/** Comparisons after writing: triggers of the application may write rows, too. */
const MAX_ROUNDS = 8;
/** How long an application may hold the write lock. */
const PATIENCE_MS = 30_000;
const LOOK_MS = 10;

export interface TableChange {
  readonly table: string;
  readonly insert: number;
  readonly update: number;
  readonly delete: number;
}

export interface IntoPlan {
  readonly source: string;
  readonly backup: RestoredFile["backup"];
  /** Tables with differing rows. */
  readonly changes: readonly TableChange[];
  /** Replicated tables that the backup does not have: they stay as they are. */
  readonly untouched: readonly string[];
  /** Tables with rows in the backup that do not replicate here: they are left out. */
  readonly missing: readonly string[];
}

/** The result of `marmot restore --into-cluster`. */
export interface IntoDocument extends IntoPlan {
  readonly written: boolean;
  /** Position before the first row was written. Absent: nothing was written. */
  readonly before?: string;
  /** "": nothing is ordered. */
  readonly position: string;
}

export interface IntoOptions {
  readonly source: string;
  readonly db: string;
  readonly dataDir: string;
}

export class RestoreInto {
  readonly #options: IntoOptions;
  readonly #copy: string;
  #fetched: Pick<IntoPlan, "source" | "backup"> = { source: "", backup: null };

  private constructor(options: IntoOptions) {
    this.#options = options;
    const { backups } = dataPaths(options.dataDir);
    mkdirSync(backups, { recursive: true, mode: 0o700 });
    this.#copy = join(backups, "restoring");
  }

  /** Fetches and checks the backup. The caller closes it. */
  static async open(options: IntoOptions): Promise<RestoreInto> {
    const into = new RestoreInto(options);
    removeDatabase(into.#copy);
    try {
      into.#fetched = await fetchBackup(options.source, into.#copy, dataPaths(options.dataDir).backups);
      return into;
    } catch (error) {
      into.close();
      throw error;
    }
  }

  close(): void {
    removeDatabase(this.#copy);
  }

  /** Compares, and writes nothing. */
  async plan(): Promise<IntoPlan> {
    return this.#with(async (work) => {
      work.app.exec("BEGIN");
      const changes = await work.compare();
      work.app.exec("COMMIT");
      return { ...this.#fetched, changes, untouched: work.untouched, missing: work.missing };
    });
  }

  /** Writes in one transaction. Throws `UserError`; nothing is written then. */
  async write(): Promise<IntoPlan> {
    return this.#with(async (work) => {
      await begin(work.app);
      try {
        const changes = await work.writeAll();
        work.app.exec("COMMIT");
        return { ...this.#fetched, changes, untouched: work.untouched, missing: work.missing };
      } catch (error) {
        if (work.app.isTransaction) work.app.exec("ROLLBACK");
        if (error instanceof UserError) throw error;
        throw new UserError(
          `the file refuses a row of the backup: ${errorMessage(error)}`,
          "a trigger or constraint of the application forbids it; restore the backup as a new file and compare",
          { cause: error },
        );
      }
    });
  }

  async #with<T>(use: (work: IntoWork) => Promise<T>): Promise<T> {
    const paths = dataPaths(this.#options.dataDir);
    const path = this.#copy;
    const state = openDatabase(paths.replica, { readOnly: true, timeout: 5000 });
    const source = openDatabase(path, { readOnly: true });
    const app = openAppDb(this.#options.db, { timeout: 0 });
    try {
      const { shapes, settings, objects } = readContents(state, paths.replica);
      addStandIns(source, objects);
      return await use(new IntoWork({ source, app, encoding: settings.encoding }, shapes));
    } finally {
      app.close();
      source.close();
      state.close();
    }
  }
}

async function begin(app: AppDatabase): Promise<void> {
  for (const end = systemClock.now() + PATIENCE_MS; ; await sleep(systemClock, LOOK_MS))
    try {
      app.beginWriting();
      return;
    } catch (error) {
      if (!isBusy(error)) throw error;
      if (systemClock.now() > end)
        throw new UserError(
          "an application holds the write lock of the file",
          "end its transaction, and give the command again",
          { cause: error },
        );
    }
}

interface Databases {
  readonly source: ReturnType<typeof openDatabase>;
  readonly app: AppDatabase;
  readonly encoding: string;
}

type Differing = [table: number, keyId: KeyId];

class IntoWork {
  readonly app: AppDatabase;
  readonly untouched: readonly string[];
  readonly missing: readonly string[];
  readonly #databases: Databases;
  readonly #shapes: readonly TableShape[];

  constructor(databases: Databases, shapes: readonly TableShape[]) {
    this.app = databases.app;
    this.#databases = databases;
    const query = queryOf(databases.source);
    requireSameEncoding(databases);
    const tables = withoutShadowTables(readObjects(query)).filter((o) => o.kind === "table");
    const found = tables.map((o) => o.name);
    this.missing = tables.flatMap((o) =>
      isVirtual(o) ||
      shapes.some((shape) => isSameName(shape.name, o.name)) ||
      !hasRows(databases.source, o.name)
        ? []
        : [o.name],
    );
    const inBackup = (shape: TableShape): string | undefined =>
      found.find((name) => isSameName(name, shape.name));
    for (const shape of shapes) {
      const name = inBackup(shape);
      if (name !== undefined) requireSameShape(shape, shapeOf(readTable(query, name), shape.id));
    }
    this.#shapes = shapes.filter((shape) => inBackup(shape) !== undefined);
    this.untouched = shapes.flatMap((shape) => (inBackup(shape) === undefined ? [shape.name] : []));
  }

  /** Notes the keys of differing rows in a temporary table. */
  async compare(): Promise<TableChange[]> {
    const { source, app, encoding } = this.#databases;
    app.exec(`CREATE TEMP TABLE IF NOT EXISTS "differs"("tbl" INTEGER, "key"); DELETE FROM temp."differs"`);
    const note = app.prepare(`INSERT INTO temp."differs" VALUES(?, ?)`);
    const counts = new Map<number, { insert: number; update: number; delete: number }>();
    await compareRows({
      ...{ left: source, right: app, shapes: this.#shapes, encoding },
      onDifference: ({ table, keyId, left, right }) => {
        note.run(table.id, keyId);
        let count = counts.get(table.id);
        if (count === undefined) counts.set(table.id, (count = { insert: 0, update: 0, delete: 0 }));
        count[left === null ? "delete" : right === null ? "insert" : "update"]++;
        return true;
      },
      pause: () => nextTurn(),
    });
    return this.#shapes.flatMap((shape) => {
      const count = counts.get(shape.id);
      return count === undefined ? [] : [{ table: shape.name, ...count }];
    });
  }

  /** Inside a write transaction. Returns the changes of the first comparison. */
  async writeAll(): Promise<readonly TableChange[]> {
    const first = await this.compare();
    let left: readonly TableChange[] = first;
    for (let round = 0; left.length > 0 && round < MAX_ROUNDS; round++) {
      for (const shape of this.#shapes) if (left.some((c) => c.table === shape.name)) this.#writeTable(shape);
      await nextTurn();
      left = await this.compare();
    }
    if (left.length === 0) return first;
    throw new UserError(
      `triggers of the application change ${left.map((c) => c.table).join(", ")} again whenever the backup's rows are written`,
      "restore the backup as a new file, and form a new cluster with it",
    );
  }

  #writeTable(shape: TableShape): void {
    const { source, app, encoding } = this.#databases;
    const [wanted, present] = [new RowAccess(source, shape, encoding), new RowAccess(app, shape, encoding)];
    const rows = app.prepare(`SELECT "tbl", "key" FROM temp."differs" WHERE "tbl" = ?`);
    rows.setReturnArrays(true);
    const keys = trusted<Differing[]>(rows.all(shape.id)).map(([, keyId]) => keyValues(shape, keyId));
    const wantedRows = keys.map((key) => ({ key, image: wanted.get(key) }));
    const blocked = writeRows(present, wantedRows, (image) => present.upsert(image));
    if (blocked !== null) throw new Error(`a UNIQUE value of ${shape.name} is in use`);
  }
}

const hasRows = (db: Databases["source"], table: string): boolean =>
  db.prepare(`SELECT 1 FROM main.${quoteIdentifier(table)} LIMIT 1`).get() !== undefined;

function requireSameEncoding({ source, encoding }: Databases): void {
  const row = source.prepare("PRAGMA encoding").get() as { encoding: string };
  if (row.encoding === encoding) return;
  throw new UserError(
    `the backup has the text encoding ${row.encoding}, and the cluster has ${encoding}`,
    "restore it as a new file, and form a new cluster with it",
  );
}

function requireSameShape(here: TableShape, there: TableShape): void {
  const columns = ({ columns }: TableShape): string => columns.map((c) => foldName(c.name)).join(", ");
  const key = ({ key: places, columns: all }: TableShape): string =>
    places.map((k) => foldName(all[k]!.name)).join(", ");
  if (columns(here) === columns(there) && key(here) === key(there)) return;
  throw new UserError(
    `the table ${here.name} has other columns or another key in the backup: (${columns(there)}) with key (${key(there)}), here (${columns(here)}) with key (${key(here)})`,
    "bring the schema of the cluster to that of the backup first, or restore it as a new file",
  );
}

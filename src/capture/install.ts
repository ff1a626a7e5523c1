/**
 * Installs capture in the app database and removes it: one short transaction each, so that an application never sees half
 * of it.
 */
import { randomBytes } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import { UserError } from "../base/errors.ts";
import { showPosition } from "../base/text/position-token.ts";
import { FORMATS, newerFormat } from "../base/versions/formats.ts";
import type { PositionVector } from "../change/batch.ts";
import type { TableShape } from "../change/shape.ts";
import { type CapturedTable, readChangeLogs } from "../rows/change-logs.ts";
import { type FileLife, storeFileLife } from "../rows/file-life.ts";
import { isOwn, readCatalogue } from "../schema/catalogue.ts";
import { readLeftovers } from "../schema/leftovers.ts";
import { changeLogName, APP_DB_FORMAT, APP_DB_TABLES } from "../schema/app-db-tables.ts";
import { hasTable } from "../sqlite/has.ts";
import { isBusy } from "../sqlite/locked.ts";
import { beginWriting } from "../sqlite/open-app-db.ts";
import { queryOf } from "../sqlite/query.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { readTable } from "../sqlite/schema.ts";
import { commitAfter } from "../sqlite/transaction.ts";
import { writeRemembered } from "./remembered.ts";
import { captureObjects } from "./capture-triggers.ts";
import { continueLog } from "./log-ids.ts";
import { createReaderTriggers } from "./reader-triggers.ts";

export interface InstallOptions {
  readonly clusterId: string;
  readonly peerId: string;
  readonly schemaVersion: number;
  /** The position that the file reflects once capture is installed. */
  readonly position: PositionVector;
  /** Table id ⇒ the highest change-log id that this node ever used for the table. Absent: it used none. */
  readonly usedIds?: (table: number) => number;
  /** Absent: a new epoch. */
  readonly life?: FileLife;
  /** The file refuses the writes of its applications. Default: false. */
  readonly isReader?: boolean;
  /** The caller has a write transaction, and commits it. */
  readonly isWithin?: boolean;
}

/** The life of a file in which capture was just installed. */
export const newFileLife = (): FileLife => ({ epoch: randomBytes(16).toString("hex"), life: 1 });

/** The registry of change logs; null: nothing of Marmot is installed. */
export function readCaptured(db: DatabaseSync): CapturedTable[] | null {
  return hasTable(db, "__marmot__table") ? readChangeLogs(db) : null;
}

/** The file's cluster and node; null: nothing of Marmot is installed. Throws `UserError` for a newer format. */
export function readMeta(db: DatabaseSync, file: string): { clusterId: string; peerId: string } | null {
  if (!hasTable(db, "__marmot__meta")) return null;
  const rows = db.prepare(`SELECT "name", "value" FROM "__marmot__meta"`).all() as {
    name: string;
    value: unknown;
  }[];
  const meta = new Map(rows.map((r) => [r.name, r.value]));
  const format = Number(meta.get("format"));
  if (format > FORMATS.appDb.max) throw newerFormat(file, "appDb", format);
  const [clusterId, peerId] = [meta.get("cluster_id"), meta.get("peer_id")];
  if (clusterId === undefined || peerId === undefined) return null; // an application emptied the table
  return { clusterId: String(clusterId), peerId: String(peerId) };
}

/** Milliseconds for which the application may be in the middle of a transaction. */
const WAIT_MS = 10_000;

/** Runs `work` in a write transaction. Waits some seconds for the application's transaction, then throws `UserError`. */
function transaction(db: DatabaseSync, work: () => void): void {
  // Synced: the next steps survive a power cut, so this must, too.
  db.exec(`PRAGMA busy_timeout = ${WAIT_MS}; PRAGMA synchronous = FULL`);
  try {
    begin(db);
    commitAfter(db, work);
  } finally {
    db.exec("PRAGMA busy_timeout = 0");
  }
}

const inside = (_db: DatabaseSync, work: () => void): void => work();

function begin(db: DatabaseSync): void {
  try {
    beginWriting(db);
  } catch (error) {
    if (!isBusy(error)) throw error;
    throw new UserError(
      `another connection has the write lock of ${db.location() ?? "the file"} for more than ${WAIT_MS / 1000} s`,
      "let the application end its transaction, and start again",
      { cause: error },
    );
  }
}

/** A free name for a table's change log: that of Marmot v0.3, with a suffix if an application's object has it. */
export function freeLogName(db: DatabaseSync, table: string): string {
  for (let i = 1; ; i++) {
    const name = i === 1 ? changeLogName(table) : `${changeLogName(table)}_${i}`;
    const taken = db.prepare(`SELECT 1 FROM main.sqlite_schema WHERE name = ? COLLATE NOCASE`).get(name);
    if (taken === undefined) return name;
  }
}

/** Installs everything in a file that has no capture. */
export function install(
  db: DatabaseSync,
  shapes: readonly TableShape[],
  options: InstallOptions,
): CapturedTable[] {
  const captured: CapturedTable[] = [];
  const run = options.isWithin === true ? inside : transaction;
  run(db, () => {
    const state = readCatalogue(queryOf(db));
    for (const sql of Object.values(APP_DB_TABLES)) db.exec(sql);
    const meta = db.prepare(`INSERT INTO "__marmot__meta" VALUES(?, ?)`);
    meta.run("format", BigInt(APP_DB_FORMAT));
    meta.run("cluster_id", options.clusterId);
    meta.run("peer_id", options.peerId);
    const tables = new Map(shapes.map((s) => [s.name, s.id]));
    writeRemembered(db, { version: options.schemaVersion, state, tables, unreconciled: [] });
    const status = db.prepare(`INSERT INTO "__marmot__status" VALUES(?, ?, ?)`);
    status.run("node", "peer_id", options.peerId);
    status.run("node", "position", showPosition(options.position));
    options.position.forEach((index, shard) => status.run("shard", String(shard), BigInt(index)));
    storeFileLife(db, options.life ?? newFileLife());
    for (const shape of shapes) {
      const table = captureTable(db, shape);
      continueLog(db, table.log, options.usedIds?.(shape.id) ?? 0);
      captured.push(table);
    }
    if (options.isReader === true) createReaderTriggers(db);
  });
  return captured;
}

function captureTable(db: DatabaseSync, shape: TableShape): CapturedTable {
  const { id, name } = shape;
  const log = freeLogName(db, name);
  db.prepare(`INSERT INTO "__marmot__table" VALUES(?, ?, ?)`).run(id, name, log);
  for (const object of captureObjects(shape, readTable(queryOf(db), name), log)) db.exec(object.sql);
  return { id, name, log };
}

export interface Removed {
  readonly triggers: number;
  readonly tables: number;
}

/** Removes every trigger, index and table of Marmot: triggers first, or the application's writes would fail in between. */
export function uninstall(db: DatabaseSync): Removed {
  let triggers = 0;
  let tables = 0;
  transaction(db, () => {
    const logs = new Set((readCaptured(db) ?? []).map((c) => c.log));
    const objects = db
      .prepare(`SELECT type, name FROM main.sqlite_schema WHERE type IN ('trigger', 'table', 'index')`)
      .all() as {
      type: string;
      name: string;
    }[];
    for (const { type, name } of objects)
      if (type === "trigger" && isOwn(name) && /^__marmot__\d+_/.test(name)) {
        db.exec(`DROP TRIGGER ${quoteIdentifier(name)}`);
        triggers++;
      } else if (type === "index" && /^__marmot__\d+_keep$/.test(name)) {
        db.exec(`DROP INDEX ${quoteIdentifier(name)}`);
      }
    const own = new Set<string>([...logs, ...Object.keys(APP_DB_TABLES).map((t) => `__marmot__${t}`)]);
    for (const { type, name } of objects)
      if (type === "table" && own.has(name)) {
        db.exec(`DROP TABLE ${quoteIdentifier(name)}`);
        tables++;
      }
  });
  return { triggers, tables };
}

/** Removes what older replicators left in the file: those of maxpert/marmot, and of HarmonyLite where `alsoOthers` says so. */
export function removeLeftovers(db: DatabaseSync, alsoOthers: boolean): Removed {
  const removed = { triggers: 0, tables: 0 };
  const isWanted = (of: string): boolean => alsoOthers || of === "maxpert/marmot";
  if (!readLeftovers(queryOf(db)).some(({ of }) => isWanted(of))) return removed;
  transaction(db, () => {
    const leftovers = readLeftovers(queryOf(db)).filter(({ of }) => isWanted(of));
    for (const kind of ["trigger", "table"] as const)
      for (const { name } of leftovers.filter((l) => l.kind === kind)) {
        db.exec(`DROP ${kind === "trigger" ? "TRIGGER" : "TABLE"} ${quoteIdentifier(name)}`);
        removed[`${kind}s`]++;
      }
  });
  return removed;
}

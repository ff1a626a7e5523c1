/**
 * Capture after a schema change: creates missing objects, re-creates wrong ones, and drops those of dropped tables. Works
 * inside a transaction of the caller.
 */
import { isSameName } from "../base/names.ts";
import type { DatabaseSync } from "node:sqlite";
import type { TableShape } from "../change/shape.ts";
import {
  changeLogSql,
  keepIndexName,
  PREFIX,
  TRIGGER_KINDS,
  type TriggerKind,
  triggerName,
} from "../schema/app-db-tables.ts";
import { mentions } from "../sqlite/ddl-text/index-text.ts";
import { hasIndex, hasTable, tableNames } from "../sqlite/has.ts";
import { beginWriting } from "../sqlite/open-app-db.ts";
import { queryOf } from "../sqlite/query.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { commitAfter } from "../sqlite/transaction.ts";
import { keyColumns, readTable } from "../sqlite/schema.ts";
import { type CapturedTable, readAcknowledged, STORE_ACKNOWLEDGED } from "../rows/change-logs.ts";
import { captureObjects } from "./capture-triggers.ts";
import { freeLogName, readCaptured } from "./install.ts";
import { continueLog, isLogComplete } from "./log-ids.ts";
import { isReaderTrigger } from "./reader-triggers.ts";

export interface WantedCapture {
  /** The table in the file. */
  readonly shape: TableShape;
  /** The file's names of the columns of the cluster's table; null: they are the shape's. */
  readonly recorded: readonly string[] | null;
}

interface ExistingTrigger {
  readonly name: string;
  readonly table: string;
  readonly sql: string;
  /** Rises with each new trigger. The newest trigger fires first. */
  readonly place: number;
}

function readTriggers(db: DatabaseSync): ExistingTrigger[] {
  const rows = queryOf(db)(
    `SELECT name, tbl_name, sql, rowid FROM main.sqlite_schema WHERE type = 'trigger'`,
  );
  return rows.map(([name, table, sql, place]) => ({
    name: String(name),
    table: String(table),
    sql: String(sql),
    place: Number(place),
  }));
}

const idOf = (trigger: string): number | null => {
  const match = /^__marmot__(\d+)_/.exec(trigger);
  return match === null ? null : Number(match[1]);
};

/** The highest log id of a table that was ever used. */
export type UsedIds = (table: number) => number;

/**
 * Ids of registered tables whose writes were all captured up to now: all of the table's triggers are on one table, and its
 * log exists and has all of its rows. `used`: as other sources than the file know it.
 */
export function capturedWhole(
  db: DatabaseSync,
  captured: readonly CapturedTable[],
  used: UsedIds = () => 0,
): Set<number> {
  const query = queryOf(db);
  const there = tableNames(db);
  const triggers = new Map(readTriggers(db).map((t) => [t.name, t]));
  const whole = new Set<number>();
  const acknowledged = readAcknowledged(db);
  for (const { id, log } of captured) {
    const on = (kind: TriggerKind): string => triggers.get(triggerName(id, kind))?.table ?? "";
    const name = on("insert");
    if (name === "" || !there.has(log)) continue;
    if (!isLogComplete(db, log, Math.max(used(id), acknowledged.get(id) ?? 0))) continue;
    const table = readTable(query, name);
    const evicts = table.uniques.some((u) => u.origin !== "pk");
    const needed = TRIGGER_KINDS.filter((kind) => evicts || !kind.startsWith("evict"));
    // Without its index a table without a declared key may have other rowids by now.
    const isKept = keyColumns(table).length > 0 || hasIndex(db, keepIndexName(id));
    if (isKept && needed.every((kind) => on(kind) === name) && !isCutShort(triggers.values(), id, name))
      whole.add(id);
  }
  return whole;
}

/** A trigger created since then fires before Marmot's. With RAISE(IGNORE) or FAIL the row stays and is not captured. */
function isCutShort(triggers: Iterable<ExistingTrigger>, id: number, table: string): boolean {
  const on = [...triggers].filter((t) => isSameName(t.table, table));
  const oldest = Math.min(...on.filter((t) => idOf(t.name) === id).map((t) => t.place));
  return on.some((t) => idOf(t.name) === null && t.place > oldest && mentions(t.sql, "RAISE"));
}

export interface RecaptureScope {
  /** The capture of all other tables stays, since it may still be needed. Absent: it is removed. */
  readonly keep?: boolean;
  /** Ids of tables whose capture stays as it is. Absent: none. */
  readonly apart?: ReadonlySet<number>;
}

/** A log that was lost, or lost rows, goes on after the ids that were used. */
export function recapture(
  db: DatabaseSync,
  wanted: readonly WantedCapture[],
  used: UsedIds,
  { keep = false, apart = new Set() }: RecaptureScope = {},
): CapturedTable[] {
  const before = new Map((readCaptured(db) ?? []).map((c) => [c.id, c]));
  const acknowledged = readAcknowledged(db);
  const ids = new Set([...wanted.map((w) => w.shape.id), ...apart]);
  const triggers = readTriggers(db);
  if (!keep) {
    for (const { name } of triggers) {
      const id = idOf(name);
      if (id !== null && !ids.has(id)) db.exec(`DROP TRIGGER ${quoteIdentifier(name)}`);
    }
    for (const { id, log } of before.values()) if (!ids.has(id)) forget(db, id, log);
  }
  const register = db.prepare(`INSERT OR REPLACE INTO "__marmot__table" VALUES(?, ?, ?)`);
  const captured = wanted.map(({ shape, recorded }): CapturedTable => {
    const log = before.get(shape.id)?.log ?? freeLogName(db, shape.name);
    if (!hasTable(db, log)) db.exec(changeLogSql(log, shape.key.length));
    continueLog(db, log, Math.max(used(shape.id), acknowledged.get(shape.id) ?? 0));
    register.run(shape.id, shape.name, log);
    createTriggers(db, { shape, log, recorded }, triggers);
    return { id: shape.id, name: shape.name, log };
  });
  const untouched = [...before.values()].filter(({ id }) => apart.has(id));
  storeAcknowledged(db, [...captured, ...untouched], acknowledged);
  return captured;
}

/** Acknowledged ids are stored under table names, which may be others now. */
function storeAcknowledged(
  db: DatabaseSync,
  captured: readonly CapturedTable[],
  acknowledged: ReadonlyMap<number, number>,
): void {
  db.exec(`DELETE FROM "__marmot__status" WHERE "item" = 'acknowledged'`);
  const put = db.prepare(STORE_ACKNOWLEDGED);
  for (const { id, name } of captured) if (acknowledged.has(id)) put.run(name, BigInt(acknowledged.get(id)!));
}

/** Eviction triggers as this version writes them, in a file of an older one. In a write transaction of its own. */
export function renewEvictions(
  db: DatabaseSync,
  shapeNamed: (name: string, id: number) => TableShape | null,
): void {
  if (outdatedEvictions(db, shapeNamed).length === 0) return;
  beginWriting(db);
  commitAfter(db, () => {
    for (const { name, sql } of outdatedEvictions(db, shapeNamed)) {
      db.exec(`DROP TRIGGER ${quoteIdentifier(name)}`);
      db.exec(sql);
    }
  });
}

function outdatedEvictions(
  db: DatabaseSync,
  shapeNamed: (name: string, id: number) => TableShape | null,
): { readonly name: string; readonly sql: string }[] {
  const there = new Map(readTriggers(db).map((t) => [t.name, t]));
  return (readCaptured(db) ?? []).flatMap(({ id, name, log }) => {
    // A table that was renamed or dropped is captured again when its schema is followed.
    const on = there.get(triggerName(id, "evict_insert"))?.table;
    const shape = on === undefined || !isSameName(on, name) ? null : shapeNamed(on, id);
    if (shape === null) return [];
    const objects = captureObjects(shape, readTable(queryOf(db), shape.name), log);
    return objects.filter((o) => {
      const old = o.kind === "trigger" && o.name.includes("_evict_") ? there.get(o.name) : undefined;
      return old !== undefined && isSameName(old.table, shape.name) && old.sql !== o.sql;
    });
  });
}

/** Removes the capture of tables, their logs included. */
export function uncapture(db: DatabaseSync, ids: readonly number[]): void {
  const captured = readCaptured(db) ?? [];
  for (const { name } of readTriggers(db)) {
    const id = idOf(name);
    if (id !== null && ids.includes(id)) db.exec(`DROP TRIGGER ${quoteIdentifier(name)}`);
  }
  for (const { id, name, log } of captured) {
    if (!ids.includes(id)) continue;
    forget(db, id, log);
    db.prepare(`DELETE FROM "__marmot__status" WHERE "item" = 'acknowledged' AND "name" = ?`).run(name);
  }
}

/** Drops the log of a table, and everything that is stored about its log rows. */
function forget(db: DatabaseSync, id: number, log: string): void {
  db.exec(`DROP TABLE IF EXISTS ${quoteIdentifier(log)}`);
  db.exec(`DROP INDEX IF EXISTS ${quoteIdentifier(keepIndexName(id))}`);
  for (const table of ["table", "base", "shadow", "awaited"])
    db.prepare(`DELETE FROM "${PREFIX}${table}" WHERE "id" = ?`).run(id);
}

/** Marmot's triggers of a table are newer than the application's, so that they fire first. */
function createTriggers(
  db: DatabaseSync,
  { shape, log, recorded }: WantedCapture & { readonly log: string },
  existing: readonly ExistingTrigger[],
): void {
  const table = readTable(queryOf(db), shape.name);
  const objects = captureObjects(shape, table, log, recorded);
  const index = keepIndexName(shape.id);
  const keeps = objects.find((o) => o.kind === "index");
  if (keeps === undefined) db.exec(`DROP INDEX IF EXISTS ${quoteIdentifier(index)}`);
  else if (!hasIndex(db, index)) db.exec(keeps.sql);
  const wanted = objects.filter((o) => o.kind === "trigger");
  const own = existing.filter((t) => idOf(t.name) === shape.id && !isReaderTrigger(t.name));
  const others = existing.filter((t) => idOf(t.name) === null && isSameName(t.table, shape.name));
  const newest = Math.max(0, ...others.map((t) => t.place));
  const there = new Map(own.map((t) => [t.name, t]));
  const right =
    own.length === wanted.length &&
    wanted.every(({ name, sql }) => there.get(name)?.sql === sql && there.get(name)!.place > newest);
  if (right) return;
  for (const { name } of own) db.exec(`DROP TRIGGER IF EXISTS ${quoteIdentifier(name)}`);
  for (const { sql } of wanted) db.exec(sql);
}

/**
 * Marmot's own tables inside the app database (L): their names, SQL and columns. Capture installs them, reflect maintains
 * them, cleanup removes them. Marmot has nothing else in the file but the change logs, triggers and `keepIndexName` indexes.
 */
import { quoteIdentifier } from "../sqlite/quote.ts";

/**
 * Version of Marmot's objects in L that this build writes. Version 2 added the indexes that keep rowids
 * (`keepIndexName`), and the schema that the file last reflected; opening an older file writes it. Version 3 added `awaited`: an
 * older build would not restore its rows.
 */
export const APP_DB_FORMAT = 3;

/** The names of all of Marmot's objects in L begin with this. */
export const PREFIX = "__marmot__";

export const APP_DB_TABLES = {
  /**
   * Facts that rarely change, one per row: `format`, `cluster_id`, `peer_id`, `schema` and `schema_version` (the cluster's
   * schema that the file last reflected, and its version; see `capture/remembered.ts`).
   */
  meta: `CREATE TABLE "__marmot__meta"("name" TEXT PRIMARY KEY, "value") WITHOUT ROWID`,
  /**
   * For applications and people. ('node', 'peer_id', id): once. ('shard', '<n>', index): the position that this file reflects;
   * ('node', 'position', 'c:812'): the same of all shards as one text.
   * ('acknowledged', '<table>', id): the table's changes are ordered up to this change-log id.
   */
  status: `CREATE TABLE "__marmot__status"("item" TEXT, "name" TEXT, "value", PRIMARY KEY("item", "name")) WITHOUT ROWID`,
  /**
   * Captured tables and their change logs. `id`: `TableShape.id`, stable over RENAME. `log`: the change log's name. Triggers
   * are named by id (`triggerName`), so that the name of a table cannot clash with the triggers of another one.
   */
  table: `CREATE TABLE "__marmot__table"("id" INTEGER PRIMARY KEY, "name" TEXT, "log" TEXT)`,
  /**
   * Base positions. Log rows of table `id` with an id ≥ `next_id`, up to the next record of the table, were written while this
   * file reflected `position`. That is a vector of 8 bytes per shard, little endian. Pruned on acknowledgement.
   */
  base: `CREATE TABLE "__marmot__base"("id" INTEGER, "next_id" INTEGER, "position" BLOB, PRIMARY KEY("id", "next_id")) WITHOUT ROWID`,
  /**
   * Withheld rows: this file shows them as of an older position. Either an unacknowledged row holds one of their UNIQUE values,
   * or they were unacknowledged while other nodes changed them. `key`: an encoded image of the key's columns.
   * `position`: the older position.
   */
  shadow: `CREATE TABLE "__marmot__shadow"("id" INTEGER, "key" BLOB, "position" BLOB, PRIMARY KEY("id", "key")) WITHOUT ROWID`,
  /** Rows that a schema change rejected, until they are in the conflict journal; see `schema-sync/keep-rejects.ts`. */
  lost: `CREATE TABLE IF NOT EXISTS "__marmot__lost"("id" INTEGER PRIMARY KEY, "rows" TEXT)`,
  /**
   * Rows to restore: a schema change removed them from this file, but the replica has them. The next reflection writes them
   * again and empties this table. `id`: the table. `key`: a `KeyId`; an empty BLOB: every row of the table. See
   * `schema-sync/rows-to-restore.ts`.
   */
  awaited: `CREATE TABLE IF NOT EXISTS "__marmot__awaited"("id" INTEGER, "key", PRIMARY KEY("id", "key")) WITHOUT ROWID`,
} as const;

export const TRIGGER_KINDS = [
  "insert",
  "update",
  "delete",
  "rekey",
  "columns",
  "evict_insert",
  "evict_update",
] as const;
export type TriggerKind = (typeof TRIGGER_KINDS)[number];

/** Unquoted. SQLite prints the name when DROP COLUMN fails, so the names of eviction triggers contain the hint. */
export function triggerName(tableId: number, kind: TriggerKind): string {
  if (kind === "evict_insert" || kind === "evict_update")
    return `${PREFIX}${tableId}_${kind} (drop the index and the column in separate transactions)`;
  return `${PREFIX}${tableId}_${kind}`;
}

/** They refuse the writes of applications; see `capture/reader-triggers.ts`. */
export const READER_TRIGGER_KINDS = ["reader_insert", "reader_update", "reader_delete"] as const;
export type ReaderTriggerKind = (typeof READER_TRIGGER_KINDS)[number];

export const readerTriggerName = (tableId: number, kind: ReaderTriggerKind): string =>
  `${PREFIX}${tableId}_${kind}`;

/** The index of a table without a declared key, named by id as the triggers are. Unquoted. */
export const keepIndexName = (tableId: number): string => `${PREFIX}${tableId}_keep`;

/** As maxpert/marmot v0.3 names it. The caller adds a suffix where the name is taken. Unquoted. */
export const changeLogName = (table: string): string => `${PREFIX}${table}_change_log`;

/**
 * `columns`: number of key columns. `id` only grows, because the highest row is never deleted. `v` = 1: a suspected eviction;
 * 0: the suspicion was wrong.
 */
export function changeLogSql(log: string, columns: number): string {
  const keys = Array.from({ length: columns }, (_, i) => `k${i + 1}`);
  return `CREATE TABLE ${quoteIdentifier(log)}(id INTEGER PRIMARY KEY, ${keys.join(", ")}, v)`;
}

/** More logs in one statement take SQLite more time for each: eight statements for 200 logs a sixth of the time of one. */
const LOGS_AT_ONCE = 25;

/** In place of the highest id of a log without its mark (row 0): an application deleted rows of the log. */
export const CUT_LOG = -1;

/**
 * Statements that together return [table id, highest log id] of every log that holds a change: few statements, however many
 * tables. A log that lost its mark has `CUT_LOG` in place of the id.
 */
export function newestIdsSql(logs: readonly { readonly id: number; readonly log: string }[]): string[] {
  const selects = logs.map(({ id, log }) => {
    const name = `main.${quoteIdentifier(log)}`;
    return `SELECT ${id} t, CASE WHEN EXISTS(SELECT 1 FROM ${name} WHERE id = 0) THEN (SELECT max(id) FROM ${name}) ELSE ${CUT_LOG} END n`;
  });
  const statements: string[] = [];
  for (let i = 0; i < selects.length; i += LOGS_AT_ONCE)
    statements.push(
      `SELECT t, n FROM (${selects.slice(i, i + LOGS_AT_ONCE).join(" UNION ALL ")}) WHERE n <> 0`,
    );
  return statements;
}

export function encodePosition(position: readonly number[]): Uint8Array {
  const out = Buffer.alloc(position.length * 8);
  position.forEach((index, i) => out.writeBigUInt64LE(BigInt(index), i * 8));
  return out;
}

export function decodePosition(bytes: Uint8Array): number[] {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return Array.from({ length: bytes.length / 8 }, (_, i) => Number(view.readBigUInt64LE(i * 8)));
}

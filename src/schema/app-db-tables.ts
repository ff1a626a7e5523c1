/**
 * Marmot's own tables inside the application's file (L): names, SQL and what each column holds. Capture installs them,
 * reflect keeps them, cleanup removes them; nothing else in the file is Marmot's but the change logs and triggers.
 */
import { quoteIdentifier } from "../sqlite/quote.ts";

/**
 * Version of everything Marmot keeps in L. A newer one is refused. 2: indexes that keep rowids (`keepIndexName`), and the
 * schema that the file last reflected, which an older file begins to remember when it is opened. 3: `awaited`, which an older
 * build would not bring back.
 */
export const APP_DB_FORMAT = 3;

/** Every object of Marmot in L starts with this. */
export const PREFIX = "__marmot__";

export const APP_DB_TABLES = {
  /**
   * Facts that rarely change, one a row: `format`, `cluster_id`, `peer_id`, `schema` and `schema_version` (the cluster's
   * schema that the file last reflected, and its version; see `capture/remembered.ts`).
   */
  meta: `CREATE TABLE "__marmot__meta"("name" TEXT PRIMARY KEY, "value") WITHOUT ROWID`,
  /**
   * For applications and people: ('node', 'peer_id', id) once, ('shard', '<n>', index) the position this file reflects,
   * ('acknowledged', '<table>', id) the change-log id up to which the table's changes are ordered.
   */
  status: `CREATE TABLE "__marmot__status"("item" TEXT, "name" TEXT, "value", PRIMARY KEY("item", "name")) WITHOUT ROWID`,
  /**
   * Which table has which change log. `id`: `TableShape.id`, stable over RENAME. `log`: the change log's name. Triggers
   * are named by id (`triggerName`), so that no table's name can clash with another's triggers.
   */
  table: `CREATE TABLE "__marmot__table"("id" INTEGER PRIMARY KEY, "name" TEXT, "log" TEXT)`,
  /**
   * Log rows of table `id` with an id ≥ `next_id` were written while this file reflected `position` (a vector, 8 bytes
   * little endian per shard), up to the next record of the same table. Pruned on acknowledgement.
   */
  base: `CREATE TABLE "__marmot__base"("id" INTEGER, "next_id" INTEGER, "position" BLOB, PRIMARY KEY("id", "next_id")) WITHOUT ROWID`,
  /**
   * Rows that this file shows as of an older position: because a pending row holds one of their UNIQUE values, or because
   * they stayed pending while others changed them. Key as an encoded image of the key's columns, and that position.
   */
  shadow: `CREATE TABLE "__marmot__shadow"("id" INTEGER, "key" BLOB, "position" BLOB, PRIMARY KEY("id", "key")) WITHOUT ROWID`,
  /** Rows that a change of the schema left no room for, until they are in the journal; see `schema-sync/keep-rejects.ts`. */
  lost: `CREATE TABLE IF NOT EXISTS "__marmot__lost"("id" INTEGER PRIMARY KEY, "rows" TEXT)`,
  /**
   * Rows of table `id` that a change of the schema took out of this file, though the replica has them: they come back with
   * the next reflection, which empties this. `key`: a `KeyId`; an empty BLOB: every row of the table. See `schema-sync/rows-to-restore.ts`.
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

/** Unquoted. Eviction triggers say in their name what to do, because SQLite prints it when DROP COLUMN fails. */
export function triggerName(tableId: number, kind: TriggerKind): string {
  if (kind === "evict_insert" || kind === "evict_update")
    return `${PREFIX}${tableId}_${kind} (drop the index and the column in separate transactions)`;
  return `${PREFIX}${tableId}_${kind}`;
}

/** Of a table without a declared key: named by id, as the triggers are. Unquoted. */
export const keepIndexName = (tableId: number): string => `${PREFIX}${tableId}_keep`;

/** The ancestor's name; a suffix where the name is taken is the caller's business. Unquoted. */
export const changeLogName = (table: string): string => `${PREFIX}${table}_change_log`;

/** `columns`: number of key columns. `id` grows for ever: the highest row is never deleted. `v` = 1: a suspected eviction; 0: one that was none. */
export function changeLogSql(log: string, columns: number): string {
  const keys = Array.from({ length: columns }, (_, i) => `k${i + 1}`);
  return `CREATE TABLE ${quoteIdentifier(log)}(id INTEGER PRIMARY KEY, ${keys.join(", ")}, v)`;
}

/** SQLite takes 500 terms in a compound. */
const LOGS_AT_ONCE = 200;

/** Statements that together give [table id, highest log id] of every log that holds a row: one look, however many tables. */
export function newestIdsSql(logs: readonly { readonly id: number; readonly log: string }[]): string[] {
  const looks = logs.map(({ id, log }) => `SELECT ${id} t, max(id) n FROM main.${quoteIdentifier(log)}`);
  const statements: string[] = [];
  for (let i = 0; i < looks.length; i += LOGS_AT_ONCE)
    statements.push(`SELECT t, n FROM (${looks.slice(i, i + LOGS_AT_ONCE).join(" UNION ALL ")}) WHERE n > 0`);
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

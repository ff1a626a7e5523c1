/**
 * Triggers that refuse the writes of applications in the file of a reader, and say why. Marmot's own connection silences them
 * like its other triggers.
 */
import type { DatabaseSync } from "node:sqlite";
import { type CapturedTable, readChangeLogs } from "../rows/change-logs.ts";
import { type ReaderTriggerKind, READER_TRIGGER_KINDS, readerTriggerName } from "../schema/app-db-tables.ts";
import { hasTable } from "../sqlite/has.ts";
import { queryOf } from "../sqlite/query.ts";
import { quoteIdentifier, quoteText } from "../sqlite/quote.ts";

const REASON =
  "this node is a reader and refuses writes of its applications: write on another node of the cluster, or give this node " +
  "a vote with marmot members promote";

const EVENTS: Readonly<Record<ReaderTriggerKind, string>> = {
  reader_insert: "INSERT",
  reader_update: "UPDATE",
  reader_delete: "DELETE",
};

export const isReaderTrigger = (name: string): boolean => /^__marmot__\d+_reader_/.test(name);

function triggersOf({ id, name }: CapturedTable): { readonly name: string; readonly sql: string }[] {
  return READER_TRIGGER_KINDS.map((kind) => {
    const trigger = readerTriggerName(id, kind);
    const on = `BEFORE ${EVENTS[kind]} ON ${quoteIdentifier(name)}`;
    const refuse = `SELECT RAISE(ABORT, ${quoteText(REASON)});`;
    return { name: trigger, sql: `CREATE TRIGGER ${quoteIdentifier(trigger)} ${on} BEGIN ${refuse} END` };
  });
}

/** Names of the triggers in the file, with their tables. */
function present(db: DatabaseSync): Map<string, string> {
  const rows = queryOf(db)(`SELECT name, tbl_name FROM main.sqlite_schema WHERE type = 'trigger'`);
  return new Map(
    rows
      .map(([name, table]) => [String(name), String(table)] as const)
      .filter(([name]) => isReaderTrigger(name)),
  );
}

/** The file is that of a reader. */
export const isReaderFile = (db: DatabaseSync): boolean => present(db).size > 0;

/** The file has these triggers on all of its captured tables, or none where it should have none. */
export function hasReaderTriggers(db: DatabaseSync, isReader: boolean): boolean {
  const there = present(db);
  if (!isReader) return there.size === 0;
  const wanted = writable(db).flatMap((table) =>
    READER_TRIGGER_KINDS.map((kind) => readerTriggerName(table.id, kind)),
  );
  return there.size === wanted.length && wanted.every((name) => there.has(name));
}

/** Captured tables that the file has under their names. */
const writable = (db: DatabaseSync): readonly CapturedTable[] =>
  hasTable(db, "__marmot__table") ? readChangeLogs(db).filter(({ name }) => hasTable(db, name)) : [];

/** Inside a write transaction of Marmot. */
export function dropReaderTriggers(db: DatabaseSync): void {
  for (const name of present(db).keys()) db.exec(`DROP TRIGGER ${quoteIdentifier(name)}`);
}

/** Inside a write transaction of Marmot, in a file without such triggers. */
export function createReaderTriggers(db: DatabaseSync): void {
  for (const table of writable(db)) for (const { sql } of triggersOf(table)) db.exec(sql);
}

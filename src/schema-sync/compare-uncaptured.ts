/**
 * Tables that were written while nothing captured them, against the replica: what differs gets log rows. What Marmot itself
 * took out of the file, or does not show for now, does not: nobody deleted it.
 */
import { readCaptured } from "../capture/install.ts";
import { readRemembered, writeRemembered } from "../capture/remembered.ts";
import { type KeyId, keyValues } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import type { CapturedTable } from "../rows/change-logs.ts";
import type { Replica } from "../replica/replica.ts";
import type { SchemaChange } from "../schema/diff/change.ts";
import { LOCKED_MS } from "../sqlite/locked.ts";
import { openDatabase } from "../sqlite/open.ts";
import { openAppDb } from "../sqlite/open-app-db.ts";
import { readStoredState } from "../app-db/stored-state.ts";
import { renumberedTables } from "./rekeyed-tables.ts";
import type { SchemaFile } from "./workspace.ts";
import { logDifferences, snapshotOf, type Waits, writing } from "./log-differences.ts";

/** A read snapshot and short transactions. */
export function* compareUncaptured(schema: SchemaFile): Waits {
  const { file, replicaFile, connection, replica } = schema.components;
  const { db } = connection;
  const { unreconciled, ...remembered } = readRemembered(db)!;
  const captured = readCaptured(db)!;
  const tables = tablesOf(captured, replica, unreconciled);
  const { encoding } = replica.settings;
  const options = { readOnly: true, timeout: LOCKED_MS };
  const state = snapshotOf(() => openDatabase(replicaFile, options));
  const appDb = snapshotOf(() => openAppDb(file, options));
  try {
    const isAbsent = absentRows(schema, tables, replica, []);
    yield* logDifferences({ replica: state, appDb, db }, tables, encoding, isAbsent);
  } finally {
    state.close();
    appDb.close();
  }
  yield* writing(db, () => writeRemembered(db, { ...remembered, unreconciled: [] }));
}

/**
 * Rows that the file has not, though `of`, the replica or what it will be, may have them, and that come back by themselves.
 * `changes` lead to it from what the file remembers.
 */
export function absentRows(
  { components, awaited }: SchemaFile,
  tables: readonly LoggedTable[],
  of: Replica,
  changes: readonly SchemaChange[],
): (table: number, keyId: KeyId) => boolean {
  const { db } = components.connection;
  const shapes = new Map(tables.map(({ shape }) => [shape.id, shape]));
  const { withheld } = readStoredState(db, [...shapes.values()], of.settings.shards);
  const before = awaited.all();
  const renumbered = before.size === 0 ? null : renumberedTables(readRemembered(db)!, changes, of);
  return (table, keyId) => {
    if (withheld.get(table, keyId) !== undefined) return true;
    const anew = renumbered?.get(table);
    if (anew === undefined) return awaited.has(table, keyId);
    const row = of.row(table, keyValues(shapes.get(table)!, keyId));
    if (row === null || anew.keyBefore === null) return before.has(anew.had);
    return awaited.has(anew.had, anew.keyBefore(row));
  };
}

export interface LoggedTable {
  readonly shape: TableShape;
  readonly log: string;
}

/** Of those that the replica has. */
export function tablesOf(
  captured: readonly CapturedTable[],
  { shapes }: Replica,
  ids: readonly number[],
): LoggedTable[] {
  return captured.flatMap(({ id, log }) => {
    const shape = shapes.get(id);
    return shape === undefined || !ids.includes(id) ? [] : [{ shape, log }];
  });
}

/**
 * Compares unreconciled tables, which were written while no trigger captured them, with the replica: rows that differ get log
 * rows. Rows that Marmot removed from the file and withheld rows get none, since no application deleted them.
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
import { rekeyedTables } from "./rekeyed-tables.ts";
import type { SchemaWorkspace } from "./workspace.ts";
import { logDifferences, snapshotOf, type Waits, writing } from "./log-differences.ts";

/** Reads one snapshot and writes in short transactions. `silent`: ids of tables that cannot be compared for now. */
export function* compareUncaptured(workspace: SchemaWorkspace, silent: ReadonlySet<number>): Waits {
  const { file, replicaFile, connection, replica } = workspace.components;
  const { db } = connection;
  const { unreconciled, ...remembered } = readRemembered(db)!;
  const captured = readCaptured(db)!;
  const due = unreconciled.filter((id) => !silent.has(id));
  const tables = tablesOf(captured, replica, due);
  const { encoding } = replica.settings;
  const options = { readOnly: true, timeout: LOCKED_MS };
  const state = snapshotOf(() => openDatabase(replicaFile, options));
  const appDb = snapshotOf(() => openAppDb(file, options));
  try {
    const isAbsent = absentRows(workspace, { tables, of: replica, changes: [] });
    yield* logDifferences({ replica: state, appDb, connection }, tables, encoding, isAbsent);
  } finally {
    state.close();
    appDb.close();
  }
  const left = unreconciled.filter((id) => silent.has(id));
  yield* writing(connection, () => writeRemembered(db, { ...remembered, unreconciled: left }));
}

export interface AbsentRowsOptions {
  readonly tables: readonly LoggedTable[];
  /** The replica, or a trial of its next state. */
  readonly of: Replica;
  /** Lead from the remembered schema of the file to the schema of `of`. */
  readonly changes: readonly SchemaChange[];
}

/** Whether the file lacks a row for now, though `of` may have it, and a reflection will restore it. */
export function absentRows(
  { components, toRestore }: SchemaWorkspace,
  { tables, of, changes }: AbsentRowsOptions,
): (table: number, keyId: KeyId) => boolean {
  const { db } = components.connection;
  const shapes = new Map(tables.map(({ shape }) => [shape.id, shape]));
  const { withheld } = readStoredState(db, [...shapes.values()], of.settings.shards);
  const before = toRestore.all();
  const rekeyed = before.size === 0 ? null : rekeyedTables(readRemembered(db)!, changes, of);
  return (table, keyId) => {
    if (withheld.get(table, keyId) !== undefined) return true;
    const rekeyedTable = rekeyed?.get(table);
    if (rekeyedTable === undefined) return toRestore.has(table, keyId);
    const row = of.row(table, keyValues(shapes.get(table)!, keyId));
    if (row === null || rekeyedTable.keyBefore === null) return before.has(rekeyedTable.had);
    return toRestore.has(rekeyedTable.had, rekeyedTable.keyBefore(row));
  };
}

interface LoggedTable {
  readonly shape: TableShape;
  readonly log: string;
}

/** The tables among `ids` that the replica has. */
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

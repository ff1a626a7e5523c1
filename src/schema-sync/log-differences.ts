/**
 * Writes log rows, as the capture triggers do, for rows of unreconciled tables that differ from the replica. Uses short
 * transactions, so that an application waits only for a few rows.
 */
import type { DatabaseSync } from "node:sqlite";
import { type KeyId, keyIdOf } from "../change/key.ts";
import type { Value } from "../change/value.ts";
import { type AppDbConnection, requireSameFile } from "../reflect/app-db-connection.ts";
import { isBusy } from "../sqlite/locked.ts";
import { beginWriting } from "../sqlite/open-app-db.ts";
import { differingKeys } from "../replica/copies/compare-rows.ts";
import { type LoggedTable, writeLogKeys } from "../rows/log-keys.ts";
import { RowAccess } from "../rows/row-access.ts";
import { commitAfter } from "../sqlite/transaction.ts";

/** Log rows written in one transaction. */
const LOGGED_AT_ONCE = 2000;

/** Yields "busy" while an application holds the write lock, undefined between slices of work. */
export type Waits = Generator<"busy" | undefined, void>;

/**
 * `replica` and `appDb` hold read snapshots; `db` writes the file. `isToRestore`: the file lacks the row only because Marmot
 * removed it and will restore the row of the replica; no application deleted it.
 */
export function* logDifferences(
  sides: {
    readonly replica: DatabaseSync;
    readonly appDb: DatabaseSync;
    readonly connection: AppDbConnection;
  },
  tables: readonly LoggedTable[],
  encoding: string,
  isToRestore: (table: number, keyId: KeyId) => boolean,
): Waits {
  const { replica: left, appDb: right, connection } = sides;
  for (const { shape, log } of tables) {
    const there = new RowAccess(right, shape, encoding);
    let keys: (readonly Value[])[] = [];
    for (const key of differingKeys({ left, right, table: shape, encoding })) {
      if (key !== null && isToRestore(shape.id, keyIdOf(shape, key)) && there.get(key) === null) continue;
      if (key !== null && keys.push(key) < LOGGED_AT_ONCE) continue;
      if (keys.length >= LOGGED_AT_ONCE) {
        yield* writing(connection, () => writeLogKeys(connection.db, { shape, log }, keys));
        keys = [];
      }
      yield;
    }
    if (keys.length > 0) yield* writing(connection, () => writeLogKeys(connection.db, { shape, log }, keys));
  }
}

/** Writes log rows for the given keys without a comparison. */
export function* logKeys(
  connection: AppDbConnection,
  { shape, log }: LoggedTable,
  keys: readonly (readonly Value[])[],
): Waits {
  for (let i = 0; i < keys.length; i += LOGGED_AT_ONCE)
    yield* writing(connection, () =>
      writeLogKeys(connection.db, { shape, log }, keys.slice(i, i + LOGGED_AT_ONCE)),
    );
}

/** One write transaction, as soon as no application holds the write lock. */
export function* writing(connection: AppDbConnection, work: () => void): Waits {
  const { db, life } = connection;
  for (;;) {
    try {
      beginWriting(db);
      break;
    } catch (error) {
      if (!isBusy(error)) throw error;
      yield "busy";
    }
  }
  let committed = (): void => {};
  commitAfter(db, () => {
    requireSameFile(connection);
    work();
    committed = life.raise();
  });
  committed();
}

/** A connection with a read snapshot of the current commits. */
export function snapshotOf(open: () => DatabaseSync): DatabaseSync {
  const db = open();
  db.exec("BEGIN");
  db.prepare("SELECT count(*) FROM sqlite_schema").get();
  return db;
}

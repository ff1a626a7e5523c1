/**
 * Proposes a schema change of the application with the rows that were written under it. A trial on the replica, in a
 * transaction that is rolled back, gives the rows after the change; rows of the file that differ go into the same changeset.
 */
import { bytesEqual } from "../base/bytes.ts";
import { readCaptured } from "../capture/install.ts";
import { readRemembered, writeRemembered } from "../capture/remembered.ts";
import type { PositionVector } from "../change/batch.ts";
import { openReplica } from "../replica/open-replica.ts";
import type { Replica } from "../replica/replica.ts";
import type { CatalogueObject } from "../replica/store/schema-store.ts";
import { type KnownSchema, knowSchema } from "../schema/catalogue.ts";
import { decodeSchemaEntry, encodeSchemaEntry } from "../schema/diff/schema-entry.ts";
import { LOCKED_MS } from "../sqlite/locked.ts";
import { openAppDb } from "../sqlite/open-app-db.ts";
import { queryOf } from "../sqlite/query.ts";
import { namesInFile } from "./detect-change.ts";
import { AppDbSession } from "../app-db/session.ts";
import { nextRejects } from "./keep-rejects.ts";
import { absentRows, tablesOf } from "./compare-uncaptured.ts";
import { heldUnder, silentIds } from "./tables-held-back.ts";
import type { SchemaWorkspace } from "./workspace.ts";
import { logDifferences, logKeys, snapshotOf, writing } from "./log-differences.ts";

/** Rows that are proposed with a schema change. */
export interface OwnRows {
  /** Reads the file with the changed schema. */
  readonly session: AppDbSession;
  /** The replica with the change applied, in a transaction that is rolled back afterwards. */
  readonly replica: Replica;
  readonly entry: Uint8Array;
  readonly position: PositionVector;
  /** Ids of the tables whose rows are included, and are drained again afterwards; null: all. */
  readonly only: ReadonlySet<number> | null;
}

/** The outbox, as it collects a schema change and its rows. */
export interface OwnOutbox {
  /** Include all rows that were written under the change, not only those that it would reject. */
  readonly whole: boolean;
  /** The change without rows. */
  alone(entry: Uint8Array, position: PositionVector): void;
  /** The change with rows. False: the schema changed again, and nothing is collected. */
  drain(rows: OwnRows): Generator<undefined, boolean>;
}

/**
 * If a new constraint rejects rows of the replica, the file decides which of them remain, since it satisfies the constraint
 * already. Under transactions by row only the rows of such tables are included. False: the schema changed again, and the
 * outbox has nothing. The replica must not change during the generator.
 */
export function* proposeLocalChange(
  workspace: SchemaWorkspace,
  entry: Uint8Array,
  position: PositionVector,
  outbox: OwnOutbox,
): Generator<"busy" | undefined, boolean> {
  const { file, replicaFile, connection, peerId, place } = workspace.components;
  const { db } = connection;
  const trial = openReplica(replicaFile, peerId);
  let session: AppDbSession | null = null;
  try {
    trial.db.exec("BEGIN IMMEDIATE");
    const rejected = yield* pausing(trial.replica.trySchema(entry));
    if (!outbox.whole && rejected.length === 0) {
      outbox.alone(entry, position);
      return true;
    }
    let expected: KnownSchema | null = null;
    yield* writing(connection, () => {
      expected = captureLocalChange(workspace, entry, trial.replica);
    });
    if (expected === null) return false;
    const captured = readCaptured(db)!;
    const { unreconciled, ...remembered } = readRemembered(db)!;
    const held = heldUnder(db, trial.replica, workspace.read().held);
    const silent = silentIds(held);
    const options = { readOnly: true, timeout: LOCKED_MS };
    const appDb = snapshotOf(() => openAppDb(file, options));
    try {
      const tables = tablesOf(
        captured,
        trial.replica,
        unreconciled.filter((id) => !silent.has(id)),
      );
      const isAbsent = absentRows(workspace, {
        ...{ tables, of: trial.replica },
        changes: decodeSchemaEntry(entry).changes,
      });
      const { encoding } = trial.replica.settings;
      yield* logDifferences({ replica: trial.db, appDb, connection }, tables, encoding, isAbsent);
      const byTable = Map.groupBy(rejected, ({ table }) => table);
      for (const table of tablesOf(captured, trial.replica, [...byTable.keys()]))
        yield* logKeys(
          connection,
          table,
          byTable.get(table.shape.id)!.map(({ key }) => key),
        );
    } finally {
      appDb.close();
    }
    const left = unreconciled.filter((id) => silent.has(id));
    yield* writing(connection, () => writeRemembered(db, { ...remembered, unreconciled: left }));
    const { version } = remembered;
    session = new AppDbSession({
      ...{ file, connection, replica: trial.replica, captured, expected, place, previous: null },
      remembered: { ...remembered, version, unreconciled: left },
      heldBack: held,
      ...workspace.unseenRows(captured),
    });
    const only = outbox.whole ? null : new Set(rejected.map(({ table }) => table));
    return yield* outbox.drain({ session, replica: trial.replica, entry, position, only });
  } finally {
    session?.close();
    if (trial.db.isTransaction) trial.db.exec("ROLLBACK");
    trial.close();
  }
}

/** Captures the tables of the new schema. Returns the schema of the file; null: it changed again. */
function captureLocalChange(
  workspace: SchemaWorkspace,
  entry: Uint8Array,
  trial: Replica,
): KnownSchema | null {
  const { db } = workspace.components.connection;
  const appDb = workspace.read();
  const { changes, keptByAll } = appDb;
  const lost = nextRejects(db);
  if (!bytesEqual(entry, encodeSchemaEntry({ changes, local: keptByAll, lost }))) return null;
  const had = new Map([...appDb.remembered.tables].map(([name, id]) => [id, name]));
  const followed = namesInFile(appDb.from, changes);
  const recordedOf = (object: CatalogueObject): readonly string[] | null => {
    const before = appDb.from.objects.find((o) => o.kind === "table" && o.name === had.get(object.tableId!));
    // The way here from the remembered schema must stay readable: the change may still be rejected.
    return before === undefined ? null : (followed({ ...before, tableId: object.tableId })?.recorded ?? null);
  };
  const inFile = (object: CatalogueObject) => ({ name: object.name, recorded: recordedOf(object) });
  const { unreconciled } = workspace.recapture(appDb, trial, {
    inFile,
    created: new Set(),
    isOwnChange: true,
  });
  writeRemembered(db, { ...appDb.remembered, unreconciled });
  return knowSchema(queryOf(db));
}

/** Runs `steps` and yields undefined at each of their yields. */
function* pausing<T>(steps: Generator<void, T>): Generator<undefined, T> {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    yield;
  }
}

/**
 * The application's own change of the schema, with the rows that were written under it: the replica shows, in a transaction
 * that is rolled back, what it will be, and what the file has otherwise goes into the same changeset.
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
import { openDatabase } from "../sqlite/open.ts";
import { queryOf } from "../sqlite/query.ts";
import { namesInFile } from "./detect-change.ts";
import { AppDbSession } from "../app-db/session.ts";
import { nextLost } from "./keep-rejects.ts";
import { absentRows, tablesOf } from "./compare-uncaptured.ts";
import type { SchemaFile } from "./workspace.ts";
import { logDifferences, logKeys, snapshotOf, writing } from "./log-differences.ts";

/** What collects the rows that go with a change of the schema. */
export interface OwnOutbox {
  /** All rows that were written under the change go along, not only those that it would leave out. */
  readonly whole: boolean;
  /** The change without rows. */
  alone(entry: Uint8Array, position: PositionVector): void;
  /** `only`: ids of the tables whose rows go along; null: all. False: the schema moved again; nothing is collected. */
  drain(
    session: AppDbSession,
    replica: Replica,
    entry: Uint8Array,
    position: PositionVector,
    only: ReadonlySet<number> | null,
  ): Generator<undefined, boolean>;
}

/**
 * The application's change, with the rows that were written under it: the replica shows, in a transaction that is rolled
 * back, what it will be, and what the file has otherwise goes into the same changeset. Of rows that a new constraint leaves
 * no room for in the replica the file says which stay: it obeys the constraint already. Row by row only these go along.
 * False: the schema changed again meanwhile, and nothing was put in the outbox. The replica takes nothing while this runs.
 */
export function* collectOwn(
  schema: SchemaFile,
  entry: Uint8Array,
  position: PositionVector,
  outbox: OwnOutbox,
): Generator<"busy" | undefined, boolean> {
  const { file, replicaFile, connection, peerId, place } = schema.components;
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
    yield* writing(db, () => {
      expected = captureOwn(schema, entry, trial.replica);
    });
    if (expected === null) return false;
    const captured = readCaptured(db)!;
    const { unreconciled, ...remembered } = readRemembered(db)!;
    const options = { readOnly: true, timeout: LOCKED_MS };
    const appDb = snapshotOf(() => openDatabase(file, options));
    try {
      const tables = tablesOf(captured, trial.replica, unreconciled);
      const isAbsent = absentRows(schema, tables, captured, trial.replica, decodeSchemaEntry(entry).changes);
      const { encoding } = trial.replica.settings;
      yield* logDifferences({ replica: trial.db, appDb, db }, tables, encoding, isAbsent);
      const byTable = Map.groupBy(rejected, ({ table }) => table);
      for (const table of tablesOf(captured, trial.replica, [...byTable.keys()]))
        yield* logKeys(
          db,
          table,
          byTable.get(table.shape.id)!.map(({ key }) => key),
        );
    } finally {
      appDb.close();
    }
    yield* writing(db, () => writeRemembered(db, { ...remembered, unreconciled: [] }));
    const { version } = remembered;
    session = new AppDbSession({
      ...{ file, connection, replica: trial.replica, captured, expected, place },
      remembered: { ...remembered, version, unreconciled: [] },
      heldBack: new Set(schema.read().held.map((t) => t.id)),
    });
    const only = outbox.whole ? null : new Set(rejected.map(({ table }) => table));
    return yield* outbox.drain(session, trial.replica, entry, position, only);
  } finally {
    session?.close();
    if (trial.db.isTransaction) trial.db.exec("ROLLBACK");
    trial.close();
  }
}

/** Captures what the change made. Returns the file's schema; null: it is another change by now. */
function captureOwn(schema: SchemaFile, entry: Uint8Array, trial: Replica): KnownSchema | null {
  const { db } = schema.components.connection;
  const appDb = schema.read();
  const { changes, keptByAll } = appDb;
  const lost = nextLost(db);
  if (!bytesEqual(entry, encodeSchemaEntry({ changes, local: keptByAll, lost }))) return null;
  const had = new Map([...appDb.remembered.tables].map(([name, id]) => [id, name]));
  const followed = namesInFile(appDb.from, changes);
  const recordedOf = (object: CatalogueObject): readonly string[] | null => {
    const before = appDb.from.objects.find((o) => o.kind === "table" && o.name === had.get(object.tableId!));
    // What led here from the remembered schema must stay readable: the change may still be refused.
    return before === undefined ? null : (followed({ ...before, tableId: object.tableId })?.recorded ?? null);
  };
  const inFile = (object: CatalogueObject) => ({ name: object.name, recorded: recordedOf(object) });
  const { unreconciled } = schema.recapture(appDb, trial, inFile, new Set(), true);
  writeRemembered(db, { ...appDb.remembered, unreconciled });
  return knowSchema(queryOf(db));
}

/** `steps` with a pause for others at each of its own. */
function* pausing<T>(steps: Generator<void, T>): Generator<undefined, T> {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    yield;
  }
}

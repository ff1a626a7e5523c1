/** Compares the application's file with the replica beside it, row by row. Reads only. */
import type { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { type Clock, nextTurn, sleep } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import { foldName } from "../../base/names.ts";
import type { KeyId } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Image } from "../../change/value.ts";
import { compareRows } from "../../replica/copies/compare-rows.ts";
import type { Replicator } from "../../replication/replicator.ts";
import { ChangeLogReader, selectsOf } from "../../rows/change-log-reader.ts";
import { readAcknowledged, readChangeLogs } from "../../rows/change-logs.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { quoteText } from "../../sqlite/quote.ts";
import type { VerifyDifference } from "../api.ts";
import { showKey } from "../literals.ts";
import { type Damage, damages } from "./integrity.ts";
import { differingGenerated } from "./compare-generated.ts";

const LOOK_MS = 5;
/** Looks for a moment in which the file shows exactly the rows of the replica. */
const MAX_LOOKS = 1000;
/** Rows that one comparison remembers. */
export const MAX_FOUND = 10_000;

/** A row in which the file differs from the replica though nothing of it is pending: no trigger saw its last write. */
export interface FoundRow {
  readonly table: TableShape;
  readonly keyId: KeyId;
  readonly detail: string;
  /** The file's row; null: it has none. */
  readonly inFile: Image | null;
  /** Only columns that SQLite computes differ: the row itself is the replica's. */
  readonly isComputed: boolean;
}

export interface FileComparison {
  readonly rows: number;
  readonly found: readonly FoundRow[];
  /** Problems of the file itself. */
  readonly damages: readonly Damage[];
}

export const damageOf = (node: string, { table, detail }: Damage): VerifyDifference => ({
  ...{ kind: "file", node, table, key: "", detail },
});

export const differenceOf = (node: string, { table, keyId, detail }: FoundRow): VerifyDifference => ({
  ...{ kind: "file", node, table: table.name, key: showKey(table, keyId), detail },
});

/** Rows with unacknowledged log rows, withheld rows and rows without a key may differ. */
export async function compareFile(
  { replicator, clock }: { readonly replicator: Replicator; readonly clock: Clock },
  onProgress: (rows: number) => void = () => {},
): Promise<FileComparison> {
  const { replica } = replicator.replica;
  const { db, paths } = replicator.options;
  const appDb = openAppDb(db, { readOnly: true });
  const state = openDatabase(paths.replica, { readOnly: true });
  try {
    appDb.exec(`ATTACH ${quoteText(`${pathToFileURL(paths.replica).href}?mode=ro`)} AS replica`);
    await untilReflected(replicator, clock);
    // The snapshots begin in the same turn of the event loop, in which file and replica show the same position.
    for (const [db, schema] of [
      [appDb, "main"],
      [appDb, "replica"],
      [state, "main"],
    ] as const) {
      if (!db.isTransaction) db.exec("BEGIN");
      db.prepare(`SELECT count(*) FROM ${schema}.sqlite_schema`).get();
    }
    const unacknowledged = unacknowledgedKeys(appDb, replicator);
    const found: FoundRow[] = [];
    const mayDiffer = (table: TableShape, keyId: KeyId): boolean =>
      unacknowledged.has(`${table.id}/${keyId}`) || replicator.pipeline.isDeferred(table.id, keyId);
    const shapes = [...replica.shapes.values()];
    const { encoding } = replica.settings;
    const rows = await compareRows({
      ...{ left: state, right: appDb, shapes, encoding },
      skip: (id, keyId) => mayDiffer(replica.shapes.get(id)!, keyId),
      onDifference: ({ table, keyId, left, right }) => {
        if (right !== null && table.key.some((k) => right[k] === null)) return true;
        const detail =
          right === null ? "missing in the file" : left === null ? "only in the file" : "the images differ";
        return found.push({ table, keyId, detail, inFile: right, isComputed: false }) < MAX_FOUND;
      },
      pause: (rows) => {
        onProgress(rows);
        return nextTurn();
      },
    });
    for (const table of shapes)
      for await (const { keyId, column } of differingGenerated(appDb, table, encoding, () => {
        onProgress(rows);
        return nextTurn();
      })) {
        if (mayDiffer(table, keyId) || found.length >= MAX_FOUND) continue;
        const detail = `the stored generated column ${column} differs`;
        found.push({ table, keyId, detail, inFile: null, isComputed: true });
      }
    const checked = await damages(
      appDb,
      new Set(replicator.schema.held.map((t) => foldName(t.name))),
      async () => {
        onProgress(rows);
        await nextTurn();
      },
    );
    return { rows, found, damages: checked };
  } finally {
    appDb.close();
    state.close();
  }
}

/** Resolves in a turn of the event loop in which the file reflects exactly the position of the replica. */
async function untilReflected(replicator: Replicator, clock: Clock): Promise<void> {
  const { replica } = replicator.replica;
  for (let look = 0; look <= MAX_LOOKS; look++) {
    const { reflected } = replicator.readiness;
    const hasSchema = !replicator.pipeline.schemaDue && !replicator.reader.schemaMovedBeside();
    const positions = replica.positions();
    if (hasSchema && replica.betweenEntries && positions.every((index, shard) => index === reflected[shard]))
      return;
    replicator.loop.wake();
    await sleep(clock, LOOK_MS);
  }
  throw new UserError(
    "the file did not reach the position of the replica in time",
    "end the transaction in which an application holds the write lock of the file, and verify again",
  );
}

/** Keys with unacknowledged change-log rows, in the snapshot of `appDb`. */
function unacknowledgedKeys(appDb: DatabaseSync, replicator: Replicator): Set<string> {
  const keys = new Set<string>();
  const { shapes, settings } = replicator.replica.replica;
  const acknowledged = readAcknowledged(appDb);
  for (const { id, log } of readChangeLogs(appDb)) {
    const shape = shapes.get(id);
    if (shape === undefined) continue;
    const reader = new ChangeLogReader(selectsOf(appDb), { shape, log, encoding: settings.encoding });
    for (const [, keyId] of reader.keyIds(acknowledged.get(id) ?? 0)) keys.add(`${id}/${keyId}`);
  }
  return keys;
}

/** Compares the application's file with the replica beside it, row by row; `repair` writes the replica's rows again. */
import type { DatabaseSync } from "node:sqlite";
import { type Clock, nextTurn, sleep } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import { keyValues } from "../../change/key.ts";
import { compareRows, type RowDifference } from "../../replica/copies/compare-rows.ts";
import type { Replicator } from "../../replication/replicator.ts";
import { ChangeLogReader, selectsOf } from "../../rows/change-log-reader.ts";
import { readAcknowledged, readChangeLogs } from "../../rows/change-logs.ts";
import { openDatabase } from "../../sqlite/open.ts";
import type { VerifyDifference } from "../api.ts";
import { showKey } from "../literals.ts";

const LOOK_MS = 5;
/** Looks for a moment in which the file shows exactly the rows of the replica. */
const MAX_LOOKS = 1000;
const MAX_DIFFERENCES = 1000;

export interface CompareFileOptions {
  readonly replicator: Replicator;
  readonly clock: Clock;
  readonly repair: boolean;
}

/** Rows with unacknowledged log rows and withheld rows may differ. Returns the number of compared rows. */
export async function compareFile(
  { replicator, clock, repair }: CompareFileOptions,
  report: (difference: VerifyDifference) => void,
): Promise<number> {
  const { replica } = replicator.replica;
  const { name: node, db, paths } = replicator.options;
  const appDb = openDatabase(db, { readOnly: true });
  const state = openDatabase(paths.replica, { readOnly: true });
  try {
    await untilReflected(replicator, clock);
    // Both snapshots begin in the same turn of the event loop, in which file and replica show the same position.
    for (const db of [appDb, state]) {
      db.exec("BEGIN");
      db.prepare("SELECT count(*) FROM sqlite_schema").get();
    }
    const unacknowledged = unacknowledgedKeys(appDb, replicator);
    const found: RowDifference[] = [];
    const rows = await compareRows({
      left: state,
      right: appDb,
      shapes: [...replica.shapes.values()],
      encoding: replica.settings.encoding,
      skip: (table, keyId) =>
        unacknowledged.has(`${table}/${keyId}`) || replicator.pipeline.isDeferred(table, keyId),
      onDifference: (difference) => found.push(difference) < MAX_DIFFERENCES,
      pause: nextTurn,
    });
    for (const { table, keyId, left, right } of found) {
      const detail =
        right === null ? "missing in the file" : left === null ? "only in the file" : "the images differ";
      const repaired = repair ? "; repaired" : "";
      const key = showKey(table, keyId);
      report({ kind: "file", node, table: table.name, key, detail: detail + repaired });
      const values = keyValues(table, keyId);
      if (repair) replica.changed.set(table.id, keyId, { key: values, image: replica.row(table.id, values) });
    }
    if (repair && found.length > 0) replicator.loop.wake();
    return rows;
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

/** One transaction of this node on the application's file, as an application would make it: captured and replicated. */
import type { DatabaseSync } from "node:sqlite";
import { type Clock, sleep } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import type { Replicator } from "../../replication/replicator.ts";
import { isBusy } from "../../sqlite/locked.ts";
import { beginWriting, openAppDb } from "../../sqlite/open-app-db.ts";
import { RowWriter } from "./row-writer.ts";

/** Milliseconds to wait for the write lock of the application, and for the end of a changeset in the replica. */
const PATIENCE_MS = 10_000;
const LOOK_MS = 5;

/** Throws `UserError` on a reader, whose file takes no rows of its own. */
export function requireWriter({ isReader, options }: Replicator): void {
  if (isReader !== true) return;
  throw new UserError(
    `${options.name} is a reader, and sends no rows of its own`,
    "run the command on a voter or a learner of the cluster; marmot members list shows them",
  );
}

/**
 * `work` is synchronous, so the replica does not change during the call. If it throws, or with `dryRun`, nothing is written.
 */
export async function inFile<T>(
  replicator: Replicator,
  clock: Clock,
  work: (writer: RowWriter) => T,
  { dryRun = false } = {},
): Promise<T> {
  requireWriter(replicator);
  const db = openAppDb(replicator.options.db, { timeout: 0 });
  try {
    for (const end = clock.now() + PATIENCE_MS; ; await sleep(clock, LOOK_MS)) {
      if (clock.now() > end)
        throw new UserError(
          "an application holds the write lock of the file, or a very large changeset is being applied",
          "try again in a moment",
        );
      if (!replicator.replica.replica.betweenEntries || !begin(db)) continue;
      try {
        const result = work(new RowWriter(replicator, db));
        db.exec(dryRun ? "ROLLBACK" : "COMMIT");
        replicator.pipeline.touch();
        replicator.loop.wake();
        return result;
      } catch (error) {
        if (db.isTransaction) db.exec("ROLLBACK");
        throw error;
      }
    }
  } finally {
    db.close();
  }
}

function begin(db: DatabaseSync): boolean {
  try {
    beginWriting(db);
    return true;
  } catch (error) {
    if (isBusy(error)) return false;
    throw error;
  }
}

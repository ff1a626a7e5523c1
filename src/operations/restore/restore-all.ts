/**
 * `marmot conflicts restore --table T --from NODE`: the losing writes of one node to one table, in one transaction. Of several that lost
 * under one key the last one counts. A row that cannot be written is left with its reason, and the others are.
 */
import type { Clock } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import type { StoredConflict } from "../../replica/conflicts/journal.ts";
import type { Replicator } from "../../replication/replicator.ts";
import type { RestoreAllResult } from "../api.ts";
import { chosenConflicts } from "../conflict-filter.ts";
import { conflictId, conflictSummary } from "../conflicts.ts";
import { inFile } from "./in-file.ts";
import { restore } from "./restore.ts";
import type { RowWriter } from "./row-writer.ts";

export interface RestoreAllOptions {
  readonly table: string;
  readonly from: string;
  readonly overwrite: boolean;
  readonly dryRun: boolean;
}

interface RestoredAll {
  readonly result: RestoreAllResult;
  /** Conflicts whose row is the loser again. */
  readonly restored: readonly StoredConflict[];
}

/** Throws `UserError` for a table or node that is none. */
export function restoreAll(
  replicator: Replicator,
  clock: Clock,
  { table, from, overwrite, dryRun }: RestoreAllOptions,
): Promise<RestoredAll> {
  const filter = { table, origin: from, since: null, open: true };
  const work = (writer: RowWriter): RestoredAll => {
    const restored: StoredConflict[] = [];
    const done: RestoreAllResult["restored"][number][] = [];
    const left: RestoreAllResult["left"][number][] = [];
    const newest = new Map<string, string>();
    for (const conflict of chosenConflicts(replicator, filter, clock.wallTime())) {
      const row = `${conflict.table}/${conflict.note?.table ?? ""}/${String(conflict.keyId)}`;
      const { id, table: name, key } = conflictSummary(replicator, conflict);
      const later = conflict.note === undefined ? newest.get(row) : undefined;
      if (later !== undefined) {
        left.push({ id, table: name, key, reason: `a later write to the row lost, too: conflict ${later}` });
        continue;
      }
      newest.set(row, conflictId(conflict));
      const outcome = tryOne(writer, conflict, overwrite);
      if (typeof outcome === "string") left.push({ id, table: name, key, reason: outcome });
      else {
        done.push(outcome);
        restored.push(conflict);
      }
    }
    return { result: { dryRun, restored: done, left }, restored };
  };
  return inFile(replicator, clock, work, { dryRun });
}

/** The effects of one restore, or the reason why nothing is written for it. */
function tryOne(
  writer: RowWriter,
  conflict: StoredConflict,
  overwrite: boolean,
): RestoreAllResult["restored"][number] | string {
  writer.db.exec("SAVEPOINT one");
  try {
    const { id, table, key, done } = restore(writer, conflict, { asNew: false, overwrite }).result;
    writer.db.exec("RELEASE one");
    return { id, table, key, done };
  } catch (error) {
    if (!(error instanceof UserError) || !writer.db.isTransaction) throw error;
    writer.db.exec("ROLLBACK TO one; RELEASE one");
    return error.message;
  }
}

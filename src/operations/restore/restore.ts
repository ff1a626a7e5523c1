/**
 * `marmot conflicts restore`: the losing image of a conflict goes back into the application's file as an ordinary write on
 * this node, captured and replicated like any other; with `asNew` under a fresh id, together with the rows that were
 * written as its children. Nothing is overwritten unsaid, and what cannot be done is said with the reason.
 */
import type { DatabaseSync } from "node:sqlite";
import type { Clock } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import { decodeImage } from "../../change/codec.ts";
import { keyIdOfImage, keyOfImage } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import { type Image, imageEqual } from "../../change/value.ts";
import { isBusy } from "../../sqlite/locked.ts";
import type { StoredConflict } from "../../replica/conflicts/journal.ts";
import type { RestoreResult } from "../api.ts";
import type { Member } from "../../replication/replicator.ts";
import { AsNew } from "./restore-as-new.ts";
import { literals, RestoreFile } from "./row-writer.ts";
import { conflictId, show } from "../node-status.ts";
import { showKey } from "../verify/verify.ts";
import { beginWriting, openAppDb } from "../../sqlite/open-app-db.ts";

export interface RestoreOptions {
  readonly asNew: boolean;
  /** Also when somebody has written the row since the conflict. */
  readonly overwrite: boolean;
}

/** How long the application may hold its write lock, or the replica be in the middle of a changeset. */
const PATIENCE_MS = 10_000;
const LOOK_MS = 5;

/** Throws `UserError` when it cannot be done; then nothing was written. */
export async function restoreConflict(
  member: Member,
  clock: Clock,
  conflict: StoredConflict,
  options: RestoreOptions,
): Promise<RestoreResult> {
  const db = openAppDb(member.options.db, { timeout: 0 });
  try {
    for (const end = clock.now() + PATIENCE_MS; ; await later(clock)) {
      if (clock.now() > end)
        throw new UserError(
          "the application holds the write lock of its file, or a very large changeset arrives",
          "try again in a moment",
        );
      if (!member.replica.replica.betweenEntries || !begin(db)) continue;
      try {
        const { result, note } = restore(new RestoreFile(member, db), conflict, options);
        db.exec("COMMIT");
        note();
        member.pipeline.touch();
        member.loop.wake();
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

const later = (clock: Clock): Promise<void> => new Promise((resolve) => void clock.after(LOOK_MS, resolve));

function begin(db: DatabaseSync): boolean {
  try {
    beginWriting(db);
    return true;
  } catch (error) {
    if (isBusy(error)) return false;
    throw error;
  }
}

/** Inside an open transaction on the file. The replica stands still meanwhile: nothing here waits. */
function restore(
  file: RestoreFile,
  conflict: StoredConflict,
  { asNew, overwrite }: RestoreOptions,
): { result: RestoreResult; note: () => void } {
  const id = conflictId(conflict);
  const shape = file.member.replica.replica.shapes.get(conflict.table);
  if (shape === undefined)
    throw new UserError(
      `the table of conflict ${id} is gone`,
      "marmot conflicts show prints the row; insert it where it belongs",
    );
  const columns = shape.columns.map((c) => c.name);
  if (asNew) {
    const fresh = new AsNew(file, conflict);
    const key = String(fresh.run(shape));
    const { children } = fresh;
    const done = "restored as new";
    const result: RestoreResult = { id, table: shape.name, columns, done, key, replaced: null, children };
    return { result, note: () => fresh.note() };
  }
  const { done, key, replaced } = inPlace(file, shape, conflict, overwrite);
  const shown = replaced?.map(show) ?? null;
  return {
    result: { id, table: shape.name, columns, done, key, replaced: shown, children: [] },
    note: () => {},
  };
}

/** The row as it was, under its own key. */
function inPlace(
  file: RestoreFile,
  shape: TableShape,
  conflict: StoredConflict,
  overwrite: boolean,
): Pick<RestoreResult, "done" | "key"> & { replaced: Image | null } {
  const { losingImage, winningImage, keyId } = conflict;
  const access = file.accessTo(shape);
  const wanted = losingImage === null ? null : decodeImage(losingImage);
  const [keyImage] = [wanted, winningImage === null ? null : decodeImage(winningImage)].filter(
    (i) => i !== null && keyIdOfImage(shape, i) === keyId,
  );
  if (keyImage === undefined || keyImage === null)
    throw new UserError("the conflict names no row of its key", "marmot conflicts show prints what it holds");
  const key = keyOfImage(shape, keyImage);
  const now = access.get(key);
  const shown = showKey(shape, keyId);
  if (wanted === null ? now === null : now !== null && imageEqual(now, wanted))
    return { done: "nothing to do", key: shown, replaced: null };
  // A unique clash names the row that claimed the value, which is another one.
  const stood = winningImage === null || conflict.kind === "unique clash" ? null : decodeImage(winningImage);
  const unchanged = now === null ? stood === null : stood !== null && imageEqual(now, stood);
  if (!unchanged && now !== null && !overwrite)
    throw new UserError(
      `the row ${shown} of ${shape.name} was written again since the conflict; it is now (${literals(now)})`,
      "give --overwrite to replace it all the same, or --as-new to keep both",
    );
  if (wanted === null) access.delete(key);
  else file.write(access, wanted);
  return {
    done: wanted === null ? "deleted again" : "restored",
    key: shown,
    replaced: now,
  };
}

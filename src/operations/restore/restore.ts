/**
 * `marmot conflicts restore`: writes the losing image of a conflict into the application's file as an ordinary write of this
 * node, captured and replicated like any other. With `asNew` the row gets a new id, and the rows that were written as its
 * children follow. A row that changed since the conflict is overwritten only with `overwrite`.
 */
import type { Clock } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import { decodeImage } from "../../change/codec.ts";
import { keyIdOfImage, keyOfImage } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import { type Image, imageEqual } from "../../change/value.ts";
import type { StoredConflict } from "../../replica/conflicts/journal.ts";
import type { RestoreResult } from "../api.ts";
import type { Replicator } from "../../replication/replicator.ts";
import { RestoreAsNew } from "./restore-as-new.ts";
import { inFile } from "./in-file.ts";
import type { RowWriter } from "./row-writer.ts";
import { conflictId, ofTable } from "../conflicts.ts";
import { showImage, showKey, showValue } from "../literals.ts";

export interface RestoreOptions {
  readonly asNew: boolean;
  /** Replace the row even if it was written again since the conflict. */
  readonly overwrite: boolean;
}

/** Throws `UserError` if the restore is impossible; nothing is written then. */
export async function restoreConflict(
  replicator: Replicator,
  clock: Clock,
  conflict: StoredConflict,
  options: RestoreOptions,
): Promise<RestoreResult> {
  const { result, note } = await inFile(replicator, clock, (writer) => restore(writer, conflict, options));
  note();
  return result;
}

/** Inside an open transaction on the file. Synchronous, so that the replica does not change during the call. */
export function restore(
  writer: RowWriter,
  stored: StoredConflict,
  { asNew, overwrite }: RestoreOptions,
): { result: RestoreResult; note: () => void } {
  const id = conflictId(stored);
  const { shapes } = writer.replicator.replica.replica;
  const conflict = ofTable(stored, shapes.values());
  const shape = shapes.get(conflict.table);
  if (shape === undefined)
    throw new UserError(
      `the table of conflict ${id} no longer exists`,
      "marmot conflicts show prints the row; insert it into another table by hand",
    );
  const columns = shape.columns.map((c) => c.name);
  if (asNew) {
    const asNewRow = new RestoreAsNew(writer, conflict);
    const key = String(asNewRow.run(shape));
    const { children } = asNewRow;
    const done = "restored as new";
    const result: RestoreResult = { id, table: shape.name, columns, done, key, replaced: null, children };
    return { result, note: () => asNewRow.note() };
  }
  const { done, key, replaced } = restoreInPlace(writer, shape, conflict, overwrite);
  const shown = replaced?.map(showValue) ?? null;
  return {
    result: { id, table: shape.name, columns, done, key, replaced: shown, children: [] },
    note: () => {},
  };
}

/** Writes the losing image under its own key. */
function restoreInPlace(
  writer: RowWriter,
  shape: TableShape,
  conflict: StoredConflict,
  overwrite: boolean,
): Pick<RestoreResult, "done" | "key"> & { replaced: Image | null } {
  const { losingImage, winningImage, keyId } = conflict;
  const access = writer.accessTo(shape);
  const wanted = losingImage === null ? null : decodeImage(losingImage);
  const [keyImage] = [wanted, winningImage === null ? null : decodeImage(winningImage)].filter(
    (i) => i !== null && keyIdOfImage(shape, i) === keyId,
  );
  if (keyImage === undefined || keyImage === null)
    throw new UserError(
      "neither image of the conflict has its key",
      "marmot conflicts show prints both images; write the row by hand",
    );
  const key = keyOfImage(shape, keyImage);
  const now = access.get(key);
  const shown = showKey(shape, keyId);
  if (wanted === null ? now === null : now !== null && imageEqual(now, wanted))
    return { done: "nothing to do", key: shown, replaced: null };
  // After a unique clash the winning image is another row: the one that holds the unique value.
  const expected =
    winningImage === null || conflict.kind === "unique clash" ? null : decodeImage(winningImage);
  const unchanged = now === null ? expected === null : expected !== null && imageEqual(now, expected);
  if (!unchanged && now !== null && !overwrite)
    throw new UserError(
      `the row ${shown} of ${shape.name} was written again since the conflict; it is now (${showImage(now)})`,
      "give --overwrite to replace it, or --as-new to keep both",
    );
  if (wanted === null) access.delete(key);
  else writer.write(access, wanted);
  return {
    done: wanted === null ? "deleted again" : "restored",
    key: shown,
    replaced: now,
  };
}

/**
 * Restores a rejected row under an id that SQLite picks. Its children by declared foreign keys follow: exactly the rows that
 * were written as its children. For each other row that refers to the old id the result gives the reason.
 */
import { UserError } from "../../base/errors.ts";
import { decodeImage } from "../../change/codec.ts";
import { keyIdOf, keyIdOfImage, keyOfImage } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import { type Value, valueEqual } from "../../change/value.ts";
import type { StoredConflict } from "../../replica/conflicts/journal.ts";
import { RestoredHere } from "../../replica/conflicts/restored.ts";
import { rowsReferring } from "../../replica/references/referring-rows.ts";
import { type ForeignKey, readForeignKeys } from "../../schema/foreign-keys.ts";
import { queryOf } from "../../sqlite/query.ts";
import { bigInteger, readRow } from "../../sqlite/typed-rows.ts";
import type { RestoreResult } from "../api.ts";
import type { RowWriter } from "./row-writer.ts";
import { conflictId } from "../conflicts.ts";
import { showKey } from "../literals.ts";

export class RestoreAsNew {
  readonly children: RestoreResult["children"][number][] = [];
  readonly #writer: RowWriter;
  readonly #conflict: StoredConflict;
  readonly #foreignKeys: readonly ForeignKey[];
  readonly #restored: RestoredHere;
  readonly #notes: { conflict: StoredConflict; key: Value[] }[] = [];

  constructor(writer: RowWriter, conflict: StoredConflict) {
    this.#writer = writer;
    this.#conflict = conflict;
    const { replica, db } = writer.replicator.replica;
    this.#foreignKeys = readForeignKeys(queryOf(writer.db), replica.shapes.values());
    this.#restored = new RestoredHere(db);
  }

  /** Returns the key that SQLite picked. */
  run(shape: TableShape): bigint {
    const { losingImage } = this.#conflict;
    if (losingImage === null)
      throw new UserError(
        "the losing change is a delete: there is no row to insert under a new id",
        "leave out --as-new to delete the current row again",
      );
    if (!shape.integerKey)
      throw new UserError(
        `the key of ${shape.name} is not an INTEGER PRIMARY KEY, so SQLite cannot pick a new one`,
        "leave out --as-new, or insert the row that marmot conflicts show prints under a key that you choose",
      );
    const before = this.#restored.keyOf(this.#conflict);
    if (before !== null && this.#writer.accessTo(shape).get([BigInt(before)]) !== null)
      throw new UserError(
        `conflict ${conflictId(this.#conflict)} was already restored on this node as ${shape.name} ${before}`,
        "delete that row first to restore it again",
      );
    return this.#insertAsNew(shape, this.#conflict, decodeImage(losingImage));
  }

  /** After the commit: records the restored rows, so that this node does not restore them twice. */
  note(): void {
    const { shapes } = this.#writer.replicator.replica.replica;
    for (const { conflict, key } of this.#notes)
      this.#restored.note(conflict, keyIdOf(shapes.get(conflict.table)!, key));
  }

  /** Inserts a rejected row under an id that SQLite picks, and makes its children refer to that id. */
  #insertAsNew(shape: TableShape, conflict: StoredConflict, image: Value[]): bigint {
    const at = shape.key[0]!;
    const old = image[at]!;
    this.#writer.write(this.#writer.accessTo(shape), image.with(at, null));
    const id = this.#writer.db.prepare("SELECT last_insert_rowid() AS id");
    id.setReadBigInts(true);
    const { id: newId } = readRow(id.get(), { id: bigInteger });
    this.#notes.push({ conflict, key: [newId] });
    // The children of a losing update are children of the winning row.
    if (conflict.kind !== "same key" && conflict.kind !== "unique clash") return newId;
    for (const foreignKey of this.#foreignKeys)
      if (
        foreignKey.parent.id === shape.id &&
        foreignKey.parentColumns.length === 1 &&
        foreignKey.parentColumns[0] === at
      ) {
        this.#moveExisting(foreignKey, conflict, old, newId);
        this.#restoreRejected(foreignKey, conflict, old, newId);
      }
    return newId;
  }

  /**
   * Whether a reference was written as one to the losing row: before that row rejected, and by the same origin, or by another
   * origin that cannot have seen another row of the key. Positions in the logs of two shards are not comparable.
   */
  #isLosersChild(
    conflict: StoredConflict,
    origin: number,
    at: StoredConflict["losingPosition"],
  ): "yes" | "no" | "unknown" {
    if (origin === conflict.winningOrigin) return "no";
    if (at === null || at.shard !== conflict.shard) return "unknown";
    if (at.index >= conflict.index) return "no"; // a child of a losing row, handled when its entry was applied
    if (origin === conflict.losingOrigin) return "yes";
    const since = conflict.losingPosition;
    if (since === null) return "no";
    if (since.shard !== at.shard) return "unknown";
    return at.index >= since.index ? "yes" : "no";
  }

  /** Changes the references of existing children to the new id if they were written as children of the losing row. */
  #moveExisting(foreignKey: ForeignKey, conflict: StoredConflict, old: Value, newId: bigint): void {
    const { child } = foreignKey;
    const column = foreignKey.columns[0]!;
    const { replica, db } = this.#writer.replicator.replica;
    const parentExists = this.#writer.accessTo(foreignKey.parent).get([old]) !== null;
    for (const key of rowsReferring(db, foreignKey, [old])) {
      const keyId = keyIdOf(child, key);
      const access = this.#writer.accessTo(child);
      const now = access.get(key);
      if (now === null || !valueEqual(now[column]!, old)) continue;
      const written = replica.referenceWritten(foreignKey, keyId);
      const sure = !parentExists || replica.losersChildren.isOf(child.id, keyId, conflict);
      const mine = sure
        ? "yes"
        : written === null
          ? "no"
          : this.#isLosersChild(conflict, written.origin, written);
      if (mine === "no") continue; // a child of the winning row
      const shown = showKey(child, keyId);
      if (mine === "unknown") {
        this.#left(child, shown, "its parent is not known: it was ordered in the log of another shard");
      } else if (this.#writer.replicator.pending.has(child.id, keyId))
        this.#left(child, shown, "it has an unacknowledged write of the application");
      else if (child.key.includes(column) && access.get(keyOfImage(child, now.with(column, newId))) !== null)
        this.#left(child, shown, "its key would be that of another row");
      else if (child.key.includes(column) && this.#foreignKeys.some((f) => f.parent.id === child.id))
        this.#left(child, shown, "its key would change, and other rows refer to it");
      else {
        if (child.key.includes(column)) access.delete(key);
        this.#writer.write(access, now.with(column, newId));
        const moved = keyIdOfImage(child, now.with(column, newId));
        this.children.push({
          table: child.name,
          key: shown,
          done: "moved",
          newKey: showKey(child, moved),
          reason: "",
        });
      }
    }
  }

  /** Restores children that were rejected themselves, under new ids. */
  #restoreRejected(foreignKey: ForeignKey, conflict: StoredConflict, old: Value, newId: bigint): void {
    const { child } = foreignKey;
    const column = foreignKey.columns[0]!;
    for (const rejected of this.#writer.replicator.replica.replica.journal.replacedIn(child.id)) {
      if (rejected.losingImage === null || this.#restored.keyOf(rejected) !== null) continue;
      const image = decodeImage(rejected.losingImage);
      if (!valueEqual(image[column]!, old)) continue;
      const mine = this.#isLosersChild(conflict, rejected.losingOrigin, rejected.losingPosition);
      if (mine === "no" && rejected.losingOrigin !== conflict.losingOrigin) continue;
      const redirected = image.with(column, newId);
      const shown = showKey(child, rejected.keyId);
      if (mine !== "yes") {
        this.#left(
          child,
          shown,
          `it lost too, and its parent is not known: conflict ${conflictId(rejected)}`,
        );
        continue;
      }
      const access = this.#writer.accessTo(child);
      if (child.integerKey && !child.key.includes(column)) {
        const newKey = String(this.#insertAsNew(child, rejected, redirected));
        this.children.push({ table: child.name, key: shown, done: "restored", newKey, reason: "" });
      } else if (access.get(keyOfImage(child, redirected)) !== null)
        this.#left(child, shown, "it lost to another row of its key, and SQLite cannot pick a new one");
      else {
        this.#writer.write(access, redirected);
        this.#notes.push({ conflict: rejected, key: keyOfImage(child, redirected) });
        const newKey = showKey(child, keyIdOfImage(child, redirected));
        this.children.push({ table: child.name, key: shown, done: "restored", newKey, reason: "" });
      }
    }
  }

  #left(shape: TableShape, key: string, reason: string): void {
    this.children.push({ table: shape.name, key, done: "left", newKey: "", reason });
  }
}

/**
 * A lost row under an id that SQLite picks, and its children by declared foreign keys with it: exactly those that were
 * written as its children. Of the others it is said why they stay.
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
import type { RestoreResult } from "../api.ts";
import type { RestoreFile } from "./row-writer.ts";
import { conflictId } from "../node-status.ts";
import { showKey } from "../verify/verify.ts";

export class AsNew {
  readonly children: RestoreResult["children"][number][] = [];
  readonly #file: RestoreFile;
  readonly #conflict: StoredConflict;
  readonly #foreignKeys: readonly ForeignKey[];
  readonly #restored: RestoredHere;
  readonly #notes: { conflict: StoredConflict; key: Value[] }[] = [];

  constructor(file: RestoreFile, conflict: StoredConflict) {
    this.#file = file;
    this.#conflict = conflict;
    const { replica, db } = file.member.replica;
    this.#foreignKeys = readForeignKeys(queryOf(file.db), replica.shapes.values());
    this.#restored = new RestoredHere(db);
  }

  /** The key that SQLite picked. */
  run(shape: TableShape): bigint {
    const { losingImage } = this.#conflict;
    if (losingImage === null)
      throw new UserError(
        "what lost is a delete: there is no row to put under a fresh id",
        "without --as-new the row that stands is deleted again",
      );
    if (!shape.integerKey)
      throw new UserError(
        `the key of ${shape.name} is not an INTEGER PRIMARY KEY, so SQLite cannot pick a fresh one`,
        "restore it without --as-new, or insert the row that marmot conflicts show prints under a key of your own",
      );
    const before = this.#restored.keyOf(this.#conflict);
    if (before !== null && this.#file.accessTo(shape).get([BigInt(before)]) !== null)
      throw new UserError(
        `conflict ${conflictId(this.#conflict)} was put back on this node already: ${shape.name} ${before}`,
        "delete that row first if it must be done again",
      );
    return this.#insertFresh(shape, this.#conflict, decodeImage(losingImage));
  }

  /** After the commit: what was put back is not put back again by this node. */
  note(): void {
    const { shapes } = this.#file.member.replica.replica;
    for (const { conflict, key } of this.#notes)
      this.#restored.note(conflict, keyIdOf(shapes.get(conflict.table)!, key));
  }

  /** Inserts a lost row under an id that SQLite picks, and leads its children to it. */
  #insertFresh(shape: TableShape, conflict: StoredConflict, image: Value[]): bigint {
    const at = shape.key[0]!;
    const old = image[at]!;
    this.#file.write(this.#file.accessTo(shape), image.with(at, null));
    const id = this.#file.db.prepare("SELECT last_insert_rowid() AS id");
    id.setReadBigInts(true);
    const fresh = (id.get() as { id: bigint }).id;
    this.#notes.push({ conflict, key: [fresh] });
    // A lost update's children are the standing row's.
    if (conflict.kind !== "same key" && conflict.kind !== "unique clash") return fresh;
    for (const foreignKey of this.#foreignKeys)
      if (
        foreignKey.parent.id === shape.id &&
        foreignKey.parentColumns.length === 1 &&
        foreignKey.parentColumns[0] === at
      ) {
        this.#moveStanding(foreignKey, conflict, old, fresh);
        this.#restoreLost(foreignKey, conflict, old, fresh);
      }
    return fresh;
  }

  /**
   * Written as a child of the row that lost: before it lost, and by its own writer, or by another one who can have known
   * no other row of the key. Over several shards before and after mean nothing.
   */
  #isLosersChild(
    conflict: StoredConflict,
    origin: number,
    at: StoredConflict["losingPosition"],
  ): "yes" | "no" | "unknown" {
    if (origin === conflict.winningOrigin) return "no";
    if (at === null || at.shard !== conflict.shard) return "unknown";
    if (at.index >= conflict.index) return "no"; // whoever did not know of the conflict is a stray
    if (origin === conflict.losingOrigin) return "yes";
    const since = conflict.losingPosition;
    if (since === null) return "no";
    if (since.shard !== at.shard) return "unknown";
    return at.index >= since.index ? "yes" : "no";
  }

  /** Children that stand: their references are led to the fresh id, if they were written as the loser's. */
  #moveStanding(foreignKey: ForeignKey, conflict: StoredConflict, old: Value, fresh: bigint): void {
    const { child } = foreignKey;
    const column = foreignKey.columns[0]!;
    const { replica, db } = this.#file.member.replica;
    const parentStands = this.#file.accessTo(foreignKey.parent).get([old]) !== null;
    for (const key of rowsReferring(db, foreignKey, [old])) {
      const keyId = keyIdOf(child, key);
      const access = this.#file.accessTo(child);
      const now = access.get(key);
      if (now === null || !valueEqual(now[column]!, old)) continue;
      const written = replica.referenceWritten(foreignKey, keyId);
      const sure = !parentStands || replica.losersChildren.isOf(child.id, keyId, conflict);
      const mine = sure
        ? "yes"
        : written === null
          ? "no"
          : this.#isLosersChild(conflict, written.origin, written);
      if (mine === "no") continue; // the standing row's own
      const shown = showKey(child, keyId);
      if (mine === "unknown") {
        this.#left(
          child,
          shown,
          "whose child it is cannot be told: it was ordered in the log of another shard",
        );
      } else if (this.#file.member.pending.has(child.id, keyId))
        this.#left(child, shown, "the application is writing it right now");
      else if (child.key.includes(column) && access.get(keyOfImage(child, now.with(column, fresh))) !== null)
        this.#left(child, shown, "its key would be that of another row");
      else if (child.key.includes(column) && this.#foreignKeys.some((f) => f.parent.id === child.id))
        this.#left(child, shown, "its key would change, and other rows refer to it");
      else {
        if (child.key.includes(column)) access.delete(key);
        this.#file.write(access, now.with(column, fresh));
        const moved = keyIdOfImage(child, now.with(column, fresh));
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

  /** Children that lost themselves: they come back under ids of their own. */
  #restoreLost(foreignKey: ForeignKey, conflict: StoredConflict, old: Value, fresh: bigint): void {
    const { child } = foreignKey;
    const column = foreignKey.columns[0]!;
    for (const lost of this.#file.member.replica.replica.journal.replacedIn(child.id)) {
      if (lost.losingImage === null || this.#restored.keyOf(lost) !== null) continue;
      const image = decodeImage(lost.losingImage);
      if (!valueEqual(image[column]!, old)) continue;
      const mine = this.#isLosersChild(conflict, lost.losingOrigin, lost.losingPosition);
      if (mine === "no" && lost.losingOrigin !== conflict.losingOrigin) continue;
      const led = image.with(column, fresh);
      const shown = showKey(child, lost.keyId);
      if (mine !== "yes") {
        this.#left(
          child,
          shown,
          `it lost, too, and whose child it was cannot be told: conflict ${conflictId(lost)}`,
        );
        continue;
      }
      const access = this.#file.accessTo(child);
      if (child.integerKey && !child.key.includes(column)) {
        const newKey = String(this.#insertFresh(child, lost, led));
        this.children.push({ table: child.name, key: shown, done: "restored", newKey, reason: "" });
      } else if (access.get(keyOfImage(child, led)) !== null)
        this.#left(child, shown, "it lost to another row of its key, and SQLite cannot pick a fresh one");
      else {
        this.#file.write(access, led);
        this.#notes.push({ conflict: lost, key: keyOfImage(child, led) });
        const newKey = showKey(child, keyIdOfImage(child, led));
        this.children.push({ table: child.name, key: shown, done: "restored", newKey, reason: "" });
      }
    }
  }

  #left(shape: TableShape, key: string, reason: string): void {
    this.children.push({ table: shape.name, key, done: "left", newKey: "", reason });
  }
}

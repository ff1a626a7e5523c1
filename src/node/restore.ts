/**
 * `marmot conflicts restore`: the losing image of a conflict goes back into the application's file as an ordinary write on
 * this node, captured and replicated like any other; with `asNew` under a fresh id, together with the rows that were
 * written as its children. Nothing is overwritten unsaid, and what cannot be done is said with the reason.
 */
import { DatabaseSync } from "node:sqlite";
import type { Clock } from "../base/clock.ts";
import { UserError } from "../base/errors.ts";
import { decodeImage } from "../change/codec.ts";
import { keyIdOf, keyIdOfImage, keyOfImage } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import { type Image, imageEqual, type Value, valueEqual } from "../change/value.ts";
import { isBusy } from "../reflect/live-connection.ts";
import type { StoredConflict } from "../replica/journal.ts";
import { RestoredHere, rowsReferring } from "../replica/restored.ts";
import { type ForeignKey, readForeignKeys } from "../schema/foreign-keys.ts";
import { RowAccess } from "../schema/row-access.ts";
import { queryOf } from "../sqlite/query.ts";
import type { RestoreResult } from "./api.ts";
import type { Member } from "./member.ts";
import { conflictId, show } from "./status.ts";
import { showKey, sqlLiteral } from "./verify.ts";

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
  const db = new DatabaseSync(member.options.db, { enableForeignKeyConstraints: false, timeout: 0 });
  try {
    for (const end = clock.now() + PATIENCE_MS; ; await later(clock)) {
      if (clock.now() > end)
        throw new UserError(
          "the application holds the write lock of its file, or a very large changeset arrives",
          "try again in a moment",
        );
      if (!member.replica.replica.betweenEntries || !begin(db)) continue;
      try {
        const result = new Restoration(member, db, conflict, options).run();
        db.exec("COMMIT");
        result.note();
        member.pipeline.touch();
        member.engine.wake();
        return result.result;
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
    db.exec("BEGIN IMMEDIATE");
    return true;
  } catch (error) {
    if (isBusy(error)) return false;
    throw error;
  }
}

type Related = RestoreResult["children"][number];

/** One restoration inside an open transaction on the file. The replica stands still meanwhile: nothing here waits. */
class Restoration {
  readonly #member: Member;
  readonly #db: DatabaseSync;
  readonly #conflict: StoredConflict;
  readonly #options: RestoreOptions;
  readonly #foreignKeys: readonly ForeignKey[];
  readonly #access = new Map<number, RowAccess>();
  readonly #restored: RestoredHere;
  readonly #children: Related[] = [];
  readonly #notes: { conflict: StoredConflict; key: Value[] }[] = [];

  constructor(member: Member, db: DatabaseSync, conflict: StoredConflict, options: RestoreOptions) {
    this.#member = member;
    this.#db = db;
    this.#conflict = conflict;
    this.#options = options;
    const { replica } = member.replica;
    this.#foreignKeys = readForeignKeys(queryOf(db), replica.shapes.values());
    this.#restored = new RestoredHere(member.replica.db);
  }

  #accessTo(shape: TableShape): RowAccess {
    let access = this.#access.get(shape.id);
    if (access === undefined) {
      const { encoding } = this.#member.replica.replica.settings;
      this.#access.set(shape.id, (access = new RowAccess(this.#db, shape, encoding)));
    }
    return access;
  }

  run(): { result: RestoreResult; note: () => void } {
    const shape = this.#member.replica.replica.shapes.get(this.#conflict.table);
    if (shape === undefined)
      throw new UserError(
        `the table of conflict ${conflictId(this.#conflict)} is gone`,
        "marmot conflicts show prints the row; insert it where it belongs",
      );
    const result = this.#options.asNew ? this.#asNew(shape) : this.#inPlace(shape);
    return {
      result,
      note: () => {
        for (const { conflict, key } of this.#notes)
          this.#restored.note(
            conflict,
            keyIdOf(this.#member.replica.replica.shapes.get(conflict.table)!, key),
          );
      },
    };
  }

  #result(
    shape: TableShape,
    part: Pick<RestoreResult, "done" | "key"> & { replaced: Image | null },
  ): RestoreResult {
    return {
      id: conflictId(this.#conflict),
      table: shape.name,
      columns: shape.columns.map((c) => c.name),
      ...part,
      replaced: part.replaced?.map(show) ?? null,
      children: this.#children,
    };
  }

  /** The row as it was, under its own key. */
  #inPlace(shape: TableShape): RestoreResult {
    const { losingImage, winningImage, keyId } = this.#conflict;
    const access = this.#accessTo(shape);
    const wanted = losingImage === null ? null : decodeImage(losingImage);
    const [keyImage] = [wanted, winningImage === null ? null : decodeImage(winningImage)].filter(
      (i) => i !== null && keyIdOfImage(shape, i) === keyId,
    );
    if (keyImage === undefined || keyImage === null)
      throw new UserError(
        "the conflict names no row of its key",
        "marmot conflicts show prints what it holds",
      );
    const key = keyOfImage(shape, keyImage);
    const now = access.get(key);
    const shown = showKey(shape, keyId);
    if (wanted === null ? now === null : now !== null && imageEqual(now, wanted))
      return this.#result(shape, { done: "nothing to do", key: shown, replaced: null });
    // A unique clash names the row that claimed the value, which is another one.
    const stood =
      winningImage === null || this.#conflict.kind === "unique clash" ? null : decodeImage(winningImage);
    const unchanged = now === null ? stood === null : stood !== null && imageEqual(now, stood);
    if (!unchanged && now !== null && !this.#options.overwrite)
      throw new UserError(
        `the row ${shown} of ${shape.name} was written again since the conflict; it is now (${now.map(sqlLiteral).join(", ")})`,
        "give --overwrite to replace it all the same, or --as-new to keep both",
      );
    if (wanted === null) access.delete(key);
    else this.#write(access, wanted);
    return this.#result(shape, {
      done: wanted === null ? "deleted again" : "restored",
      key: shown,
      replaced: now,
    });
  }

  /** Like an application: constraints hold. */
  #write(access: RowAccess, image: Image): void {
    const { shape } = access;
    const [clash] = access.clashes(image);
    if (clash !== undefined)
      throw new UserError(
        `the row (${image.map(sqlLiteral).join(", ")}) of ${shape.name} needs a UNIQUE value that the row ${clash.map(sqlLiteral).join(", ")} holds`,
        "change that row's value first, or insert the row by hand with another one",
      );
    try {
      access.upsert(image);
    } catch (error) {
      throw new UserError(
        `the file refuses the row (${image.map(sqlLiteral).join(", ")}) of ${shape.name}: ${error instanceof Error ? error.message : String(error)}`,
        "marmot conflicts show prints the row; write it by hand as the schema wants it",
        { cause: error },
      );
    }
  }

  #asNew(shape: TableShape): RestoreResult {
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
    if (before !== null && this.#accessTo(shape).get([BigInt(before)]) !== null)
      throw new UserError(
        `conflict ${conflictId(this.#conflict)} was put back on this node already: ${shape.name} ${before}`,
        "delete that row first if it must be done again",
      );
    const key = this.#insertFresh(shape, this.#conflict, decodeImage(losingImage));
    return this.#result(shape, { done: "restored as new", key: String(key), replaced: null });
  }

  /** Inserts a lost row under an id that SQLite picks, and leads its children to it. */
  #insertFresh(shape: TableShape, conflict: StoredConflict, image: Value[]): bigint {
    const at = shape.key[0]!;
    const old = image[at]!;
    this.#write(this.#accessTo(shape), image.with(at, null));
    const id = this.#db.prepare("SELECT last_insert_rowid() AS id");
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
    if (at.index >= conflict.index) return "unknown";
    if (origin === conflict.losingOrigin) return "yes";
    const since = conflict.losingPosition;
    return since !== null && since.shard === at.shard && at.index >= since.index ? "yes" : "no";
  }

  /** Children that stand: their references are led to the fresh id, if they were written as the loser's. */
  #moveStanding(foreignKey: ForeignKey, conflict: StoredConflict, old: Value, fresh: bigint): void {
    const { child } = foreignKey;
    const column = foreignKey.columns[0]!;
    const { replica, db } = this.#member.replica;
    const parentStands = this.#accessTo(foreignKey.parent).get([old]) !== null;
    for (const key of rowsReferring(db, foreignKey, [old])) {
      const keyId = keyIdOf(child, key);
      const access = this.#accessTo(child);
      const now = access.get(key);
      if (now === null || !valueEqual(now[column]!, old)) continue;
      const last = replica.lastWrite(child.id, keyId);
      const sure = !parentStands || replica.strays.isOf(child.id, keyId, conflict);
      const mine = sure ? "yes" : last === null ? "no" : this.#isLosersChild(conflict, last.origin, last);
      if (mine === "no") continue; // the standing row's own
      const shown = showKey(child, keyId);
      if (mine === "unknown") {
        this.#left(
          child,
          shown,
          "it was written after the conflict, or cannot be told from the standing row's children",
        );
      } else if (this.#member.pending.has(child.id, keyId))
        this.#left(child, shown, "the application is writing it right now");
      else if (child.key.includes(column) && access.get(keyOfImage(child, now.with(column, fresh))) !== null)
        this.#left(child, shown, "its key would be that of another row");
      else if (child.key.includes(column) && this.#foreignKeys.some((f) => f.parent.id === child.id))
        this.#left(child, shown, "its key would change, and other rows refer to it");
      else {
        if (child.key.includes(column)) access.delete(key);
        this.#write(access, now.with(column, fresh));
        const moved = keyIdOfImage(child, now.with(column, fresh));
        this.#children.push({
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
    for (const lost of this.#member.replica.replica.journal.replacedIn(child.id)) {
      if (lost.losingImage === null || this.#restored.keyOf(lost) !== null) continue;
      const image = decodeImage(lost.losingImage);
      if (!valueEqual(image[column]!, old)) continue;
      const mine = this.#isLosersChild(conflict, lost.losingOrigin, lost.losingPosition);
      if (mine === "no") continue;
      const led = image.with(column, fresh);
      const shown = showKey(child, lost.keyId);
      if (mine === "unknown") {
        this.#left(
          child,
          shown,
          `it lost, too, and whose child it was cannot be told: conflict ${conflictId(lost)}`,
        );
        continue;
      }
      const access = this.#accessTo(child);
      if (child.integerKey && !child.key.includes(column)) {
        const newKey = String(this.#insertFresh(child, lost, led));
        this.#children.push({ table: child.name, key: shown, done: "restored", newKey, reason: "" });
      } else if (access.get(keyOfImage(child, led)) !== null)
        this.#left(child, shown, "it lost to another row of its key, and SQLite cannot pick a fresh one");
      else {
        this.#write(access, led);
        this.#notes.push({ conflict: lost, key: keyOfImage(child, led) });
        const newKey = showKey(child, keyIdOfImage(child, led));
        this.#children.push({ table: child.name, key: shown, done: "restored", newKey, reason: "" });
      }
    }
  }

  #left(shape: TableShape, key: string, reason: string): void {
    this.#children.push({ table: shape.name, key, done: "left", newKey: "", reason });
  }
}

/**
 * The rows of a reflection: each changed row that is not pending becomes equal to the replica's. A pending row is deferred
 * until its last log row is acknowledged. A row whose UNIQUE value a pending row holds is withheld.
 */
import type { StatementSync } from "node:sqlite";
import { errorMessage, UserError } from "../base/errors.ts";
import type { PositionVector } from "../change/batch.ts";
import { type ChangedRow, LOOK_UP, type RedirectedRow } from "../change/changed-rows.ts";
import { encodeImage } from "../change/codec.ts";
import { type KeyId, keyIdOf, keyValues } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import type { UnseenRows } from "../rows/unseen-rows.ts";
import { type Image, imageEqual, Slices, type Value } from "../change/value.ts";
import type { RowAccess } from "../rows/row-access.ts";
import { encodePosition } from "../schema/app-db-tables.ts";
import type { AppDbConnection } from "./app-db-connection.ts";
import { isFailedExpression } from "../sqlite/functions/failed-expression.ts";
import type { ChangeLogWriter } from "./change-log-writer.ts";
import { firing } from "./firing.ts";
import type { HoldBack } from "./hold-back.ts";
import { type OccupiedComponents, OccupiedRowids, type OccupyingSource } from "./occupied-rowids.ts";
import { redirections, redirectRows } from "./redirected-rows.ts";

/** The replica, as far as it is reflected. */
export interface ReflectSource extends OccupyingSource {
  /** Own rows that have other rowids here than in the file. */
  readonly redirected: readonly RedirectedRow[];
  row(table: number, key: readonly Value[]): Image | null;
}

export interface RowReflectorComponents extends OccupiedComponents {
  readonly appDb: AppDbConnection;
  readonly source: ReflectSource;
  readonly holdBack: HoldBack;
  readonly unseen: UnseenRows;
  /** Stores images of a table for the conflict journal, in the open transaction. */
  readonly keepUnseen: (shape: TableShape, images: readonly Image[]) => void;
}

interface ShownRow {
  readonly keyId: KeyId;
  readonly key: readonly Value[];
  readonly image: Image;
}

/** Rows written between two yields. */
const SLICE = 500;

export class RowReflector {
  readonly occupied: OccupiedRowids;
  readonly #components: RowReflectorComponents;
  readonly #storeWithheld: StatementSync;
  readonly #dropWithheld: StatementSync;
  readonly #forgetRestored: StatementSync;
  /** Changed rows that are not shown because their key is pending. */
  readonly #deferred = new Map<number, Map<KeyId, readonly Value[]>>();
  /** Logs of tables that the open transaction wrote. */
  readonly #written = new Set<ChangeLogWriter>();
  /** Rows that no trigger saw and that would be replaced in the open transaction. */
  readonly #unseen = new Map<ChangeLogWriter, Image[]>();
  readonly #journalWaits: StatementSync;

  constructor(components: RowReflectorComponents) {
    const { db } = components.appDb;
    this.#components = components;
    this.occupied = new OccupiedRowids(components);
    this.#storeWithheld = db.prepare(
      `INSERT INTO "__marmot__shadow" VALUES(?, ?, ?) ON CONFLICT("id", "key") DO UPDATE SET "position" = excluded."position"`,
    );
    this.#dropWithheld = db.prepare(`DELETE FROM "__marmot__shadow" WHERE "id" = ? AND "key" = ?`);
    this.#journalWaits = db.prepare(`SELECT 1 FROM "__marmot__lost" LIMIT 1`);
    // Without a condition SQLite writes the page of the empty table each time.
    this.#forgetRestored = db.prepare(`DELETE FROM "__marmot__awaited" WHERE "id" >= 0`);
  }

  /** The row is not shown for now: it is pending, was changed by others while it was pending, or is withheld. */
  isDeferred(table: number, keyId: KeyId): boolean {
    return (
      this.#components.pending.has(table, keyId) ||
      (this.#deferred.get(table)?.has(keyId) ?? false) ||
      this.#components.withheld.get(table, keyId) !== undefined
    );
  }

  /** At the beginning of a transaction. */
  begin(): void {
    this.#written.clear();
    this.#components.holdBack.failures.clear();
    this.#unseen.clear();
  }

  /** At its end: stores what no trigger saw. True: something was stored for the journal. */
  keepUnseen(): boolean {
    for (const [log, images] of this.#unseen) this.#components.keepUnseen(log.shape, images);
    return this.#unseen.size > 0;
  }

  /** Logs of the tables that the transaction wrote so far. */
  get written(): ReadonlySet<ChangeLogWriter> {
    return this.#written;
  }

  /** Log rows of the key up to `id` are acknowledged. If others changed the row while it was pending, it is shown now. */
  release(table: number, keyId: KeyId, id: number): void {
    const { pending, withheld, source } = this.#components;
    const base = this.#base(table, keyId);
    if (!pending.release(table, keyId, id)) {
      if (base !== null) this.#keepBase(table, keyId, base);
      return;
    }
    // The application has written the row again, and all of its values are ordered.
    this.#components.unseen.forget(table, keyId);
    const key = this.#deferred.get(table)?.get(keyId) ?? withheld.get(table, keyId)?.key;
    if (key === undefined) return;
    this.#deferred.get(table)?.delete(keyId);
    if (source.changed.get(table, keyId) === undefined)
      this.#show(table, { keyId, key, image: source.row(table, key) });
  }

  /** The position that the file last showed for a pending key which others changed since; null: no one did. */
  #base(table: number, keyId: KeyId): PositionVector | null {
    const { pending, bases, withheld, source } = this.#components;
    const row = pending.get(table, keyId);
    const changed =
      this.#deferred.get(table)?.has(keyId) === true || source.changed.get(table, keyId) !== undefined;
    return row === undefined || !changed
      ? null
      : (withheld.get(table, keyId)?.position ?? bases.at(table, row.minId));
  }

  /**
   * The key stays pending, and changes of others to it stay hidden. Its newer log rows were written at a position that the
   * file reflected, but not for this key.
   */
  #keepBase(table: number, keyId: KeyId, base: PositionVector): void {
    const { logs } = this.#components;
    this.#withhold(table, keyId, keyValues(logs.get(table)!.shape, keyId), base);
  }

  /** Pending own rows get their rowids of the total order, before the rows that took their places are shown. */
  *redirect(): Generator<void, void> {
    const { source, logs, pending } = this.#components;
    let handled = 0;
    for (const table of new Set(source.redirected.map((m) => m.table))) {
      const log = logs.get(table);
      if (log === undefined) continue; // a silent table
      const redirected = source.redirected.filter((m) => m.table === table);
      const moves = redirections(log, redirected, pending, (used, above) =>
        source.freeRowid(table, used, above),
      );
      const id = (rowid: bigint): KeyId => keyIdOf(log.shape, [rowid]);
      this.#move(log, moves);
      for (const rowid of [...moves.keys(), ...redirected.flatMap(({ from, to }) => [from, to])]) {
        this.#deferred.get(table)?.delete(id(rowid));
        if (source.changed.get(table, id(rowid)) === undefined)
          this.#show(table, { keyId: id(rowid), key: [rowid], image: source.row(table, [rowid]) });
        if (++handled % SLICE === 0) yield;
      }
    }
  }

  /** Pending own rows that hide rows of other nodes get free rowids; see `OccupiedRowids`. */
  makeRoom(): void {
    const { source, logs } = this.#components;
    for (const [table, rows] of source.changed.tables) {
      const log = logs.get(table);
      if (log === undefined) continue;
      const moves = this.occupied.moves(log, rows.keys());
      if (moves.size > 0) this.#prepare(log);
      for (const rowid of moves.keys()) {
        this.#deferred.get(table)?.delete(keyIdOf(log.shape, [rowid]));
        if (this.occupied.isUnchanged(log, rowid)) firing(log, () => log.access.delete([rowid]));
      }
      this.#move(log, moves);
    }
  }

  #move(log: ChangeLogWriter, moves: ReadonlyMap<bigint, bigint>): void {
    if (moves.size === 0) return;
    this.#prepare(log);
    redirectRows(log, moves, this.#components.pending, {
      remove: (key) => firing(log, () => log.access.delete(key)),
      write: (image) => this.#write(log, image),
    });
  }

  #prepare(log: ChangeLogWriter): void {
    if (this.#written.has(log)) return;
    this.#written.add(log);
    this.#components.appDb.triggers.prepare(log.shape.name);
  }

  #write(log: ChangeLogWriter, image: Image): void {
    if (this.#components.appDb.triggers.fires(log.shape.name)) firing(log, () => log.access.write(image));
    else log.access.upsert(image);
  }

  /** Shows every changed row. */
  *showChanged(): Generator<void, void> {
    const { changed } = this.#components.source;
    // Rows to restore are among the changed rows.
    if (changed.size > 0) this.#forgetRestored.run();
    const slices = new Slices(SLICE);
    for (const [table, rows] of [...changed.tables]) {
      const silent = this.#components.holdBack.silent.get(table);
      if (silent !== undefined) {
        yield* this.#withholdAll(silent, rows, slices);
        continue;
      }
      // Deleted rows make room for the others.
      for (const [keyId, row] of rows) {
        if (row === LOOK_UP || row.image !== null) continue;
        this.#show(table, { keyId, key: row.key, image: null });
        if (slices.ends(null)) yield;
      }
      const log = this.#components.logs.get(table)!;
      let together: ShownRow[] = [];
      for (const [keyId, kept] of rows) {
        const { key, image } = this.#lookUp(table, keyId, kept);
        if (kept !== LOOK_UP && image === null) continue;
        if (image !== null && this.#isIndependent(log, keyId)) together.push({ keyId, key, image });
        else this.#show(table, { keyId, key, image });
        if (!slices.ends(image)) continue;
        this.#showTogether(log, together);
        together = [];
        yield;
      }
      this.#showTogether(log, together);
    }
    changed.clear();
  }

  *#withholdAll(
    shape: TableShape,
    rows: Iterable<readonly [KeyId, ChangedRow | typeof LOOK_UP]>,
    slices: Slices,
  ): Generator<void, void> {
    for (const [keyId, row] of rows) {
      const key = row === LOOK_UP ? keyValues(shape, keyId) : row.key;
      this.#withhold(shape.id, keyId, key, this.#components.bases.reflected);
      if (slices.ends(null)) yield;
    }
  }

  /** The row can be written together with others: no row must make room, no trigger fires, and nothing is kept about it. */
  #isIndependent(log: ChangeLogWriter, keyId: KeyId): boolean {
    const { pending, withheld, appDb, holdBack, unseen } = this.#components;
    const { id, name } = log.shape;
    if (log.access.hasUniques || appDb.triggers.fires(name)) return false;
    if (holdBack.tables.size > 0 || unseen.size > 0) return false;
    return !pending.has(id, keyId) && withheld.get(id, keyId) === undefined;
  }

  #showTogether(log: ChangeLogWriter, rows: readonly ShownRow[]): void {
    if (rows.length === 0) return;
    this.#prepare(log);
    const images = rows.map(({ image }) => image);
    if (this.#attempt(log, () => log.access.upsertMany(images))) return;
    for (const row of rows) this.#show(log.shape.id, row); // an expression fails for one of them
  }

  #lookUp(table: number, keyId: KeyId, row: ChangedRow | typeof LOOK_UP): ChangedRow {
    if (row !== LOOK_UP) return row;
    const { logs, source } = this.#components;
    const key = keyValues(logs.get(table)!.shape, keyId);
    return { key, image: source.row(table, key) };
  }

  /** Tries again to show every withheld row. */
  showWithheld(): void {
    const { withheld, source, pending, holdBack } = this.#components;
    for (const [table, rows] of [...withheld.tables])
      for (const [keyId, { key }] of [...rows])
        if (!pending.has(table, keyId) && !holdBack.has(table, keyId))
          this.#show(table, { keyId, key, image: source.row(table, key) });
  }

  #show(table: number, row: ChangedRow & { readonly keyId: KeyId }): void {
    const { keyId, key, image } = row;
    const { pending, logs, bases, holdBack, source } = this.#components;
    if (pending.has(table, keyId)) {
      this.#defer(table, keyId, key);
      return;
    }
    const log = logs.get(table)!;
    const { access } = log;
    if (holdBack.holds(table, keyId, source.changed)) {
      if (showsAlready(access, key, image)) this.#unwithhold(table, keyId);
      else this.#withhold(table, keyId, key, bases.reflected);
      return;
    }
    this.#prepare(log);
    if (this.#isUnseen(log, row)) {
      this.#withhold(table, keyId, key, bases.reflected);
      return;
    }
    if (image === null) {
      if (this.#attempt(log, () => firing(log, () => access.delete(key)))) this.#unwithhold(table, keyId);
      else this.#withhold(table, keyId, key, bases.reflected);
      return;
    }
    let clashes: Value[][] = [];
    const isEvaluated =
      !access.hasUniques || this.#attempt(log, () => void (clashes = access.clashes(image)));
    // A row with NULL in its key is this node's alone: it cannot be deleted by its key, nor shown again.
    const isAway = (clash: readonly Value[]): boolean => {
      const clashId = keyIdOf(access.shape, clash);
      return (
        clash.includes(null) ||
        pending.has(table, clashId) ||
        this.#isUnseen(log, { keyId: clashId, key: clash, image: null })
      );
    };
    if (clashes.some(isAway)) {
      access.delete(key);
      this.#withhold(table, keyId, key, bases.reflected);
      return;
    }
    for (const clash of clashes) access.delete(clash);
    if (isEvaluated && this.#attempt(log, () => this.#write(log, image))) this.#unwithhold(table, keyId);
    else this.#withhold(table, keyId, key, bases.reflected);
    for (const clash of clashes) this.#showDisplaced(log, clash);
  }

  /** The file's row must stay until its values are in the journal. */
  #isUnseen(log: ChangeLogWriter, { keyId, key, image }: ChangedRow & { readonly keyId: KeyId }): boolean {
    const { unseen } = this.#components;
    if (unseen.size === 0) return false;
    const table = log.shape.id;
    const state = unseen.get(table, keyId);
    if (state === undefined) return false;
    const now = log.access.get(key);
    const isLost = now !== null && (image === null || !imageEqual(now, image));
    if (isLost && state === "found") {
      this.#unseen.set(log, [...(this.#unseen.get(log) ?? []), now]);
      unseen.set(table, keyId, "kept");
      return true;
    }
    if (isLost && (this.#unseen.size > 0 || this.#journalWaits.get() !== undefined)) return true;
    unseen.forget(table, keyId);
    return false;
  }

  /** A row was deleted because it had a UNIQUE value of another row. In the replica it has another value: it is shown so. */
  #showDisplaced(log: ChangeLogWriter, key: readonly Value[]): void {
    const { source } = this.#components;
    const table = log.shape.id;
    const keyId = keyIdOf(log.shape, key);
    const changed = source.changed.get(table, keyId);
    const image = changed === undefined || changed === LOOK_UP ? source.row(table, key) : changed.image;
    this.#show(table, { keyId, key, image });
  }

  /** False: an expression of the schema fails for this row. The file keeps the row as it was. */
  #attempt(log: ChangeLogWriter, write: () => void): boolean {
    try {
      write();
      return true;
    } catch (error) {
      const cause = error instanceof UserError ? error.cause : error;
      if (!isFailedExpression(cause)) throw error;
      this.#components.holdBack.failures.set(log.shape.id, errorMessage(cause));
      return false;
    }
  }

  #defer(table: number, keyId: KeyId, key: readonly Value[]): void {
    let deferred = this.#deferred.get(table);
    if (deferred === undefined) this.#deferred.set(table, (deferred = new Map<KeyId, readonly Value[]>()));
    deferred.set(keyId, key);
  }

  /** From now on the file is known to show the row as of `lastShown` only. */
  #withhold(table: number, keyId: KeyId, key: readonly Value[], lastShown: PositionVector): void {
    const { withheld } = this.#components;
    if (withheld.get(table, keyId) !== undefined) return;
    const position = [...lastShown];
    withheld.set(table, keyId, { key, position });
    this.#storeWithheld.run(table, encodeImage(key), encodePosition(position));
  }

  #unwithhold(table: number, keyId: KeyId): void {
    const { withheld } = this.#components;
    const row = withheld.get(table, keyId);
    if (row === undefined) return;
    withheld.delete(table, keyId);
    this.#dropWithheld.run(table, encodeImage(row.key));
  }
}

function showsAlready(access: RowAccess, key: readonly Value[], image: Image | null): boolean {
  const there = access.get(key);
  return image === null || there === null ? image === there : imageEqual(image, there);
}

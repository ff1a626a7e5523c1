/**
 * S into L: one short transaction that makes every changed row that is not pending equal to the replica, deletes
 * acknowledged log rows and writes down the position. Afterwards L = S at that position with the pending rows on top.
 */
import type { StatementSync } from "node:sqlite";
import { assert } from "../base/assert.ts";
import { errorMessage, UserError } from "../base/errors.ts";
import type { BasePositions } from "../change/base-positions.ts";
import type { PositionVector } from "../change/batch.ts";
import { type ChangedRow, type ChangedRows, LOOK_UP, type RedirectedRow } from "../change/changed-rows.ts";
import { encodeImage } from "../change/codec.ts";
import { type KeyId, keyIdOf, keyValues } from "../change/key.ts";
import type { KeyList } from "../change/key-list.ts";
import type { PendingRows } from "../change/pending-rows.ts";
import type { WithheldRows } from "../change/withheld-rows.ts";
import { type Image, imageEqual, type Value } from "../change/value.ts";
import { fingerprint, type KnownSchema } from "../schema/catalogue.ts";
import { encodePosition, newestIdsSql } from "../schema/app-db-tables.ts";
import { prepareExact, type RowAccess } from "../rows/row-access.ts";
import { isFailedExpression } from "../sqlite/failed-expression.ts";
import { queryOf } from "../sqlite/query.ts";
import { HoldBack } from "./hold-back.ts";
import type { IdBlocks } from "./id-blocks.ts";
import { isBusy } from "../sqlite/locked.ts";
import type { AppDbConnection } from "./app-db-connection.ts";
import type { ChangeLogRows } from "./change-log-rows.ts";
import { moveRows, movesOf } from "./redirected-rows.ts";

/** What is reflected. */
export interface ReflectSource {
  readonly changed: ChangedRows;
  /** Own rows that are under other rowids than the file has them. */
  readonly moved: readonly RedirectedRow[];
  row(table: number, key: readonly Value[]): Image | null;
  freeRowid(table: number, used: (rowid: bigint) => boolean, above: bigint): bigint;
}

export interface Acknowledgement {
  /** Table ⇒ log id. */
  readonly upTo: ReadonlyMap<number, number>;
  readonly looked: readonly KeyList[];
}

export interface ReflectorComponents {
  readonly appDb: AppDbConnection;
  readonly logs: ReadonlyMap<number, ChangeLogRows>;
  readonly source: ReflectSource;
  readonly pending: PendingRows;
  readonly bases: BasePositions;
  readonly shadows: WithheldRows;
  /** Ids of tables that this node cannot write for now. Absent: it can write all. */
  readonly heldBack?: ReadonlySet<number>;
  /** Absent: SQLite's ids are left alone. */
  readonly ids?: IdBlocks;
  /** The schema that the components are made for; null: the file does not have it yet. */
  readonly expected: KnownSchema | null;
}

/** "busy": the application holds the write lock; "moved": it changed the schema. Of both nothing happened. */
export type Reflected = "done" | "busy" | "moved";

/** Rows written between two yields. */
const SLICE = 500;

const NOTHING: Acknowledgement = { upTo: new Map(), looked: [] };

export class Reflector {
  readonly #components: ReflectorComponents;
  readonly #begin: StatementSync;
  readonly #commit: StatementSync;
  readonly #rollback: StatementSync;
  readonly #newest: readonly StatementSync[];
  readonly #storePosition: StatementSync;
  readonly #storeShadow: StatementSync;
  readonly #dropShadow: StatementSync;
  readonly #forgetRestored: StatementSync;
  /** Changed rows that were left alone because their key is pending. */
  readonly #held = new Map<number, Map<KeyId, readonly Value[]>>();
  #sweepMore: boolean;
  readonly #holdBack: HoldBack;
  readonly #schemaVersion: StatementSync;
  /** Under which the schema was last seen to be what is expected. */
  #cookie: unknown;

  constructor(components: ReflectorComponents) {
    const { db } = components.appDb;
    this.#components = components;
    this.#holdBack = new HoldBack(components.heldBack ?? new Set(), components.shadows);
    // Rows that were withheld when the file was opened may be shown now.
    this.#sweepMore = components.shadows.size > 0;
    this.#cookie = components.expected?.versions.schema ?? null;
    this.#begin = db.prepare("BEGIN IMMEDIATE");
    this.#schemaVersion = db.prepare("PRAGMA schema_version");
    this.#commit = db.prepare("COMMIT");
    this.#rollback = db.prepare("ROLLBACK");
    const logs = [...components.logs].map(([id, { log }]) => ({ id, log }));
    this.#newest = newestIdsSql(logs).map((sql) => prepareExact(db, sql));
    this.#storePosition = db.prepare(
      `UPDATE "__marmot__status" SET "value" = ? WHERE "item" = 'shard' AND "name" = ?`,
    );
    this.#storeShadow = db.prepare(
      `INSERT INTO "__marmot__shadow" VALUES(?, ?, ?) ON CONFLICT("id", "key") DO UPDATE SET "position" = excluded."position"`,
    );
    this.#dropShadow = db.prepare(`DELETE FROM "__marmot__shadow" WHERE "id" = ? AND "key" = ?`);
    // With a condition: without one SQLite writes the empty table's page each time.
    this.#forgetRestored = db.prepare(`DELETE FROM "__marmot__awaited" WHERE "id" >= 0`);
  }

  /** The row is left alone for now: pending and changed by others, or shadowed. */
  isHeld(table: number, keyId: KeyId): boolean {
    return (
      this.#components.pending.has(table, keyId) ||
      (this.#held.get(table)?.has(keyId) ?? false) ||
      this.#components.shadows.get(table, keyId) !== undefined
    );
  }

  /** Acknowledged log rows are still to be deleted. */
  get unfinished(): boolean {
    return this.#sweepMore;
  }

  /** SQLite would pick an id of another node: a transaction is due. */
  get idsDue(): boolean {
    return this.#components.ids?.due ?? false;
  }

  /**
   * One transaction. `position` is where the source stands. Yields now and then while the transaction is open. `joined`:
   * it is open already, and the schema was just brought to what is expected.
   */
  *run(
    position: PositionVector,
    acknowledgement: Acknowledgement = NOTHING,
    joined = false,
  ): Generator<void, Reflected> {
    try {
      if (!joined) this.#begin.run();
    } catch (error) {
      if (isBusy(error)) return "busy";
      throw error;
    }
    try {
      if (!joined && this.#hasMoved()) {
        this.#rollback.run();
        return "moved";
      }
      const { pending, bases, logs, appDb } = this.#components;
      appDb.triggers.begin();
      const tailed = new Set<ChangeLogRows>();
      for (const [table, newest] of this.#newestIds()) {
        const log = logs.get(table)!;
        if (log.readTail(pending, newest)) tailed.add(log);
      }
      const written = new Set<ChangeLogRows>();
      this.#acknowledge(acknowledgement, written);
      yield* this.#moveRows(written);
      this.#holdBack.failures.clear();
      yield* this.#showChanged(written);
      this.#showWithheld(written);
      const commits: (() => void)[] = [];
      const moved = position.some((index, shard) => index !== bases.reflected[shard]);
      if (moved) {
        position.forEach((index, shard) => {
          if (index !== bases.reflected[shard]) this.#storePosition.run(BigInt(index), String(shard));
        });
      }
      if (moved || acknowledgement.upTo.size > 0)
        for (const log of logs.values()) {
          const commit = log.advanceBases(bases, pending, position);
          if (commit !== null) commits.push(commit);
        }
      for (const log of written)
        assert(log.maxId() <= pending.seen(log.shape.id), "nothing of Marmot's own writes is captured");
      appDb.triggers.restore();
      this.#sweepMore = false;
      for (const log of logs.values()) if (log.sweep()) this.#sweepMore = true;
      const { ids } = this.#components;
      if (ids !== undefined)
        commits.push(ids.keep(new Set([...tailed, ...written].map((log) => log.shape.id))));
      this.#commit.run();
      for (const commit of commits) commit();
      bases.reflected = [...position];
      this.#cookie = this.#readCookie();
      return "done";
    } catch (error) {
      // A full disk makes SQLite roll back by itself.
      if (this.#components.appDb.db.isTransaction) this.#rollback.run();
      throw error;
    }
  }

  #readCookie(): unknown {
    return Object.values(this.#schemaVersion.get() as Record<string, unknown>)[0];
  }

  /** Nothing is written into a schema that these components were not made for: what it holds may not be captured. */
  #hasMoved(): boolean {
    const { expected, appDb } = this.#components;
    if (expected === null) return true;
    const cookie = this.#readCookie();
    if (cookie === this.#cookie) return false;
    if (fingerprint(queryOf(appDb.db)) !== expected.fingerprint) return true;
    this.#cookie = cookie;
    return false;
  }

  /** Of logs that hold rows. */
  #newestIds(): [number, number][] {
    const rows = this.#newest.flatMap((s) => s.all() as unknown as [bigint, bigint][]);
    return rows.map(([table, id]) => [Number(table), Number(id)]);
  }

  /** Log rows that are ordered stop counting; rows that others changed meanwhile are shown. */
  #acknowledge({ upTo, looked }: Acknowledgement, written: Set<ChangeLogRows>): void {
    const { logs } = this.#components;
    for (const [table, id] of upTo) logs.get(table)?.acknowledge(id); // it may be gone meanwhile
    for (const [table, keys] of looked.flatMap((list) => [...list.tables()])) {
      const id = upTo.get(table);
      if (id === undefined || !logs.has(table)) continue;
      for (const keyId of keys) this.#release(table, keyId, id, written);
    }
  }

  #release(table: number, keyId: KeyId, id: number, written: Set<ChangeLogRows>): void {
    const { pending, shadows, source } = this.#components;
    const base = this.#base(table, keyId);
    if (!pending.release(table, keyId, id)) {
      if (base !== null) this.#keepBase(table, keyId, base);
      return;
    }
    const key = this.#held.get(table)?.get(keyId) ?? shadows.get(table, keyId)?.key;
    if (key === undefined) return;
    this.#held.get(table)?.delete(keyId);
    if (source.changed.get(table, keyId) === undefined)
      this.#show(table, keyId, key, source.row(table, key), written);
  }

  /** The position that the file last showed for a pending key that others changed since; null: nobody did. */
  #base(table: number, keyId: KeyId): PositionVector | null {
    const { pending, bases, shadows, source } = this.#components;
    const row = pending.get(table, keyId);
    const changed =
      this.#held.get(table)?.has(keyId) === true || source.changed.get(table, keyId) !== undefined;
    return row === undefined || !changed
      ? null
      : (shadows.get(table, keyId)?.position ?? bases.at(table, row.minId));
  }

  /**
   * The key stays pending, and what others did to it stays out: its newer log rows were written at a position that the
   * file reflected, but not for this key.
   */
  #keepBase(table: number, keyId: KeyId, base: PositionVector): void {
    const { logs } = this.#components;
    this.#shadow(table, keyId, keyValues(logs.get(table)!.shape, keyId), base);
  }

  /** What is pending of own rows goes where the order put them, before the rows that took their places are shown. */
  *#moveRows(written: Set<ChangeLogRows>): Generator<void, void> {
    const { source, logs, pending } = this.#components;
    let handled = 0;
    for (const table of new Set(source.moved.map((m) => m.table))) {
      const log = logs.get(table)!;
      const moved = source.moved.filter((m) => m.table === table);
      const moves = movesOf(log, moved, pending, (used, above) => source.freeRowid(table, used, above));
      const id = (rowid: bigint): KeyId => keyIdOf(log.shape, [rowid]);
      if (moves.size > 0) {
        this.#prepare(log, written);
        moveRows(log, moves, pending, {
          remove: (key) => firing(log, () => log.access.delete(key)),
          write: (image) => this.#write(log, image),
        });
      }
      for (const rowid of [...moves.keys(), ...moved.flatMap(({ from, to }) => [from, to])]) {
        this.#held.get(table)?.delete(id(rowid));
        if (source.changed.get(table, id(rowid)) === undefined)
          this.#show(table, id(rowid), [rowid], source.row(table, [rowid]), written);
        if (++handled % SLICE === 0) yield;
      }
    }
  }

  #prepare(log: ChangeLogRows, written: Set<ChangeLogRows>): void {
    if (written.has(log)) return;
    written.add(log);
    this.#components.appDb.triggers.prepare(log.shape.name);
  }

  #write(log: ChangeLogRows, image: Image): void {
    if (this.#components.appDb.triggers.fires(log.shape.name)) firing(log, () => log.access.write(image));
    else log.access.upsert(image);
  }

  *#showChanged(written: Set<ChangeLogRows>): Generator<void, void> {
    const { changed } = this.#components.source;
    // They are among what changed.
    if (changed.size > 0) this.#forgetRestored.run();
    let handled = 0;
    for (const [table, rows] of [...changed.tables]) {
      // What goes makes room first.
      for (const [keyId, row] of rows) {
        if (row === LOOK_UP || row.image !== null) continue;
        this.#show(table, keyId, row.key, null, written);
        if (++handled % SLICE === 0) yield;
      }
      for (const [keyId, kept] of rows) {
        const row = this.#lookUp(table, keyId, kept);
        if (kept !== LOOK_UP && row.image === null) continue;
        this.#show(table, keyId, row.key, row.image, written);
        if (++handled % SLICE === 0) yield;
      }
    }
    changed.clear();
  }

  #lookUp(table: number, keyId: KeyId, row: ChangedRow | typeof LOOK_UP): ChangedRow {
    if (row !== LOOK_UP) return row;
    const { logs, source } = this.#components;
    const key = keyValues(logs.get(table)!.shape, keyId);
    return { key, image: source.row(table, key) };
  }

  #showWithheld(written: Set<ChangeLogRows>): void {
    const { shadows, source, pending } = this.#components;
    for (const [table, rows] of [...shadows.tables])
      for (const [keyId, { key }] of [...rows])
        if (!pending.has(table, keyId) && !this.#holdBack.has(table, keyId))
          this.#show(table, keyId, key, source.row(table, key), written);
  }

  #show(
    table: number,
    keyId: KeyId,
    key: readonly Value[],
    image: Image | null,
    written: Set<ChangeLogRows>,
  ): void {
    const { pending, logs, source, bases } = this.#components;
    if (pending.has(table, keyId)) {
      let held = this.#held.get(table);
      if (held === undefined) this.#held.set(table, (held = new Map<KeyId, readonly Value[]>()));
      held.set(keyId, key);
      return;
    }
    const log = logs.get(table)!;
    const { access } = log;
    if (this.#holdBack.holds(table, keyId, source.changed)) {
      if (this.#showsAlready(access, key, image)) this.#unshadow(table, keyId);
      else this.#shadow(table, keyId, key, bases.reflected);
      return;
    }
    this.#prepare(log, written);
    if (image === null) {
      if (this.#attempt(log, () => firing(log, () => access.delete(key)))) this.#unshadow(table, keyId);
      else this.#shadow(table, keyId, key, bases.reflected);
      return;
    }
    const displaced: Value[][] = [];
    let isWritten = true;
    if (access.hasUniques) {
      let clashes: Value[][] = [];
      isWritten = this.#attempt(log, () => (clashes = access.clashes(image)));
      if (clashes.some((clash) => pending.has(table, keyIdOf(access.shape, clash)))) {
        access.delete(key);
        this.#shadow(table, keyId, key, bases.reflected);
        return;
      }
      for (const clash of clashes) {
        access.delete(clash);
        displaced.push(clash);
      }
    }
    isWritten &&= this.#attempt(log, () => this.#write(log, image));
    if (isWritten) this.#unshadow(table, keyId);
    else this.#shadow(table, keyId, key, bases.reflected);
    // A row that stood in the way has moved in the replica, too: show it where it is now.
    for (const clash of displaced) {
      const clashId = keyIdOf(access.shape, clash);
      const changed = source.changed.get(table, clashId);
      this.#show(
        table,
        clashId,
        clash,
        changed === undefined || changed === LOOK_UP ? source.row(table, clash) : changed.image,
        written,
      );
    }
  }

  /** False: an expression of the schema fails for this row. It stays as the file has it, until it changes. */
  #attempt(log: ChangeLogRows, write: () => void): boolean {
    try {
      write();
      return true;
    } catch (error) {
      const cause = error instanceof UserError ? error.cause : error;
      if (!isFailedExpression(cause)) throw error;
      this.#holdBack.failed(log.shape.id, errorMessage(cause));
      return false;
    }
  }

  #showsAlready(access: RowAccess, key: readonly Value[], image: Image | null): boolean {
    const there = access.get(key);
    return image === null || there === null ? image === there : imageEqual(image, there);
  }

  /** Table ⇒ why a row of another node could not be written when it was last tried. */
  get failures(): ReadonlyMap<number, string> {
    return this.#holdBack.failures;
  }

  isHeldBack(table: number, keyId: KeyId): boolean {
    return this.#holdBack.has(table, keyId);
  }

  /** Rows of other nodes that wait since this node cannot write them, by table. */
  waiting(): Map<number, number> {
    return this.#holdBack.waiting();
  }

  /** From now on the file is known to show the row as of `lastShown` only. */
  #shadow(table: number, keyId: KeyId, key: readonly Value[], lastShown: PositionVector): void {
    const { shadows } = this.#components;
    if (shadows.get(table, keyId) !== undefined) return;
    const position = [...lastShown];
    shadows.set(table, keyId, { key, position });
    this.#storeShadow.run(table, encodeImage(key), encodePosition(position));
  }

  #unshadow(table: number, keyId: KeyId): void {
    const { shadows } = this.#components;
    const row = shadows.get(table, keyId);
    if (row === undefined) return;
    shadows.delete(table, keyId);
    this.#dropShadow.run(table, encodeImage(row.key));
  }
}

/** A write that may fire what an application's trigger does to tables of this node alone, and may so fail. */
function firing(log: ChangeLogRows, write: () => void): void {
  try {
    write();
  } catch (cause) {
    const { name } = log.shape;
    throw new UserError(
      `a row of ${name} that another node wrote cannot be shown in this file: ${errorMessage(cause)}`,
      `if it is a trigger of ${name} that fails, mend the table that it writes, and start the node again; nothing is lost`,
      { cause },
    );
  }
}

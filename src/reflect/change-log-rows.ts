/** One table's change log as the reflector uses it: the tail under the lock, acknowledged rows, the records of bases. */
import type { DatabaseSync } from "node:sqlite";
import type { BasePositions } from "../change/base-positions.ts";
import type { PositionVector } from "../change/batch.ts";
import { keyIdOf, keyValues } from "../change/key.ts";
import type { PendingRows } from "../change/pending-rows.ts";
import type { TableShape } from "../change/shape.ts";
import type { Value } from "../change/value.ts";
import { encodePosition } from "../schema/app-db-tables.ts";
import { exactKey, exactKeyColumns, prepareExact, type RowAccess } from "../rows/row-access.ts";
import { lazily, LazyStatement } from "../sqlite/lazy.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";

/** `v` of a suspicion that was none; NULL makes it a change, 1 is what the trigger wrote. */
const UNFOUNDED = 0n;
/** Log rows deleted in one transaction; the rest waits for the next. */
const DELETE_AT_ONCE = 5000;
/** Log rows of the tail that are read at once. */
const TAIL_AT_ONCE = 5000;

/** Id, suspicion, key. */
type TailRow = readonly [bigint, bigint | null, ...Value[]];

export class ChangeLogRows {
  readonly shape: TableShape;
  readonly access: RowAccess;
  /** The change log's name. */
  readonly log: string;
  readonly #db: DatabaseSync;
  readonly #highestSql: string;
  readonly #maxId: LazyStatement;
  readonly #tail: LazyStatement;
  readonly #settle: LazyStatement;
  readonly #keys: LazyStatement;
  readonly #rename: LazyStatement;
  readonly #delete: LazyStatement;
  readonly #storeAcknowledged: LazyStatement;
  readonly #clearBases: LazyStatement;
  readonly #storeBase: LazyStatement;
  /** Ordered up to here. */
  #acknowledged: number;
  /** Looked at up to here in a transaction of Marmot. */
  #looked = 0;
  /** Physically gone up to here. */
  #deleted = 0;

  constructor(db: DatabaseSync, access: RowAccess, log: string, acknowledged: number) {
    const shape = access.shape;
    const name = `main.${quoteIdentifier(log)}`;
    const keys = exactKeyColumns(
      shape,
      shape.key.map((_, i) => `k${i + 1}`),
    );
    this.shape = shape;
    this.log = log;
    this.access = access;
    this.#acknowledged = acknowledged;
    this.#db = db;
    const key = quoteIdentifier(shape.columns[shape.key[0]!]!.name);
    this.#highestSql = `SELECT max(${key}) FROM main.${quoteIdentifier(shape.name)}`;
    this.#maxId = new LazyStatement(() => prepareExact(db, `SELECT max(id) FROM ${name}`));
    this.#tail = new LazyStatement(() =>
      prepareExact(db, `SELECT id, v, ${keys} FROM ${name} WHERE id > ? ORDER BY id LIMIT ?`),
    );
    this.#settle = lazily(db, `UPDATE ${name} SET v = ? WHERE id = ?`);
    this.#keys = new LazyStatement(() =>
      prepareExact(db, `SELECT id, k1 FROM ${name} WHERE id BETWEEN ? AND ?`),
    );
    this.#rename = lazily(db, `UPDATE ${name} SET k1 = ? WHERE id = ?`);
    this.#delete = lazily(db, `DELETE FROM ${name} WHERE id <= ? AND id < (SELECT max(id) FROM ${name})`);
    this.#storeAcknowledged = lazily(
      db,
      `INSERT INTO "__marmot__status" VALUES('acknowledged', ?, ?) ON CONFLICT("item", "name") DO UPDATE SET "value" = excluded."value"`,
    );
    this.#clearBases = lazily(db, `DELETE FROM "__marmot__base" WHERE "id" = ?`);
    this.#storeBase = lazily(db, `INSERT INTO "__marmot__base" VALUES(?, ?, ?)`);
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  maxId(): number {
    const [id] = this.#maxId.get() as unknown as [bigint | null];
    return Number(id ?? 0n);
  }

  /**
   * Notes the keys of log rows since the last time, up to `newest`, the highest; and settles what was only suspected: an eviction happened if the row
   * is gone now. Written into the log, because what another node deletes later would make an old suspicion look true.
   * False: there were none.
   */
  readTail(pending: PendingRows, newest: number): boolean {
    if (newest <= this.#looked) return false;
    for (const row of this.#tailRows(Math.max(this.#looked, this.#acknowledged))) {
      const [id, suspicion] = row;
      if (suspicion === UNFOUNDED) continue;
      const key = exactKey(this.shape, row, this.access.encoding, 2);
      if (suspicion !== null) {
        const unfounded = this.access.get(key) !== null;
        this.#settle.run(unfounded ? UNFOUNDED : null, id);
        if (unfounded) continue;
      }
      pending.note(this.shape.id, keyIdOf(this.shape, key), Number(id), Number(id));
    }
    pending.see(this.shape.id, newest);
    this.#looked = newest;
    return true;
  }

  /** Log rows after `from`, some at a time: an application may be a million ahead. */
  *#tailRows(from: number): Generator<TailRow, void> {
    for (;;) {
      const rows = this.#tail.all(from, TAIL_AT_ONCE) as unknown as TailRow[];
      yield* rows;
      if (rows.length < TAIL_AT_ONCE) return;
      from = Number(rows.at(-1)![0]);
    }
  }

  /** The highest rowid that the table has or that is pending of it. */
  highestRowid(pending: PendingRows): bigint {
    const [top] = prepareExact(this.#db, this.#highestSql).get() as unknown as [bigint | null];
    let highest = top ?? 0n;
    for (const keyId of pending.keys(this.shape.id)) {
      const [rowid] = keyValues(this.shape, keyId) as [bigint];
      if (rowid > highest) highest = rowid;
    }
    return highest;
  }

  /** Log rows of these keys that are not acknowledged, between two ids, are of other keys from now on: rowid ⇒ rowid. */
  rename(keys: ReadonlyMap<bigint, bigint>, from: number, to: number): void {
    for (const [id, key] of this.#keys.all(Math.max(from, this.#acknowledged + 1), to) as unknown as [
      bigint,
      bigint,
    ][]) {
      const renamed = keys.get(key);
      if (renamed !== undefined) this.#rename.run(renamed, id);
    }
  }

  acknowledge(upTo: number): void {
    if (upTo <= this.#acknowledged) return;
    this.#acknowledged = upTo;
    this.#storeAcknowledged.run(this.shape.name, BigInt(upTo));
  }

  /** Deletes some acknowledged rows, never the highest. True: there are more. */
  sweep(): boolean {
    if (this.#deleted >= this.#acknowledged) return false;
    this.#deleted = Math.min(this.#acknowledged, this.#deleted + DELETE_AT_ONCE);
    this.#delete.run(this.#deleted);
    return this.#deleted < this.#acknowledged;
  }

  /** Records which position log rows from now on were written at; see `BasePositions`. Returns how to commit it in memory. */
  advanceBases(bases: BasePositions, pending: PendingRows, next: PositionVector): (() => void) | null {
    const table = this.shape.id;
    const before = bases.records(table);
    const newest = pending.seen(table);
    if (before.length === 0 && newest <= this.#acknowledged) return null;
    const after = bases.advanced(table, next, this.#acknowledged, newest);
    this.#clearBases.run(table);
    for (const { nextId, position } of after) this.#storeBase.run(table, nextId, encodePosition(position));
    return () => bases.replace(table, after);
  }
}

/**
 * Everything that a reflection writes about one change log: settled suspicions, redirected rowids, the acknowledged id, the
 * base positions, and the deletion of acknowledged rows.
 */
import type { DatabaseSync } from "node:sqlite";
import type { BasePositions } from "../change/base-positions.ts";
import type { PositionVector } from "../change/batch.ts";
import type { ChangeLogCursor } from "../change/change-log-cursor.ts";
import { keyIdOf, keyValues } from "../change/key.ts";
import type { PendingRows } from "../change/pending-rows.ts";
import type { TableShape } from "../change/shape.ts";
import { ChangeLogReader, selectsOf, UNFOUNDED } from "../rows/change-log-reader.ts";
import { requireNotFallen } from "../rows/file-life.ts";
import { type CapturedTable, STORE_ACKNOWLEDGED } from "../rows/change-logs.ts";
import { prepareExact } from "../rows/exact-values.ts";
import type { RowAccess } from "../rows/row-access.ts";
import { encodePosition } from "../schema/app-db-tables.ts";
import { trusted } from "../sqlite/typed-rows.ts";
import { lazily, type LazyStatement } from "../sqlite/lazy.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";

/** Log rows deleted in one transaction; the rest waits for the next. */
const DELETE_AT_ONCE = 5000;

export interface ChangeLogWriterOptions {
  readonly access: RowAccess;
  readonly captured: CapturedTable;
  readonly cursor: ChangeLogCursor;
}

export class ChangeLogWriter {
  readonly shape: TableShape;
  readonly access: RowAccess;
  /** The change log's name. */
  readonly log: string;
  readonly #db: DatabaseSync;
  /** Under which the acknowledged id is stored. */
  readonly #name: string;
  readonly #cursor: ChangeLogCursor;
  readonly #reader: ChangeLogReader;
  readonly #highestSql: string;
  readonly #settle: LazyStatement;
  readonly #rename: LazyStatement;
  readonly #delete: LazyStatement;
  readonly #storeAcknowledged: LazyStatement;
  readonly #clearBases: LazyStatement;
  readonly #storeBase: LazyStatement;
  /** Log rows up to here were read in a transaction of Marmot. */
  #looked = 0;

  constructor(db: DatabaseSync, { access, captured, cursor }: ChangeLogWriterOptions) {
    const shape = access.shape;
    const { log, name: tableName } = captured;
    const name = `main.${quoteIdentifier(log)}`;
    this.shape = shape;
    this.log = log;
    this.access = access;
    this.#db = db;
    this.#name = tableName;
    this.#cursor = cursor;
    this.#reader = new ChangeLogReader(selectsOf(db), { shape, log, encoding: access.encoding });
    const key = quoteIdentifier(shape.columns[shape.key[0]!]!.name);
    this.#highestSql = `SELECT max(${key}) FROM main.${quoteIdentifier(shape.name)}`;
    this.#settle = lazily(db, `UPDATE ${name} SET v = ? WHERE id = ?`);
    this.#rename = lazily(db, `UPDATE ${name} SET k1 = ? WHERE id = ?`);
    this.#delete = lazily(
      db,
      `DELETE FROM ${name} WHERE id BETWEEN 1 AND ? AND id < (SELECT max(id) FROM ${name})`,
    );
    this.#storeAcknowledged = lazily(db, STORE_ACKNOWLEDGED);
    this.#clearBases = lazily(db, `DELETE FROM "__marmot__base" WHERE "id" = ?`);
    this.#storeBase = lazily(db, `INSERT INTO "__marmot__base" VALUES(?, ?, ?)`);
  }

  maxId(): number {
    return this.#reader.maxId();
  }

  /** The log lost its mark (`CUT_LOG`). Throws `FileChangedError` where only its newest rows are missing. */
  isCut(newest: number): boolean {
    const read = Math.max(this.#looked, this.#cursor.drained);
    requireNotFallen(newest, read);
    return newest < read;
  }

  /**
   * Notes the keys of new log rows up to `newest`, the highest, and settles suspicions: an eviction happened if the row no
   * longer exists. The result goes into the log, because a later delete by another node would make an old suspicion look true.
   * False: there are no new log rows.
   */
  readTail(pending: PendingRows, newest: number): boolean {
    if (newest <= this.#looked) return false;
    for (const { id, suspect, key } of this.#reader.rows(
      Math.max(this.#looked, this.#cursor.acknowledged),
      newest,
    )) {
      if (suspect) {
        const unfounded = this.access.get(key) !== null;
        this.#settle.run(unfounded ? UNFOUNDED : null, id);
        if (unfounded) continue;
      }
      // A key with a NULL identifies no row.
      if (!key.includes(null)) pending.note(this.shape.id, keyIdOf(this.shape, key), id, id);
    }
    pending.see(this.shape.id, newest);
    this.#looked = newest;
    return true;
  }

  /** The highest rowid in the table or among its pending rows. */
  highestRowid(pending: PendingRows): bigint {
    const [top] = trusted<[bigint | null]>(prepareExact(this.#db, this.#highestSql).get());
    let highest = top ?? 0n;
    for (const keyId of pending.keys(this.shape.id)) {
      const [rowid] = keyValues(this.shape, keyId) as [bigint];
      if (rowid > highest) highest = rowid;
    }
    return highest;
  }

  /** Unacknowledged log rows of these rowids, between two ids, name other rowids from now on. */
  rename(rowids: ReadonlyMap<bigint, bigint>, from: number, to: number): void {
    for (const { id, key } of this.#reader.rows(Math.max(from - 1, this.#cursor.acknowledged), to)) {
      const renamed = rowids.get(key[0] as bigint);
      if (renamed !== undefined) this.#rename.run(renamed, id);
    }
  }

  /** Stores the acknowledged id. */
  storeAcknowledged(): void {
    this.#storeAcknowledged.run(this.#name, BigInt(this.#cursor.acknowledged));
  }

  /** Deletes some acknowledged rows, never the highest. True: there are more. */
  sweep(): boolean {
    const upTo = this.#cursor.sweep(DELETE_AT_ONCE);
    if (upTo === null) return false;
    this.#delete.run(upTo);
    return upTo < this.#cursor.acknowledged;
  }

  /** Records the base position of log rows from now on; see `BasePositions`. Call the result after the commit. */
  advanceBases(bases: BasePositions, pending: PendingRows, next: PositionVector): (() => void) | null {
    const table = this.shape.id;
    const { acknowledged } = this.#cursor;
    const newest = pending.seen(table);
    if (bases.records(table).length === 0 && newest <= acknowledged) return null;
    const after = bases.advanced(table, next, acknowledged, newest);
    this.#clearBases.run(table);
    for (const { nextId, position } of after) this.#storeBase.run(table, nextId, encodePosition(position));
    return () => bases.replace(table, after);
  }
}

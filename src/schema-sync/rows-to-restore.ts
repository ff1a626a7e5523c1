/**
 * Rows of the replica that a schema change removed from the file, or whose values it removed. They are recorded in the file,
 * in the transaction that removes them, until a reflection restores them. Until then their absence is no delete.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { type KeyId, keyIdOfImage } from "../change/key.ts";
import type { Replica } from "../replica/replica.ts";
import type { RekeyedTable } from "./rekeyed-tables.ts";

/** In place of a key: the table is empty, and all its rows are restored. */
const ALL = new Uint8Array();
/** In place of a key: the table has its rows, but their values may differ from the replica. */
const VALUES = new Uint8Array([1]);

const bound = (keyId: KeyId): bigint | string => (typeof keyId === "number" ? BigInt(keyId) : keyId);

export class RowsToRestore {
  readonly #replica: Replica;
  readonly #insert: StatementSync;
  readonly #find: StatementSync;
  readonly #select: StatementSync;

  /** `db`: the application's file in the current format. */
  constructor(db: DatabaseSync, replica: Replica) {
    this.#replica = replica;
    this.#insert = db.prepare(`INSERT OR IGNORE INTO "__marmot__awaited" VALUES(?, ?)`);
    this.#find = db.prepare(`SELECT 1 FROM "__marmot__awaited" WHERE "id" = ? AND "key" IN (?, x'')`);
    this.#select = db.prepare(`SELECT "id", "key" FROM "__marmot__awaited"`);
  }

  /** Inside a write transaction: records a row to restore. */
  note(table: number, keyId: KeyId): void {
    this.#insert.run(table, bound(keyId));
    this.#replica.recallRow(table, keyId);
  }

  /** Inside a write transaction: records all rows of the table. `isEmpty`: the file has none of them. */
  noteTable(table: number, isEmpty: boolean): void {
    this.#insert.run(table, isEmpty ? ALL : VALUES);
    this.#replica.recallTable(table);
  }

  /** By table id: keys of the rows, or the markers in place of keys. */
  all(): Map<number, (KeyId | Uint8Array)[]> {
    const rows = this.#select.all() as { id: number; key: KeyId | Uint8Array }[];
    return new Map([...Map.groupBy(rows, ({ id }) => id)].map(([id, of]) => [id, of.map(({ key }) => key)]));
  }

  /** Inside a write transaction: the rows recorded under `keys` have other keys now, in table `table`. */
  rename(table: number, keys: readonly (KeyId | Uint8Array)[], keyBefore: RekeyedTable["keyBefore"]): void {
    if (keys.length === 0) return;
    const shape = this.#replica.shapes.get(table)!;
    const rows = new Set(keys.filter((key) => !(key instanceof Uint8Array)));
    const isEmpty = keys.some((key) => key instanceof Uint8Array && key.length === 0);
    // If the new keys are unknown, all rows of the table are recorded: no absence is a delete then.
    if (isEmpty || (rows.size > 0 && keyBefore === null)) this.noteTable(table, true);
    if (rows.size < keys.length) this.noteTable(table, false);
    if (keyBefore !== null)
      for (const image of rows.size === 0 ? [] : this.#replica.rows(table))
        if (rows.has(keyBefore(image))) this.note(table, keyIdOfImage(shape, image));
  }

  /** Whether the file lacks this row for now, though the replica may have it. */
  has(table: number, keyId: KeyId): boolean {
    return this.#find.get(table, bound(keyId)) !== undefined;
  }

  /** After a start: tells the replica which rows are still to restore. */
  recall(): void {
    for (const [id, keys] of this.all())
      for (const key of keys)
        if (!this.#replica.shapes.has(id)) continue;
        else if (key instanceof Uint8Array) this.#replica.recallTable(id);
        else this.#replica.recallRow(id, key);
  }
}

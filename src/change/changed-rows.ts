/**
 * Rows of the replica that the app database may not show yet: filled by `replica/`, emptied by `reflect/`. They are keyed:
 * a row that changes ten times is written once.
 */
import type { KeyId } from "./key.ts";
import { KeyMap } from "./key-map.ts";
import { type Image, largeBytes, type Value } from "./value.ts";

export interface ChangedRow {
  /** Key columns in key order, with the replica's spelling; for a deleted row, its last one. */
  readonly key: readonly Value[];
  /** The replica's present row; null: it has none. */
  readonly image: Image | null;
}

/** An own row of a table without a declared key that has another rowid in the replica than in the app database. */
export interface RedirectedRow {
  readonly table: number;
  readonly from: bigint;
  readonly to: bigint;
  /** Its place in the total order. */
  readonly shard: number;
  readonly index: number;
}

/** In place of a row when there are very many: key and image are read when the row is shown. */
export const LOOK_UP = 0;

/** Rows kept with their images; of further rows only the keys are kept. */
const KEPT_ROWS = 20_000;
/** The same for the bytes of large values. */
const KEPT_BYTES = 16 << 20;

export class ChangedRows {
  /** Table id ⇒ rows. Tables without rows are absent. */
  readonly tables = new Map<number, KeyMap<typeof LOOK_UP, ChangedRow>>();
  #size = 0;
  #bytes = 0;
  /** Rows that came in one changeset with a row of a table that this node cannot write. */
  readonly #tied = new Map<number, Set<KeyId>>();
  /** The changeset that is being applied has such a row. */
  tying = false;

  get size(): number {
    return this.#size;
  }

  /** Bytes of large values that came since the rows were last shown. */
  get bytes(): number {
    return this.#bytes;
  }

  set(table: number, keyId: KeyId, row: ChangedRow): void {
    let rows = this.tables.get(table);
    if (rows === undefined) this.tables.set(table, (rows = new KeyMap<typeof LOOK_UP, ChangedRow>()));
    const before = rows.size;
    this.#bytes += largeBytes(row.image);
    rows.set(keyId, this.#size < KEPT_ROWS && this.#bytes < KEPT_BYTES ? row : LOOK_UP);
    this.#size += rows.size - before;
    if (this.tying) this.#tie(table, keyId);
  }

  #tie(table: number, keyId: KeyId): void {
    const rows = this.#tied.get(table);
    if (rows === undefined) this.#tied.set(table, new Set([keyId]));
    else rows.add(keyId);
  }

  isTied(table: number, keyId: KeyId): boolean {
    return this.#tied.get(table)?.has(keyId) ?? false;
  }

  get(table: number, keyId: KeyId): ChangedRow | typeof LOOK_UP | undefined {
    return this.tables.get(table)?.get(keyId);
  }

  clear(): void {
    this.tables.clear();
    this.#tied.clear();
    this.#size = 0;
    this.#bytes = 0;
  }

  /** The table was dropped. */
  forgetTable(table: number): void {
    this.#size -= this.tables.get(table)?.size ?? 0;
    this.tables.delete(table);
  }

  /** The table's kept images are out of date. */
  lookUp(table: number): void {
    const rows = this.tables.get(table);
    for (const keyId of [...(rows?.keys() ?? [])]) rows!.set(keyId, LOOK_UP);
  }

  delete(table: number, keyId: KeyId): void {
    const rows = this.tables.get(table);
    if (rows === undefined || !rows.delete(keyId)) return;
    this.#size--;
    if (rows.size === 0) this.tables.delete(table);
  }
}

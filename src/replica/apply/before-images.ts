/**
 * What rows were before other nodes changed them, until the live file shows those changes and is synced. A drain asks
 * here what the application saw when it wrote. Node-local: a snapshot does not carry it. In memory there is only which
 * entries a key has: a changeset of a million rows must not need a million objects.
 */
import type { DatabaseSync } from "node:sqlite";
import type { PositionVector } from "../../change/batch.ts";
import { decodeImage } from "../../change/codec.ts";
import type { KeyId } from "../../change/key.ts";
import { KeyMap } from "../../change/key-map.ts";
import type { Image } from "../../change/value.ts";
import { arraysLazily, lazily, type LazyStatement } from "../../sqlite/lazy.ts";

/** Entries looked at in one prune: it runs beside everything else. */
const PRUNE_AT_ONCE = 20_000;

type PruneRow = [id: number, table: number, keyId: KeyId, shard: number, index: number];

export interface OldestBeforeImage {
  readonly keyId: KeyId;
  readonly shard: number;
  readonly index: number;
  /** The row before the change there; null: there was none. */
  readonly image: Image | null;
}

export class References {
  readonly #insert: LazyStatement;
  readonly #remove: LazyStatement;
  readonly #removeRange: LazyStatement;
  readonly #select: LazyStatement;
  readonly #replace: LazyStatement;
  readonly #oldest: LazyStatement;
  /** Table ⇒ key ⇒ ids of its entries, in their order. */
  readonly #byKey = new Map<number, KeyMap<number, number[]>>();
  #size = 0;
  #nextId = 1;
  /** Prune goes on after this id; it begins anew when it met the end of what is shown. */
  #prunedTo = 0;

  constructor(db: DatabaseSync) {
    this.#insert = lazily(db, `INSERT INTO "__marmot__local_reference" VALUES(?, ?, ?, ?, ?, ?)`);
    this.#remove = lazily(db, `DELETE FROM "__marmot__local_reference" WHERE "id" = ?`);
    this.#removeRange = lazily(db, `DELETE FROM "__marmot__local_reference" WHERE "id" > ? AND "id" <= ?`);
    this.#replace = lazily(db, `UPDATE "__marmot__local_reference" SET "image" = ? WHERE "id" = ?`);
    this.#select = arraysLazily(
      db,
      `SELECT "shard", "idx", "image" FROM "__marmot__local_reference" WHERE "id" = ?`,
    );
    const columns = `SELECT "id", "tbl", "key", "shard", "idx" FROM "__marmot__local_reference"`;
    this.#oldest = arraysLazily(db, `${columns} WHERE "id" > ? ORDER BY "id" LIMIT ?`);
    const all = db.prepare(`${columns} ORDER BY "id"`);
    all.setReturnArrays(true);
    for (const [id, table, keyId] of all.iterate() as unknown as Iterable<PruneRow>) {
      this.#remember(table, keyId, id);
      this.#nextId = id + 1;
    }
  }

  get size(): number {
    return this.#size;
  }

  #remember(table: number, keyId: KeyId, id: number): void {
    let keys = this.#byKey.get(table);
    if (keys === undefined) this.#byKey.set(table, (keys = new KeyMap<number, number[]>()));
    const ids = keys.get(keyId);
    if (ids === undefined) keys.set(keyId, id);
    else if (typeof ids === "number") keys.set(keyId, [ids, id]);
    else ids.push(id);
    this.#size++;
  }

  #ids(table: number, keyId: KeyId): readonly number[] {
    const ids = this.#byKey.get(table)?.get(keyId);
    return ids === undefined ? [] : typeof ids === "number" ? [ids] : ids;
  }

  /** `image`: the row before the change at (shard, index), encoded; null: there was none. */
  add(table: number, keyId: KeyId, shard: number, index: number, image: Uint8Array | null): void {
    const id = this.#nextId++;
    this.#insert.run(id, table, keyId, shard, index, image);
    this.#remember(table, keyId, id);
  }

  /** The own image was taken: whatever the row was before it no longer matters. */
  forget(table: number, keyId: KeyId): void {
    const ids = this.#ids(table, keyId);
    if (ids.length === 0) return;
    for (const id of ids) this.#remove.run(id);
    this.#size -= ids.length;
    this.#byKey.get(table)!.delete(keyId);
  }

  /** The table is gone, or its rows have other keys. */
  forgetTable(table: number): void {
    for (const ids of this.#byKey.get(table)?.values() ?? [])
      for (const id of typeof ids === "number" ? [ids] : ids) {
        this.#remove.run(id);
        this.#size--;
      }
    this.#byKey.delete(table);
  }

  /** Of every key of the table the oldest entry. */
  *oldest(table: number): Iterable<OldestBeforeImage> {
    for (const [keyId, ids] of this.#byKey.get(table) ?? []) {
      const row = this.#select.get(typeof ids === "number" ? ids : ids[0]!);
      const [shard, index, image] = row as unknown as [number, number, Uint8Array | null];
      yield { keyId, shard, index, image: image === null ? null : decodeImage(image) };
    }
  }

  /** What the table's rows were is another image from now on. */
  carry(table: number, map: (image: Uint8Array) => Uint8Array): void {
    for (const ids of this.#byKey.get(table)?.values() ?? [])
      for (const id of typeof ids === "number" ? [ids] : ids) {
        const [, , image] = this.#select.get(id) as unknown as [number, number, Uint8Array | null];
        if (image !== null) this.#replace.run(map(image), id);
      }
  }

  /** The row as of `base`: null for "no row", undefined when nothing was changed since, so that the replica's row is it. */
  at(table: number, keyId: KeyId, base: PositionVector): Image | null | undefined {
    for (const id of this.#ids(table, keyId)) {
      const [shard, index, image] = this.#select.get(id) as unknown as [number, number, Uint8Array | null];
      if (index > (base[shard] ?? 0)) return image === null ? null : decodeImage(image);
    }
    return undefined;
  }

  /** All keys that other nodes changed and the live file is not known to show durably. */
  *keys(): Iterable<{ table: number; keyId: KeyId }> {
    for (const [table, keys] of this.#byKey) for (const keyId of keys.keys()) yield { table, keyId };
  }

  /**
   * Drops some of what the live file durably shows. `synced`: the position it reflects and is synced past. `held`: keys
   * that it leaves as they are (pending or shadowed). Call inside a transaction.
   */
  prune(synced: PositionVector, held: (table: number, keyId: KeyId) => boolean): void {
    const rows = this.#oldest.all(this.#prunedTo, PRUNE_AT_ONCE) as unknown as PruneRow[];
    let from = this.#prunedTo;
    let to = from;
    for (const [id, table, keyId, shard, index] of rows) {
      if (index > (synced[shard] ?? 0)) {
        rows.length = 0; // what follows is not shown yet
        break;
      }
      if (held(table, keyId)) {
        if (to > from) this.#removeRange.run(from, to);
        from = id;
      } else this.#drop(table, keyId, id);
      to = id;
    }
    if (to > from) this.#removeRange.run(from, to);
    this.#prunedTo = rows.length < PRUNE_AT_ONCE ? 0 : to;
  }

  #drop(table: number, keyId: KeyId, id: number): void {
    const keys = this.#byKey.get(table)!;
    const rest = this.#ids(table, keyId).filter((i) => i !== id);
    if (rest.length === 0) keys.delete(keyId);
    else keys.set(keyId, rest.length === 1 ? rest[0]! : rest);
    this.#size--;
  }
}

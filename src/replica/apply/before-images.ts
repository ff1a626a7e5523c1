/**
 * Before images of rows that other nodes changed, kept until the app database has those changes and is synced. A drain
 * compares the application's write with the image that the application saw. Node-local: a snapshot does not contain them.
 * Memory has only the record ids of each key: a changeset of a million rows must not need a million objects.
 */
import type { DatabaseSync } from "node:sqlite";
import type { PositionVector } from "../../change/batch.ts";
import { decodeImage, encodeImage } from "../../change/codec.ts";
import type { KeyId } from "../../change/key.ts";
import { KeyMap } from "../../change/key-map.ts";
import type { Image } from "../../change/value.ts";
import { arraysLazily, lazily, type LazyStatement } from "../../sqlite/lazy.ts";
import { covers, type LastWrite } from "./changeset.ts";
import { trusted } from "../../sqlite/typed-rows.ts";

/** Records examined in one call of `prune`, which runs between other work. */
const PRUNE_AT_ONCE = 20_000;

/** Fewer rows are noted one by one. */
const SET_FROM = 4;

/** Records with images that one statement inserts. */
const INSERTED_AT_ONCE = 32;

/** Equals no image: the before image is unknown, so any write of the application to the row is sent. */
export const UNKNOWN_IMAGE = encodeImage([]);

type PruneRow = [id: number, table: number, keyId: KeyId, shard: number, index: number];

export interface OldestBeforeImage {
  readonly keyId: KeyId;
  readonly shard: number;
  readonly index: number;
  /** The row before that change; null: there was none. */
  readonly image: Image | null;
}

export interface KeyedImage {
  readonly keyId: KeyId;
  /** Encoded. */
  readonly image: Uint8Array;
}

const listOf = (ids: number | number[]): readonly number[] => (typeof ids === "number" ? [ids] : ids);

export class BeforeImages {
  readonly #insert: LazyStatement;
  readonly #insertMany: LazyStatement;
  readonly #insertAbsent: LazyStatement;
  readonly #remove: LazyStatement;
  readonly #removeRange: LazyStatement;
  readonly #select: LazyStatement;
  readonly #replace: LazyStatement;
  readonly #oldest: LazyStatement;
  /** Table ⇒ key ⇒ ids of its records, oldest first. */
  readonly #byKey = new Map<number, KeyMap<number, number[]>>();
  #size = 0;
  #nextId = 1;
  /** Prune continues after this id; 0: it starts from the oldest record. */
  #prunedTo = 0;

  constructor(db: DatabaseSync) {
    this.#insert = lazily(db, `INSERT INTO "__marmot__local_reference" VALUES(?, ?, ?, ?, ?, ?)`);
    const records = Array<string>(INSERTED_AT_ONCE).fill("(?, ?, ?, ?, ?, ?)").join(", ");
    this.#insertMany = lazily(db, `INSERT INTO "__marmot__local_reference" VALUES ${records}`);
    this.#insertAbsent = lazily(
      db,
      `INSERT INTO "__marmot__local_reference" SELECT ?1 + k."key", ?2, k."value", ?3, ?4, NULL FROM json_each(?5) k`,
    );
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
    for (const [id, table, keyId] of trusted<Iterable<PruneRow>>(all.iterate())) {
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
    return ids === undefined ? [] : listOf(ids);
  }

  /** `image`: the encoded row before the change at this position; null: there was none. */
  add(
    table: number,
    keyId: KeyId,
    { shard, index }: Pick<LastWrite, "shard" | "index">,
    image: Uint8Array | null,
  ): void {
    const id = this.#nextId++;
    this.#insert.run(id, table, keyId, shard, index, image);
    this.#remember(table, keyId, id);
  }

  /** The rows before the change at this position. */
  addMany(table: number, images: readonly KeyedImage[], at: Pick<LastWrite, "shard" | "index">): void {
    const whole = images.length - (images.length % INSERTED_AT_ONCE);
    for (let from = 0; from < whole; from += INSERTED_AT_ONCE) {
      const bound: (number | string | Uint8Array)[] = [];
      for (let i = from; i < from + INSERTED_AT_ONCE; i++) {
        const { keyId, image } = images[i]!;
        const id = this.#nextId++;
        bound.push(id, table, keyId, at.shard, at.index, image);
        this.#remember(table, keyId, id);
      }
      this.#insertMany.run(...bound);
    }
    for (let i = whole; i < images.length; i++) this.add(table, images[i]!.keyId, at, images[i]!.image);
  }

  /** The change at this position inserted all of these rows. */
  addAbsent(table: number, keyIds: readonly KeyId[], at: Pick<LastWrite, "shard" | "index">): void {
    if (keyIds.length < SET_FROM) {
      for (const keyId of keyIds) this.add(table, keyId, at, null);
      return;
    }
    const first = this.#nextId;
    this.#nextId += keyIds.length;
    this.#insertAbsent.run(first, table, at.shard, at.index, JSON.stringify(keyIds));
    for (let i = 0; i < keyIds.length; i++) this.#remember(table, keyIds[i]!, first + i);
  }

  /** The replica took this node's own image: older before images of the row are obsolete. */
  forget(table: number, keyId: KeyId): void {
    const ids = this.#ids(table, keyId);
    if (ids.length === 0) return;
    for (const id of ids) this.#remove.run(id);
    this.#size -= ids.length;
    this.#byKey.get(table)!.delete(keyId);
  }

  /** The table was dropped, or its rows have other keys. */
  forgetTable(table: number): void {
    for (const ids of this.#byKey.get(table)?.values() ?? [])
      for (const id of listOf(ids)) {
        this.#remove.run(id);
        this.#size--;
      }
    this.#byKey.delete(table);
  }

  /** The oldest before image of each key of the table. */
  *oldest(table: number): Iterable<OldestBeforeImage> {
    for (const [keyId, ids] of this.#byKey.get(table) ?? []) {
      const [shard, index, image] = this.#read(listOf(ids)[0]!);
      yield { keyId, shard, index, image: image === null ? null : decodeImage(image) };
    }
  }

  #read(id: number): [shard: number, index: number, image: Uint8Array | null] {
    return trusted(this.#select.get(id));
  }

  /** A schema change gives the table's rows another shape: maps each image. */
  mapImages(table: number, map: (image: Uint8Array) => Uint8Array): void {
    for (const ids of this.#byKey.get(table)?.values() ?? [])
      for (const id of listOf(ids)) {
        const [, , image] = this.#read(id);
        if (image !== null) this.#replace.run(map(image), id);
      }
  }

  /** The row at the position `base`; null: there was none; undefined: no change since, so it is the row in the replica. */
  at(table: number, keyId: KeyId, base: PositionVector): Image | null | undefined {
    for (const id of this.#ids(table, keyId)) {
      const [shard, index, image] = this.#read(id);
      if (!covers(base, { shard, index })) return image === null ? null : decodeImage(image);
    }
    return undefined;
  }

  /** All keys with a change of another node that the app database is not known to have durably. */
  *keys(): Iterable<{ table: number; keyId: KeyId }> {
    for (const [table, keys] of this.#byKey) for (const keyId of keys.keys()) yield { table, keyId };
  }

  /**
   * Drops some before images whose changes the app database has durably. `synced`: the position that it reflects and has
   * synced. `isHeld`: keys whose changes it has not taken (unacknowledged or withheld rows). Call inside a transaction.
   */
  prune(synced: PositionVector, isHeld: (table: number, keyId: KeyId) => boolean): void {
    const rows = trusted<PruneRow[]>(this.#oldest.all(this.#prunedTo, PRUNE_AT_ONCE));
    let from = this.#prunedTo;
    let to = from;
    for (const [id, table, keyId, shard, index] of rows) {
      if (!covers(synced, { shard, index })) {
        rows.length = 0; // the following changes are not reflected yet
        break;
      }
      if (isHeld(table, keyId)) {
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
    if (keys.get(keyId) === id) {
      keys.delete(keyId);
      this.#size--;
      return;
    }
    const rest = this.#ids(table, keyId).filter((i) => i !== id);
    if (rest.length === 0) keys.delete(keyId);
    else keys.set(keyId, rest.length === 1 ? rest[0]! : rest);
    this.#size--;
  }
}

/**
 * What rows were before other nodes changed them, until the live file shows those changes and is synced. A drain asks
 * here what the application saw when it wrote. Node-local: a snapshot does not carry it.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { PositionVector } from "../change/batch.ts";
import { decodeImage } from "../change/codec.ts";
import type { KeyId } from "../change/key.ts";
import type { Image } from "../change/value.ts";
import { prepareExact } from "../schema/row-access.ts";

interface Entry {
  readonly id: number;
  readonly table: number;
  readonly keyId: KeyId;
  readonly shard: number;
  readonly index: number;
  /** Taken out of its key's list and the table; still in the order until the next prune. */
  gone: boolean;
}

export class References {
  readonly #insert: StatementSync;
  readonly #remove: StatementSync;
  readonly #removeUpTo: StatementSync;
  readonly #select: StatementSync;
  /** In order of id, which per shard is the order of positions. */
  #entries: Entry[] = [];
  readonly #byKey = new Map<number, Map<KeyId, Entry[]>>();
  #nextId = 1;

  constructor(db: DatabaseSync) {
    this.#insert = db.prepare(`INSERT INTO "__marmot__local_reference" VALUES(?, ?, ?, ?, ?, ?)`);
    this.#remove = db.prepare(`DELETE FROM "__marmot__local_reference" WHERE "id" = ?`);
    this.#removeUpTo = db.prepare(`DELETE FROM "__marmot__local_reference" WHERE "id" <= ?`);
    this.#select = prepareExact(db, `SELECT "image" FROM "__marmot__local_reference" WHERE "id" = ?`);
    const all = db.prepare(
      `SELECT "id", "tbl", "key", "shard", "idx" FROM "__marmot__local_reference" ORDER BY "id"`,
    );
    all.setReturnArrays(true);
    for (const row of all.all() as unknown as [number, number, KeyId, number, number][]) {
      this.#remember({ id: row[0], table: row[1], keyId: row[2], shard: row[3], index: row[4], gone: false });
      this.#nextId = row[0] + 1;
    }
  }

  get size(): number {
    return this.#entries.length;
  }

  #remember(entry: Entry): void {
    this.#entries.push(entry);
    let keys = this.#byKey.get(entry.table);
    if (keys === undefined) this.#byKey.set(entry.table, (keys = new Map<KeyId, Entry[]>()));
    const list = keys.get(entry.keyId);
    if (list === undefined) keys.set(entry.keyId, [entry]);
    else list.push(entry);
  }

  /** `image`: the row before the change at (shard, index), encoded; null: there was none. */
  add(table: number, keyId: KeyId, shard: number, index: number, image: Uint8Array | null): void {
    const id = this.#nextId++;
    this.#insert.run(id, table, keyId, shard, index, image);
    this.#remember({ id, table, keyId, shard, index, gone: false });
  }

  /** The own image was taken: whatever the row was before it no longer matters. */
  forget(table: number, keyId: KeyId): void {
    const keys = this.#byKey.get(table);
    const list = keys?.get(keyId);
    if (keys === undefined || list === undefined) return;
    keys.delete(keyId);
    for (const entry of list) {
      this.#remove.run(entry.id);
      entry.gone = true;
    }
  }

  /** The row as of `base`: null for "no row", undefined when nothing was changed since, so that the replica's row is it. */
  at(table: number, keyId: KeyId, base: PositionVector): Image | null | undefined {
    const list = this.#byKey.get(table)?.get(keyId);
    const first = list?.find((e) => e.index > (base[e.shard] ?? 0));
    if (first === undefined) return undefined;
    const [image] = this.#select.get(first.id) as unknown as [Uint8Array | null];
    return image === null ? null : decodeImage(image);
  }

  /** All keys that other nodes changed and the live file is not known to show durably. */
  *keys(): Iterable<{ table: number; keyId: KeyId }> {
    for (const [table, keys] of this.#byKey) for (const keyId of keys.keys()) yield { table, keyId };
  }

  /**
   * Drops what the live file durably shows. `synced`: the position it reflects and is synced past. `held`: keys that it
   * leaves as they are (pending or shadowed). Call inside a transaction.
   */
  prune(synced: PositionVector, held: (table: number, keyId: KeyId) => boolean): void {
    const kept: Entry[] = [];
    let end = 0;
    for (; end < this.#entries.length; end++) {
      const entry = this.#entries[end]!;
      if (entry.index > (synced[entry.shard] ?? 0)) break;
      if (entry.gone) continue;
      if (held(entry.table, entry.keyId)) kept.push(entry);
      else this.#drop(entry);
    }
    if (end === 0) return;
    const last = this.#entries[end - 1]!.id;
    if (kept.length === 0) this.#removeUpTo.run(last);
    else {
      const keep = new Set(kept.map((e) => e.id));
      for (let i = 0; i < end; i++)
        if (!keep.has(this.#entries[i]!.id)) this.#remove.run(this.#entries[i]!.id);
    }
    this.#entries = [...kept, ...this.#entries.slice(end)];
  }

  #drop(entry: Entry): void {
    const keys = this.#byKey.get(entry.table);
    const list = keys?.get(entry.keyId);
    if (keys === undefined || list === undefined) return;
    if (list.length === 1) keys.delete(entry.keyId);
    else list.splice(list.indexOf(entry), 1);
  }
}

/** The rows that this node has in flight: how many, how many bytes, and the image sent last for each key. */
import type { KeyId } from "../change/key.ts";
import type { Image } from "../change/value.ts";
import type { DrainRecord, Sent } from "./chains.ts";
import type { Spool, Spooled } from "./spool.ts";

/** An image of a drain. null: a delete. */
export type SentImage = readonly [table: number, keyId: KeyId, image: Image | null];

export class InFlight {
  readonly #spool: Spool;
  readonly #images = new Map<number, Map<KeyId, { image: Image | null; drain: DrainRecord }>>();
  #bytes = 0;
  #rows = 0;

  constructor(spool: Spool) {
    this.#spool = spool;
  }

  /** Encoded and not taken yet. */
  get bytes(): number {
    return this.#bytes;
  }

  get rows(): number {
    return this.#rows;
  }

  /** The image sent last for the key; undefined: none is in flight. */
  image(table: number, keyId: KeyId): Image | null | undefined {
    return this.#images.get(table)?.get(keyId)?.image;
  }

  keep(bytes: Uint8Array): Spooled {
    this.#bytes += bytes.length;
    return this.#spool.add(bytes);
  }

  /** The drain leaves. */
  add(drain: DrainRecord, images: readonly SentImage[]): void {
    this.#rows += drain.rows;
    for (const [table, keyId, image] of images) {
      let keys = this.#images.get(table);
      if (keys === undefined) this.#images.set(table, (keys = new Map()));
      keys.set(keyId, { image, drain });
    }
  }

  /** A drain that does not leave kept so many bytes. */
  discard(bytes: number): void {
    this.#bytes -= bytes;
  }

  /** A part is taken. Images of its changeset are forgotten with the last one. */
  remove({ size, rows, bytes, keys, drain }: Sent): void {
    if (drain === null) return;
    this.#bytes -= size;
    this.#rows -= rows;
    this.#spool.release(bytes);
    for (const [table, sentKeys] of keys?.tables() ?? []) {
      const images = this.#images.get(table);
      for (const keyId of sentKeys) if (images?.get(keyId)?.drain === drain) images.delete(keyId);
    }
  }

  /** The incarnation is over. */
  clear(): void {
    this.#images.clear();
    this.#bytes = 0;
    this.#rows = 0;
    this.#spool.clear();
  }
}

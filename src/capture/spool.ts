/** Encoded parts that wait to be proposed and taken: in memory up to a bound, beyond it in a temporary file. */
import { closeSync, mkdirSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { assert } from "../base/assert.ts";

/** Bytes kept in memory; further parts go to disk. */
export const SPOOL_ABOVE_BYTES = 64 << 20;

export type Spooled = Uint8Array | { readonly at: number; readonly length: number };

export class Spool {
  readonly #path: string;
  #descriptor: number | null = null;
  #end = 0;
  #inMemory = 0;

  constructor(path: string) {
    this.#path = path;
  }

  add(bytes: Uint8Array): Spooled {
    if (this.#inMemory + bytes.length <= SPOOL_ABOVE_BYTES) {
      this.#inMemory += bytes.length;
      return bytes;
    }
    if (this.#descriptor === null) {
      mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
      this.#descriptor = openSync(this.#path, "w+", 0o600);
    }
    writeSync(this.#descriptor, bytes, 0, bytes.length, this.#end);
    const spooled = { at: this.#end, length: bytes.length };
    this.#end += bytes.length;
    return spooled;
  }

  read(spooled: Spooled): Uint8Array {
    if (spooled instanceof Uint8Array) return spooled;
    assert(this.#descriptor !== null, "a spooled part can be read");
    const bytes = new Uint8Array(spooled.length);
    const read = readSync(this.#descriptor, bytes, 0, spooled.length, spooled.at);
    assert(read === spooled.length, "the spool holds every byte that was written");
    return bytes;
  }

  /** A part is no longer needed. Its room in the file is free after `clear` only. */
  release(spooled: Spooled): void {
    if (spooled instanceof Uint8Array) this.#inMemory -= spooled.length;
  }

  /** No part is needed any more. */
  clear(): void {
    this.#inMemory = 0;
    this.#end = 0;
    if (this.#descriptor === null) return;
    closeSync(this.#descriptor);
    this.#descriptor = null;
    rmSync(this.#path, { force: true });
  }
}

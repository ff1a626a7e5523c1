/**
 * A copy of the replica as an object: its file in pieces, each compressed and encrypted by itself.
 *
 *     piece: 1 byte (1: the last one), length (4 bytes), the piece
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { compress, decompressBeside } from "./compress.ts";
import { damagedLink } from "./chain-link.ts";
import type { Seal } from "./seal.ts";

const PIECE = 1 << 20;
const HEAD = 5;
const LEVEL = 1;
/** Pieces that are decompressed at the same time. */
const AHEAD = 4;
/** A compressed and encrypted piece is not longer. */
const LONGEST = PIECE + (PIECE >> 4) + 1024;

export interface CopyFacts {
  bytes: number;
  sha256: string;
}

const nameOf = (name: string, number: number, last: boolean): string =>
  `${name}/${number}${last ? "/last" : ""}`;

/** Reads a file that does not change. `facts` are complete after the last piece. */
export async function* encodeCopy(
  path: string,
  name: string,
  seal: Seal,
  facts: CopyFacts,
): AsyncGenerator<Uint8Array, void> {
  const hasher = new Bun.CryptoHasher("sha256");
  facts.bytes = 0;
  let number = 0;
  const piece = async (bytes: Uint8Array, last: boolean): Promise<Uint8Array> => {
    hasher.update(bytes);
    facts.bytes += bytes.length;
    const packed = await compress(bytes, LEVEL);
    const body = seal.close(packed, nameOf(name, number++, last));
    const out = new Uint8Array(HEAD + body.length);
    out[0] = last ? 1 : 0;
    new DataView(out.buffer).setUint32(1, body.length);
    out.set(body, HEAD);
    return out;
  };
  const file = openSync(path, "r");
  try {
    for (let left = fstatSync(file).size; ;) {
      const bytes = new Uint8Array(Math.min(PIECE, left));
      readSync(file, bytes);
      left -= bytes.length;
      yield await piece(bytes, left === 0);
      if (left === 0) break;
    }
  } finally {
    closeSync(file);
  }
  facts.sha256 = hasher.digest("hex");
}

export interface DecodeOptions {
  readonly name: string;
  readonly seal: Seal;
  /** The archive, for messages. */
  readonly place: string;
  /** Bytes of the copy: a store that sends more must not fill the disk. */
  readonly most: number;
}

/** Writes the file. Throws `UserError` if the pieces are not those that were written. */
export async function decodeCopy(
  stream: AsyncIterable<Uint8Array>,
  target: string,
  { name, seal, place, most }: DecodeOptions,
): Promise<CopyFacts> {
  const damaged = (): Error => damagedLink(`${name} of the archive ${place} was changed or is incomplete`);
  const out = new CopyWriter(await open(target, "wx", 0o600), most, damaged);
  let [number, done] = [0, false];
  let rest: Uint8Array = new Uint8Array(0);
  try {
    for await (const chunk of stream) {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      while (rest.length >= HEAD) {
        const length = new DataView(rest.buffer, rest.byteOffset).getUint32(1);
        if (done || length > LONGEST) throw damaged();
        if (rest.length < HEAD + length) break;
        done = rest[0] === 1;
        const opened = seal.open(rest.subarray(HEAD, HEAD + length), nameOf(name, number++, done));
        if (opened === null) throw damaged();
        await out.add(plainOf(opened, damaged));
        rest = rest.subarray(HEAD + length);
      }
    }
    if (!done || rest.length > 0) throw damaged();
    return await out.finish();
  } finally {
    await out.close();
  }
}

/** Pieces that are decompressed, in other threads, while those before them are hashed and written. */
class CopyWriter {
  readonly #file: FileHandle;
  readonly #most: number;
  readonly #damaged: () => Error;
  readonly #hasher = new Bun.CryptoHasher("sha256");
  readonly #pieces: Promise<Uint8Array>[] = [];
  #writing: Promise<void> = Promise.resolve();
  #bytes = 0;

  constructor(file: FileHandle, most: number, damaged: () => Error) {
    this.#file = file;
    this.#most = most;
    this.#damaged = damaged;
  }

  async add(piece: Promise<Uint8Array>): Promise<void> {
    // A failure is met when its turn comes.
    piece.catch(() => {});
    this.#pieces.push(piece);
    if (this.#pieces.length >= AHEAD) await this.#take();
  }

  async #take(): Promise<void> {
    const plain = await this.#pieces.shift()!;
    this.#hasher.update(plain);
    this.#bytes += plain.length;
    if (this.#bytes > this.#most) throw this.#damaged();
    await this.#writing;
    this.#writing = this.#file.writeFile(plain);
    this.#writing.catch(() => {});
  }

  async finish(): Promise<CopyFacts> {
    while (this.#pieces.length > 0) await this.#take();
    await this.#writing;
    return { bytes: this.#bytes, sha256: this.#hasher.digest("hex") };
  }

  async close(): Promise<void> {
    await this.#writing.catch(() => {});
    await this.#file.close();
  }
}

async function plainOf(bytes: Uint8Array, damaged: () => Error): Promise<Uint8Array> {
  try {
    return await decompressBeside(bytes);
  } catch {
    throw damaged();
  }
}

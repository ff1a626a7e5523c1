/** Sends and receives a replica: a header, chunks, and hashes of this transfer and of the whole copy. */
import { dirname } from "node:path";
import { closeSync, fsyncSync, mkdirSync, openSync, readSync, rmSync, statfsSync, writeSync } from "node:fs";
import { BLOCK, type GrowingCopy, nextHash } from "./growing-copy.ts";
import {
  decodeHeader,
  decodeTrailer,
  encodeHeader,
  encodeTrailer,
  SnapshotError,
  type SnapshotHeader,
} from "./header.ts";
import { forgetPartial, openPartial, type Partial } from "./partial.ts";

const NOTHING = new Uint8Array(0);

export interface SendOptions {
  /** The first byte to send; a multiple of `BLOCK`. */
  readonly from: number;
  /** Resolves after a while; an empty chunk is then sent, which keeps the transfer alive. null: no such chunks. */
  readonly pause: (() => Promise<void>) | null;
}

const never = (): Promise<void> => new Promise(() => {});

/** Yields the chunks of a transfer of a copy, while that grows. */
export async function* sendSnapshot(
  header: SnapshotHeader,
  copy: GrowingCopy,
  { from, pause }: SendOptions,
): AsyncIterable<Uint8Array> {
  const first = encodeHeader(header);
  let hash = nextHash(0n, first);
  yield first;
  const descriptor = openSync(copy.head.path, "r");
  try {
    for (let at = from; at < header.size;) {
      const wanted = Math.min(BLOCK, header.size - at);
      await copy.more(at + wanted - 1, pause ?? never);
      if (copy.length < at + wanted) {
        yield NOTHING;
        continue;
      }
      const chunk = new Uint8Array(wanted);
      if (readSync(descriptor, chunk, 0, wanted, at) !== wanted)
        throw new SnapshotError("the copy is too short");
      at += wanted;
      hash = nextHash(hash, chunk);
      yield chunk;
    }
  } finally {
    closeSync(descriptor);
  }
  yield encodeTrailer({ hash, whole: copy.hash });
}

/**
 * Writes a transfer to `target`, verified and synced. `partial`: the part that an earlier transfer left there, if the
 * sender was asked for the rest. After a failure the part is kept for the next transfer, if the sender allows that. Throws
 * `SnapshotError` for bytes that are no snapshot, and the errors of the transfer.
 */
export async function receiveSnapshot(
  chunks: AsyncIterable<Uint8Array>,
  target: string,
  partial: Partial | null,
  onProgress: (bytes: number, total: number) => void,
): Promise<SnapshotHeader> {
  let receiving: Receiving | null = null;
  try {
    for await (const chunk of chunks) {
      if (chunk.length === 0) continue;
      if (receiving === null) receiving = new Receiving(chunk, target, partial);
      else if (receiving.isComplete) receiving.verify(chunk);
      else receiving.write(chunk);
      if (!receiving.isVerified) onProgress(receiving.at, receiving.header.size);
    }
    if (receiving === null || !receiving.isVerified) throw new SnapshotError("the snapshot ended early");
    receiving.finish();
    return receiving.header;
  } catch (error) {
    receiving?.giveUp();
    throw error;
  }
}

/** A size that the disk cannot hold ends here, and not when the disk is full. */
function requireRoom(target: string, bytes: number): void {
  const folder = dirname(target);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const room = roomOf(folder);
  if (bytes > room) throw new NoRoomError(folder, bytes, room);
}

/** Free bytes of the disk. */
export function roomOf(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

/** The disk of the receiver is too small for the replica. */
export class NoRoomError extends SnapshotError {
  readonly folder: string;
  readonly bytes: number;

  constructor(folder: string, bytes: number, room: number) {
    super(`the replica needs ${bytes} bytes, and the disk of ${folder} has ${room}`);
    this.folder = folder;
    this.bytes = bytes;
  }
}

/** The file of one transfer. */
class Receiving {
  readonly header: SnapshotHeader;
  /** Bytes in the file. */
  at: number;
  isVerified = false;
  #isDamaged = false;
  #hash: bigint;
  #whole: bigint;
  readonly #target: string;
  readonly #descriptor: number;

  constructor(first: Uint8Array, target: string, partial: Partial | null) {
    this.header = decodeHeader(first);
    this.#hash = nextHash(0n, first);
    const { copy, from = 0 } = this.header;
    const continues = partial !== null && copy === partial.copy && from === partial.length;
    if (!continues && from !== 0) throw new SnapshotError("the snapshot does not begin at its beginning");
    requireRoom(target, this.header.size - from);
    this.at = from;
    this.#whole = continues ? partial.hash : 0n;
    this.#target = target;
    this.#descriptor = openPartial(target, copy ?? null, continues);
  }

  get isComplete(): boolean {
    return this.at === this.header.size;
  }

  write(chunk: Uint8Array): void {
    if (this.at + chunk.length > this.header.size)
      throw this.#damaged("the snapshot is longer than its header says");
    writeSync(this.#descriptor, chunk, 0, chunk.length, this.at);
    this.at += chunk.length;
    this.#hash = nextHash(this.#hash, chunk);
    this.#whole = nextHash(this.#whole, chunk);
  }

  verify(trailer: Uint8Array): void {
    if (this.isVerified) throw this.#damaged("the snapshot does not end with its hash");
    const { hash, whole } = decodeTrailer(trailer);
    if (hash !== this.#hash || (whole !== null && whole !== this.#whole))
      throw this.#damaged("the snapshot arrived damaged");
    this.isVerified = true;
  }

  #damaged(reason: string): SnapshotError {
    this.#isDamaged = true;
    return new SnapshotError(reason);
  }

  finish(): void {
    fsyncSync(this.#descriptor);
    closeSync(this.#descriptor);
    forgetPartial(this.#target);
  }

  /** Keeps the part for the next transfer, where it can be continued. */
  giveUp(): void {
    closeSync(this.#descriptor);
    if (!this.#isDamaged && this.header.copy !== undefined) return;
    rmSync(this.#target, { force: true });
    forgetPartial(this.#target);
  }
}

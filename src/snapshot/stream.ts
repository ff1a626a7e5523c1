/** Sends and receives a replica: a header, chunks, and a hash of all of them. */
import { closeSync, fsyncSync, mkdirSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import {
  decodeHeader,
  decodeTrailer,
  encodeHeader,
  encodeTrailer,
  SnapshotError,
  type SnapshotHeader,
} from "./header.ts";

const CHUNK = 64 << 10;

/** Yields the chunks of a transfer of the copy at `path`. */
export async function* sendSnapshot(header: SnapshotHeader, path: string): AsyncIterable<Uint8Array> {
  const first = encodeHeader(header);
  let hash = Bun.hash.xxHash64(first, 0n);
  yield first;
  const descriptor = openSync(path, "r");
  try {
    for (let at = 0; at < header.size;) {
      const chunk = new Uint8Array(Math.min(CHUNK, header.size - at));
      if (readSync(descriptor, chunk, 0, chunk.length, at) !== chunk.length)
        throw new SnapshotError("the copy is too short");
      at += chunk.length;
      hash = Bun.hash.xxHash64(chunk, hash);
      yield chunk;
    }
  } finally {
    closeSync(descriptor);
  }
  yield encodeTrailer(hash);
}

/**
 * Writes a transfer to `target`, verified and synced; after a failure the file is removed. Throws `SnapshotError` for bytes
 * that are no snapshot, and the errors of the transfer.
 */
export async function receiveSnapshot(
  chunks: AsyncIterable<Uint8Array>,
  target: string,
  onProgress: (bytes: number, total: number) => void,
): Promise<SnapshotHeader> {
  mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
  rmSync(target, { force: true });
  const descriptor = openSync(target, "wx", 0o600);
  try {
    let header: SnapshotHeader | null = null;
    let hash = 0n;
    let at = 0;
    let verified = false;
    for await (const chunk of chunks) {
      if (header === null) {
        header = decodeHeader(chunk);
      } else if (at === header.size) {
        if (decodeTrailer(chunk) !== hash) throw new SnapshotError("the snapshot arrived damaged");
        verified = true;
        continue;
      } else {
        if (at + chunk.length > header.size)
          throw new SnapshotError("the snapshot is longer than its header says");
        writeSync(descriptor, chunk, 0, chunk.length, at);
        at += chunk.length;
        onProgress(at, header.size);
      }
      hash = Bun.hash.xxHash64(chunk, hash);
    }
    if (header === null || !verified) throw new SnapshotError("the snapshot ended early");
    fsyncSync(descriptor);
    return header;
  } catch (error) {
    rmSync(target, { force: true });
    throw error;
  } finally {
    closeSync(descriptor);
  }
}

/**
 * The part of an entry that the delivery rule needs before the batch is decoded. A frame before the batch has the other
 * shards that an entry of shard 0 names, or the index of a cross-shard marker. It begins with a byte that no MessagePack
 * begins with, so an entry that names no shard is the batch alone, as in older versions.
 *
 *     0xc1, n, shard × n, batch        an entry of shard 0 that also touches n other shards
 *     0xc1, 0xff, u as 8 bytes         a marker: entries of shard 0 up to index u may take effect here
 */
import { EMPTY_BYTES } from "../base/bytes.ts";

const FRAME = 0xc1;
const MARKER = 0xff;

export interface Marking {
  /** Shards that an entry of shard 0 names beside its own, ascending. */
  readonly names: readonly number[];
  /** A marker's index in shard 0; null: no marker. */
  readonly marker: number | null;
  /** The rest: a batch, or nothing. */
  readonly batch: Uint8Array;
}

const NO_NAMES: readonly number[] = [];

/** The marking of an entry without a batch. */
export const UNMARKED: Marking = { names: NO_NAMES, marker: null, batch: EMPTY_BYTES };

/** `names`: ascending, 1 to 63 each. Without names the batch stays as it is. */
export function encodeNamed(names: readonly number[], batch: Uint8Array): Uint8Array {
  if (names.length === 0) return batch;
  const out = new Uint8Array(2 + names.length + batch.length);
  out.set([FRAME, names.length, ...names]);
  out.set(batch, 2 + names.length);
  return out;
}

/** `upTo`: an index in shard 0. */
export function encodeMarker(upTo: number): Uint8Array {
  const out = new Uint8Array(10);
  out.set([FRAME, MARKER]);
  new DataView(out.buffer).setBigUint64(2, BigInt(upTo));
  return out;
}

/** Never throws: bytes without a frame are a batch, which its decoder checks. */
export function readMarking(bytes: Uint8Array): Marking {
  if (bytes[0] !== FRAME) return { names: NO_NAMES, marker: null, batch: bytes };
  const count = bytes[1] ?? 0;
  if (count === MARKER && bytes.length === 10) {
    const upTo = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(2);
    return { names: NO_NAMES, marker: Number(upTo), batch: EMPTY_BYTES };
  }
  return { names: [...bytes.subarray(2, 2 + count)], marker: null, batch: bytes.subarray(2 + count) };
}

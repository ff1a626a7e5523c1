/** Large values of a recorded image that are in the log: the history refers to them. */
import { bytesEqual } from "../../base/bytes.ts";
import type { Image } from "../../change/value.ts";
import type { Piece } from "./record.ts";

/** An entry of the log whose rows are recorded. */
export interface EntrySource {
  readonly shard: number;
  readonly index: number;
  readonly data: Uint8Array;
}

/** Smaller values are copied. */
const SHARED_BYTES = 32 << 10;
/** An image is stored in at most so many pieces. */
const MAX_VALUES = 7;
/** Bytes by which a value is found in the encoded image. */
const PROBE_BYTES = 16;

/** The pieces of an encoded image; null: it has no large value of the entry. */
export function piecesOf(encoded: Uint8Array, image: Image, source: EntrySource): Piece[] | null {
  const { shard, index, data } = source;
  const pieces: Piece[] = [];
  let from = 0;
  for (const value of image) {
    if (!(value instanceof Uint8Array) || value.length < SHARED_BYTES || value.buffer !== data.buffer)
      continue;
    const offset = value.byteOffset - data.byteOffset;
    if (offset < 0 || offset + value.length > data.length) continue;
    const at = placeOf(encoded, value, from);
    if (at === null) continue;
    pieces.push(encoded.subarray(from, at), [shard, index, offset, value.length]);
    from = at + value.length;
    if (pieces.length === 2 * MAX_VALUES) break;
  }
  return pieces.length === 0 ? null : [...pieces, encoded.subarray(from)];
}

/** Where the bytes of the value are in the encoded image, from a place on. They are compared, so any such place will do. */
function placeOf(encoded: Uint8Array, value: Uint8Array, from: number): number | null {
  const isLong = value.length > 0xffff;
  const head = Buffer.alloc(isLong ? 5 : 3);
  head[0] = isLong ? 0xc6 : 0xc5;
  if (isLong) head.writeUInt32BE(value.length, 1);
  else head.writeUInt16BE(value.length, 1);
  const probe = Buffer.concat([head, value.subarray(0, PROBE_BYTES)]);
  const bytes = Buffer.from(encoded.buffer, encoded.byteOffset, encoded.length);
  const found = bytes.indexOf(probe, from);
  if (found < 0) return null;
  const at = found + head.length;
  return bytesEqual(encoded.subarray(at, at + value.length), value) ? at : null;
}

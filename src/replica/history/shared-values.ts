/** Recorded images, or large values of them, that are in the log: the history refers to them. */
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

/** Where large bytes are in the entry; null: they are small, or other memory. */
function offsetIn({ data }: EntrySource, bytes: Uint8Array): number | null {
  if (bytes.length < SHARED_BYTES || bytes.buffer !== data.buffer) return null;
  const offset = bytes.byteOffset - data.byteOffset;
  return offset < 0 || offset + bytes.length > data.length ? null : offset;
}

/** The pieces of an encoded image; null: it has no large value of the entry. */
export function piecesOf(encoded: Uint8Array, image: Image, source: EntrySource): Piece[] | null {
  const { shard, index } = source;
  if (encoded.length < SHARED_BYTES) return null;
  const whole = offsetIn(source, encoded);
  if (whole !== null) return [[shard, index, whole, encoded.length]];
  const pieces: Piece[] = [];
  let from = 0;
  for (const value of image) {
    if (!(value instanceof Uint8Array)) continue;
    const offset = offsetIn(source, value);
    const at = offset === null ? null : placeOf(encoded, value, from);
    if (offset === null || at === null) continue;
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

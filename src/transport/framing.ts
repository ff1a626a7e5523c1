/** Frames on a stream: u32 little-endian length of kind and payload, u8 kind, payload. A chunk of a stream may hold any part of a frame. */

export const FrameKind = {
  /** First on every stream, both ways. */
  hello: 0,
  /** A whole message. */
  message: 1,
  /** A piece of a bulk message; more follow. */
  piece: 2,
  /** The last piece of a bulk message. */
  lastPiece: 3,
  /** Keeps a link alive that has nothing else to send. */
  alive: 4,
  /** The stream is refused; the payload is the reason. */
  refused: 5,
  /** Transfers: the request, a chunk, the end, and the end by an error with its reason. */
  request: 6,
  chunk: 7,
  end: 8,
  failed: 9,
} as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

const HEAD = 5;
/** Chunks of an unfinished frame that are kept apart. */
const MAX_PARTS = 128;

/** Payload bytes of one frame. Larger messages are sent in pieces. */
export const MAX_FRAME_BYTES = 256 * 1024;

/** The bytes are not a frame: the stream must be closed. */
export class FramingError extends Error {
  override name = "FramingError";
}

export function frame(kind: FrameKind, payload: Uint8Array): Uint8Array {
  const out = Buffer.allocUnsafe(HEAD + payload.length);
  out.writeUInt32LE(1 + payload.length, 0);
  out[4] = kind;
  out.set(payload, HEAD);
  return out;
}

/** Returns a function that takes chunks and calls `onFrame` per whole frame. The payload is a view, valid during the call. */
export function frameParser(
  onFrame: (kind: number, payload: Uint8Array) => void,
): (chunk: Uint8Array) => void {
  let parts: Uint8Array[] = [];
  let size = 0;
  let need = 4;
  return (chunk) => {
    parts.push(chunk);
    size += chunk.length;
    if (size < need) {
      // A view of each of many small chunks would hold far more than the bytes.
      if (parts.length >= MAX_PARTS) parts = [Buffer.concat(parts, size)];
      return;
    }
    const all =
      parts.length === 1
        ? Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
        : Buffer.concat(parts, size);
    let at = 0;
    need = 4;
    while (size - at >= 4) {
      const length = all.readUInt32LE(at);
      if (length < 1 || length > MAX_FRAME_BYTES + 1) throw new FramingError(`a frame of ${length} bytes`);
      if (size - at - 4 < length) {
        need = length + 4;
        break;
      }
      onFrame(all[at + 4]!, all.subarray(at + HEAD, at + 4 + length));
      at += 4 + length;
    }
    parts = at < size ? [Buffer.from(all.subarray(at))] : [];
    size -= at;
  };
}

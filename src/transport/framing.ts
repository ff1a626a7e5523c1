/** Frames on a stream: u32 little-endian length of kind and payload, u8 kind, payload. A chunk of a stream may hold any part of a frame. */

import { EMPTY_BYTES } from "../base/bytes.ts";

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
  return frames([{ kind, payload }]);
}

export interface Frame {
  readonly kind: FrameKind;
  readonly payload: Uint8Array;
}

/** Several frames in one piece of memory. */
export function frames(list: readonly Frame[]): Uint8Array {
  const out = Buffer.allocUnsafe(list.reduce((sum, { payload }) => sum + HEAD + payload.length, 0));
  let at = 0;
  for (const { kind, payload } of list) {
    out.writeUInt32LE(1 + payload.length, at);
    out[at + 4] = kind;
    out.set(payload, at + HEAD);
    at += HEAD + payload.length;
  }
  return out;
}

export interface FrameHandlers {
  /** A whole frame. The payload may be a view of the received chunk. */
  readonly onFrame: (kind: number, payload: Uint8Array) => void;
  /** A whole piece, in parts as they arrived. Absent: pieces are frames as others are. */
  readonly onPiece?: (kind: number, parts: readonly Uint8Array[], size: number) => void;
}

const isPiece = (kind: number): boolean => kind === FrameKind.piece || kind === FrameKind.lastPiece;

/** Returns a function that takes chunks. They belong to it. */
export function frameParser({ onFrame, onPiece }: FrameHandlers): (chunk: Uint8Array) => void {
  const head = Buffer.alloc(HEAD);
  let headBytes = 0;
  /** Bytes of the payload, and those that are still to come; null: the head is read next. */
  let size = 0;
  let left: number | null = null;
  let parts: Uint8Array[] = [];
  const take = (part: Uint8Array): void => {
    if (left === null || left > 0) {
      parts.push(part);
      // A view of each of many small chunks would hold far more than the bytes.
      if (parts.length >= MAX_PARTS) parts = [Buffer.concat(parts)];
      return;
    }
    left = null;
    const all = parts.length === 0 ? [part] : [...parts, part];
    parts = [];
    const kind = head[4]!;
    if (onPiece !== undefined && isPiece(kind)) onPiece(kind, all, size);
    else onFrame(kind, all.length === 1 ? part : Buffer.concat(all));
  };
  /** Reads as much of the head as there is. Returns the place after it. */
  const readHead = (chunk: Uint8Array, from: number): number => {
    const part = chunk.subarray(from, from + HEAD - headBytes);
    head.set(part, headBytes);
    headBytes += part.length;
    if (headBytes < HEAD) return from + part.length;
    headBytes = 0;
    const length = head.readUInt32LE(0);
    if (length < 1 || length > MAX_FRAME_BYTES + 1) throw new FramingError(`a frame of ${length} bytes`);
    size = length - 1;
    left = size;
    if (left === 0) take(EMPTY_BYTES);
    return from + part.length;
  };
  return (chunk) => {
    for (let at = 0; at < chunk.length;) {
      if (left === null) {
        at = readHead(chunk, at);
        continue;
      }
      const part = chunk.subarray(at, at + left);
      at += part.length;
      left -= part.length;
      take(part);
    }
  };
}

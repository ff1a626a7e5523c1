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
  /** Absent: pieces are frames as others are. A part of the payload of a piece, as it arrived: `isEnd`: the last one. */
  readonly onPart?: (kind: number, part: Uint8Array, isEnd: boolean) => void;
}

const isPiece = (kind: number): boolean => kind === FrameKind.piece || kind === FrameKind.lastPiece;

/** Returns a function that takes chunks. They belong to it. */
export function frameParser({ onFrame, onPart }: FrameHandlers): (chunk: Uint8Array) => void {
  const head = Buffer.alloc(HEAD);
  let headBytes = 0;
  /** Bytes of the payload that are still to come; null: the head is read next. */
  let left: number | null = null;
  let parts: Uint8Array[] = [];
  const take = (part: Uint8Array, isEnd: boolean): void => {
    const kind = head[4]!;
    if (onPart !== undefined && isPiece(kind)) return onPart(kind, part, isEnd);
    if (isEnd && parts.length === 0) return onFrame(kind, part);
    parts.push(part);
    if (!isEnd) return;
    const payload = Buffer.concat(parts);
    parts = [];
    onFrame(kind, payload);
  };
  return (chunk) => {
    for (let at = 0; at < chunk.length;) {
      if (left === null) {
        const part = chunk.subarray(at, at + HEAD - headBytes);
        head.set(part, headBytes);
        headBytes += part.length;
        at += part.length;
        if (headBytes < HEAD) return;
        headBytes = 0;
        const length = head.readUInt32LE(0);
        if (length < 1 || length > MAX_FRAME_BYTES + 1) throw new FramingError(`a frame of ${length} bytes`);
        left = length - 1;
        if (left > 0) continue;
      }
      const part = chunk.subarray(at, at + left);
      at += part.length;
      left -= part.length;
      const isEnd = left === 0;
      if (isEnd) left = null;
      take(part, isEnd);
    }
  };
}

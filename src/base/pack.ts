/** MessagePack in a buffer of the exact size. */
import type { Packr } from "msgpackr";

/** msgpackr's flags: return the buffer itself with `start` and `end` set, and start at its beginning next time. */
const REUSE_BUFFER = 512;
const RESET_BUFFER = 1024;
/** The buffer grows with the packed value; a larger one is not reused. */
const KEPT_BYTES = 4 << 20;
const FIRST_BYTES = 8192;

/** A value of about this size is packed into memory of its own, without a copy. */
const LARGE_BYTES = 64 << 10;
/** Room beside the expected bytes. */
const SLACK_BYTES = 4096;

type PackIntoBuffer = (value: unknown, flags: number) => Buffer & { start: number; end: number };

/** msgpackr's buffer between two values; all packers share it. */
let kept: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);

const packInto = (packr: Packr, value: unknown): ReturnType<PackIntoBuffer> =>
  (packr.pack as unknown as PackIntoBuffer)(value, REUSE_BUFFER | RESET_BUFFER);

export interface PackOptions {
  /** The size of the packed value, roughly; 0: it is small. A value that is larger costs copies. */
  readonly expectedBytes?: number;
  /** A byte before the value; absent: none. */
  readonly first?: number;
}

/**
 * `pack` returns a view into a buffer that grows fourfold and that the next value shares. A small view that is kept
 * would keep megabytes alive.
 */
export function packExact(packr: Packr, value: unknown, options: PackOptions = {}): Uint8Array {
  const { expectedBytes = 0, first } = options;
  if (expectedBytes >= LARGE_BYTES) return packLarge(packr, value, expectedBytes, first);
  return withPacked(packr, value, (view) => after(first, view));
}

function after(first: number | undefined, view: Uint8Array): Uint8Array {
  const head = first === undefined ? 0 : 1;
  const out = new Uint8Array(head + view.length);
  if (first !== undefined) out[0] = first;
  out.set(view, head);
  return out;
}

function packLarge(
  packr: Packr,
  value: unknown,
  expectedBytes: number,
  first: number | undefined,
): Uint8Array {
  const head = first === undefined ? 0 : 1;
  const whole = Buffer.allocUnsafeSlow(head + expectedBytes + SLACK_BYTES);
  packr.useBuffer(whole.subarray(head));
  try {
    const packed = packInto(packr, value);
    if (packed.buffer !== whole.buffer) return after(first, packed.subarray(packed.start, packed.end));
    if (first !== undefined) whole[0] = first;
    return whole.subarray(0, head + packed.end);
  } finally {
    packr.useBuffer(kept);
  }
}

/** Calls `use` with a view that is valid during the call. */
export function withPacked<T>(packr: Packr, value: unknown, use: (view: Uint8Array) => T): T {
  const buffer = packInto(packr, value);
  const result = use(buffer.subarray(buffer.start, buffer.end));
  if (buffer.length > KEPT_BYTES) {
    kept = Buffer.allocUnsafeSlow(FIRST_BYTES);
    packr.useBuffer(kept);
  } else kept = buffer;
  return result;
}

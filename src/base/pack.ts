/** MessagePack in a buffer of the exact size. */
import type { Packr } from "msgpackr";

/** msgpackr's flags: return the buffer itself with `start` and `end` set, and start at its beginning next time. */
const REUSE_BUFFER = 512;
const RESET_BUFFER = 1024;
/** The buffer grows with the packed value; a larger one is not reused. */
const KEPT_BYTES = 4 << 20;
const FIRST_BYTES = 8192;

type PackIntoBuffer = (value: unknown, flags: number) => Buffer & { start: number; end: number };

/**
 * `pack` returns a view into a buffer that grows fourfold and that the next value shares. A small view that is kept
 * would keep megabytes alive.
 */
export const packExact = (packr: Packr, value: unknown): Uint8Array =>
  withPacked(packr, value, (view) => {
    const out = new Uint8Array(view.length);
    out.set(view);
    return out;
  });

/** The same after one byte. */
export const packAfter = (packr: Packr, first: number, value: unknown): Uint8Array =>
  withPacked(packr, value, (view) => {
    const out = new Uint8Array(1 + view.length);
    out[0] = first;
    out.set(view, 1);
    return out;
  });

/** Calls `use` with a view that is valid during the call. */
export function withPacked<T>(packr: Packr, value: unknown, use: (view: Uint8Array) => T): T {
  const buffer = (packr.pack as unknown as PackIntoBuffer)(value, REUSE_BUFFER | RESET_BUFFER);
  const result = use(buffer.subarray(buffer.start, buffer.end));
  if (buffer.length > KEPT_BYTES) packr.useBuffer(Buffer.allocUnsafeSlow(FIRST_BYTES));
  return result;
}

/** MessagePack in exactly as many bytes as it takes. */
import type { Packr } from "msgpackr";

/** msgpackr's flags: give the buffer itself with `start` and `end` set, and begin there again next time. */
const REUSE_BUFFER = 512;
const RESET_BUFFER = 1024;
/** The buffer grows with what was packed; above this size it is not kept. */
const KEPT_BYTES = 4 << 20;
const FIRST_BYTES = 8192;

type PackIntoBuffer = (value: unknown, flags: number) => Buffer & { start: number; end: number };

/**
 * `pack` by itself gives a view into a buffer that grows fourfold and goes on with the next value: a small one that is
 * kept for a while keeps megabytes.
 */
export function packExact(packr: Packr, value: unknown): Uint8Array {
  const buffer = (packr.pack as unknown as PackIntoBuffer)(value, REUSE_BUFFER | RESET_BUFFER);
  const out = new Uint8Array(buffer.end - buffer.start);
  out.set(buffer.subarray(buffer.start, buffer.end));
  if (buffer.length > KEPT_BYTES) packr.useBuffer(Buffer.allocUnsafeSlow(FIRST_BYTES));
  return out;
}

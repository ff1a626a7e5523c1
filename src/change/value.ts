/**
 * SQLite values with their storage class, exactly: a JS `number` is always REAL, a `bigint` always INTEGER. All other code
 * must keep this distinction (1.0 and 1 are different values).
 */
import { bytesEqual } from "../base/bytes.ts";

/** TEXT that is not valid UTF-8, so it cannot be a JS string. Written with `CAST(? AS TEXT)`. */
export class TextBytes {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

export type Value = null | bigint | number | string | Uint8Array | TextBytes;

/** A row's stored columns (generated ones left out), in the order of `TableShape.columns`. */
export type Image = readonly Value[];

/** Same storage class and same bits: 1 ≠ 1.0, -0.0 ≠ 0.0. */
export function valueEqual(a: Value, b: Value): boolean {
  if (typeof a !== "object" || a === null) return Object.is(a, b);
  if (b === null || typeof b !== "object") return false;
  if (a instanceof TextBytes) return b instanceof TextBytes && bytesEqual(a.bytes, b.bytes);
  return !(b instanceof TextBytes) && bytesEqual(a, b);
}

export function imageEqual(a: Image, b: Image): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!valueEqual(a[i]!, b[i]!)) return false;
  return true;
}

/** Rough size in bytes, for limits. */
export function imageSize(image: Image): number {
  let size = 8;
  for (const value of image) {
    if (typeof value === "string") size += 4 + value.length;
    else if (value instanceof Uint8Array) size += 4 + value.length;
    else if (value instanceof TextBytes) size += 4 + value.bytes.length;
    else size += 9;
  }
  return size;
}

/** Bytes of large values after which a slice of work ends. */
const SLICE_BYTES = 1 << 20;
/** Smaller values count as rows alone. */
const LARGE_VALUE_BYTES = 1024;

/** Bytes of an image's large values. */
export function largeBytes(image: Image | null): number {
  if (image === null) return 0;
  let bytes = 0;
  for (let i = 0; i < image.length; i++) {
    const value = image[i]!;
    if (typeof value === "string") {
      if (value.length > LARGE_VALUE_BYTES) bytes += value.length;
    } else if (typeof value === "object" && value !== null) {
      const { length } = value instanceof TextBytes ? value.bytes : value;
      if (length > LARGE_VALUE_BYTES) bytes += length;
    }
  }
  return bytes;
}

/** Divides work on rows into slices, by rows and by bytes: a row may have megabytes. */
export class Slices {
  readonly #rowsAtOnce: number;
  #rows = 0;
  #bytes = 0;

  constructor(rowsAtOnce: number) {
    this.#rowsAtOnce = rowsAtOnce;
  }

  /** Counts a row. True: it is the last one of a slice. */
  ends(image: Image | null): boolean {
    this.#rows++;
    this.#bytes += largeBytes(image);
    if (this.#rows < this.#rowsAtOnce && this.#bytes < SLICE_BYTES) return false;
    this.#rows = 0;
    this.#bytes = 0;
    return true;
  }
}

/**
 * Reads MessagePack in one pass: integers are bigints at once, and the place of each value is known. Maps, truth values and
 * extensions are only passed over. Throws `CodecError`.
 */

/** The bytes are of no format that this build knows. */
export class CodecError extends Error {
  override name = "CodecError";
}

/** Smaller ones get memory of their own: a view would keep all bytes alive. */
const OWN_BYTES = 16 << 10;
/** Lists inside of lists. */
const MAX_DEPTH = 8;

type Plain = null | number | bigint | string | Uint8Array;
type Packed = Plain | Packed[];

/** For short texts two to ten times as fast as a decoder in JavaScript. */
type Bytes = Buffer & { utf8Slice(from: number, to: number): string };

const SMALL = Array.from({ length: 256 }, (_, i) => BigInt(i));
/** Bytes after the type byte, for types from 0xc0 on with a fixed size; -1: none of these. */
const FIXED = [0, -1, 0, 0, -1, -1, -1, -1, -1, -1, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17];

export class PackedReader {
  at: number;
  readonly #bytes: Bytes;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length) as Bytes;
    this.at = at;
  }

  get ended(): boolean {
    return this.at === this.#bytes.length;
  }

  #byte(): number {
    if (this.at >= this.#bytes.length) throw new CodecError("not MessagePack: it ends too early");
    return this.#bytes[this.at++]!;
  }

  /** The place of the next `size` bytes. */
  #take(size: number): number {
    const from = this.at;
    if (from + size > this.#bytes.length) throw new CodecError("not MessagePack: it ends too early");
    this.at = from + size;
    return from;
  }

  /** A size in one, two or four bytes. */
  #size(bytes: number): number {
    if (bytes === 1) return this.#byte();
    const at = this.#take(bytes);
    return bytes === 2 ? this.#bytes.readUInt16BE(at) : this.#bytes.readUInt32BE(at);
  }

  #text(size: number): string {
    const from = this.#take(size);
    return this.#bytes.utf8Slice(from, this.at);
  }

  #blob(size: number): Uint8Array {
    const from = this.#take(size);
    const { buffer, byteOffset } = this.#bytes;
    const view = new Uint8Array(buffer, byteOffset + from, size);
    return size < OWN_BYTES ? new Uint8Array(view) : view;
  }

  /** The number of elements; null: the next value is no list. */
  list(): number | null {
    const type = this.#bytes[this.at] ?? 0;
    if (type >= 0x90 && type <= 0x9f) {
      this.at++;
      return type - 0x90;
    }
    if (type !== 0xdc && type !== 0xdd) return null;
    this.at++;
    return this.#size(type === 0xdc ? 2 : 4);
  }

  /** An integral number as bigint. undefined: a value of another type. */
  value(): Plain | undefined {
    const type = this.#byte();
    if (type <= 0x7f) return SMALL[type];
    if (type >= 0xe0) return BigInt(type - 0x100);
    if (type >= 0xa0 && type <= 0xbf) return this.#text(type - 0xa0);
    const bytes = this.#bytes;
    switch (type) {
      case 0xc0:
        return null;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#blob(this.#size(1 << (type - 0xc4)));
      case 0xca:
        return exact(bytes.readFloatBE(this.#take(4)));
      case 0xcb:
        return exact(bytes.readDoubleBE(this.#take(8)));
      case 0xcc:
        return SMALL[this.#byte()];
      case 0xcd:
        return BigInt(bytes.readUInt16BE(this.#take(2)));
      case 0xce:
        return BigInt(bytes.readUInt32BE(this.#take(4)));
      case 0xcf:
        return bytes.readBigUInt64BE(this.#take(8));
      case 0xd0:
        return BigInt(bytes.readInt8(this.#take(1)));
      case 0xd1:
        return BigInt(bytes.readInt16BE(this.#take(2)));
      case 0xd2:
        return BigInt(bytes.readInt32BE(this.#take(4)));
      case 0xd3:
        return bytes.readBigInt64BE(this.#take(8));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#size(1 << (type - 0xd9)));
      default:
        return undefined;
    }
  }

  /** A list of values. */
  values(): Plain[] {
    const count = this.list();
    if (count === null) throw new CodecError("values are not an array");
    const values: Plain[] = [];
    for (let i = 0; i < count; i++) {
      const value = this.value();
      if (value === undefined) throw new CodecError("a value is of no storage class");
      values.push(value);
    }
    return values;
  }

  /** The next value is nil, and skipped. */
  nil(): boolean {
    if (this.#bytes[this.at] !== 0xc0) return false;
    this.at++;
    return true;
  }

  count(what: string): number {
    const type = this.#bytes[this.at];
    if (type !== undefined && type <= 0x7f) {
      this.at++;
      return type;
    }
    const read = this.any();
    if (typeof read !== "number" || !Number.isSafeInteger(read) || read < 0)
      throw new CodecError(`${what} is not a count`);
    return read;
  }

  /** A value or a list, with numbers as numbers. */
  any(depth = 0): Packed {
    const count = this.list();
    if (count !== null) {
      if (depth === MAX_DEPTH) throw new CodecError("lists are too deep");
      const list: Packed[] = [];
      for (let i = 0; i < count; i++) list.push(this.any(depth + 1));
      return list;
    }
    const type = this.#bytes[this.at];
    const value = this.value();
    if (value === undefined) throw new CodecError("a value of an unknown type");
    return typeof value === "bigint" && type !== 0xcf && type !== 0xd3 ? Number(value) : value;
  }

  /** Passes over the next `count` values, of any type. */
  skip(count = 1): void {
    for (let left = count; left > 0; left--) {
      const type = this.#byte();
      if (type <= 0x7f || type >= 0xe0) continue;
      if (type >= 0xa0 && type <= 0xbf) this.#take(type - 0xa0);
      else if (type <= 0x8f) left += 2 * (type - 0x80);
      else if (type <= 0x9f) left += type - 0x90;
      else if (type >= 0xc4 && type <= 0xc6) this.#take(this.#size(1 << (type - 0xc4)));
      else if (type >= 0xc7 && type <= 0xc9) this.#take(this.#size(1 << (type - 0xc7)) + 1);
      else if (type >= 0xd9 && type <= 0xdb) this.#take(this.#size(1 << (type - 0xd9)));
      else if (type === 0xdc || type === 0xdd) left += this.#size(type === 0xdc ? 2 : 4);
      else if (type === 0xde || type === 0xdf) left += 2 * this.#size(type === 0xde ? 2 : 4);
      else {
        const fixed = FIXED[type - 0xc0]!;
        if (fixed < 0) throw new CodecError("not MessagePack");
        this.#take(fixed);
      }
    }
  }
}

const exact = (value: number): Plain => (Number.isInteger(value) ? BigInt(value) : value);

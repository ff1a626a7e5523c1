/** One entry of the history as it is stored: its rows with both images, its conflicts, and its schema change. */
import { Packr } from "msgpackr";
import type { KeyId } from "../../change/key.ts";

/** A row that an entry changed; encoded images, null: there was none, or there is none any more. */
export type RecordedRow = readonly [table: number, before: Uint8Array | null, after: Uint8Array | null];

/** Bytes of an entry's data in the log. */
export type Reference = readonly [shard: number, index: number, offset: number, length: number];

/** An image whose large values are in the log: what is between them, and where they are. */
export type Piece = Uint8Array | Reference;

export type ReadValue = (reference: Reference) => Uint8Array | null;

const isReference = (piece: Piece): piece is Reference => Array.isArray(piece);

/** An entry of the conflict journal, and what is known of it when that drops it. */
export type RecordedConflict = readonly [
  ordinal: number,
  table: number,
  key: KeyId,
  kind: string,
  losingOrigin: number,
  winningOrigin: number,
];

export interface RecordedPart {
  readonly rows: readonly RecordedRow[];
  readonly conflicts: readonly RecordedConflict[];
  /** The encoded schema change; null: there is none. */
  readonly schema: Uint8Array | null;
}

const packr = new Packr({ useRecords: false, copyBuffers: true, int64AsType: "bigint" } as object);

const FIRST_BYTES = 16 << 10;
/** A larger buffer is not kept for the next part. */
const KEPT_BYTES = 1 << 20;
/** Array of three, then an array of rows with its length in the four bytes behind. */
const HEAD = [0x93, 0xdd, 0, 0, 0, 0];
const COUNT_AT = 2;
/** Array of three and a table in five bytes, or the length of an image in five bytes. */
const FIELD_BYTES = 6;
const NIL = 0xc0;
const REFERENCE_BYTES = 1 + 4 * 9;

/** Writes one part row by row, as MessagePack: images are copied once, and need not outlive the call. */
export class PartWriter {
  #bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #at = 0;
  #rows = 0;

  constructor() {
    this.clear();
  }

  get rows(): number {
    return this.#rows;
  }

  /** Bytes so far. */
  get size(): number {
    return this.#at;
  }

  /** A row begins. Its two images follow. */
  row(table: number): void {
    this.#rows++;
    this.#room(FIELD_BYTES);
    this.#bytes[this.#at++] = 0x93;
    this.#bytes[this.#at++] = 0xce;
    this.#at = this.#bytes.writeUInt32BE(table, this.#at);
  }

  image(encoded: Uint8Array | null): void {
    this.#room(FIELD_BYTES + (encoded?.length ?? 0));
    if (encoded === null) {
      this.#bytes[this.#at++] = NIL;
      return;
    }
    const { length } = encoded;
    if (length <= 0xff) {
      this.#bytes[this.#at++] = 0xc4;
      this.#bytes[this.#at++] = length;
    } else {
      this.#bytes[this.#at++] = 0xc6;
      this.#at = this.#bytes.writeUInt32BE(length, this.#at);
    }
    this.#bytes.set(encoded, this.#at);
    this.#at += length;
  }

  /** The same for an image in at most 15 pieces. They may be views of msgpackr's buffer, so that it must not pack anything. */
  pieces(pieces: readonly Piece[]): void {
    this.#room(FIELD_BYTES);
    this.#bytes[this.#at++] = 0x90 | pieces.length;
    for (const piece of pieces)
      if (isReference(piece)) this.#reference(piece);
      else this.image(piece);
  }

  /** Array of four floating-point numbers. */
  #reference(reference: Reference): void {
    this.#room(REFERENCE_BYTES);
    this.#bytes[this.#at++] = 0x94;
    for (const number of reference) {
      this.#bytes[this.#at++] = 0xcb;
      this.#at = this.#bytes.writeDoubleBE(number, this.#at);
    }
  }

  #packed(value: unknown): void {
    const packed = packr.pack(value);
    this.#room(packed.length);
    this.#bytes.set(packed, this.#at);
    this.#at += packed.length;
  }

  /** The encoded part; valid until the next call. */
  finish(conflicts: readonly RecordedConflict[], schema: Uint8Array | null): Uint8Array {
    this.#bytes.writeUInt32BE(this.#rows, COUNT_AT);
    for (const value of [conflicts, schema]) this.#packed(value);
    return this.#bytes.subarray(0, this.#at);
  }

  clear(): void {
    if (this.#bytes.length > KEPT_BYTES) this.#bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
    this.#bytes.set(HEAD);
    this.#at = HEAD.length;
    this.#rows = 0;
  }

  #room(bytes: number): void {
    const needed = this.#at + bytes;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#bytes.length));
    larger.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = larger;
  }
}

type Stored = Uint8Array | null | readonly Piece[];

/** `valueOf`: reads a value in the log. */
export function decodePart(data: Uint8Array, valueOf: ReadValue): RecordedPart {
  const [rows, conflicts, schema] = packr.unpack(data) as [
    (readonly [table: number, before: Stored, after: Stored])[],
    RecordedConflict[],
    Uint8Array | null,
  ];
  const whole = rows.map(([table, before, after]): RecordedRow => [
    table,
    joined(before, valueOf),
    joined(after, valueOf),
  ]);
  return { rows: whole, conflicts, schema };
}

function joined(stored: Stored, valueOf: ReadValue): Uint8Array | null {
  if (stored === null || stored instanceof Uint8Array) return stored;
  return Buffer.concat(
    stored.map((piece) => {
      if (!isReference(piece)) return piece;
      const bytes = valueOf(piece);
      if (bytes?.length !== piece[3])
        throw new Error("the log has no longer a value that the history refers to");
      return bytes;
    }),
  );
}

/**
 * Batches and images as MessagePack. MessagePack has no REAL 1.0 beside INTEGER 1, no -0.0 and no broken text, so each
 * row may carry exceptions `[column, class, column, class, …]`. Without an exception an integral number is INTEGER and any
 * other number REAL. Decoding yields exact values (`value.ts`) or throws `CodecError`.
 */
import { Packr } from "msgpackr";
import { FORMATS, newerFormat, showRange } from "../base/versions/formats.ts";
import { packExact, withPacked } from "../base/pack.ts";
import { type Batch, BatchKind, Op, type RowChange, type TableChanges } from "./batch.ts";
import { keyIdOf, keyIdOfImage, keyOfImage } from "./key.ts";
import type { TableShape } from "./shape.ts";
import { type Image, largeBytes, TextBytes, type Value } from "./value.ts";

/** The bytes are not a batch of a format that this build knows. */
export class CodecError extends Error {
  override name = "CodecError";
}

/** Decoded bytes are views of the encoded ones. */
const packr = new Packr({ useRecords: false, int64AsType: "bigint" } as object);
/** Smaller BLOBs get memory of their own: a view would keep all of a batch. */
const OWN_BYTES = 16 << 10;

const Class = { real: 1, negativeZero: 2, text: 3 } as const;

type Packed = null | number | bigint | string | Uint8Array;

function packValues(values: readonly Value[]): [Packed[], number[] | null] {
  const out: Packed[] = [];
  let classes: number[] | null = null;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (typeof value === "bigint") {
      const small = Number(value);
      out[i] = Number.isSafeInteger(small) ? small : value;
    } else if (typeof value === "number") {
      out[i] = value;
      if (Number.isInteger(value))
        (classes ??= []).push(i, Object.is(value, -0) ? Class.negativeZero : Class.real);
    } else if (value instanceof TextBytes) {
      out[i] = value.bytes;
      (classes ??= []).push(i, Class.text);
    } else {
      out[i] = value;
      if (typeof value === "string" && !value.isWellFormed())
        throw new CodecError("text with a lone surrogate");
    }
  }
  return [out, classes];
}

function unpackValues(packed: unknown, classes: unknown): Value[] {
  if (!Array.isArray(packed)) throw new CodecError("values are not an array");
  const out = packed as Value[];
  const exact = new Set<number>();
  if (classes !== null && classes !== undefined) {
    if (!Array.isArray(classes) || classes.length % 2 !== 0) throw new CodecError("classes are not pairs");
    for (let i = 0; i < classes.length; i += 2) {
      const column = classes[i] as number;
      const value = packed[column] as unknown;
      exact.add(column);
      if (classes[i + 1] === Class.real && typeof value === "number") continue;
      else if (classes[i + 1] === Class.negativeZero && value === 0) out[column] = -0;
      else if (classes[i + 1] === Class.text && value instanceof Uint8Array)
        out[column] = new TextBytes(new Uint8Array(value));
      else throw new CodecError("a storage class does not fit its value");
    }
  }
  for (let i = 0; i < out.length; i++) {
    const value = out[i] as unknown;
    if (typeof value === "number") {
      if (Number.isInteger(value) && !exact.has(i)) out[i] = BigInt(value);
    } else if (value instanceof Uint8Array) {
      if (value.length < OWN_BYTES) out[i] = new Uint8Array(value);
    } else if (typeof value === "object" && value !== null && !(value instanceof TextBytes))
      throw new CodecError("a value is of no storage class");
    else if (value === undefined || typeof value === "boolean")
      throw new CodecError("a value is of no storage class");
  }
  return out;
}

/** One image: for before images, the journal and checksums. */
export function encodeImage(image: Image): Uint8Array {
  const [values, classes] = packValues(image);
  return packExact(packr, classes === null ? values : [values, classes]);
}

export function decodeImage(bytes: Uint8Array): Value[] {
  const decoded = unpack(bytes);
  if (Array.isArray(decoded) && decoded.length === 2 && Array.isArray(decoded[0]))
    return unpackValues(decoded[0], decoded[1]);
  return unpackValues(decoded, null);
}

function unpack(bytes: Uint8Array): unknown {
  try {
    return packr.unpack(bytes);
  } catch (error) {
    throw new CodecError("not MessagePack", { cause: error });
  }
}

function packRow(row: RowChange): unknown[] {
  const [values, classes] = packValues(row.image ?? row.key);
  if (row.base !== 0) return [row.op, values, classes, row.mask, row.base];
  if (row.mask !== null) return [row.op, values, classes, row.mask];
  if (classes !== null) return [row.op, values, classes];
  return [row.op, values];
}

/** An entry is written in the oldest format that can express it: see `FORMATS.entry`. */
const ROWS_FORMAT = 1;
const SCHEMA_FORMAT = 2;

export function encodeBatch(batch: Batch): Uint8Array {
  const { schema } = batch;
  const fields = [
    schema === undefined ? ROWS_FORMAT : SCHEMA_FORMAT,
    batch.kind,
    batch.origin,
    batch.incarnation,
    batch.csn,
    batch.part,
    batch.parts,
    batch.previousCsn,
    batch.schemaVersion,
    batch.bases,
    batch.after,
    batch.watermarks.map((w) => [w.table, w.upTo]),
    batch.tables.map((t) => [t.table, t.columns, t.rows.map(packRow)]),
    batch.time,
    batch.note,
    ...(schema === undefined ? [] : [schema]),
  ];
  return packExact(packr, fields, { expectedBytes: largeBytesOf(batch) });
}

/** Of a row beside its large values, roughly. */
const SMALL_VALUES_BYTES = 64;

/** About the size of a batch with large values; 0: it has none. */
function largeBytesOf({ tables }: Batch): number {
  let rows = 0;
  let bytes = 0;
  for (const table of tables)
    for (const { image } of table.rows) {
      rows++;
      bytes += largeBytes(image);
    }
  return bytes === 0 ? 0 : bytes + rows * SMALL_VALUES_BYTES;
}

const KINDS: ReadonlySet<BatchKind> = new Set(Object.values(BatchKind));

const isCount = (x: unknown): x is number => typeof x === "number" && Number.isSafeInteger(x) && x >= 0;

function counts(x: unknown, what: string): number[] {
  if (!Array.isArray(x) || !x.every(isCount)) throw new CodecError(`${what} is not a list of counts`);
  return x;
}

function unpackRow(packed: unknown, shape: TableShape, bases: number): RowChange {
  if (!Array.isArray(packed)) throw new CodecError("a row is not an array");
  const [op, values, classes, mask, base] = packed as unknown[];
  if (op !== Op.insert && op !== Op.update && op !== Op.delete)
    throw new CodecError("a row's operation is unknown");
  if (mask !== undefined && mask !== null && !(mask instanceof Uint8Array))
    throw new CodecError("a mask is not bytes");
  if (base !== undefined && (!isCount(base) || base >= bases))
    throw new CodecError("a row's base is out of range");
  const exact = unpackValues(values, classes);
  const common = { op, mask: mask ?? null, base: base ?? 0 };
  if (op === Op.delete) {
    if (exact.length !== shape.key.length)
      throw new CodecError(`a key of ${shape.name} has the wrong length`);
    return { ...common, image: null, key: exact, keyId: keyIdOf(shape, exact) };
  }
  if (exact.length !== shape.columns.length)
    throw new CodecError(`an image of ${shape.name} has the wrong length`);
  return { ...common, image: exact, key: keyOfImage(shape, exact), keyId: keyIdOfImage(shape, exact) };
}

/**
 * The head of a batch, with its tables still packed: a batch is accepted or ignored by its origin and numbers before its
 * rows are decoded.
 */
export interface BatchHead extends Omit<Batch, "tables"> {
  readonly format: number;
  readonly packedTables: readonly unknown[];
}

/** Throws `CodecError`, and a halt for a batch of a newer build. `subject`: its place. */
export function decodeBatchHead(bytes: Uint8Array, subject = "the log"): BatchHead {
  const decoded = unpack(bytes);
  if (!Array.isArray(decoded)) throw new CodecError("not a batch");
  const first: unknown = decoded[0];
  if (isCount(first) && first > FORMATS.entry.max) throw newerFormat(subject, "entry", first);
  if (decoded.length < 15) throw new CodecError("not a batch");
  const [format, kind, origin, incarnation, csn, part, parts, previousCsn, schemaVersion, bases, after] =
    decoded as unknown[];
  const [watermarks, tables, time, note, schema] = decoded.slice(11) as unknown[];
  if (!isCount(format) || format < FORMATS.entry.min)
    throw new CodecError(`a batch of format ${String(format)}; this build reads ${showRange(FORMATS.entry)}`);
  if (!KINDS.has(kind as BatchKind)) throw new CodecError("unknown kind of batch");
  if ((kind === BatchKind.schema) !== schema instanceof Uint8Array)
    throw new CodecError("a schema entry without its change, or a change in another kind of entry");
  const numbers = [incarnation, csn, part, parts, previousCsn, schemaVersion];
  if (
    typeof origin !== "string" ||
    typeof note !== "string" ||
    typeof time !== "number" ||
    !numbers.every(isCount)
  )
    throw new CodecError("a batch's head is malformed");
  if (!Array.isArray(bases) || !Array.isArray(watermarks) || !Array.isArray(tables))
    throw new CodecError("a batch's lists are malformed");
  return {
    format,
    kind: kind as BatchKind,
    origin,
    incarnation: incarnation as number,
    csn: csn as number,
    part: part as number,
    parts: parts as number,
    previousCsn: previousCsn as number,
    schemaVersion: schemaVersion as number,
    bases: bases.map((b) => counts(b, "a base")),
    after: counts(after, "after"),
    watermarks: watermarks.map((w) => {
      const [table, upTo] = counts(w, "a watermark");
      return { table: table!, upTo: upTo! };
    }),
    time,
    note,
    packedTables: tables,
    ...(schema instanceof Uint8Array ? { schema } : {}),
  };
}

/** `shapeOf` gives the table's shape at the schema version under which the batch was accepted. */
export function decodeTables(
  head: BatchHead,
  shapeOf: (table: number) => TableShape | undefined,
): TableChanges[] {
  return head.packedTables.map((packed) => {
    if (!Array.isArray(packed)) throw new CodecError("a table is not an array");
    const [table, columns, rows] = packed as unknown[];
    if (!isCount(table) || !isCount(columns) || !Array.isArray(rows))
      throw new CodecError("a table is malformed");
    const shape = shapeOf(table);
    if (shape === undefined) throw new CodecError(`table ${table} is not in the catalogue`);
    if (columns !== shape.columns.length)
      throw new CodecError(`table ${shape.name} has ${shape.columns.length} columns, not ${columns}`);
    return { table, columns, rows: rows.map((row) => unpackRow(row, shape, head.bases.length)) };
  });
}

/** The tables that a batch has rows of, without decoding them. */
export function tablesIn(head: BatchHead): number[] {
  return head.packedTables.map((packed) => {
    const table: unknown = Array.isArray(packed) ? packed[0] : undefined;
    if (!isCount(table)) throw new CodecError("a table is malformed");
    return table;
  });
}

/** A hash of a row's image for checksums: 64 bits, xxh64 as xxhashjs defines it. */
export const imageHash = (encoded: Uint8Array): bigint => Bun.hash.xxHash64(encoded, 0n);

/** Calls `use` with the encoded image, which is valid during the call: no copy is made. */
export function withEncoded<T>(image: Image, use: (encoded: Uint8Array) => T): T {
  const [values, classes] = packValues(image);
  return withPacked(packr, classes === null ? values : [values, classes], use);
}

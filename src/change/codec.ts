/**
 * Batches and images as MessagePack. MessagePack has no REAL 1.0 beside INTEGER 1, no -0.0 and no broken text, so each
 * row may carry exceptions `[column, class, column, class, …]`. Without an exception an integral number is INTEGER and any
 * other number REAL. Decoding yields exact values (`value.ts`) or throws `CodecError`.
 */
import { Packr } from "msgpackr";
import { FORMATS, newerFormat, showRange } from "../base/versions/formats.ts";
import { packExact, withPacked } from "../base/pack.ts";
import { CodecError, PackedReader } from "../base/unpack.ts";
import { type Batch, BatchKind, Op, type RowChange, type TableChanges } from "./batch.ts";
import { keyIdOf, keyIdOfImage, keyOfImage } from "./key.ts";
import type { TableShape } from "./shape.ts";
import { type Image, largeBytes, TextBytes, type Value } from "./value.ts";

export { CodecError } from "../base/unpack.ts";

const packr = new Packr({ useRecords: false, int64AsType: "bigint" } as object);
/** Storage classes that MessagePack lacks. */
const Class = { real: 1, negativeZero: 2, text: 3 } as const;

type PackedValue = null | number | bigint | string | Uint8Array;

function packValues(values: readonly Value[]): [PackedValue[], number[] | null] {
  const out: PackedValue[] = [];
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

/** One image: for before images, the journal and checksums. */
export function encodeImage(image: Image): Uint8Array {
  const [values, classes] = packValues(image);
  return packExact(packr, classes === null ? values : [values, classes]);
}

export function decodeImage(bytes: Uint8Array): Value[] {
  return exactly(bytes, (reader) => {
    // [values, classes]: the first value of an image is no list.
    if (bytes[0] !== CLASSED || !isList(bytes[1])) return reader.values();
    reader.list();
    const values: Value[] = reader.values();
    readClasses(reader, values);
    return values;
  });
}

const isList = (type: number | undefined): boolean =>
  type !== undefined && ((type >= 0x90 && type <= 0x9f) || type === 0xdc || type === 0xdd);

/** The classes that follow values, applied to these. False: nil takes their place. */
function readClasses(reader: PackedReader, values: Value[]): boolean {
  if (reader.nil()) return false;
  const count = reader.list();
  if (count === null || count % 2 !== 0) throw new CodecError("classes are not pairs");
  for (let i = 0; i < count; i += 2) {
    const column = reader.count("a column");
    const value = values[column];
    const kind = reader.count("a class");
    if (kind === Class.real && (typeof value === "bigint" || typeof value === "number"))
      values[column] = Number(value);
    else if (kind === Class.negativeZero && value === 0n) values[column] = -0;
    else if (kind === Class.text && value instanceof Uint8Array)
      values[column] = new TextBytes(new Uint8Array(value));
    else throw new CodecError("a storage class does not fit its value");
  }
  return true;
}

/** Reads all of the bytes. */
function exactly<T>(bytes: Uint8Array, read: (reader: PackedReader) => T): T {
  const reader = new PackedReader(bytes);
  const value = read(reader);
  if (!reader.ended) throw new CodecError("not MessagePack: bytes are left over");
  return value;
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

/** Fields of a batch without a schema change; the tables are one of them. */
const HEAD_FIELDS = 15;
const TABLES_AT = 12;

const KINDS: ReadonlySet<BatchKind> = new Set(Object.values(BatchKind));

const isCount = (x: unknown): x is number => typeof x === "number" && Number.isSafeInteger(x) && x >= 0;

function counts(x: unknown, what: string): number[] {
  if (!Array.isArray(x) || !x.every(isCount)) throw new CodecError(`${what} is not a list of counts`);
  return x;
}

function readRow(reader: PackedReader, bytes: Uint8Array, shape: TableShape, bases: number): RowChange {
  const fields = reader.list();
  if (fields === null || fields < 2) throw new CodecError("a row is not an array");
  const op = reader.count("an operation");
  if (op !== Op.insert && op !== Op.update && op !== Op.delete)
    throw new CodecError("a row's operation is unknown");
  const from = reader.at;
  const values: Value[] = reader.values();
  let to = reader.at;
  const isClassed = fields > 2 && readClasses(reader, values);
  if (isClassed) to = reader.at;
  const mask = fields > 3 && !reader.nil() ? reader.value() : null;
  if (mask !== null && !(mask instanceof Uint8Array)) throw new CodecError("a mask is not bytes");
  const base = fields > 4 ? reader.count("a row's base") : 0;
  if (base > 0 && base >= bases) throw new CodecError("a row's base is out of range");
  if (fields > 5) reader.skip(fields - 5);
  const common = { op, mask, base };
  if (op === Op.delete) {
    if (values.length !== shape.key.length)
      throw new CodecError(`a key of ${shape.name} has the wrong length`);
    return { ...common, image: null, key: values, keyId: keyIdOf(shape, values) };
  }
  if (values.length !== shape.columns.length)
    throw new CodecError(`an image of ${shape.name} has the wrong length`);
  return {
    ...common,
    image: values,
    key: keyOfImage(shape, values),
    keyId: keyIdOfImage(shape, values),
    packed: { image: values, bytes, from, to, isClassed },
  };
}

/**
 * The head of a batch, with its tables still packed: a batch is accepted or ignored by its origin and numbers before its
 * rows are decoded.
 */
export interface BatchHead extends Omit<Batch, "tables"> {
  readonly format: number;
  readonly packedTables: readonly PackedTable[];
}

/** The rows of a table in a batch. */
interface PackedTable {
  readonly table: number;
  readonly columns: number;
  readonly rows: number;
  /** The place of the first row in the bytes of the batch. */
  readonly at: number;
  readonly bytes: Uint8Array;
}

function readTables(reader: PackedReader, bytes: Uint8Array): PackedTable[] {
  const tables: PackedTable[] = [];
  const count = reader.list();
  if (count === null) throw new CodecError("a batch's lists are malformed");
  for (let i = 0; i < count; i++) {
    if (reader.list() !== 3) throw new CodecError("a table is not an array of three");
    const [table, columns] = [reader.count("a table"), reader.count("a number of columns")];
    const rows = reader.list();
    if (rows === null) throw new CodecError("a table is malformed");
    tables.push({ table, columns, rows, at: reader.at, bytes });
    reader.skip(rows);
  }
  return tables;
}

/** Throws `CodecError`, and a halt for a batch of a newer build. `subject`: its place. */
export function decodeBatchHead(bytes: Uint8Array, subject = "the log"): BatchHead {
  const reader = new PackedReader(bytes);
  const fields = reader.list();
  if (fields === null || fields === 0) throw new CodecError("not a batch");
  const format = reader.any();
  if (isCount(format) && format > FORMATS.entry.max) throw newerFormat(subject, "entry", format);
  if (fields < HEAD_FIELDS) throw new CodecError("not a batch");
  const before = Array.from({ length: TABLES_AT - 1 }, () => reader.any());
  const [kind, origin, incarnation, csn, part, parts, previousCsn, schemaVersion, bases, after, watermarks] =
    before;
  const packedTables = readTables(reader, bytes);
  const [time, note] = [reader.any(), reader.any()];
  const schema = fields > HEAD_FIELDS ? reader.any() : undefined;
  if (fields > HEAD_FIELDS + 1) reader.skip(fields - HEAD_FIELDS - 1);
  if (!reader.ended) throw new CodecError("not MessagePack: bytes are left over");
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
  if (!Array.isArray(bases) || !Array.isArray(watermarks))
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
    packedTables,
    ...(schema instanceof Uint8Array ? { schema } : {}),
  };
}

/** `shapeOf` gives the table's shape at the schema version under which the batch was accepted. */
export function decodeTables(
  head: BatchHead,
  shapeOf: (table: number) => TableShape | undefined,
): TableChanges[] {
  return head.packedTables.map(({ table, columns, rows: count, at, bytes }) => {
    const shape = shapeOf(table);
    if (shape === undefined) throw new CodecError(`table ${table} is not in the catalogue`);
    if (columns !== shape.columns.length)
      throw new CodecError(`table ${shape.name} has ${shape.columns.length} columns, not ${columns}`);
    const reader = new PackedReader(bytes, at);
    const rows: RowChange[] = [];
    for (let i = 0; i < count; i++) rows.push(readRow(reader, bytes, shape, head.bases.length));
    return { table, columns, rows };
  });
}

/** The tables that a batch has rows of, without decoding them. */
export const tablesIn = (head: BatchHead): number[] => head.packedTables.map(({ table }) => table);

/** A hash of a row's image for checksums: 64 bits, xxh64 as xxhashjs defines it. */
export const imageHash = (encoded: Uint8Array): bigint => Bun.hash.xxHash64(encoded, 0n);

/** Calls `use` with the encoded image, which is valid during the call: no copy is made. */
export function withEncoded<T>(image: Image, use: (encoded: Uint8Array) => T): T {
  const [values, classes] = packValues(image);
  return withPacked(packr, classes === null ? values : [values, classes], use);
}

/** [values, classes] */
const CLASSED = 0x92;
const FIRST_SCRATCH = 4096;
/** A larger buffer is not kept. */
const KEPT_SCRATCH = 1 << 20;
let scratch = new Uint8Array(FIRST_SCRATCH);

/** The same for the image of a row, which is not encoded again where its batch has it. */
export function withEncodedRow<T>({ image, packed }: RowChange, use: (encoded: Uint8Array) => T): T {
  // A row that got another image since is encoded.
  if (packed === undefined || packed.image !== image) return withEncoded(image!, use);
  const { bytes, from, to, isClassed } = packed;
  if (!isClassed) return use(bytes.subarray(from, to));
  const size = 1 + to - from;
  if (scratch.length < size) scratch = new Uint8Array(2 * size);
  scratch[0] = CLASSED;
  scratch.set(bytes.subarray(from, to), 1);
  const result = use(scratch.subarray(0, size));
  if (scratch.length > KEPT_SCRATCH) scratch = new Uint8Array(FIRST_SCRATCH);
  return result;
}

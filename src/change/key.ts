/**
 * The identity of a row: its key, folded the way the key's collation compares ('k' = 'K' under NOCASE, 1 = 1.0). Equal keys
 * are equal JS values, hash to one shard and are the same key of a map.
 */
import { assert } from "../base/assert.ts";
import type { Collation, TableShape } from "./shape.ts";
import { type Image, TextBytes, type Value } from "./value.ts";

/** A safe integer for a single integer key, else tagged text. Unique within one table. */
export type KeyId = number | string;

const hex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");

function foldText(text: string, collation: Collation): string {
  if (collation === "NOCASE") return text.replace(/[A-Z]+/g, (upper) => upper.toLowerCase());
  if (collation === "RTRIM") return text.replace(/ +$/, "");
  return text;
}

/** SQLite's NOCASE and RTRIM on bytes: both only concern ASCII. */
function foldBytes(bytes: Uint8Array, collation: Collation): Uint8Array {
  if (collation === "NOCASE") return bytes.map((b) => (b >= 0x41 && b <= 0x5a ? b + 32 : b));
  if (collation === "RTRIM") {
    let end = bytes.length;
    while (end > 0 && bytes[end - 1] === 0x20) end--;
    return bytes.subarray(0, end);
  }
  return bytes;
}

/** An integral REAL within 64 bits equals the INTEGER of the same value. */
function foldReal(value: number): string {
  if (Number.isInteger(value) && value >= -(2 ** 63) && value < 2 ** 63) return `i${BigInt(value)}`;
  return `r${value}`;
}

function foldValue(value: Value, collation: Collation): string {
  if (typeof value === "bigint") return `i${value}`;
  if (typeof value === "number") return foldReal(value);
  if (typeof value === "string") {
    const text = foldText(value, collation);
    return `t${text.length}:${text}`;
  }
  if (value === null) return "n";
  if (value instanceof TextBytes) return `x${hex(foldBytes(value.bytes, collation))}`;
  return `b${hex(value)}`;
}

const MIN_SAFE = BigInt(Number.MIN_SAFE_INTEGER);
const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** `values`: the key's columns in the order of the key. */
export function keyIdOf(shape: TableShape, values: readonly Value[]): KeyId {
  assert(values.length === shape.key.length, `a key of ${shape.name} has ${shape.key.length} columns`);
  if (values.length === 1) {
    const only = values[0]!;
    if (typeof only === "bigint" && only >= MIN_SAFE && only <= MAX_SAFE) return Number(only);
    if (typeof only === "number" && Number.isSafeInteger(only)) return only + 0;
    return foldValue(only, shape.keyCollations[0]!);
  }
  let id = "";
  for (let i = 0; i < values.length; i++) id += `${foldValue(values[i]!, shape.keyCollations[i]!)};`;
  return id;
}

/** The key's columns out of a whole image. */
export function keyOfImage(shape: TableShape, image: Image): Value[] {
  return shape.key.map((k) => image[k]!);
}

export function keyIdOfImage(shape: TableShape, image: Image): KeyId {
  if (shape.key.length === 1) {
    const only = image[shape.key[0]!]!;
    if (typeof only === "bigint" && only >= MIN_SAFE && only <= MAX_SAFE) return Number(only);
  }
  return keyIdOf(shape, keyOfImage(shape, image));
}

/** The text that routing hashes for a row. */
export const routingKey = (id: KeyId): string => (typeof id === "number" ? `i${id}` : id);

/** The key's values from an id: equal to the row's own under the key's collations, but perhaps spelt differently. */
export function keyValues(shape: TableShape, id: KeyId): Value[] {
  if (typeof id === "number") return [BigInt(id)];
  if (shape.key.length === 1) return [unfold(id, 0)[0]];
  const values: Value[] = [];
  let at = 0;
  while (at < id.length) {
    const [value, end] = unfold(id, at);
    assert(id[end] === ";", "a key id is a list of folded values");
    values.push(value);
    at = end + 1;
  }
  return values;
}

/** One folded value starting at `at`, and where it ends. */
function unfold(id: string, at: number): [Value, number] {
  if (id[at] === "t") {
    const colon = id.indexOf(":", at);
    const end = colon + 1 + Number(id.slice(at + 1, colon));
    return [id.slice(colon + 1, end), end];
  }
  const semicolon = id.indexOf(";", at);
  const end = semicolon === -1 ? id.length : semicolon;
  const text = id.slice(at + 1, end);
  if (id[at] === "i") return [BigInt(text), end];
  if (id[at] === "r") return [Number(text), end];
  if (id[at] === "n") return [null, end];
  if (id[at] === "x") return [new TextBytes(new Uint8Array(Buffer.from(text, "hex"))), end];
  assert(id[at] === "b", "a folded value has a known tag");
  return [new Uint8Array(Buffer.from(text, "hex")), end];
}

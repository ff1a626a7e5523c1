/**
 * Whether rows lie near each other in the order of their keys. To be able to undo a statement of many rows, SQLite copies
 * each page before it changes it, and above 64 KB the copies go to a temporary file. Rows that lie apart change a page
 * each: written one by one they cost half.
 */
import type { KeyId } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import type { Image, Value } from "../change/value.ts";

/** Of the numbers from the first key to the last one, at least every so many is a key. */
const NUMBERS_A_KEY = 4;

/** `a` and `b` come in this order. False where their kinds differ, and for values that tell nothing. */
function isBefore(a: Value, b: Value): boolean {
  if (typeof a === "string") return typeof b === "string" && a < b;
  if (typeof a !== "bigint" && typeof a !== "number") return false;
  return (typeof b === "bigint" || typeof b === "number") && a < b;
}

/** The numbers from `first` to `last` are few enough for so many keys. Texts tell nothing about what lies between. */
const isDense = (first: Value | undefined, last: Value | undefined, keys: number): boolean =>
  keys < 2 || typeof first === "string" || Number(last) - Number(first) <= NUMBERS_A_KEY * keys;

/** The keys rise, and only few can lie between them. */
export function areNearKeys(keyIds: readonly KeyId[]): boolean {
  for (let i = 1; i < keyIds.length; i++) {
    const [before, keyId] = [keyIds[i - 1]!, keyIds[i]!];
    if (typeof before !== typeof keyId || before >= keyId) return false;
  }
  return isDense(keyIds[0] as Value, keyIds.at(-1) as Value, keyIds.length);
}

/** The same for `count` images from `from` on, by the first column of the key; in a key of several it may repeat. */
export function areNearRows(
  { key }: TableShape,
  images: readonly Image[],
  from = 0,
  count = images.length,
): boolean {
  const column = key[0]!;
  const first = images[from]?.[column];
  let before = first;
  for (let i = from + 1; i < from + count; i++) {
    const value = images[i]![column]!;
    if (!isBefore(before!, value) && (key.length === 1 || before !== value)) return false;
    before = value;
  }
  return isDense(first, before, count);
}

/** Values, keys and rows as people read them: SQL literals in messages, storage class and text in JSON. */
import { type KeyId, keyValues } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import { type Image, TextBytes, type Value } from "../change/value.ts";
import type { ShownValue } from "./api.ts";

/** Characters of one value in a message. */
const SHOWN = 80;

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** A value as an SQL literal. */
export function sqlLiteral(value: Value): string {
  if (value === null) return "NULL";
  if (typeof value === "string") return `'${value.replaceAll("'", "''")}'`;
  if (typeof value === "number") return Number.isInteger(value) ? value.toFixed(1) : String(value);
  if (typeof value === "bigint") return String(value);
  return value instanceof TextBytes ? `CAST(x'${hexOf(value.bytes)}' AS TEXT)` : `x'${hexOf(value)}'`;
}

/** The values of a row as SQL literals, long ones cut. */
export const showImage = (image: Image): string =>
  image
    .map((value: Value) => {
      const text = sqlLiteral(value);
      return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
    })
    .join(", ");

export const showKey = (shape: TableShape, keyId: KeyId): string =>
  keyValues(shape, keyId).map(sqlLiteral).join(", ");

/** A value with its storage class, for JSON. */
export function showValue(value: Value): ShownValue {
  if (value === null) return { type: "null", text: "" };
  if (typeof value === "bigint") return { type: "integer", text: value.toString() };
  if (typeof value === "number") return { type: "real", text: Object.is(value, -0) ? "-0.0" : String(value) };
  if (typeof value === "string") return { type: "text", text: value };
  if (value instanceof TextBytes) return { type: "text", text: hexOf(value.bytes) };
  return { type: "blob", text: hexOf(value) };
}

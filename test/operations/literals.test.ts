/** Values as SQL literals and in JSON: SQLite reads each literal back as the same value. */
import { expect, test } from "bun:test";
import { type Image, TextBytes, type Value } from "../../src/change/value.ts";
import { showImage, showValue, sqlLiteral } from "../../src/operations/literals.ts";
import { openDatabase } from "../../src/sqlite/open.ts";

const VALUES: readonly (readonly [value: Value, type: string])[] = [
  [null, "null"],
  [0n, "integer"],
  [-9_223_372_036_854_775_807n, "integer"],
  [1, "real"],
  [0.1, "real"],
  [1e300, "real"],
  ["it's", "text"],
  ["", "text"],
  [new TextBytes(new Uint8Array([0xff, 0x41])), "text"],
  [new Uint8Array([0, 1, 255]), "blob"],
  [new Uint8Array(), "blob"],
];

test("SQLite reads a literal as the same storage class and the same bytes", () => {
  const db = openDatabase(":memory:");
  for (const [value, type] of VALUES) {
    const literal = sqlLiteral(value);
    const read = db.prepare(`SELECT typeof(${literal}) AS type, hex(${literal}) AS bytes`).get() as {
      type: string;
      bytes: string;
    };
    expect([literal, read.type]).toEqual([literal, type]);
    if (value instanceof TextBytes) expect(read.bytes).toBe("FF41");
    if (value instanceof Uint8Array)
      expect(read.bytes).toBe(Buffer.from(value).toString("hex").toUpperCase());
  }
  db.close();
});

test("a value in JSON keeps its storage class, and an integer all its digits", () => {
  for (const [value, type] of VALUES) expect(showValue(value).type).toBe(type as never);
  expect(showValue(9_007_199_254_740_993n).text).toBe("9007199254740993");
  expect(showValue(-0).text).toBe("-0.0");
  expect(showValue(new Uint8Array([0, 255])).text).toBe("00ff");
});

test("a row in a message has its values in order, and long values cut", () => {
  const image: Image = [1n, "x".repeat(200), null];
  expect(showImage(image)).toBe(`1, '${"x".repeat(79)}…, NULL`);
});

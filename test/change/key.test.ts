import { expect, test } from "bun:test";
import { type KeyId, keyIdOf, keyValues } from "../../src/change/key.ts";
import type { Collation, TableShape } from "../../src/change/shape.ts";
import { imageEqual, TextBytes, type Value } from "../../src/change/value.ts";

const shapeOf = (...keyCollations: Collation[]): TableShape => ({
  id: 1,
  name: "t",
  columns: keyCollations.map((_, i) => ({ name: `k${i}`, affinity: "BLOB" })),
  key: keyCollations.map((_, i) => i),
  keyCollations,
  withoutRowid: false,
  integerKey: false,
  rowidKey: false,
  autoincrement: false,
  uniques: [],
  routedByName: false,
});

const id = (value: Value, collation: Collation = "BINARY"): KeyId => keyIdOf(shapeOf(collation), [value]);

test("keys that SQLite calls equal have one id", () => {
  expect(id(1n)).toBe(id(1));
  expect(id(2n ** 60n)).toBe(id(2 ** 60));
  expect(id(0)).toBe(id(-0));
  expect(id("Key", "NOCASE")).toBe(id("kEY", "NOCASE"));
  expect(id("a  ", "RTRIM")).toBe(id("a", "RTRIM"));
});

test("keys that SQLite tells apart have different ids", () => {
  const values: Value[] = [
    1n,
    1.5,
    "1",
    "1 ",
    new Uint8Array([0x31]),
    null,
    "Ä",
    "ä",
    new TextBytes(new Uint8Array([255])),
    new Uint8Array([255]),
  ];
  const ids = values.map((v) => id(v, "NOCASE"));
  expect(new Set(ids).size).toBe(values.length);
});

test("composite keys with the same concatenated text have different ids", () => {
  const shape = shapeOf("BINARY", "BINARY");
  expect(keyIdOf(shape, ["a;", "b"])).not.toBe(keyIdOf(shape, ["a", ";b"]));
  expect(keyIdOf(shape, ["t1:a", ""])).not.toBe(keyIdOf(shape, ["", "t1:a"]));
});

test("the key values of an id find the row", () => {
  const keys: Value[][] = [
    [1n, "a;b:c"],
    [-(2n ** 63n), "x"],
    [1.5, null],
    [new Uint8Array([1, 2]), new TextBytes(new Uint8Array([255, 0]))],
    ["", "😀;"],
  ];
  const shape = shapeOf("BINARY", "BINARY");
  for (const key of keys) expect(imageEqual(keyValues(shape, keyIdOf(shape, key)), key)).toBe(true);
  expect(keyValues(shapeOf("BINARY"), 42)).toEqual([42n]);
});

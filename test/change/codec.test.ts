import { describe, expect, test } from "bun:test";
import { HaltError } from "../../src/base/halt.ts";
import { Random } from "../../src/base/random.ts";
import { type Batch, BatchKind, Op, type RowChange } from "../../src/change/batch.ts";
import {
  CodecError,
  decodeBatchHead,
  decodeImage,
  decodeTables,
  encodeBatch,
  encodeImage,
  withEncodedRow,
} from "../../src/change/codec.ts";
import type { TableShape } from "../../src/change/shape.ts";
import { imageEqual, TextBytes, type Value } from "../../src/change/value.ts";

const shape: TableShape = {
  id: 7,
  name: "t",
  columns: [
    { name: "id", affinity: "INTEGER" },
    { name: "a", affinity: "BLOB" },
    { name: "b", affinity: "TEXT" },
  ],
  key: [0],
  keyCollations: ["BINARY"],
  withoutRowid: false,
  integerKey: true,
  rowidKey: false,
  autoincrement: false,
  uniques: [],
  routedByName: false,
};

const batch = (rows: Batch["tables"][number]["rows"]): Batch => ({
  kind: BatchKind.rows,
  origin: "peer",
  incarnation: 3,
  csn: 9,
  part: 1,
  parts: 1,
  previousCsn: 8,
  schemaVersion: 1,
  bases: [[5], [4]],
  after: [],
  watermarks: [{ table: 7, upTo: 12 }],
  time: 1_700_000_000_000,
  note: "",
  tables: [{ table: 7, columns: 3, rows }],
});

const VALUES: Value[] = [
  null,
  0n,
  1n,
  -1n,
  2n ** 53n,
  2n ** 63n - 1n,
  -(2n ** 63n),
  0,
  -0,
  1,
  1.5,
  -1e308,
  2 ** 63,
  5e-324,
  Infinity,
  -Infinity,
  "",
  "a\0b",
  "ünïcode 😀",
  "\ufeffmark\ufeff",
  new Uint8Array(0),
  new Uint8Array([0, 255]),
  new TextBytes(new Uint8Array([0x61, 0xff, 0x62])),
];

describe("images", () => {
  test("every storage class is decoded bit for bit", () => {
    for (const value of VALUES) {
      const image = [1n, value, "x"];
      expect(imageEqual(decodeImage(encodeImage(image)), image)).toBe(true);
    }
    expect(imageEqual(decodeImage(encodeImage(VALUES)), VALUES)).toBe(true);
  });

  test("REAL 1.0 and INTEGER 1, 0.0 and -0.0, text and bytes are different images", () => {
    const pairs: [Value, Value][] = [
      [1, 1n],
      [0, -0],
      ["a", new Uint8Array([0x61])],
      [new TextBytes(new Uint8Array([255])), new Uint8Array([255])],
    ];
    for (const [a, b] of pairs) {
      expect(imageEqual([a], [b])).toBe(false);
      expect(Buffer.compare(encodeImage([a]), encodeImage([b]))).not.toBe(0);
    }
  });

  test("the bytes of an image are those of the fixed format", () => {
    const bytes = encodeImage([1n, 1, -0, 2n ** 63n - 1n, "a", null, new TextBytes(new Uint8Array([255]))]);
    expect(Buffer.from(bytes).toString("hex")).toBe("9297010100d37fffffffffffffffa161c0c401ff96010102020603");
  });
});

describe("batches", () => {
  const rows: Batch["tables"][number]["rows"] = [
    { op: Op.insert, keyId: 1, key: [1n], image: [1n, 2.5, "x"], mask: null, base: 0 },
    { op: Op.update, keyId: 2, key: [2n], image: [2n, 1, null], mask: new Uint8Array([2]), base: 1 },
    { op: Op.delete, keyId: 3, key: [3n], image: null, mask: null, base: 0 },
  ];

  test("a decoded batch equals the encoded one", () => {
    const head = decodeBatchHead(encodeBatch(batch(rows)));
    const { packedTables: _packed, ...plain } = head;
    const { tables: _tables, ...expected } = batch(rows);
    expect(plain).toEqual({ format: 1, ...expected });
    const decoded = decodeTables(head, () => shape);
    const plainTables = decoded.map((t) => ({ ...t, rows: t.rows.map(({ packed: _, ...row }) => row) }));
    expect(plainTables).toEqual(batch(rows).tables as never);
  });

  test("the encoded image of a row is found in its batch, and belongs to this image alone", () => {
    const long: Value[] = ["x".repeat(40), "ü".repeat(200), "y".repeat(70_000), new Uint8Array(300)];
    const images = [...VALUES, ...long].flatMap((value): Value[][] => [
      [1n, value, "x"],
      [2n, 1, value],
      [70_000n, value, value],
    ]);
    const of = images.map((image, i): RowChange => {
      const row = { keyId: Number(image[0]), key: [image[0]!], image, base: i % 2 };
      return i % 3 === 0
        ? { ...row, op: Op.update, mask: new Uint8Array([2]) }
        : { ...row, op: Op.insert, mask: null };
    });
    const [table] = decodeTables(decodeBatchHead(encodeBatch(batch(of))), () => shape);
    for (const [i, row] of table!.rows.entries()) {
      expect(imageEqual(row.image!, images[i]!)).toBe(true);
      const expected = Buffer.from(encodeImage(images[i]!));
      expect(withEncodedRow(row, (bytes) => Buffer.compare(bytes, expected))).toBe(0);
      const other = { ...row, image: [1n, "another", null] };
      expect(decodeImage(withEncodedRow(other, (bytes) => bytes.slice()))).toEqual(other.image);
    }
  });

  test("what other writers of MessagePack make of a batch is read, too", () => {
    // An integer in eight bytes, a float of four, a text of the longest form, and a sixth field of a row: a map.
    const row =
      "96" + "00" + "93d30000000000000005ca3fc00000db0000000161" + "c0" + "c0" + "00" + "81a161a162";
    const hex = "9f0101a170030901010801919105909192070c919307039" + "1" + row + "cb4278bcfe56800000a0";
    const [table] = decodeTables(decodeBatchHead(Buffer.from(hex, "hex")), () => shape);
    expect(table!.rows[0]!.image).toEqual([5n, 1.5, "a"]);
  });

  test("the bytes of a batch are those of the fixed format", () => {
    const fixed = { ...batch([rows[0]!, rows[2]!]), origin: "p", bases: [[5]] };
    expect(Buffer.from(encodeBatch(fixed)).toString("hex")).toBe(
      "9f0101a170030901010801919105909192070c919307039292009301cb4004000000000000a17892029103cb4278bcfe56800000a0",
    );
  });

  test("truncated, mangled or foreign bytes throw CodecError, or ask for an update", () => {
    const good = encodeBatch(batch(rows));
    const random = new Random(5);
    let refused = 0;
    for (let i = 0; i < 3000; i++) {
      const bytes = good.slice(0, random.chance(0.5) ? random.below(good.length) : good.length);
      for (let flips = random.below(4); flips > 0 && bytes.length > 0; flips--)
        bytes[random.below(bytes.length)] = random.below(256);
      try {
        decodeTables(decodeBatchHead(bytes), (id) => (id === 7 ? shape : undefined));
      } catch (error) {
        // The first number is the format: a greater one asks for an update.
        if (!(error instanceof HaltError)) expect(error).toBeInstanceOf(CodecError);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(1000);
  });

  test("a newer format is refused by number", () => {
    const bytes = encodeBatch(batch([]));
    bytes[1] = 99;
    expect(() => decodeBatchHead(bytes)).toThrow("format 99");
  });
});

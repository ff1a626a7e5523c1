import { describe, expect, test } from "bun:test";
import { HaltError } from "../../src/base/halt.ts";
import { Random } from "../../src/base/random.ts";
import { type Batch, BatchKind, Op } from "../../src/change/batch.ts";
import {
  CodecError,
  decodeBatchHead,
  decodeImage,
  decodeTables,
  encodeBatch,
  encodeImage,
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
    expect(decodeTables(head, () => shape)).toEqual(batch(rows).tables as never);
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

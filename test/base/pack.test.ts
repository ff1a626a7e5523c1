/** MessagePack into memory of the right size. */
import { expect, test } from "bun:test";
import { Packr } from "msgpackr";
import { packExact } from "../../src/base/pack.ts";

const packr = new Packr({ useRecords: false } as object);
const blob = (bytes: number, byte: number) => new Uint8Array(bytes).fill(byte);

test("large and small values in turn: no result is changed by a later one, whatever size was expected", () => {
  const values = Array.from({ length: 60 }, (_, i) => [
    i,
    blob(i % 3 === 0 ? 200_000 + i : 10 + i, i),
    "text",
  ]);
  const expected = [0, 100_000, 200_500, 400_000];
  const packed = values.map((value, i) =>
    packExact(packr, value, {
      expectedBytes: expected[i % expected.length]!,
      ...(i % 2 === 0 ? {} : { first: 7 }),
    }),
  );
  packed.forEach((bytes, i) => {
    if (i % 2 === 1) expect(bytes[0]).toBe(7);
    const [number, data, text] = packr.unpack(bytes.subarray(i % 2)) as [number, Uint8Array, string];
    expect([number, text]).toEqual([i, "text"]);
    expect(new Uint8Array(data)).toEqual(values[i]![1] as Uint8Array<ArrayBuffer>);
  });
});

test("a value of the expected size is not copied: its memory is hardly larger than it", () => {
  const bytes = packExact(packr, [blob(1 << 20, 3)], { expectedBytes: 1 << 20 });
  expect(bytes.buffer.byteLength).toBeLessThan((1 << 20) + 8192);
  expect(bytes.length).toBe((1 << 20) + 6);
});

import { expect, test } from "bun:test";
import { encodeMarker, encodeNamed, readMarking } from "../../src/change/marking.ts";

const batch = new Uint8Array([0x9f, 1, 2, 3]);

test("golden bytes: a batch without names has no frame; names and markers precede the batch", () => {
  expect(encodeNamed([], batch)).toBe(batch);
  expect([...encodeNamed([1, 63], batch)]).toEqual([0xc1, 2, 1, 63, 0x9f, 1, 2, 3]);
  expect([...encodeMarker(2 ** 40 + 5)]).toEqual([0xc1, 0xff, 0, 0, 1, 0, 0, 0, 0, 5]);
});

test("markings are read back, also out of a larger buffer", () => {
  expect(readMarking(batch)).toEqual({ names: [], marker: null, batch });
  for (const names of [[5], [1, 2, 3], Array.from({ length: 63 }, (_, i) => i + 1)])
    expect(readMarking(encodeNamed(names, batch))).toEqual({ names, marker: null, batch });
  const buffer = new Uint8Array(20);
  buffer.set(encodeMarker(77), 7);
  expect(readMarking(buffer.subarray(7, 17)).marker).toBe(77);
  expect(readMarking(new Uint8Array())).toEqual({ names: [], marker: null, batch: new Uint8Array() });
});

/** Where a new epoch begins in each shard: after the log, and after all positions that its entries wait for. */
import { expect, test } from "bun:test";
import { epochStarts } from "../../src/replication/epochs/epoch-starts.ts";
import { batch, entry } from "../replica/lab.ts";

test("without waiting entries it begins right after each log", () => {
  const tails = [
    { lastIndex: 7, unapplied: [] },
    { lastIndex: 3, unapplied: [{ ...entry(3, { marker: 1 }), data: new Uint8Array() }] },
  ];
  expect(epochStarts(tails)).toEqual([8, 4]);
});

test("a marker for a lost entry of shard 0 is passed", () => {
  expect(
    epochStarts([
      { lastIndex: 7, unapplied: [] },
      { lastIndex: 3, unapplied: [entry(3, { marker: 12 })] },
    ]),
  ).toEqual([12, 4]);
});

test("positions that only lost members had reached are passed", () => {
  expect(
    epochStarts([
      { lastIndex: 7, unapplied: [entry(7, { batch: batch({ after: [7, 20] }) })] },
      { lastIndex: 3, unapplied: [] },
    ]),
  ).toEqual([8, 20]);
});

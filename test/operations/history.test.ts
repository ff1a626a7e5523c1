/** The last hour of a node, and the rows of its tables. */
import { expect, test } from "bun:test";
import { History, SAMPLE_MS } from "../../src/operations/health/history.ts";
import { Measures } from "../../src/replication/measures/measures.ts";

test("samples have rates and the latency of their time; the last minute counts up to now; an hour is kept", () => {
  const measures = new Measures();
  const history = new History(measures);
  let at = 0;
  const sample = (rows: number, entries: number): void => {
    history.sample({ at, ready: true, pending: 0, rows, entries, lag: { n2: 3 } });
    at += SAMPLE_MS;
  };
  sample(0, 100);
  for (let i = 0; i < 10; i++) measures.commitToOrdered.observe(0.004);
  sample(50, 300);
  const [first] = history.read().samples;
  expect(first).toMatchObject({ rowsPerSecond: 5, entriesPerSecond: 20, lag: { n2: 3 }, shown: null });
  expect(first!.ordered!.p50Ms).toBeCloseTo(3.75, 5);
  expect(history.read().ordered).not.toBeNull();
  // The replica was opened again: the counts begin again.
  sample(0, 0);
  expect(history.read().samples.at(-1)).toMatchObject({
    rowsPerSecond: 0,
    entriesPerSecond: 0,
    ordered: null,
  });
  for (let i = 0; i < 400; i++) sample(0, 0);
  expect(history.read().samples).toHaveLength(360);
  expect(history.read().ordered).toBeNull();
});

/** The copy that a node sends: one for all receivers, and none on disk that no receiver needs; and the logs that they need. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { asPeerId } from "../../src/base/ids.ts";
import { LogHolds } from "../../src/replication/snapshots/log-holds.ts";
import { SharedCopy } from "../../src/replication/snapshots/shared-copy.ts";
import { GrowingCopy } from "../../src/snapshot/growing-copy.ts";

const [A, B] = [asPeerId("a"), asPeerId("b")];
let folder = "";
let begun = 0;
let usable = true;
let timers: (() => void)[] = [];
let shared: SharedCopy;
const taken = (): Promise<GrowingCopy | null> => shared.take(() => usable);
const take = async (): Promise<GrowingCopy> => (await taken())!;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-copy-"));
  begun = 0;
  usable = true;
  timers = [];
  shared = new SharedCopy({
    clock: {
      now: () => 0,
      wallTime: () => 0,
      soon: () => {},
      after: (_ms, run) => {
        timers.push(run);
        return { cancel: () => (timers = timers.filter((t) => t !== run)) };
      },
    },
    begin: async () => {
      await Bun.sleep(1);
      const path = join(folder, `${++begun}.db`);
      writeFileSync(path, "12345678");
      return new GrowingCopy({ id: `x-${begun}`, path, size: 8, positions: [{ index: 5, term: 1 }] });
    },
  });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("receivers at the same time share one copy, which is removed after the last one", async () => {
  const [x, y] = await Promise.all([take(), take()]);
  expect([x === y, begun, shared.positions]).toEqual([true, 1, x.head.positions]);
  shared.release(A, true);
  expect(readdirSync(folder)).toEqual(["1.db"]);
  shared.release(B, true);
  expect([readdirSync(folder), shared.positions]).toEqual([[], null]);
});

test("after an interruption the copy stays for a while, and the receiver gets the same one", async () => {
  const first = await take();
  shared.release(A, false);
  expect(timers.length).toBe(1);
  const again = await take();
  expect([again === first, timers.length]).toEqual([true, 0]);
  shared.release(A, false);
  timers[0]!();
  expect(readdirSync(folder)).toEqual([]);
});

test("the copy does not stay for a receiver that has its replica from elsewhere", async () => {
  await take();
  shared.release(A, false);
  shared.served(B);
  expect(readdirSync(folder)).toEqual(["1.db"]);
  shared.served(A);
  expect(readdirSync(folder)).toEqual([]);
});

test("a copy of no use to another receiver is not given to it: there is one at a time, and the next one is new", async () => {
  const old = await take();
  usable = false;
  expect([await taken(), begun]).toEqual([null, 1]);
  shared.release(A, true);
  expect([(await take()) === old, begun]).toEqual([false, 2]);
  expect(readdirSync(folder)).toEqual(["2.db"]);
});

test("a copy that is still made is given up with its last receiver", async () => {
  const copy = await take();
  shared.close();
  expect(copy.isCancelled).toBe(true);
});

test("the lowest position of the receivers counts until they are close to the end of the logs, or gone", () => {
  const holds = new LogHolds();
  holds.hold(A, [10, 500], 0);
  holds.hold(B, [20, 400], 0);
  expect([holds.lowest(0), holds.lowest(1), holds.lowest(2)]).toEqual([10, 400, null]);
  holds.heard(A, [5000, 5000], [9000, 9000]);
  expect(holds.lowest(0)).toBe(20);
  holds.heard(B, [8500, 8500], [9000, 9000]);
  expect(holds.lowest(0)).toBe(5000);
  holds.tick([A], 70_000);
  holds.tick([], 100_000);
  expect(holds.isEmpty).toBe(false);
  holds.tick([], 140_000);
  expect(holds.isEmpty).toBe(true);
});

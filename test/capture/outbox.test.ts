/** The outbox between a drain, the total order and the replica. */
import { beforeEach, describe, expect, test } from "bun:test";
import { Outbox } from "../../src/capture/outbox.ts";
import { Spool } from "../../src/capture/spool.ts";
import { type OwnOutcome, Op } from "../../src/change/batch.ts";
import { ChangeLogCursors } from "../../src/change/change-log-cursor.ts";
import { decodeBatchHead } from "../../src/change/codec.ts";
import { readMarking } from "../../src/change/marking.ts";
import type { TableShape } from "../../src/change/shape.ts";

const shape: TableShape = {
  id: 1,
  name: "t",
  columns: [
    { name: "k", affinity: "INTEGER" },
    { name: "v", affinity: "TEXT" },
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

/** Rows of key k lie in shard k mod 2. */
const SHARDS = 2;

let now = 0;
let proposed: { shard: number; data: Uint8Array; csn: number }[] = [];
let answer: "accepted" | "dropped" = "accepted";
let cursors = new ChangeLogCursors([1], new Map());

function outboxOf(whole: boolean): Outbox {
  const outbox = new Outbox(
    {
      propose: (shard, data) => {
        if (answer === "accepted")
          proposed.push({ shard, data, csn: decodeBatchHead(readMarking(data).batch).csn });
        return answer;
      },
      shardOfKey: (_table, keyId) => Number(keyId) % SHARDS,
      spool: new Spool("/nonexistent"),
      now: () => now,
      wallTime: () => 0,
    },
    { origin: "p", shards: SHARDS, whole },
    { cursors, schemaVersion: 1 },
  );
  outbox.open(1);
  return outbox;
}

/** Drains inserts of these keys, up to a log id. False: the sink refused a row. */
function drain(outbox: Outbox, upTo: number, ...keys: number[]): boolean {
  const sink = outbox.collect({ upTo: [{ table: 1, upTo }], after: [1, 1] });
  for (const keyId of keys) {
    sink.looked(1, keyId);
    const key = [BigInt(keyId)];
    if (!sink.add(shape, { op: Op.insert, keyId, key, image: [key[0]!, "v"], mask: null }, [1, 1])) {
      sink.giveUp();
      return false;
    }
  }
  sink.done();
  outbox.propose();
  return true;
}

const outcome = (shard: number, csn: number, verdict: OwnOutcome["verdict"] = "take"): OwnOutcome => ({
  ...{ shard, incarnation: 1, csn, part: 1, verdict },
});

/** Passes the fences. */
function fenced(outbox: Outbox): Outbox {
  outbox.taken([outcome(0, 1), outcome(1, 1)]);
  proposed = [];
  return outbox;
}

beforeEach(() => {
  now = 0;
  proposed = [];
  answer = "accepted";
  cursors = new ChangeLogCursors([1], new Map());
});

describe("an incarnation", () => {
  test("is not ready before the replica has passed the fence of every shard", () => {
    const outbox = outboxOf(false);
    expect(proposed.map(({ shard, csn }) => [shard, csn])).toEqual([
      [0, 1],
      [1, 1],
    ]);
    outbox.taken([outcome(1, 1)]);
    expect([outbox.ready, outbox.fencing()]).toEqual([false, [0]]);
    outbox.taken([outcome(0, 1)]);
    expect([outbox.ready, outbox.fencing()]).toEqual([true, []]);
  });

  test("ends with a refused batch; answers of an older incarnation are ignored", () => {
    const outbox = fenced(outboxOf(false));
    drain(outbox, 4, 2);
    expect(outbox.taken([{ ...outcome(0, 2, "refuse"), incarnation: 0 }])).toBeNull();
    expect(outbox.taken([outcome(0, 2, "refuse")])).toEqual(outcome(0, 2, "refuse"));
    outbox.open(2);
    expect([outbox.rowsInFlight, outbox.bytesInFlight]).toEqual([0, 0]);
    expect(cursors.ordered(1)).toBe(0);
  });

  test("ends with a redirected row, whose batch is ordered all the same", () => {
    const outbox = fenced(outboxOf(false));
    drain(outbox, 4, 2);
    expect(outbox.taken([outcome(0, 2, "redirect")])?.verdict).toBe("redirect");
    expect(cursors.ordered(1)).toBe(4);
  });
});

describe("a drain", () => {
  test("is ordered after the drains before it, whichever shard answers first", () => {
    const outbox = fenced(outboxOf(false));
    drain(outbox, 4, 2);
    drain(outbox, 6, 3);
    outbox.taken([outcome(1, 2)]);
    expect(cursors.ordered(1)).toBe(0);
    outbox.taken([outcome(0, 2)]);
    expect(cursors.ordered(1)).toBe(6);
    expect([outbox.settledAll, outbox.rowsInFlight, outbox.bytesInFlight]).toEqual([true, 0, 0]);
  });

  test("without a change is ordered at once", () => {
    const outbox = fenced(outboxOf(false));
    drain(outbox, 4);
    expect(proposed).toEqual([]);
    expect(cursors.ordered(1)).toBe(4);
    expect(outbox.idle).toBe(false); // until the file says so
    cursors.acknowledge().committed();
    expect(outbox.idle).toBe(true);
  });

  test("whose whole changeset touches another shard waits until everything in flight is taken", () => {
    const outbox = fenced(outboxOf(true));
    expect(drain(outbox, 4, 3)).toBe(true);
    expect(proposed.map(({ shard }) => shard)).toEqual([1]);
    expect(drain(outbox, 6, 2)).toBe(false);
    expect(outbox.ready).toBe(false);
    outbox.taken([outcome(1, 2)]);
    expect(outbox.ready).toBe(true);
    expect(drain(outbox, 6, 2, 3)).toBe(true);
    expect(readMarking(proposed.at(-1)!.data).names).toEqual([1]);
  });

  test("finds the image that is in flight for a key until it is taken", () => {
    const outbox = fenced(outboxOf(false));
    drain(outbox, 4, 2);
    const image = (): unknown => outbox.collect({ upTo: [], after: [1, 1] }).inFlight(1, 2);
    expect(image()).toEqual([2n, "v"]);
    outbox.taken([outcome(0, 2)]);
    expect(image()).toBeUndefined();
  });
});

describe("a proposal", () => {
  test("that was dropped is repeated at the next turn", () => {
    const outbox = fenced(outboxOf(false));
    answer = "dropped";
    drain(outbox, 4, 2);
    answer = "accepted";
    outbox.propose();
    expect(proposed).toHaveLength(1);
  });

  test("without an answer is repeated after two seconds, then after twice the time", () => {
    const outbox = fenced(outboxOf(false));
    drain(outbox, 4, 2);
    const counts = [1900, 2100, 4000, 6000, 6200].map((at) => {
      now = at;
      outbox.propose();
      return proposed.length;
    });
    expect(counts).toEqual([1, 2, 2, 2, 3]);
  });

  test("that is committed is not repeated, neither in time nor to a new leader", () => {
    const outbox = fenced(outboxOf(false));
    drain(outbox, 4, 2);
    outbox.committed(0, [{ data: new Uint8Array(proposed[0]!.data) }]);
    now = 60_000;
    outbox.propose();
    outbox.leaderChanged(0);
    expect(proposed).toHaveLength(1);
  });

  test("to an older leader is repeated at once to the new one", () => {
    const outbox = fenced(outboxOf(false));
    drain(outbox, 4, 2);
    outbox.leaderChanged(0);
    expect(proposed).toHaveLength(2);
  });
});

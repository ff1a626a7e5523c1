/** Parts of a changeset wait in memory: the file stays behind until the changeset is whole. */
import { afterEach, describe, expect, test } from "bun:test";
import { DatabaseSync } from "node:sqlite";
import type { Batch } from "../../src/change/batch.ts";
import type { Entry } from "../../src/raft/model/types.ts";
import { Replica } from "../../src/replica/replica.ts";
import { readPositions } from "../../src/replica/store/positions.ts";
import { readShapes } from "../../src/replica/store/schema-store.ts";
import { readSettings } from "../../src/replica/store/settings.ts";
import { batch, entry, MemoryReplica, type Write } from "./lab.ts";

const replicas: MemoryReplica[] = [];
afterEach(() => {
  for (const replica of replicas.splice(0)) replica.close();
});

function open(shards = 1): MemoryReplica {
  const replica = new MemoryReplica({ schema: "CREATE TABLE t(k INTEGER PRIMARY KEY, v)", shards });
  replicas.push(replica);
  return replica;
}

/** Replicas that read the file as a new process does: what is only in memory is lost. */
function crashed({ db }: MemoryReplica): Replica {
  const copy = new DatabaseSync(":memory:", { enableForeignKeyConstraints: false });
  copy.exec("BEGIN");
  for (const { sql } of db
    .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rootpage")
    .all())
    copy.exec(String(sql));
  for (const { name } of db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all()) {
    const rows = db.prepare(`SELECT * FROM "${String(name)}"`);
    rows.setReadBigInts(true);
    for (const row of rows.all()) {
      const values = Object.values(row);
      copy
        .prepare(`INSERT INTO "${String(name)}" VALUES(${values.map(() => "?").join(", ")})`)
        .run(...values);
    }
  }
  copy.exec("COMMIT");
  const settings = readSettings(copy, "a copy");
  return new Replica(copy, { peerId: "observer", settings, shapes: readShapes(copy) });
}

const part = (index: number, n: number, of: number, writes: Write[], more: Partial<Batch> = {}): Entry =>
  entry(index, {
    batch: batch({ csn: 2, previousCsn: 1, part: n, parts: n === of ? of : 0, writes, ...more }),
  });
const opening = (index: number, origin = "a"): Entry => entry(index, { batch: batch({ origin }) });
const values = (replica: Replica): (string | null)[] => [...replica.rows(1)].map((row) => row[1] as string);

describe("parts of a changeset", () => {
  test("are not stored before the changeset is whole, and neither are the positions behind them", () => {
    const replica = open();
    replica.give(0, opening(1));
    replica.give(0, part(2, 1, 3, [{ k: 1, v: "one" }]));
    replica.give(0, part(3, 2, 3, [{ k: 2, v: "two" }]));
    expect(replica.replica.positions()).toEqual([3]);
    expect(readPositions(replica.db)).toEqual([1]);
    expect(replica.db.prepare(`SELECT count(*) AS n FROM "__marmot__staged"`).get()).toEqual({ n: 0 });
    replica.give(0, part(4, 3, 3, [{ k: 3, v: "three" }]));
    expect(readPositions(replica.db)).toEqual([4]);
    expect(values(replica.replica)).toEqual(["one", "two", "three"]);
  });

  test("come again from the log after a crash", () => {
    const replica = open();
    replica.give(0, opening(1));
    const first = part(2, 1, 2, [{ k: 1, v: "one" }]);
    replica.give(0, first);
    const after = crashed(replica);
    expect(after.positions()).toEqual([1]);
    after.enqueue(0, [first, part(3, 2, 2, [{ k: 2, v: "two" }])]);
    after.advance(() => false);
    expect(values(after)).toEqual(["one", "two"]);
  });

  test("are stored with a changeset of another origin that takes effect between them", () => {
    const replica = open();
    replica.give(0, opening(1));
    replica.give(0, part(2, 1, 2, [{ k: 1, v: "one" }]));
    replica.give(0, entry(3, { batch: batch({ origin: "b", writes: [{ k: 9, v: "nine" }] }) }));
    expect(readPositions(replica.db)).toEqual([3]);
    const after = crashed(replica);
    after.enqueue(0, [part(4, 2, 2, [{ k: 2, v: "two" }])]);
    after.advance(() => false);
    expect(values(after)).toEqual(["one", "two", "nine"]);
  });

  test("are stored when the file must be at the positions", () => {
    const replica = open();
    replica.give(0, opening(1));
    replica.give(0, part(2, 1, 2, [{ k: 1, v: "one" }]));
    expect(replica.replica.isAhead).toBe(true);
    replica.replica.store();
    expect(replica.replica.isAhead).toBe(false);
    const after = crashed(replica);
    expect(after.positions()).toEqual([2]);
    after.enqueue(0, [part(3, 2, 2, [{ k: 2, v: "two" }])]);
    after.advance(() => false);
    expect(values(after)).toEqual(["one", "two"]);
  });

  test("of which there are too many for memory are stored, and the rest is not", () => {
    const replica = open();
    replica.give(0, opening(1));
    const large = "x".repeat(12 << 20);
    for (let i = 1; i <= 4; i++) replica.give(0, part(1 + i, i, 5, [{ k: i, v: large }]));
    expect(replica.replica.positions()).toEqual([5]);
    expect(readPositions(replica.db)).toEqual([4]);
    replica.give(0, part(6, 5, 5, [{ k: 5, v: "small" }]));
    expect(values(replica.replica).map((v) => v!.length)).toEqual(
      [12, 12, 12, 12].map((n) => n << 20).concat(5),
    );
  });

  test("of small rows are stored earlier", () => {
    const replica = open();
    replica.give(0, opening(1));
    const writes = (from: number): Write[] =>
      Array.from({ length: 3000 }, (_, i) => ({ k: from + i, v: "x".repeat(1000) }));
    for (let i = 1; i <= 3; i++) replica.give(0, part(1 + i, i, 4, writes(i * 3000)));
    expect(replica.replica.positions()).toEqual([4]);
    expect(readPositions(replica.db)).toEqual([4]);
    replica.give(0, part(5, 4, 4, [{ k: 1, v: "last" }]));
    expect(values(replica.replica).length).toBe(9001);
  });

  test("are dropped with the incarnation that sent them", () => {
    const replica = open();
    replica.give(0, opening(1));
    replica.give(0, part(2, 1, 2, [{ k: 1, v: "one" }]));
    replica.give(0, entry(3, { batch: batch({ incarnation: 2 }) }));
    replica.give(0, part(4, 2, 2, [{ k: 2, v: "two" }]));
    expect(values(replica.replica)).toEqual([]);
    expect(replica.replica.isAhead).toBe(false);
    expect(readPositions(replica.db)).toEqual([4]);
  });
});

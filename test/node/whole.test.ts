/**
 * Whole transactions over several shards, step by step: markers, active shard logs, positions, and forbidden
 * intermediate states.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { DatabaseSync } from "node:sqlite";
import { encodeMarker, readMarking } from "../../src/change/marking.ts";
import { decodeBatchHead } from "../../src/change/codec.ts";
import { dumpReplica } from "../replica/lab.ts";
import { Lab, type LabNode } from "./lab.ts";

const SCHEMA = "CREATE TABLE kv(k INTEGER PRIMARY KEY, v TEXT)";
let lab: Lab;
afterEach(() => lab.close());

/** Four shards, led by two or three nodes in turn, after settling. */
async function start(count = 2, transactions: "whole" | "row" = "whole"): Promise<LabNode[]> {
  lab = await Lab.create(SCHEMA, count, 4, transactions);
  lab.settle();
  return lab.nodes;
}

/** The n-th key that is routed to the shard. */
function keyIn(shard: number, n = 0): number {
  const { replica } = lab.nodes[0]!.replica;
  for (let k = 1; ; k++) if (replica.shardOfKey(1, k) === shard && n-- === 0) return k;
}

const put = (shard: number, value: string, n = 0): string =>
  `INSERT INTO kv VALUES(${keyIn(shard, n)}, '${value}') ON CONFLICT(k) DO UPDATE SET v = excluded.v`;
const shown = (node: LabNode, shard: number, n = 0): unknown =>
  node.query(`SELECT v FROM kv WHERE k = ${keyIn(shard, n)}`)[0]?.[0] ?? null;
const agreed = (node: LabNode, shard: number, n = 0): unknown =>
  node.replica.replica.row(1, [BigInt(keyIn(shard, n))])?.[1] ?? null;
const values = (node: LabNode, shards: readonly number[]): unknown[] => shards.map((s) => shown(node, s));

/** One transaction. */
const write = (node: LabNode, ...statements: string[]): void => {
  node.run("BEGIN", ...statements, "COMMIT");
  node.touch();
  node.turns();
};
/** Shards with proposals that are not ordered, markers excluded. */
const lanes = (node: LabNode): number[] =>
  node.proposed.filter(({ data }) => readMarking(data).marker === null).map((p) => p.shard);
const markers = (node: LabNode): { shard: number; upTo: number }[] =>
  node.proposed.flatMap(({ shard, data }) => {
    const { marker } = readMarking(data);
    return marker === null ? [] : [{ shard, upTo: marker }];
  });
const nobodyLeads = (...shards: number[]): void => {
  for (const shard of shards) lab.leaders[shard] = null;
};
const everywhere = (step: (node: LabNode) => void): void => lab.nodes.forEach(step);
const hand = (node: LabNode): void => {
  node.deliver();
  node.turns();
};

describe("a changeset over several shards", () => {
  test("is one entry of shard 0, visible on no node before its markers, and then on each at once", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    nobodyLeads(1, 3);
    write(a, put(1, "x"), put(3, "x"));
    expect(lanes(a)).toEqual([0]);
    a.order();
    everywhere(hand);
    const g = lab.order[0]!.length + 1;
    expect(b.replica.replica.position(0)).toBe(g - 1);
    expect(b.replica.replica.awaitedMarkers()).toEqual([1, 3]);
    lab.append(1, encodeMarker(g));
    everywhere(hand);
    expect(values(b, [1, 3])).toEqual([null, null]);
    expect([agreed(b, 1), agreed(b, 3)]).toEqual([null, null]);
    expect(a.pipeline.outbox.idle).toBe(false);
    lab.append(3, encodeMarker(g));
    everywhere(hand);
    expect(values(b, [1, 3])).toEqual(["x", "x"]);
    expect(a.pipeline.outbox.idle || a.pipeline.session.cursors.waiting).toBe(true);
    lab.settle();
    everywhere((n) => expect(n.deviations()).toEqual([]));
    everywhere((n) => expect(n.wrongChecksums()).toEqual([]));
  });

  test("makes rows, the position in shard 0 and those of its markers visible in one transaction", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    a.run("BEGIN");
    const rows = 3000;
    for (let k = 1; k <= rows; k++) a.app.query("INSERT INTO kv VALUES(?, 'many')").run(k);
    a.run("COMMIT");
    a.touch();
    a.turns();
    a.order();
    everywhere(hand);
    everywhere((n) => n.order());
    const before = b.replica.replica.positions();
    b.deliver();
    const reader = new DatabaseSync(b.replicaFile, { readOnly: true });
    const seen = new Set<string>();
    const { replica } = b.replica;
    for (let more = true; more;) {
      more = !replica.advance(() => true);
      const { n } = reader.prepare("SELECT count(*) AS n FROM kv").get() as { n: number };
      const moved = (
        reader.prepare(`SELECT "idx" FROM "__marmot__position" ORDER BY "shard"`).all() as { idx: number }[]
      ).map(({ idx }, shard) => idx > before[shard]!);
      seen.add(`${n} ${moved.join()}`);
    }
    reader.close();
    expect([...seen].sort()).toEqual(["0 false,false,false,false", `${rows} true,true,true,true`]);
    lab.settle();
  });

  test("in several parts is staged in shard 0: only the last part names the other shards", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    const big = "x".repeat(400_000);
    a.run("BEGIN", ...[1, 2, 3, 1, 2, 3, 1, 2, 3].map((s, i) => put(s, big, i)), "COMMIT");
    a.touch();
    a.turns();
    const parts = a.proposed.map(({ shard, data }) => {
      const { names, batch } = readMarking(data);
      const { part, parts, after } = decodeBatchHead(batch);
      return { shard, names, part, parts, waits: after.length > 0 };
    });
    expect(parts.length).toBeGreaterThan(2);
    expect(parts.map((p) => p.names)).toEqual(parts.map((_, i) => (i < parts.length - 1 ? [] : [1, 2, 3])));
    expect(parts.map((p) => p.waits)).toEqual(parts.map((_, i) => i === parts.length - 1));
    expect(new Set(parts.map((p) => p.shard))).toEqual(new Set([0]));
    // All parts but the last arrive, then the origin is killed: the parts of an ended incarnation are dropped.
    const last = a.proposed.pop()!;
    a.order();
    everywhere(hand);
    expect(b.replica.replica.isAhead).toBe(true);
    b.replica.replica.store();
    expect(b.replica.db.prepare(`SELECT count(*) AS n FROM "__marmot__staged"`).get()).toEqual({
      n: parts.length - 1,
    });
    expect(values(b, [1, 2, 3])).toEqual([null, null, null]);
    a.crash();
    lab.settle();
    expect(b.replica.db.prepare(`SELECT count(*) AS n FROM "__marmot__staged"`).get()).toEqual({ n: 0 });
    a.proposed.push(last);
    lab.settle();
    expect(shown(b, 1)).toBe(big);
    expect(lab.nodes[0]!.replica.replica.journal.total).toBe(0);
  });
});

describe("a marker", () => {
  test("that is lost is proposed again by the current leader, though the origin is down", async () => {
    const [a, b, c] = (await start(3)) as [LabNode, LabNode, LabNode];
    write(a, put(1, "x"), put(2, "x"));
    a.order();
    const g = lab.order[0]!.length + 1;
    everywhere(hand);
    expect(markers(b)).toEqual([{ shard: 1, upTo: g }]);
    expect(markers(c)).toEqual([{ shard: 2, upTo: g }]);
    b.proposed = []; // lost with its leader
    lab.leaders[1] = 2;
    lab.clock += 1000;
    c.pipeline.tick();
    c.turns();
    expect(markers(c).filter((m) => m.shard === 1)).toEqual([{ shard: 1, upTo: g }]);
    c.order();
    for (const node of [b, c]) {
      hand(node);
      expect(values(node, [1, 2])).toEqual(["x", "x"]);
    }
    lab.settle();
  });

  test("is proposed when its entry is committed, and not once it is in the log", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    nobodyLeads(2);
    for (let i = 0; i < 3; i++) write(a, put(1, String(i)), put(2, String(i)));
    expect(lanes(a)).toEqual([0, 0, 0]);
    b.turns();
    expect(markers(b)).toEqual([]); // no entry is committed
    a.order();
    hand(b);
    expect(markers(b)).toHaveLength(1); // one marker covers all three, and none of them was applied before
    b.order();
    hand(b);
    lab.clock += 10_000;
    b.pipeline.tick();
    b.turns();
    expect(markers(b)).toEqual([]);
    expect(b.replica.replica.awaitedMarkers()).toEqual([2]);
    lab.leaders[2] = 0;
    lab.settle();
    expect(values(b, [1, 2])).toEqual(["2", "2"]);
  });

  test("that is late, repeated or smaller than an earlier one has no effect", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    write(a, put(1, "1"), put(2, "1"));
    lab.settle();
    const g = lab.order[0]!.length + 1;
    for (const upTo of [g, 0, g - 1, g]) for (const shard of [1, 2, 3]) lab.append(shard, encodeMarker(upTo));
    write(b, put(1, "2"), put(2, "2"));
    lab.settle();
    everywhere((n) => expect(values(n, [1, 2])).toEqual(["2", "2"]));
    expect(a.replica.replica.queued + b.replica.replica.queued).toBe(0);
  });

  test("is not proposed after a start at the replica's own position, and is after a kill while waiting", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    write(a, put(1, "1"), put(3, "1"));
    a.order();
    hand(b);
    b.order(); // the markers
    hand(b);
    b.crash(); // log 0 begins after the entry now
    b.pipeline.tick();
    b.turns();
    expect(markers(b)).toEqual([]);
    hand(a);
    expect(agreed(a, 3)).toBe("1");
    lab.settle();
    write(a, put(1, "2"), put(3, "2"));
    a.order();
    hand(b);
    b.proposed = []; // its markers were never sent
    b.crash();
    hand(b);
    expect(markers(b).map((m) => m.shard)).toEqual([1, 3]);
    lab.settle();
    expect(values(a, [1, 3])).toEqual(["2", "2"]);
  });
});

describe("one active shard log at a time", () => {
  test("a changeset in the log of its own shard delays all others until it is applied", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    write(a, put(1, "x"));
    expect(lanes(a)).toEqual([1]);
    write(a, put(1, "x2", 1));
    expect(lanes(a)).toEqual([1, 1]); // the same log
    a.proposed = []; // lost in the network
    write(a, put(2, "y"));
    write(a, put(2, "z"), put(3, "z"));
    expect(lanes(a)).toEqual([]);
    // The origin is killed: none of its rows is ordered, all are still unacknowledged.
    a.crash();
    expect(values(a, [1, 2, 3])).toEqual(["x", "z", "z"]);
    lab.settle();
    expect(values(b, [1, 2, 3])).toEqual(["x", "z", "z"]);
    expect(shown(b, 1, 1)).toBe("x2");
  });

  test("delayed rows are collected and proposed through shard 0 with later ones", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    write(a, put(1, "x"));
    write(a, put(2, "y"));
    write(a, put(3, "z"));
    expect(lanes(a)).toEqual([1]);
    a.order();
    hand(a);
    expect(lanes(a)).toEqual([0]);
    write(a, put(2, "again"));
    expect(lanes(a)).toEqual([0, 0]); // one shard only, but an entry is in flight in shard 0
    lab.settle();
    expect(values(b, [1, 2, 3])).toEqual(["x", "again", "z"]);
    write(a, put(2, "straight"));
    expect(lanes(a)).toEqual([2]);
    lab.settle();
  });

  test("a kill before the own entry is applied, in either log: the foreign write that followed it wins", async () => {
    for (const shards of [[1], [1, 2]]) {
      const [a, b] = (await start()) as [LabNode, LabNode];
      write(a, ...shards.map((s) => put(s, "own")));
      a.order();
      hand(b);
      everywhere((n) => n.turns());
      b.order();
      for (const { shard, data } of a.proposed.splice(0))
        if (readMarking(data).marker !== null) lab.append(shard, data);
      lab.append(2, encodeMarker(lab.order[0]!.length + 1)); // its leader is node a, which has not seen the entry
      hand(b);
      expect(shown(b, 1)).toBe("own");
      write(b, put(1, "after own"));
      b.order();
      a.crash();
      lab.settle();
      everywhere((n) => expect(shown(n, 1)).toBe("after own"));
      expect(b.replica.replica.journal.total).toBe(0);
      if (shards.length === 1) lab.close();
    }
  });

  test("a large changeset goes through shard 0 before all of its rows are known", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    const big = "x".repeat(400_000);
    write(a, ...Array.from({ length: 4 }, (_, i) => put(1, big, i)), put(2, "late"));
    expect(a.proposed.map(({ shard, data }) => [shard, ...readMarking(data).names])).toEqual([
      [0],
      [0, 1, 2],
    ]);
    lab.settle();
    expect([shown(b, 1, 3), shown(b, 2)]).toEqual([big, "late"]);
    everywhere((n) => expect(n.wrongChecksums()).toEqual([]));
  });

  test("a large changeset whose last rows are in another shard is withdrawn, waits, and arrives whole", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    write(a, put(1, "in flight"));
    const { bytesInFlight, rowsInFlight } = a.pipeline.outbox;
    const big = "x".repeat(400_000);
    write(a, ...Array.from({ length: 6 }, (_, i) => put(1, big, i + 1)), put(2, "late"));
    expect([a.pipeline.outbox.bytesInFlight, a.pipeline.outbox.rowsInFlight]).toEqual([
      bytesInFlight,
      rowsInFlight,
    ]);
    write(a, put(1, "newer", 3));
    expect(lanes(a)).toEqual([1]);
    lab.settle();
    expect(a.pipeline.outbox.bytesInFlight).toBe(0);
    expect([shown(b, 1), shown(b, 1, 3), shown(b, 1, 6), shown(b, 2)]).toEqual([
      "in flight",
      "newer",
      big,
      "late",
    ]);
    expect(b.replica.replica.journal.total).toBe(0);
  });

  test("a late batch in the log of its own shard, after a changeset through shard 0, changes no row", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    write(a, put(1, "1"));
    const late = [...a.proposed];
    lab.settle();
    write(a, put(1, "2"), put(2, "2"));
    expect(lanes(a)).toEqual([0]);
    a.order();
    for (const { shard, data } of late) lab.append(shard, data); // before the marker
    hand(b);
    b.order();
    for (const { shard, data } of late) lab.append(shard, data); // and after it
    lab.settle();
    expect(values(b, [1, 2])).toEqual(["2", "2"]);
    expect(values(a, [1, 2])).toEqual(["2", "2"]);
    write(a, put(1, "3"));
    lab.settle();
    expect(shown(b, 1)).toBe("3");
  });

  test("one watermark per change log: no row is proposed twice over a change of the active log and a restart", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    write(a, put(1, "1"));
    a.order();
    hand(a);
    write(a, put(1, "2", 1), put(2, "2"));
    a.order();
    everywhere(hand);
    b.order();
    a.order();
    for (const node of lab.nodes) node.deliver(); // a is killed before its own replica applies it
    const entries = lab.order.map((l) => l.length);
    a.crash();
    lab.settle();
    const kept = b.replica.db.prepare(
      `SELECT "shard", "up_to" FROM "__marmot__watermark" WHERE "peer" = 'peer-0' ORDER BY "shard"`,
    );
    expect(kept.all().map((row) => ({ ...row }))).toEqual([{ shard: 0, up_to: 3 }]);
    // Entries that open the new incarnation, and no rows.
    expect(lab.order.map((l, s) => l.length - entries[s]!)).toEqual([1, 1, 1, 1]);
    expect(values(b, [1, 2])).toEqual(["1", "2"]);
  });
});

describe("an incarnation", () => {
  test("is opened before the marker of an entry of the previous one: that entry is applied once", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    nobodyLeads(1, 2);
    write(a, put(1, "old"), put(2, "old"));
    const late = [...a.proposed];
    a.order(); // no marker yet, and the origin is killed
    a.crash();
    a.turns();
    a.order(); // entries that open the next incarnation, in all shards
    everywhere(hand);
    expect(a.pipeline.outbox.fencing()).toEqual([0]);
    expect(values(b, [1, 2])).toEqual([null, null]);
    lab.leaders[1] = lab.leaders[2] = 1;
    lab.settle();
    expect(values(b, [1, 2])).toEqual(["old", "old"]);
    const straight = a.proposed.length;
    expect(straight).toBe(0);
    write(a, put(1, "new"));
    expect(lanes(a)).toEqual([1]);
    a.proposed.push(...late);
    lab.settle();
    everywhere((n) => expect(values(n, [1, 2])).toEqual(["new", "old"]));
    expect(b.replica.replica.journal.total).toBe(0);
  });

  test("ends with a rejected entry of shard 0; its rows are drained again and arrive", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    write(a, put(1, "x"), put(2, "x"));
    write(b, "ALTER TABLE kv ADD COLUMN w");
    b.order();
    a.order(); // of the older schema, and after its change
    everywhere(hand);
    expect(values(b, [1, 2])).toEqual([null, null]);
    lab.settle();
    expect(values(b, [1, 2])).toEqual(["x", "x"]);
  });
});

describe("the order of changesets over shards", () => {
  test("a node that is behind in one shard does not show later writes of the same origin in another", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    write(a, put(1, "first"));
    a.order();
    hand(a);
    expect(a.pipeline.outbox.oldestMs()).toBe(0); // applied here, not seen by b
    write(a, put(2, "then"), put(3, "then"));
    a.order();
    hand(a);
    a.order();
    b.deliver(Number.POSITIVE_INFINITY, [0, 2, 3]);
    b.turns();
    b.order();
    b.deliver(Number.POSITIVE_INFINITY, [0, 2, 3]);
    b.turns();
    expect(values(b, [1, 2, 3])).toEqual([null, null, null]);
    write(a, put(2, "straight"));
    hand(a);
    a.order();
    b.deliver(Number.POSITIVE_INFINITY, [0, 2, 3]);
    b.turns();
    expect(values(b, [1, 2, 3])).toEqual([null, null, null]);
    lab.settle();
    expect(values(b, [1, 2, 3])).toEqual(["first", "straight", "then"]);
  });

  test("a cause precedes its effect over different origins too, and other shards do not wait", async () => {
    const [a, b, c] = (await start(3)) as [LabNode, LabNode, LabNode];
    write(a, put(1, "cause"));
    a.order();
    hand(b);
    expect(shown(b, 1)).toBe("cause");
    write(b, put(2, "effect"));
    b.order();
    write(a, put(3, "apart"));
    expect(lanes(a)).toEqual([]);
    hand(a);
    a.order();
    c.deliver(Number.POSITIVE_INFINITY, [0, 2, 3]);
    c.turns();
    expect(values(c, [1, 2])).toEqual([null, null]);
    hand(c);
    expect(values(c, [1, 2, 3])).toEqual(["cause", "effect", "apart"]);
    lab.settle();
  });
});

describe("a shard without a quorum", () => {
  test("delays the changesets that name it and later entries of shard 0; other shards continue, and it is reported", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    nobodyLeads(3);
    write(a, put(2, "stuck"), put(3, "stuck"));
    a.order();
    everywhere(hand);
    a.order(); // the marker in shard 2
    everywhere(hand);
    expect(b.replica.replica.awaitedMarkers()).toEqual([3]);
    write(b, put(1, "goes on"));
    expect(lanes(b)).toEqual([1]);
    b.order();
    everywhere(hand);
    write(a, put(0, "behind it"));
    a.order();
    everywhere(hand);
    for (let i = 0; i < 100; i++) {
      lab.clock += 1000;
      everywhere((n) => n.pipeline.tick());
      everywhere((n) => n.turns());
    }
    expect([lanes(a), lanes(b)]).toEqual([[], []]); // an ordered entry that waits is not ordered again
    expect(shown(a, 1)).toBe("goes on");
    expect(values(b, [2, 3])).toEqual([null, null]);
    lab.leaders[3] = 1;
    lab.settle();
    expect(values(b, [0, 1, 2, 3])).toEqual(["behind it", "goes on", "stuck", "stuck"]);
  });
});

describe("two replicas of which neither is ahead", () => {
  const all = Number.POSITIVE_INFINITY;
  const copy = (node: LabNode): string => dumpReplica(node.replica.db, node.replica.replica);

  test("with logs truncated there take the greater position of each shard from each other", async () => {
    const [a, b, c] = (await start(3)) as [LabNode, LabNode, LabNode];
    write(c, put(1, "one"));
    c.order();
    hand(c);
    write(c, put(2, "two"));
    write(c, put(2, "two more", 1));
    c.order();
    a.run(put(3, "pending on a"), put(2, "pending, too", 1));
    // b has no entry of shard 1, a none of shard 2; entries that wait for shard 1 wait.
    a.deliver(all, [0, 1, 3]);
    b.deliver(all, [0, 2, 3]);
    for (const node of [a, b]) node.turns();
    hand(c);
    expect([agreed(a, 1), agreed(b, 1), agreed(b, 2)]).toEqual(["one", null, null]);
    const opening = lab.order[3]!.length;
    lab.append(3, new Uint8Array());
    b.deliver(all, [3]);
    b.turns();
    c.deliver(all, [3]);
    c.turns();
    expect(lab.order[3]!.length).toBe(opening + 1);
    expect(await b.adopt(a)).toBe(true);
    c.applyOnly();
    expect(b.replica.replica.positions()).toEqual(
      a.replica.replica.positions().map((p, s) => (s === 3 ? p + 1 : p)),
    );
    lab.settle();
    everywhere((n) => expect(n.deviations()).toEqual([]));
    everywhere((n) => expect(copy(n)).toBe(copy(c)));
    expect(shown(b, 2, 1)).toBe("pending, too");
    expect(shown(c, 3)).toBe("pending on a");
  });

  test("keep a changeset applied before its marker, from the replica that is ahead in shard 0", async () => {
    for (const way of ["there", "back"]) {
      const [a, b, c] = (await start(3)) as [LabNode, LabNode, LabNode];
      nobodyLeads(1, 2, 3);
      write(c, put(1, "first"), put(2, "first"));
      write(c, put(1, "second"));
      c.order();
      const g = lab.order[0]!.length;
      lab.append(1, encodeMarker(g + 1)); // covers both
      lab.append(2, encodeMarker(g));
      lab.append(3, new Uint8Array());
      a.deliver(1, [0]);
      a.deliver(all, [1, 2]);
      b.deliver(all, [3]);
      for (const node of [a, b]) node.turns();
      const before = [a, b].map((n) => n.replica.replica.positions());
      expect(before[0]![1]).toBe(before[1]![1]!); // equal in shard 1, but a has the first changeset
      expect([agreed(a, 1), agreed(b, 1)]).toEqual(["first", null]);
      const [taker, giver] = way === "there" ? [b, a] : [a, b];
      expect(await taker.adopt(giver)).toBe(true);
      // A third node that applies all entries.
      c.deliver(1, [0]);
      c.deliver(all, [1, 2, 3]);
      c.applyOnly();
      expect(taker.replica.replica.positions()).toEqual(c.replica.replica.positions());
      expect(copy(taker)).toBe(copy(c));
      lab.settle();
      everywhere((n) => expect(values(n, [1, 2])).toEqual(["second", "first"]));
      everywhere((n) => expect(n.deviations()).toEqual([]));
      if (way === "there") lab.close();
    }
  });

  test("contain an own changeset of the receiver: it is acknowledged and not proposed again", async () => {
    for (const shards of [[1], [1, 2]]) {
      const [a, b] = (await start()) as [LabNode, LabNode];
      for (let i = 0; i < 20; i++) lab.append(0, new Uint8Array()); // shard 0 is far ahead
      lab.settle();
      write(a, ...shards.map((s) => put(s, "own")));
      a.order();
      const g = lab.order[0]!.length + 1;
      for (const s of [1, 2]) lab.append(s, encodeMarker(g));
      hand(b);
      expect(shown(b, 1)).toBe("own");
      const entries = lab.order.map((log) => log.length);
      a.run(put(1, "own")); // written again, without a change
      expect(await a.adopt(b)).toBe(true);
      lab.settle();
      // Only the entries that open the new incarnation.
      expect(lab.order.map((log, s) => log.length - entries[s]!)).toEqual([1, 1, 1, 1]);
      everywhere((n) => expect(shown(n, 1)).toBe("own"));
      if (shards.length === 1) lab.close();
    }
  });

  test("are not merged when one has no newer entry", async () => {
    const [a, b] = (await start()) as [LabNode, LabNode];
    write(a, put(1, "x"));
    a.order();
    hand(a);
    expect(await a.adopt(b)).toBe(false);
    expect(agreed(a, 1)).toBe("x");
    lab.settle();
  });
});

describe("--transactions row", () => {
  test("a partly applied changeset is no before image for its other rows, and each shard has its own watermark", async () => {
    const [a, b] = (await start(2, "row")) as [LabNode, LabNode];
    write(a, put(1, "half"), put(2, "half"));
    expect(lanes(a).sort()).toEqual([1, 2]);
    a.proposed = a.proposed.filter((p) => p.shard === 1); // the other half is lost
    a.order();
    everywhere(hand);
    expect(values(b, [1, 2])).toEqual(["half", null]);
    a.run(put(1, "half"), put(2, "half")); // written again, without a change
    a.crash();
    lab.settle();
    everywhere((n) => expect(values(n, [1, 2])).toEqual(["half", "half"]));
    expect(b.replica.replica.journal.total).toBe(0);
  });
});

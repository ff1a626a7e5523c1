/** Schedules that broke simpler rules, told step by step. Each once lost, doubled or misplaced a write. */
import { afterEach, describe, expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { forAll } from "../../src/change/per-table.ts";
import { dumpReplica } from "../replica/lab.ts";
import { Lab } from "./lab.ts";

const KV = "CREATE TABLE kv(k INTEGER PRIMARY KEY, v TEXT); INSERT INTO kv VALUES(1, '0'), (2, '0')";
let lab: Lab;
afterEach(() => lab.close());

const value = (n: number, k = 1): unknown =>
  lab.nodes[n]!.query(`SELECT v FROM kv WHERE k = ${k}`)[0]?.[0] ?? null;
const conflicts = (): number => lab.nodes[0]!.replica.replica.journal.total;

describe("one shard", () => {
  test("no phantom: touching a row without changing it sends nothing, also over a foreign change not yet shown", async () => {
    lab = await Lab.create(KV, 2);
    lab.settle();
    const [a, b] = lab.nodes as [Lab["nodes"][0], Lab["nodes"][0]];
    b.run("UPDATE kv SET v = 'foreign' WHERE k = 1");
    b.touch();
    b.turns();
    b.order();
    a.deliver();
    a.applyOnly(); // in S, not in L
    a.run("UPDATE kv SET v = v WHERE k = 1", "INSERT OR IGNORE INTO kv VALUES(2, 'x')");
    const before = lab.order[0]!.length;
    lab.settle();
    expect(lab.order[0]!.length).toBe(before);
    expect([value(0), value(1)]).toEqual(["foreign", "foreign"]);
    expect(conflicts()).toBe(0);
  });

  test("there and back before the acknowledgement: the way back is sent", async () => {
    lab = await Lab.create(KV, 2);
    lab.settle();
    const a = lab.nodes[0]!;
    a.run("UPDATE kv SET v = '1' WHERE k = 1");
    a.touch();
    a.turns();
    a.run("UPDATE kv SET v = '0' WHERE k = 1");
    a.touch();
    a.turns();
    expect(a.proposed).toHaveLength(2);
    lab.settle();
    expect([value(0), value(1)]).toEqual(["0", "0"]);
  });

  test("what equals an image in flight is not sent again, and arrives though the first try is lost", async () => {
    lab = await Lab.create(KV, 2);
    lab.settle();
    const a = lab.nodes[0]!;
    a.run("UPDATE kv SET v = '1' WHERE k = 1");
    a.touch();
    a.turns();
    a.proposed = []; // lost on the wire
    a.run("UPDATE kv SET v = '1' WHERE k = 1");
    a.touch();
    a.turns();
    expect(a.proposed).toHaveLength(0);
    lab.clock += 5000;
    a.pipeline.tick();
    expect(a.proposed.length).toBeGreaterThan(0);
    lab.settle();
    expect([value(0), value(1)]).toEqual(["1", "1"]);
  });

  test("an own no-op after a foreign write leaves the foreign value", async () => {
    lab = await Lab.create(KV, 2);
    lab.settle();
    const [a, b] = lab.nodes as [Lab["nodes"][0], Lab["nodes"][0]];
    a.run("UPDATE kv SET v = 'own' WHERE k = 1");
    a.touch();
    a.turns();
    a.order();
    b.deliver();
    b.turns();
    b.run("UPDATE kv SET v = 'foreign' WHERE k = 1");
    b.touch();
    b.turns();
    b.order();
    a.run("UPDATE kv SET v = v WHERE k = 1"); // still pending, own image shown
    a.deliver();
    lab.settle();
    expect([value(0), value(1)]).toEqual(["foreign", "foreign"]);
    expect(conflicts()).toBe(0);
  });

  test("killed between propose and acknowledge: the own write is ordered once, though a foreign one saw it", async () => {
    lab = await Lab.create(KV, 2);
    lab.settle();
    const [a, b] = lab.nodes as [Lab["nodes"][0], Lab["nodes"][0]];
    a.run("UPDATE kv SET v = 'own' WHERE k = 1");
    a.touch();
    a.turns();
    a.order();
    b.deliver();
    b.turns();
    b.run("UPDATE kv SET v = 'after own' WHERE k = 1");
    b.touch();
    b.turns();
    b.order();
    a.crash(); // before it saw its own entry
    lab.settle();
    expect([value(0), value(1)]).toEqual(["after own", "after own"]);
    expect(conflicts()).toBe(0);
  });

  test("a batch of an older incarnation that arrives late changes nothing", async () => {
    lab = await Lab.create(KV, 2);
    lab.settle();
    const [a] = lab.nodes as [Lab["nodes"][0]];
    a.run("UPDATE kv SET v = 'old' WHERE k = 1");
    a.touch();
    a.turns();
    const late = a.proposed.splice(0);
    a.crash();
    a.run("UPDATE kv SET v = 'new' WHERE k = 1");
    lab.settle();
    a.proposed.push(...late);
    lab.settle();
    expect([value(0), value(1)]).toEqual(["new", "new"]);
  });

  test("a key with ordered and unordered log rows, in two chunks of one drain after a restart, is sent", async () => {
    lab = await Lab.create(KV, 2);
    lab.settle();
    const [a] = lab.nodes as [Lab["nodes"][0]];
    a.run("UPDATE kv SET v = 'first' WHERE k = 1");
    a.touch();
    a.turns();
    a.order();
    // Ordered, but the file does not know it yet; then many more log rows, the key's last one far behind its first.
    a.run("BEGIN");
    for (let i = 0; i < 5000; i++) a.app.query("INSERT INTO kv VALUES(?, 'x')").run(100 + i);
    a.run("UPDATE kv SET v = 'second' WHERE k = 1", "COMMIT");
    a.crash();
    lab.settle();
    expect([value(0), value(1)]).toEqual(["second", "second"]);
  });

  test("an emptied sqlite_sequence and an emptied change log do not bring an id back", async () => {
    lab = await Lab.create("CREATE TABLE kv(k INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT)", 2);
    lab.settle();
    const [a] = lab.nodes as [Lab["nodes"][0]];
    for (let round = 0; round < 4; round++) {
      a.run(`INSERT INTO kv(v) VALUES('${round}')`, "DELETE FROM sqlite_sequence");
      lab.settle();
      if (round % 2 === 1) a.crash();
    }
    const [b] = [lab.nodes[1]!];
    expect(b.query("SELECT count(*) FROM kv")).toEqual(a.query("SELECT count(*) FROM kv"));
    expect(a.query("SELECT count(*) FROM __marmot__kv_change_log WHERE id > 0")).toEqual([[1n]]);
  });

  test("the journal names a conflict if and only if the writer had not seen the foreign version", async () => {
    lab = await Lab.create(KV, 2);
    lab.settle();
    const [a, b] = lab.nodes as [Lab["nodes"][0], Lab["nodes"][0]];
    a.run("UPDATE kv SET v = 'a' WHERE k = 1");
    lab.settle();
    b.run("UPDATE kv SET v = 'b' WHERE k = 1"); // saw a's
    lab.settle();
    expect(conflicts()).toBe(0);
    a.run("DELETE FROM kv WHERE k = 1");
    b.run("UPDATE kv SET v = 'b2' WHERE k = 1"); // did not see the delete
    lab.settle();
    expect(conflicts()).toBe(1);
    expect(value(0)).toBe(value(1));
  });

  test("a suspicion that was none does not date a later write of the row", async () => {
    lab = await Lab.create(
      "CREATE TABLE u(id INTEGER PRIMARY KEY, name TEXT UNIQUE); INSERT INTO u VALUES(4, 'p')",
      2,
    );
    lab.settle();
    const [a, b] = lab.nodes as [Lab["nodes"][0], Lab["nodes"][0]];
    b.run("DELETE FROM u WHERE id = 4");
    b.touch();
    b.turns();
    b.order();
    a.run("INSERT OR IGNORE INTO u VALUES(5, 'p')"); // suspects row 4, and does nothing
    a.deliver();
    a.turns(); // the foreign delete is shown
    expect(a.query("SELECT count(*) FROM u")).toEqual([[0n]]);
    a.run("INSERT INTO u VALUES(4, 'p')"); // the same image as before the delete
    lab.settle();
    expect(b.query("SELECT id, name FROM u")).toEqual([[4n, "p"]]);
    expect(conflicts()).toBe(0);
  });

  test("a row that hides behind a pending unique value returns when that is given up", async () => {
    lab = await Lab.create(
      "CREATE TABLE u(id INTEGER PRIMARY KEY, name TEXT UNIQUE); INSERT INTO u VALUES(1, 'x')",
      2,
    );
    lab.settle();
    const [a, b] = lab.nodes as [Lab["nodes"][0], Lab["nodes"][0]];
    b.run("INSERT INTO u VALUES(7, 'taken')");
    b.touch();
    b.turns();
    b.order();
    a.run("INSERT INTO u VALUES(8, 'taken')"); // pending here
    a.deliver();
    a.turns();
    lab.clock += 100;
    a.turns();
    expect(a.query("SELECT id FROM u WHERE name = 'taken'")).toEqual([[8n]]);
    expect(a.deviations()).toEqual([]);
    a.run("UPDATE u SET name = 'other' WHERE id = 8");
    lab.settle();
    expect(a.query("SELECT id, name FROM u ORDER BY id")).toEqual(
      b.query("SELECT id, name FROM u ORDER BY id"),
    );
  });
});

describe("a power cut", () => {
  test("takes the end of the application's file: what others wrote is shown again, what was not sent and survived is sent", async () => {
    lab = await Lab.create(KV, 2);
    lab.settle();
    const [a, b] = lab.nodes as [Lab["nodes"][0], Lab["nodes"][0]];
    a.keep();
    b.run("UPDATE kv SET v = 'foreign' WHERE k = 1", "INSERT INTO kv VALUES(9, 'foreign')");
    lab.settle(); // reflected in a's file, and lost there
    a.lose("live", (app) => app.exec("UPDATE kv SET v = 'after the cut' WHERE k = 2"));
    lab.settle();
    for (const node of lab.nodes)
      expect(node.query("SELECT k, v FROM kv ORDER BY k")).toEqual([
        [1n, "foreign"],
        [2n, "after the cut"],
        [9n, "foreign"],
      ]);
    expect(conflicts()).toBe(0);
  });

  test("takes the end of the replica: the file never goes back in time, and nothing is ordered twice", async () => {
    lab = await Lab.create(KV, 2);
    lab.settle();
    const [a, b] = lab.nodes as [Lab["nodes"][0], Lab["nodes"][0]];
    a.keep();
    a.run("UPDATE kv SET v = 'own' WHERE k = 1");
    b.run("UPDATE kv SET v = 'foreign' WHERE k = 2");
    lab.settle();
    const entries = lab.order[0]!.length;
    a.lose("replica");
    a.turns();
    expect([value(0), value(0, 2)]).toEqual(["own", "foreign"]);
    a.deliver(1); // behind what the file shows: nothing is shown yet
    a.turns();
    lab.clock += 100;
    a.turns();
    expect([value(0), value(0, 2)]).toEqual(["own", "foreign"]);
    lab.settle();
    expect([value(0), value(0, 2), value(1), value(1, 2)]).toEqual(["own", "foreign", "own", "foreign"]);
    // The new incarnation's opening, and not one row.
    expect(lab.order[0]!.length).toBe(entries + 1);
    expect(a.deviations()).toEqual([]);
  });
});

test("a changeset of more rows than are kept in memory arrives whole: inserts, updates, deletes", async () => {
  lab = await Lab.create("CREATE TABLE kv(k INTEGER PRIMARY KEY, v TEXT)", 2);
  lab.settle();
  const [a, b] = lab.nodes as [Lab["nodes"][0], Lab["nodes"][0]];
  const many = 26_000;
  a.run("BEGIN");
  for (let i = 0; i < many; i++) a.app.query("INSERT INTO kv VALUES(?, 'x')").run(i);
  a.run("COMMIT");
  lab.settle();
  expect(b.query("SELECT count(*), sum(k) FROM kv")).toEqual([
    [BigInt(many), BigInt((many * (many - 1)) / 2)],
  ]);
  b.run("UPDATE kv SET v = 'y' WHERE k % 3 = 0", "DELETE FROM kv WHERE k % 3 = 1");
  lab.settle();
  for (const node of lab.nodes) {
    const counts = "SELECT v, count(*) FROM kv GROUP BY v ORDER BY v";
    expect(node.query(counts)).toEqual(b.query(counts));
    expect(node.deviations()).toEqual([]);
  }
  expect(a.query("SELECT count(*) FROM kv WHERE k % 3 = 1")).toEqual([[0n]]);
});

describe("a replica received over a laggard", () => {
  const SCHEMA = `CREATE TABLE kv(k INTEGER PRIMARY KEY, v TEXT); CREATE TABLE u(id INTEGER PRIMARY KEY, name TEXT UNIQUE);
    INSERT INTO kv VALUES(1, '0'), (2, '0'), (3, '0'), (4, '0'), (5, '0')`;

  test("keeps what is pending, sends nothing twice, shows the rest", async () => {
    lab = await Lab.create(SCHEMA, 2);
    lab.settle();
    const [a, b] = lab.nodes as [Lab["nodes"][0], Lab["nodes"][0]];
    // Ordered, but not seen here: contained in what is received.
    a.run("UPDATE kv SET v = 'taken' WHERE k = 1", "UPDATE kv SET v = 'taken' WHERE k = 5");
    a.touch();
    a.turns();
    a.order();
    b.deliver();
    b.turns();
    b.run(
      "UPDATE kv SET v = 'foreign' WHERE k IN (2, 5)",
      "DELETE FROM kv WHERE k = 3",
      "INSERT INTO u VALUES(1, 'x')",
    );
    b.touch();
    b.turns();
    b.order();
    b.deliver();
    b.turns();
    // Written meanwhile and not ordered: a change, the way back of the one that was taken, a clash, a no-op.
    a.run("UPDATE kv SET v = 'pending' WHERE k = 4", "UPDATE kv SET v = '0' WHERE k = 1");
    a.run("INSERT INTO u VALUES(9, 'x')", "UPDATE kv SET v = v WHERE k = 2");
    expect(await a.adopt(b)).toBe(true);
    lab.settle();
    for (const node of lab.nodes) {
      expect(node.query("SELECT k, v FROM kv ORDER BY k")).toEqual([
        [1n, "0"],
        [2n, "foreign"],
        [4n, "pending"],
        [5n, "foreign"],
      ]);
      expect(node.query("SELECT id FROM u WHERE name = 'x'")).toEqual([[9n]]);
      expect(node.deviations()).toEqual([]);
    }
    // The clash is the one thing that two nodes did without knowing of each other.
    expect(lab.nodes[1]!.replica.replica.journal.list(10).map((c) => c.kind)).toEqual(["unique clash"]);
  });

  test("is not taken when it is behind", async () => {
    lab = await Lab.create(SCHEMA, 2);
    lab.settle();
    const [a, b] = lab.nodes as [Lab["nodes"][0], Lab["nodes"][0]];
    a.run("UPDATE kv SET v = 'new' WHERE k = 1");
    a.touch();
    a.turns();
    a.order();
    a.deliver();
    a.turns();
    expect(await a.adopt(b)).toBe(false);
    lab.settle();
    expect([value(0), value(1)]).toEqual(["new", "new"]);
  });
});

/** Random applications, deliveries, losses and crashes; after each reflection L must be S with the pending rows on top. */
function scenario(
  seed: number,
  shards: number,
  transactions: "whole" | "row",
  merge: "row" | "column",
): Promise<void> {
  return (async () => {
    const random = new Random(seed);
    lab = await Lab.create(
      `CREATE TABLE kv(k INTEGER PRIMARY KEY, v TEXT);
       CREATE TABLE u(id INTEGER PRIMARY KEY, name TEXT UNIQUE, grp INT);
       CREATE TABLE w(word TEXT NOT NULL COLLATE NOCASE, n INT NOT NULL, v, PRIMARY KEY(word, n)) WITHOUT ROWID;
       CREATE TABLE bank(id INTEGER PRIMARY KEY, owner INT NOT NULL, n INT NOT NULL);
       INSERT INTO bank VALUES ${[0, 1, 2].flatMap((owner) => [0, 1, 2, 3].map((i) => `(${owner * 10 + i}, ${owner}, 100)`)).join()};`,
      3,
      shards,
      transactions,
      [],
      { merge: forAll(merge) },
    );
    lab.settle();
    const words = ["a", "A", "b", "B c"];
    const write = (node: Lab["nodes"][0]): void => {
      const k = random.below(6);
      const name = `'${random.pick(["p", "q", "r", "s"])}'`;
      const statements = [
        `INSERT OR REPLACE INTO kv VALUES(${k}, '${random.below(9)}')`,
        `UPDATE kv SET v = '${random.below(9)}' WHERE k = ${k}`,
        `UPDATE kv SET v = v WHERE k = ${k}`,
        `DELETE FROM kv WHERE k = ${k}`,
        `UPDATE OR REPLACE kv SET k = ${random.below(6)} WHERE k = ${k}`,
        `INSERT OR REPLACE INTO u VALUES(${k}, ${name}, ${random.below(3)})`,
        `INSERT OR IGNORE INTO u VALUES(${k}, ${name}, ${random.below(3)})`,
        `UPDATE OR REPLACE u SET name = ${name} WHERE id = ${k}`,
        `UPDATE OR IGNORE u SET name = ${name}, grp = grp + 1 WHERE grp = ${random.below(3)}`,
        `DELETE FROM u WHERE id = ${k}`,
        `INSERT OR REPLACE INTO w VALUES('${random.pick(words)}', ${random.below(2)}, ${random.pick(["1", "1.0", "NULL", "x'00'"])})`,
        `UPDATE OR REPLACE w SET word = '${random.pick(words)}' WHERE n = ${random.below(2)}`,
        `DELETE FROM w WHERE word = '${random.pick(words)}'`,
      ];
      node.run("BEGIN");
      for (let i = random.between(1, 3); i > 0; i--) node.run(random.pick(statements));
      node.run(random.chance(0.1) ? "ROLLBACK" : "COMMIT");
    };
    // Each node moves what its own accounts hold: whoever sees another sum has seen a part of a transaction.
    const transfer = (node: Lab["nodes"][0]): void => {
      const account = () => node.number * 10 + random.below(4);
      const amount = random.between(1, 9);
      node.run("BEGIN");
      for (let i = random.between(1, 2); i > 0; i--)
        node.run(
          `UPDATE bank SET n = n - ${amount} WHERE id = ${account()}`,
          `UPDATE bank SET n = n + ${amount} WHERE id = ${account()}`,
        );
      node.run("COMMIT");
    };
    const balanced = (step: number): void => {
      if (transactions === "row") return;
      const sums = "SELECT owner, sum(n) AS n FROM bank GROUP BY owner ORDER BY owner";
      for (const node of lab.nodes) {
        const appDb = node.query(sums).map(([, n]) => Number(n));
        const agreed = node.replica.db
          .prepare(sums)
          .all()
          .map((r) => Number(r.n));
        expect({ seed, step, appDb, agreed }).toEqual({
          seed,
          step,
          appDb: [400, 400, 400],
          agreed: [400, 400, 400],
        });
      }
    };
    for (let step = 0; step < 120; step++) {
      const node = random.pick(lab.nodes);
      balanced(step);
      switch (random.below(11)) {
        case 0:
        case 1:
        case 2:
          write(node);
          break;
        case 3:
          node.touch();
          node.turns();
          break;
        case 4:
          if (random.chance(0.2)) node.proposed = []; // lost
          if (random.chance(0.2)) node.proposed.push(...node.proposed); // twice
          node.order();
          break;
        case 5:
          if (random.chance(0.5)) node.deliver(random.between(1, 4));
          // Logs come at their own pace.
          else for (const shard of lab.order.keys()) node.deliver(random.below(5), [shard]);
          if (random.chance(0.3)) node.applyOnly();
          break;
        case 6:
          lab.clock += random.pick([1, 30, 3000]);
          node.turns();
          node.pipeline.tick();
          break;
        case 7:
          if (random.chance(0.25)) {
            if (random.chance(0.5)) node.proposed = [];
            node.crash();
          }
          break;
        case 8:
          transfer(node);
          break;
        case 9:
          if (random.chance(0.15)) await node.adopt(random.pick(lab.nodes.filter((n) => n !== node)));
          if (random.chance(0.2))
            lab.leaders[random.below(shards)] = random.chance(0.3) ? null : random.below(lab.nodes.length);
          break;
        default: {
          node.deliver();
          lab.clock += 100;
          node.turns();
          const fenced = node.pipeline.outbox.fencing().length === 0;
          if (fenced) expect({ seed, step, wrong: node.deviations() }).toEqual({ seed, step, wrong: [] });
        }
      }
    }
    lab.leaders.forEach((leader, shard) => (lab.leaders[shard] = leader ?? 0));
    lab.settle();
    balanced(-1);
    const dumps = lab.nodes.map((n) =>
      ["kv", "u", "w", "bank"].map((t) =>
        n.query(t === "kv" || t === "w" ? `SELECT *, typeof(v) FROM ${t}` : `SELECT * FROM ${t}`).sort(),
      ),
    );
    const text = (d: unknown): string =>
      JSON.stringify(d, (_k, v: unknown) => (typeof v === "bigint" ? `${v}n` : v));
    expect({ seed, dump: text(dumps[1]) }).toEqual({ seed, dump: text(dumps[0]) });
    expect({ seed, dump: text(dumps[2]) }).toEqual({ seed, dump: text(dumps[0]) });
    const first = lab.nodes[0]!.replica;
    for (const node of lab.nodes) {
      const { db, replica } = node.replica;
      expect({ seed, replica: dumpReplica(db, replica) }).toEqual({
        seed,
        replica: dumpReplica(first.db, first.replica),
      });
      expect({ seed, wrong: node.deviations() }).toEqual({ seed, wrong: [] });
      expect({ seed, sums: node.wrongChecksums() }).toEqual({ seed, sums: [] });
      expect(node.query("PRAGMA integrity_check")).toEqual([["ok"]]);
    }
  })();
}

/** Seeds that once failed. 2181: an unfounded suspicion of an eviction dated a later write of the same row. */
const FAILED_ONCE = [2181];
const FIRST = Number(process.env.MARMOT_SEED ?? 1);
const SEEDS = Number(process.env.MARMOT_SEEDS ?? 40);
for (const [shards, transactions, merge] of [
  [1, "whole", "row"],
  [2, "whole", "row"],
  [4, "whole", "row"],
  [4, "row", "row"],
  [1, "whole", "column"],
  [4, "whole", "column"],
  [4, "row", "column"],
] as const)
  describe(`random schedules, ${shards} shards, ${transactions}, merged by ${merge}`, () => {
    const drawn = Array.from({ length: SEEDS }, (_, i) => FIRST + i);
    for (const seed of new Set([...FAILED_ONCE, ...drawn]))
      test(`seed ${seed}`, () => scenario(seed, shards, transactions, merge));
  });

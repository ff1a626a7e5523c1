/** Schedules that broke simpler rules, step by step. Each once lost, repeated or misplaced a write. */
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
  test("a write that changes no value is not proposed, also over a foreign change that is not yet reflected", async () => {
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

  test("a change back to the old value before the acknowledgement is proposed", async () => {
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

  test("a row equal to its image in flight is not proposed again, and arrives though the first proposal is lost", async () => {
    lab = await Lab.create(KV, 2);
    lab.settle();
    const a = lab.nodes[0]!;
    a.run("UPDATE kv SET v = '1' WHERE k = 1");
    a.touch();
    a.turns();
    a.proposed = []; // lost in the network
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

  test("an own write without a change after a foreign write keeps the foreign value", async () => {
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
    a.run("UPDATE kv SET v = v WHERE k = 1"); // still unacknowledged, own image shown
    a.deliver();
    lab.settle();
    expect([value(0), value(1)]).toEqual(["foreign", "foreign"]);
    expect(conflicts()).toBe(0);
  });

  test("a kill between proposal and acknowledgement: the own write is ordered once, though a foreign write saw it", async () => {
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
    a.crash(); // before its own entry is applied
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
    // Ordered and not yet acknowledged in the file; then many log rows between the key's first and last.
    a.run("BEGIN");
    for (let i = 0; i < 5000; i++) a.app.query("INSERT INTO kv VALUES(?, 'x')").run(100 + i);
    a.run("UPDATE kv SET v = 'second' WHERE k = 1", "COMMIT");
    a.crash();
    lab.settle();
    expect([value(0), value(1)]).toEqual(["second", "second"]);
  });

  test("change-log ids are not reused after sqlite_sequence and the change log were emptied", async () => {
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
    b.run("UPDATE kv SET v = 'b' WHERE k = 1"); // has seen a's write
    lab.settle();
    expect(conflicts()).toBe(0);
    a.run("DELETE FROM kv WHERE k = 1");
    b.run("UPDATE kv SET v = 'b2' WHERE k = 1"); // had not seen the delete
    lab.settle();
    expect(conflicts()).toBe(1);
    expect(value(0)).toBe(value(1));
  });

  test("a mistaken suspicion of a conflict does not change the base position of a later write", async () => {
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
    a.run("INSERT OR IGNORE INTO u VALUES(5, 'p')"); // suspects row 4 and changes no row
    a.deliver();
    a.turns(); // the foreign delete is reflected
    expect(a.query("SELECT count(*) FROM u")).toEqual([[0n]]);
    a.run("INSERT INTO u VALUES(4, 'p')"); // the same image as before the delete
    lab.settle();
    expect(b.query("SELECT id, name FROM u")).toEqual([[4n, "p"]]);
    expect(conflicts()).toBe(0);
  });

  test("a withheld row returns when the unacknowledged unique value that blocks it is released", async () => {
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
    a.run("INSERT INTO u VALUES(8, 'taken')"); // unacknowledged here
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

describe("a power failure", () => {
  test("loses the file's last transactions: foreign rows are reflected again, surviving unproposed rows are proposed", async () => {
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

  test("loses the replica's last entries: the file never shows older values, and no write is ordered twice", async () => {
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
    a.deliver(1); // behind the position of the file: no reflection yet
    a.turns();
    lab.clock += 100;
    a.turns();
    expect([value(0), value(0, 2)]).toEqual(["own", "foreign"]);
    lab.settle();
    expect([value(0), value(0, 2), value(1), value(1, 2)]).toEqual(["own", "foreign", "own", "foreign"]);
    // The entry that opens the new incarnation, and no row.
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

describe("a replica received by a node that is far behind", () => {
  const SCHEMA = `CREATE TABLE kv(k INTEGER PRIMARY KEY, v TEXT); CREATE TABLE u(id INTEGER PRIMARY KEY, name TEXT UNIQUE);
    INSERT INTO kv VALUES(1, '0'), (2, '0'), (3, '0'), (4, '0'), (5, '0')`;

  test("keeps unacknowledged rows, proposes none twice, and reflects the others", async () => {
    lab = await Lab.create(SCHEMA, 2);
    lab.settle();
    const [a, b] = lab.nodes as [Lab["nodes"][0], Lab["nodes"][0]];
    // Ordered, not applied here: contained in the received replica.
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
    // Written since and not ordered: a change, a change back of the ordered one, a clash, a write without a change.
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
    // The clash is the only concurrent write of two nodes.
    expect(lab.nodes[1]!.replica.replica.journal.list(10).map((c) => c.kind)).toEqual(["unique clash"]);
  });

  test("is not installed when it is older than the own replica", async () => {
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

/** Random writes, deliveries, losses and crashes; after each reflection L must be S with the unacknowledged rows on top. */
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
    // Each node moves amounts between its own accounts: another sum shows a part of a transaction.
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
          // The logs are delivered independently.
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

/**
 * Seeds that once failed. 2181: a mistaken suspicion of an eviction changed the base position of a later write of the
 * row.
 */
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

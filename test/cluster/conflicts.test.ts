/** What concurrent writes lost can be put back: over the command, seen from plain SQLite. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { ConflictSummary, RestoreAllResult, RestoreResult } from "../../src/operations/api.ts";
import { TestCluster, type TestNode, until } from "./lab.ts";

const SCHEMA = `
  CREATE TABLE orders(id INTEGER PRIMARY KEY AUTOINCREMENT, who TEXT NOT NULL);
  CREATE TABLE items(id INTEGER PRIMARY KEY AUTOINCREMENT, order_id INTEGER NOT NULL REFERENCES orders(id), who TEXT);
  CREATE TABLE parts(id INTEGER PRIMARY KEY AUTOINCREMENT, item_id INTEGER REFERENCES items(id), who TEXT);
  CREATE TABLE notes(name TEXT PRIMARY KEY NOT NULL, order_id INTEGER REFERENCES orders(id), who TEXT);
  CREATE TABLE lines(order_id INTEGER NOT NULL REFERENCES orders(id), n INTEGER NOT NULL, who TEXT, PRIMARY KEY(order_id, n));
  CREATE TABLE plain(id INTEGER PRIMARY KEY, v TEXT, w TEXT);
  CREATE TABLE words(word TEXT PRIMARY KEY NOT NULL, v TEXT);
  CREATE TABLE people(id INTEGER PRIMARY KEY, mail TEXT UNIQUE, name TEXT);
  INSERT INTO plain VALUES(1, '0', '0'), (2, '0', '0');`;

/** An order with everything that hangs on it, all by ids that SQLite picks. */
const ORDER = (who: string): string => `BEGIN;
  INSERT INTO orders(who) VALUES('${who}');
  INSERT INTO items(order_id, who) SELECT max(id), '${who}' FROM orders;
  INSERT INTO parts(item_id, who) SELECT max(id), '${who}' FROM items;
  INSERT INTO items(order_id, who) SELECT max(id), '${who}' FROM orders;
  INSERT INTO notes SELECT '${who}', max(id), '${who}' FROM orders;
  INSERT INTO lines SELECT max(id), 1, '${who}' FROM orders;
  COMMIT`;

/** Rows whose parent differs from the one that they were written with; a missing parent counts. */
const STRAYED = `SELECT count(*) FROM (
  SELECT c.who AS c, p.who AS p FROM items c LEFT JOIN orders p ON p.id = c.order_id
  UNION ALL SELECT c.who, p.who FROM notes c LEFT JOIN orders p ON p.id = c.order_id
  UNION ALL SELECT c.who, p.who FROM lines c LEFT JOIN orders p ON p.id = c.order_id
  UNION ALL SELECT c.who, p.who FROM parts c LEFT JOIN items p ON p.id = c.item_id) WHERE c IS NOT p`;

for (const [shards, transactions] of [
  [1, "whole"],
  [16, "whole"],
  [16, "row"],
] as const)
  describe(`${shards} ${shards === 1 ? "shard" : "shards"}, ${transactions}`, () => {
    let cluster: TestCluster;
    let nodes: [TestNode, TestNode, TestNode];
    beforeAll(async () => {
      cluster = await TestCluster.start({
        shards,
        schema: SCHEMA,
        first: ["--id-block", "0", "--transactions", transactions],
      });
      nodes = cluster.nodes as [TestNode, TestNode, TestNode];
    });
    afterAll(() => cluster?.stop());

    /** Both commit before either is replicated: the nodes are stopped while their files are written. */
    const atOnce = async (first: readonly string[], second: readonly string[]): Promise<void> => {
      await cluster.settle();
      for (const n of nodes) await n.pause();
      nodes[0].run(...first);
      nodes[1].run(...second);
      for (const n of nodes) n.signal("SIGCONT");
      await cluster.settle();
    };
    const conflictsOf = (table: string): ConflictSummary[] =>
      (JSON.parse(nodes[1].marmot("conflicts", "list", "--json").stdout) as ConflictSummary[]).filter(
        (c) => c.table === table,
      );
    /** Nodes that were stopped may elect leaders, also after they were ready: then the restore is tried again. */
    const restore = async (node: TestNode, id: string, ...options: string[]) => {
      let answer: ReturnType<TestNode["marmot"]>;
      do {
        await node.ready();
        answer = node.marmot("conflicts", "restore", id, "--json", ...options);
      } while (answer.stderr.includes("this node is not ready"));
      const { code, stdout, stderr } = answer;
      // A refused restore shows its message where "done" is expected.
      const result = (code === 0 ? JSON.parse(stdout) : { done: stderr, children: [] }) as RestoreResult;
      return { code, stderr, result };
    };

    test("restoring a losing insert as new gives its row a new id and brings its children back", async () => {
      await atOnce([ORDER("first")], [ORDER("second")]);
      const [conflict] = conflictsOf("orders") as [ConflictSummary];
      expect(conflict.kind).toBe("same key");
      const loser = conflict.losingOrigin === "n0" ? "first" : "second";
      const { result } = await restore(nodes[2], conflict.id, "--as-new");
      expect(result.done).toBe("restored as new");
      await cluster.settle();
      expect(nodes[0].query(`SELECT count(*) FROM orders WHERE who = '${loser}'`)).toEqual([[1n]]);
      if (transactions === "whole") {
        expect(result.children.filter((c) => c.done === "left")).toEqual([]);
        expect(nodes[0].query("SELECT who, count(*) FROM items GROUP BY who ORDER BY who")).toEqual([
          ["first", 2n],
          ["second", 2n],
        ]);
        for (const [table, count] of [
          ["orders", 2n],
          ["parts", 2n],
          ["notes", 2n],
          ["lines", 2n],
        ] as const)
          expect([table, nodes[1].query(`SELECT count(*) FROM ${table}`)]).toEqual([table, [[count]]]);
        expect(nodes[0].query(STRAYED)).toEqual([[0n]]);
      } else expect(result.children.some((c) => c.done === "left" && c.reason !== "")).toBe(true);
      const again = await restore(nodes[2], conflict.id, "--as-new");
      expect(again.code).toBe(1);
      expect(again.stderr).toContain("already");
    });

    test("restoring a losing update writes it again and reports the values that it replaces", async () => {
      await atOnce(["UPDATE plain SET v = 'a' WHERE id = 1"], ["UPDATE plain SET v = 'b' WHERE id = 1"]);
      const [conflict] = conflictsOf("plain") as [ConflictSummary];
      const [[stands]] = nodes[2].query("SELECT v FROM plain WHERE id = 1") as [[string]];
      const { result } = await restore(nodes[0], conflict.id);
      expect(result.done).toBe("restored");
      expect(result.replaced!.map((v) => v.text)).toEqual(["1", stands, "0"]);
      await cluster.settle();
      expect(nodes[2].query("SELECT v FROM plain WHERE id = 1")).toEqual([[stands === "a" ? "b" : "a"]]);
      expect((await restore(nodes[0], conflict.id)).result.done).toBe("nothing to do");
      // Written again since: not without being told.
      nodes[1].run("UPDATE plain SET v = 'later' WHERE id = 1");
      await cluster.settle();
      const refused = await restore(nodes[0], conflict.id);
      expect([refused.code, refused.stderr.includes("--overwrite")]).toEqual([1, true]);
      expect((await restore(nodes[0], conflict.id, "--overwrite")).result.replaced![1]!.text).toBe("later");
      const copy = await restore(nodes[0], conflict.id, "--as-new");
      expect([copy.result.done, copy.result.children]).toEqual(["restored as new", []]);
      await cluster.settle();
      expect(nodes[2].query("SELECT count(*) FROM plain")).toEqual([[3n]]);
    });

    test("states are the cluster's: dismissed on one node, restored on another, seen on the third", async () => {
      const seen = (): Record<string, string> => {
        const list = JSON.parse(
          nodes[2].marmot("conflicts", "--table", "plain", "--json").stdout,
        ) as ConflictSummary[];
        return Object.fromEntries(list.map((c) => [c.id, `${c.state} by ${c.settled?.by}`]));
      };
      const before = new Set(Object.keys(seen()));
      const set = (v: string): string[] =>
        [11, 12, 13].map((id) => `INSERT INTO plain VALUES(${id}, '${v}', '')`);
      await atOnce(set("x"), set("y"));
      const fresh = conflictsOf("plain").filter((c) => !before.has(c.id));
      expect(fresh.map((c) => [c.state, c.differing])).toEqual(Array(3).fill(["open", ["v"]]));
      const [lost] = fresh as [ConflictSummary];
      expect(lost.losingPeer).toMatch(/^12D3Koo/);
      await nodes[0].ready();
      expect(nodes[0].marmot("conflicts", "dismiss", lost.id).code).toBe(0);
      expect(nodes[0].marmot("conflicts", "dismiss", "9:9:9").code).toBe(1);
      const from = ["--table", "plain", "--from", lost.losingOrigin];
      // While a leader changes, a node is not ready for a moment.
      const all = async (...options: string[]): Promise<RestoreAllResult> => {
        let text = "";
        await until(
          () => {
            const done = nodes[1].marmot("conflicts", "restore", ...from, "--json", ...options);
            text = done.stdout;
            return done.code === 0 || done.stderr;
          },
          `restore ${options.join(" ")}`,
        );
        return JSON.parse(text) as RestoreAllResult;
      };
      await nodes[1].ready();
      const others = fresh.slice(1).filter((c) => c.losingOrigin === lost.losingOrigin);
      const planned = await all("--dry-run");
      expect(planned.restored.map((r) => r.id).sort()).toEqual(others.map((c) => c.id).sort());
      const value = lost.losingOrigin === "n0" ? "x" : "y";
      const count = `SELECT count(*) FROM plain WHERE id IN (11, 12, 13) AND v = '${value}'`;
      const kept = Number(nodes[1].query(count)[0]![0]);
      const done = await all();
      expect(done.restored).toEqual(planned.restored);
      await cluster.settle();
      expect(nodes[2].query(count)).toEqual([[BigInt(kept + others.length)]]);
      const after = seen();
      expect(after[lost.id]).toBe("dismissed by n0");
      for (const { id } of others) expect(after[id]).toBe("restored by n1");
      expect(nodes[2].marmot("conflicts", "dismiss", "--all").code).toBe(0);
      await cluster.settle();
      for (const node of nodes) expect((await node.status()).conflicts.open).toBe(0);
      expect(nodes[0].marmot("conflicts", "--open").stdout).toBe("no conflicts\n");
      for (const [option, wrong, code] of [
        ["--table", "nothing", 1],
        ["--origin", "no-node", 1],
        ["--since", "soon", 2],
      ] as const) {
        const refused = nodes[0].marmot("conflicts", option, wrong);
        expect([refused.code, refused.stderr]).toEqual([code, expect.stringContaining("hint: ")]);
      }
    });

    test("restoring a losing delete deletes the row again", async () => {
      await atOnce(["DELETE FROM plain WHERE id = 2"], ["UPDATE plain SET w = 'kept' WHERE id = 2"]);
      const conflict = conflictsOf("plain").find((c) => c.key === "2")!;
      const before = nodes[2].query("SELECT count(*) FROM plain WHERE id = 2");
      const { result } = await restore(nodes[2], conflict.id);
      expect(result.done).toBe(before[0]![0] === 1n ? "deleted again" : "restored");
      await cluster.settle();
      expect(nodes[0].query("SELECT count(*) FROM plain WHERE id = 2")).toEqual([
        [before[0]![0] === 1n ? 0n : 1n],
      ]);
    });

    test("a restore that is not possible is refused with a hint and writes nothing", async () => {
      await atOnce(["INSERT INTO words VALUES('w', 'a')"], ["INSERT INTO words VALUES('w', 'b')"]);
      const [word] = conflictsOf("words") as [ConflictSummary];
      const fresh = await restore(nodes[0], word.id, "--as-new");
      expect([fresh.code, fresh.stderr.includes("not an INTEGER PRIMARY KEY")]).toEqual([1, true]);
      await atOnce(
        ["INSERT INTO people VALUES(1, 'm@x', 'first')"],
        ["INSERT INTO people VALUES(2, 'm@x', 'second')"],
      );
      const [evicted] = conflictsOf("people") as [ConflictSummary];
      expect(evicted.kind).toBe("unique clash");
      for (const options of [[], ["--as-new"]]) {
        const clash = await restore(nodes[0], evicted.id, ...options);
        expect([clash.code, clash.stderr]).toEqual([1, expect.stringContaining("UNIQUE")]);
      }
      await cluster.settle();
      expect(nodes[0].query("SELECT count(*) FROM people")).toEqual([[1n]]);
      nodes[2].run("UPDATE people SET mail = 'other@x'");
      await cluster.settle();
      expect((await restore(nodes[0], evicted.id)).result.done).toBe("restored");
      await cluster.settle();
      expect(nodes[2].query("SELECT count(*) FROM people")).toEqual([[2n]]);
      expect((await restore(nodes[0], "7:7:7")).code).toBe(1);
    });
  });

/** `--merge column`: updates of different columns by two nodes at once both stand; the setting is the cluster's. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { ConflictSummary } from "../../src/operations/api.ts";
import { TestCluster, type TestNode } from "./lab.ts";

const SCHEMA = `
  CREATE TABLE cells(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT);
  CREATE TABLE rows(id INTEGER PRIMARY KEY, a TEXT, b TEXT);
  INSERT INTO cells VALUES(1, '0', '0', '0'), (2, '0', '0', '0'), (3, '0', '0', '0');
  INSERT INTO rows VALUES(1, '0', '0');`;

for (const shards of [1, 16])
  describe(`${shards} ${shards === 1 ? "shard" : "shards"}`, () => {
    let cluster: TestCluster;
    let nodes: [TestNode, TestNode, TestNode];
    beforeAll(async () => {
      cluster = await TestCluster.start({ shards, schema: SCHEMA, first: ["--merge", "cells=column"] });
      nodes = cluster.nodes as [TestNode, TestNode, TestNode];
    });
    afterAll(() => cluster?.stop());

    test("concurrent updates of two columns are both kept with merge by column; without it the later row wins", async () => {
      await cluster.settle();
      for (const n of nodes) await n.pause();
      for (const [i, column] of ["a", "b"].entries())
        for (const table of ["cells", "rows"])
          nodes[i]!.run(`UPDATE ${table} SET ${column} = 'n${i}' WHERE id = 1`);
      for (const n of nodes) n.signal("SIGCONT");
      await cluster.settle();
      expect(nodes[2].query("SELECT a, b, c FROM cells WHERE id = 1")).toEqual([["n0", "n1", "0"]]);
      const [row] = nodes[2].query("SELECT a, b FROM rows") as [[string, string]];
      expect([
        ["n0", "0"],
        ["0", "n1"],
      ]).toContainEqual(row);
      const lost = JSON.parse(nodes[0].marmot("conflicts", "list", "--json").stdout) as { table: string }[];
      expect(lost.map((c) => c.table)).toEqual(["rows"]);
    });

    test("nodes that each write another column of one row lose no value and change no other column", async () => {
      const dbs = nodes.map((n) => n.open());
      for (let round = 1; round <= 60; round++)
        for (const [i, db] of dbs.entries()) {
          const column = ["a", "b", "c"][i]!;
          for (const id of [2, 3])
            db.query(`UPDATE cells SET ${column} = ? WHERE id = ?`).run(String(round), id);
          // A column that only this node writes never goes back in its own file.
          expect(db.query(`SELECT ${column} FROM cells WHERE id = 2`).values()).toEqual([[String(round)]]);
        }
      for (const db of dbs) db.close();
      await cluster.settle();
      expect(nodes[1].query("SELECT a, b, c FROM cells WHERE id > 1")).toEqual([
        ["60", "60", "60"],
        ["60", "60", "60"],
      ]);
      const lost = JSON.parse(nodes[0].marmot("conflicts", "list", "--json").stdout) as ConflictSummary[];
      const of = lost
        .filter((c) => c.table === "cells")
        .map((c) => nodes[0].marmot("conflicts", "show", c.id).stdout);
      expect(of).toEqual([]);
      expect(nodes[2].marmot("verify").code).toBe(0);
    });

    test("a member that is started with another merge setting is refused, with the same or none accepted", async () => {
      await nodes[2].kill("SIGTERM");
      await nodes[2].start(["--merge", "column"]);
      expect(await nodes[2].process!.exited).toBe(1);
      expect(nodes[2].log()).toContain("--merge column was given, but the cluster has row,cells=column");
      await nodes[2].start(["--merge", "cells=column,rows=row"]);
      await nodes[2].ready();
      await cluster.settle();
    });
  });

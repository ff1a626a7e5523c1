/** Two nodes insert into a table without a declared key at the same moment, for seconds: all rows are there, on all nodes. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { TestCluster } from "./lab.ts";

const SCHEMA = `CREATE TABLE "order"("who" TEXT, n INTEGER, rowid TEXT, v REAL, w AS (v + 1));
  CREATE TABLE entry(who TEXT, slot TEXT UNIQUE, parent INT REFERENCES shop(id));
  CREATE TABLE shop(id INTEGER PRIMARY KEY); CREATE TABLE mate(who TEXT, n INTEGER, PRIMARY KEY(who, n)); CREATE INDEX by_who ON entry(who); INSERT INTO shop VALUES(1)`;
/** Rows of a transaction that a reader sees without the other one. */
const HALVES = `SELECT who, n FROM (SELECT who, n FROM "order" UNION ALL SELECT who, n FROM mate) GROUP BY 1, 2 HAVING count(*) <> 2`;
const SECONDS = 4;
const PER_SECOND = 60;

for (const shards of [1, 16])
  test(`concurrent inserts into a table without a declared key keep every row, ${shards} shards`, async () => {
    const cluster = await TestCluster.start({ shards, schema: SCHEMA, quiet: true });
    try {
      const [first, , third] = cluster.nodes as [
        (typeof cluster.nodes)[0],
        unknown,
        (typeof cluster.nodes)[0],
      ];
      const dbs = cluster.nodes.map((n) => n.open());
      const expected: [string, number, number][] = [];
      const start = performance.now();
      const halves: unknown[][] = [];
      let killed = false;
      let back: Promise<void> = Promise.resolve();
      for (let i = 0; performance.now() - start < SECONDS * 1000; i++) {
        for (const [who, db] of dbs.entries()) {
          db.exec("BEGIN IMMEDIATE");
          db.query(`INSERT INTO "order"(who, n, v) VALUES(?, ?, ?)`).run(`n${who}`, i, i);
          db.query("INSERT INTO mate VALUES(?, ?)").run(`n${who}`, i);
          db.exec("COMMIT");
          db.query("INSERT OR REPLACE INTO entry VALUES(?, ?, 1)").run(`n${who} ${i}`, `n${who} ${i % 7}`);
          let v = i;
          if (i % 3 === 0)
            db.query(`UPDATE "order" SET v = ? WHERE who = ? AND n = ?`).run((v = i + 0.5), `n${who}`, i);
          if (i % 10 === 0) {
            db.exec("BEGIN IMMEDIATE");
            db.query(`DELETE FROM "order" WHERE who = ? AND n = ?`).run(`n${who}`, i);
            db.query("DELETE FROM mate WHERE who = ? AND n = ?").run(`n${who}`, i);
            db.exec("COMMIT");
          } else expected.push([`n${who}`, i, v]);
        }
        halves.push(...dbs.flatMap((db) => db.query(HALVES).values()));
        const spent = performance.now() - start;
        if (!killed && spent > 1500) {
          killed = true;
          dbs[0]!.exec("VACUUM");
          await third.kill();
          back = third.start();
        }
        await Bun.sleep(Math.max(1, (i + 1) * (1000 / PER_SECOND) - spent));
      }
      await back;
      for (const db of dbs) db.close();
      await third.ready();
      await cluster.settle();
      expect(halves).toEqual([]);
      expected.sort(([a, i], [b, j]) => (a < b ? -1 : a > b ? 1 : i - j));
      const all = cluster.nodes.map((n) => n.query(`SELECT _rowid_, who, n, v FROM "order" ORDER BY 1`));
      const entries = cluster.nodes.map((n) => n.query(`SELECT rowid, * FROM entry ORDER BY 1`));
      for (const node of cluster.nodes)
        expect(node.query(`SELECT who, n, v FROM "order" ORDER BY 1, 2`)).toEqual(
          expected.map(([who, n, v]) => [who, BigInt(n), v]),
        );
      for (const rows of all) expect(rows).toEqual(all[0]!);
      for (const rows of entries) expect(rows).toEqual(entries[0]!);
      expect(entries[0]).toHaveLength(7 * dbs.length);
      expect((await first.status()).conflicts.total).toBe(0);
      expect((await first.verb("verify", "--deep")).code).toBe(0);
      console.log(`${shards} shards: ${expected.length} rows of ${dbs.length} nodes`);

      await third.kill("SIGTERM");
      expect(third.marmot("cleanup").code).toBe(0);
      const schemaOf = (db: Database): unknown[] => {
        const rows = db.query("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid").values();
        db.close();
        return rows;
      };
      const fresh = new Database(":memory:");
      fresh.exec(SCHEMA);
      expect(schemaOf(third.open())).toEqual(schemaOf(fresh));
    } finally {
      await cluster.stop();
    }
  }, 120_000);

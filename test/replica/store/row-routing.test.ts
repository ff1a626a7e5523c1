import { expect, test } from "bun:test";
import { MemoryReplica } from "../lab.ts";

const SCHEMA = `CREATE TABLE artist(id INTEGER PRIMARY KEY, name TEXT);
  CREATE TABLE album(id INTEGER PRIMARY KEY, artist INT REFERENCES artist, title TEXT);
  CREATE TABLE alone(id INTEGER PRIMARY KEY, v);
  CREATE TABLE named(id INTEGER PRIMARY KEY, v UNIQUE)`;

const shards = (one: MemoryReplica, table: number): Set<number> =>
  new Set(Array.from({ length: 200 }, (_, k) => one.replica.shardOfKey(table, k)));

test("transactions whole: tables connected by foreign keys share one shard, other rows are spread by key", () => {
  const one = new MemoryReplica({ schema: SCHEMA, shards: 16 });
  expect(shards(one, 1)).toEqual(shards(one, 2));
  expect(shards(one, 1).size).toBe(1);
  expect(shards(one, 3).size).toBe(16);
  expect(shards(one, 4).size).toBe(1);
  one.close();
});

test("transactions row: foreign keys do not affect the shard", () => {
  const one = new MemoryReplica({ schema: SCHEMA, shards: 16, transactions: "row" });
  expect([1, 2, 3].map((table) => shards(one, table).size)).toEqual([16, 16, 16]);
  expect(shards(one, 4).size).toBe(1);
  one.close();
});

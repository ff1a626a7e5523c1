/** Own rows that an earlier process of the node sent: the app database may have lost them since. */
import { afterEach, expect, test } from "bun:test";
import { batch, entry, MemoryReplica } from "../lab.ts";

/** More rows than are written one by one. */
const SET_ROWS = 60;
const open: MemoryReplica[] = [];
afterEach(() => {
  for (const memory of open.splice(0)) memory.close();
});

/** The keys of table 1 that the app database must get, after a batch of `origin` under `incarnation`. */
function keysToShow(schema: string, origin: string, rows: number): unknown[] {
  const memory = new MemoryReplica({ schema, shards: 1, peerId: "a" });
  open.push(memory);
  memory.replica.ownSince = 2;
  const writes = Array.from({ length: rows }, (_, i) => ({ k: i + 1, v: "v" }));
  const incarnation = origin === "an earlier process" ? 1 : 2;
  const sender = origin === "another node" ? "b" : "a";
  memory.give(0, entry(1, { batch: batch({ origin: sender, incarnation, writes }) }));
  return [...(memory.replica.changed.tables.get(1)?.keys() ?? [])].sort((a, b) => Number(a) - Number(b));
}

for (const rows of [1, SET_ROWS])
  test(`rows of an earlier process are shown again, those of this process are not: ${rows}`, () => {
    const schema = "CREATE TABLE t(k INTEGER PRIMARY KEY, v)";
    const all = Array.from({ length: rows }, (_, i) => i + 1);
    expect(keysToShow(schema, "another node", rows)).toEqual(all);
    expect(keysToShow(schema, "an earlier process", rows)).toEqual(all);
    expect(keysToShow(schema, "this process", rows)).toEqual([]);
  });

/** Entries that a member proposes: its own, well-formed, and possible by the known positions. */
import { afterAll, expect, test } from "bun:test";
import { utf8 } from "../../../src/base/bytes.ts";
import { asPeerId } from "../../../src/base/ids.ts";
import { BatchKind } from "../../../src/change/batch.ts";
import { encodeBatch } from "../../../src/change/codec.ts";
import { encodeMarker, encodeNamed } from "../../../src/change/marking.ts";
import { isProposal } from "../../../src/replication/messages/check-proposal.ts";
import { encodeSchemaEntry } from "../../../src/schema/diff/schema-entry.ts";
import { batch, MemoryReplica } from "../../replica/lab.ts";

const one = new MemoryReplica({ schema: "CREATE TABLE t(k INTEGER PRIMARY KEY, v)", shards: 4 });
afterAll(() => one.close());

const may = (data: Uint8Array, shard = 0, peer = "a"): boolean =>
  isProposal({ replica: one.replica, lastIndex: () => 50 }, shard, asPeerId(peer), data);

const rows = batch({ writes: [{ k: 1, v: "one" }] });
const schema = (bytes: Uint8Array): Uint8Array =>
  encodeBatch({ ...batch({ kind: BatchKind.schema }), schema: bytes });

test("a batch of the peer passes, one of another origin does not", () => {
  expect(may(encodeBatch(rows))).toBeTrue();
  expect(may(encodeBatch(batch({ kind: BatchKind.open })), 3)).toBeTrue();
  expect(may(encodeBatch(rows), 0, "b")).toBeFalse();
});

test("bytes that are no batch, and rows of no table, do not pass", () => {
  expect(may(utf8("junk"))).toBeFalse();
  expect(may(new Uint8Array(0))).toBeFalse();
  expect(may(encodeBatch({ ...rows, tables: [{ ...rows.tables[0]!, table: 99 }] }))).toBeFalse();
  expect(may(encodeBatch({ ...rows, tables: [{ ...rows.tables[0]!, columns: 7 }] }))).toBeFalse();
});

test("a position that no shard can have reached does not pass: its shard would wait for ever", () => {
  expect(may(encodeBatch({ ...rows, after: [40, 60, 0, 0] }))).toBeTrue();
  expect(may(encodeBatch({ ...rows, after: [0, 1_000_000, 0, 0] }))).toBeFalse();
  expect(may(encodeBatch({ ...rows, after: [0, 0, 0, 0, 0] }))).toBeFalse();
  expect(may(encodeMarker(50), 1)).toBeTrue();
  expect(may(encodeMarker(51), 1)).toBeFalse();
  expect(may(encodeMarker(5), 0)).toBeFalse();
});

test("only an entry of shard 0 names other shards, each once", () => {
  expect(may(encodeNamed([1, 3], encodeBatch(rows)))).toBeTrue();
  expect(may(encodeNamed([1, 3], encodeBatch(rows)), 1)).toBeFalse();
  expect(may(encodeNamed([1, 1], encodeBatch(rows)))).toBeFalse();
  expect(may(encodeNamed([4], encodeBatch(rows)))).toBeFalse();
});

test("a schema change is read before it is ordered", () => {
  const entry = encodeSchemaEntry({
    changes: [{ op: "drop", kind: "index", name: "i" }],
    local: [],
    lost: null,
  });
  expect(may(schema(entry))).toBeTrue();
  expect(may(schema(utf8("{")))).toBeFalse();
});

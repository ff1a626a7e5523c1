/** Options of a node against the settings of its cluster. */
import { expect, test } from "bun:test";
import { forAll } from "../../src/change/per-table.ts";
import { checkClusterSettings, shardsNote } from "../../src/node/cluster-settings.ts";
import type { NodeOptions } from "../../src/node/options.ts";
import type { ReplicaSettings } from "../../src/replica/store/settings.ts";

const NONE = {
  shards: null,
  transactions: null,
  merge: null,
  foreignKeys: null,
  idBlock: null,
  tables: null,
  exclude: null,
};
const settings = (shards: number): ReplicaSettings =>
  ({
    shards,
    transactions: "whole",
    merge: forAll("row"),
    foreignKeys: "keep",
    idBlock: forAll(64),
    selection: { tables: null, exclude: ["Logs", "b"] },
  }) as Partial<ReplicaSettings> as ReplicaSettings;
const check = (given: Partial<NodeOptions>, shards = 4): void =>
  checkClusterSettings({ ...NONE, ...given } as NodeOptions, settings(shards));

test("options that are not given or equal the cluster's settings pass", () => {
  check({});
  check({ shards: 4, transactions: "whole", merge: forAll("row"), foreignKeys: "keep", idBlock: forAll(64) });
  check({ exclude: ["B", "logs"] });
});

test("an option that differs from the cluster's setting is named with both values", () => {
  for (const [given, text] of [
    [{ shards: 2 }, "--shards 2 was given, but the cluster has 4"],
    [{ transactions: "row" }, "--transactions row was given, but the cluster has whole"],
    [{ merge: forAll("column") }, "--merge column was given, but the cluster has row"],
    [{ foreignKeys: "resolve" }, "--foreign-keys resolve was given, but the cluster has keep"],
    [{ idBlock: forAll(16) }, "--id-block 16 was given, but the cluster has 64"],
    [{ exclude: ["b"] }, "--exclude b was given, but the cluster has Logs,b"],
    [{ tables: ["a"] }, "--tables a was given, but the cluster was formed without it"],
  ] as const)
    expect(() => check(given)).toThrow(text);
});

test("with one shard --transactions has no effect and is accepted", () => {
  check({ transactions: "row" }, 1);
  expect(shardsNote(settings(1))).toBeNull();
});

test("several shards give a note about transactions", () => {
  expect(shardsNote(settings(2))).toContain("transactions stay whole");
  expect(shardsNote({ ...settings(2), transactions: "row" })).toContain("can be seen in parts");
});

/** Which versions of formats two nodes can work with, and which one a node may write. */
import { expect, test } from "bun:test";
import {
  formatClash,
  FORMATS,
  type FormatRanges,
  HELLO_FORMATS,
  newerFormat,
  OLDEST_FORMATS,
} from "../../src/base/versions/formats.ts";
import { asPeerId } from "../../src/base/ids.ts";
import { REPLICA_FORMAT } from "../../src/replica/store/tables.ts";
import { APP_DB_FORMAT } from "../../src/schema/app-db-tables.ts";
import { LOG_FORMAT } from "../../src/log-store/log-format.ts";
import { ClusterFormats } from "../../src/replication/formats/cluster-formats.ts";
import {
  formatsOf,
  ownFormats,
  readStoredFormats,
  storedFormats,
} from "../../src/replication/formats/told-formats.ts";

const speaking = (changes: Partial<FormatRanges>): FormatRanges => ({ ...OLDEST_FORMATS, ...changes });

test("this build reads the formats of release 0.1.0 and the ones that it writes", () => {
  for (const [name, { min, max }] of Object.entries(OLDEST_FORMATS)) {
    const own = FORMATS[name as keyof typeof FORMATS];
    expect([name, own.min <= max && own.max >= min]).toEqual([name, true]);
  }
  expect(REPLICA_FORMAT).toBeLessThanOrEqual(FORMATS.replica.max);
  expect(APP_DB_FORMAT).toBeLessThanOrEqual(FORMATS.appDb.max);
  expect(LOG_FORMAT).toBeLessThanOrEqual(FORMATS.log.max);
  // Release 0.1.0 refuses all others.
  expect(HELLO_FORMATS).toEqual([1, 2, 1]);
});

test("two nodes without a common version of their messages name the older one", () => {
  const far = speaking({ wire: { min: 7, max: 9 } });
  expect(formatClash(far, {})).toEqual({
    older: "self",
    reason: `it reads messages of format ${FORMATS.wire.max}, and format 7 is needed`,
  });
  expect(formatClash(OLDEST_FORMATS, {}, far)).toMatchObject({ older: "peer" });
  expect(formatClash(OLDEST_FORMATS, {})).toBeNull();
});

test("a peer that does not read the entries of the cluster is refused, and one that reads them is not", () => {
  expect(formatClash(OLDEST_FORMATS, { entry: 3 })).toEqual({
    older: "peer",
    reason: "it reads log entries of format 1 to 2, and format 3 is needed",
  });
  expect(formatClash(speaking({ entry: { min: 2, max: 4 } }), { entry: 3 })).toBeNull();
});

test("the newest version that all members read is written", () => {
  const known = new Map<string, FormatRanges>();
  const members = ["a", "b"].map((name) => ({ peerId: asPeerId(name), name }));
  const formats = new ClusterFormats({
    self: asPeerId("a"),
    members: () => members,
    known: (peer) => known.get(peer) ?? null,
  });
  // A member that was never met counts as one of release 0.1.0.
  expect(formats.mayWrite("entry")).toBe(Math.min(FORMATS.entry.max, OLDEST_FORMATS.entry.max));
  expect(formats.heldBackBy("entry", OLDEST_FORMATS.entry.max + 1)).toContain("b");
  known.set("b", speaking({ entry: { min: 1, max: 1 } }));
  expect(formats.mayWrite("entry")).toBe(1);
  expect(formats.held()).toEqual([
    { name: "entry", writes: 1, newest: FORMATS.entry.max, heldBackBy: ["b"] },
  ]);
  known.set("b", speaking({ entry: { min: 1, max: 99 } }));
  expect(formats.mayWrite("entry")).toBe(FORMATS.entry.max);
  expect(formats.heldBackBy("entry", 99)).toEqual(["a"]);
});

test("a hello tells all formats, and those of other builds are read", () => {
  expect(formatsOf(ownFormats())).toEqual(FORMATS);
  expect(formatsOf(undefined)).toEqual(OLDEST_FORMATS);
  expect(formatsOf([["unknown", 4, 5]])).toEqual(OLDEST_FORMATS);
  expect(readStoredFormats(storedFormats([["entry", 1, 9]]))!.entry).toEqual({ min: 1, max: 9 });
  expect(readStoredFormats("")).toBeNull();
});

test("content of a newer format is a halt that asks for an update", () => {
  const { halt } = newerFormat("entry 7 of shard 0", "entry", 9);
  expect(halt.name).toBe("update");
  expect(halt.reason).toContain("entry 7 of shard 0 has log entries of format 9");
  expect(halt.hint).toStartWith("update marmot on this machine");
});

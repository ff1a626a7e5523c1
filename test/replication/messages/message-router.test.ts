/** Hellos of other releases: which peers are refused, and what both sides say. */
import { expect, test } from "bun:test";
import { asPeerId } from "../../../src/base/ids.ts";
import type { UsedFormats } from "../../../src/base/versions/formats.ts";
import { readRefusal } from "../../../src/replication/lives/hello-check.ts";
import {
  decodeHello,
  encodeControl,
  encodeHello,
  type Hello,
} from "../../../src/replication/messages/control-messages.ts";
import { MessageRouter, type Stage } from "../../../src/replication/messages/message-router.ts";

const PEER = asPeerId("peer");

function router(usedFormats: UsedFormats): MessageRouter {
  const made = new MessageRouter(
    { name: "n0", version: "0.2.0", role: "voter", nonce: "n" },
    { now: () => 0, mayJoin: () => null },
  );
  const stage: Partial<Stage> = { clusterId: "c", usedFormats: () => usedFormats, onControl: () => {} };
  made.enter(stage as Stage);
  return made;
}

/** As release 0.1.0 sends it. */
const OLD: Hello = { clusterId: "c", name: "n1", version: "0.1.0", role: "voter", formats: [1, 2, 1] };

const meet = (made: MessageRouter, hello: Hello): string | null =>
  made.admit({ peerId: PEER, hello: encodeHello(hello), otherLinkSilentMs: null });

test("a node of release 0.1.0 is accepted, and reads this build's hello as one of its own", () => {
  const made = router({ entry: 2, replica: 3 });
  expect(meet(made, OLD)).toBeNull();
  expect(made.formatsOf(PEER)!.entry).toEqual({ min: 1, max: 2 });
  const { formats, speaks } = decodeHello(made.hello())!;
  expect(formats).toEqual([1, 2, 1]);
  expect(speaks!.length).toBeGreaterThan(0);
});

test("a node that does not read the entries of the cluster is told to update, which halts it", () => {
  const made = router({ entry: 3 });
  const reason = meet(made, OLD)!;
  expect(reason).toBe(
    "update: n1 runs marmot 0.1.0: it reads log entries of format 1 to 2, and format 3 is needed; update n1",
  );
  expect(readRefusal(reason)?.code).toBe("update");
  expect(made.refusals.list()).toMatchObject([{ peerId: PEER, name: "n1", by: "this node", reason }]);
  expect(meet(made, { ...OLD, version: "0.3.0", speaks: [["entry", 1, 4]] })).toBeNull();
});

test("a node whose messages are newer is refused without a halt of it: this one must be updated", () => {
  const made = router({});
  const reason = meet(made, { ...OLD, version: "9.0.0", speaks: [["wire", 7, 9]] })!;
  expect(reason).toContain("formats: n0 runs marmot 0.2.0");
  expect(reason).toEndWith("update n0");
  expect(readRefusal(reason)).toBeNull();
});

test("a refusal by a peer is listed until the peer works with this node", () => {
  const made = router({});
  expect(meet(made, OLD)).toBeNull();
  made.refusedBy(PEER, "it belongs to another cluster");
  expect(made.refusals.list()).toMatchObject([{ name: "n1", by: "peer" }]);
  made.onMessage(PEER, encodeControl({ kind: "tell" }));
  expect(made.refusals.list()).toEqual([]);
});

import { afterEach, beforeEach, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { asPeerId } from "../../src/base/ids.ts";
import { PeerMemory } from "../../src/log-store/peer-memory.ts";

const PEER = asPeerId("p");
let folder = "";
let open: Database[] = [];
const reopen = (): PeerMemory => {
  for (const db of open.splice(0)) db.close();
  const db = new Database(join(folder, "log.db"));
  open.push(db);
  return new PeerMemory(db);
};
const changes = (): unknown => open[0]!.query("SELECT total_changes()").values()[0]![0];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-peers-"));
});
afterEach(() => {
  for (const db of open.splice(0)) db.close();
  rmSync(folder, { recursive: true, force: true });
});

test("the latest life of a peer is there again after a restart", () => {
  reopen().remember(PEER, { member: 5, incarnation: 2, nonce: "a" });
  reopen().remember(PEER, { member: 5, incarnation: 3, nonce: "b" });
  expect(reopen().get(PEER)).toEqual({ member: 5, incarnation: 3, nonce: "b" });
  expect(reopen().get(asPeerId("q"))).toBeNull();
});

test("an older life, or another process with the same incarnation, changes nothing and writes nothing", () => {
  const memory = reopen();
  memory.remember(PEER, { member: 5, incarnation: 3, nonce: "b" });
  const before = changes();
  memory.remember(PEER, { member: 5, incarnation: 2, nonce: "a" });
  memory.remember(PEER, { member: 5, incarnation: 3, nonce: "c" });
  memory.remember(PEER, { member: 4, incarnation: 9, nonce: "d" });
  expect(changes()).toBe(before);
  expect(memory.get(PEER)).toEqual({ member: 5, incarnation: 3, nonce: "b" });
});

test("a later admission of the peer counts more than its incarnations", () => {
  const memory = reopen();
  memory.remember(PEER, { member: 5, incarnation: 3, nonce: "b" });
  memory.remember(PEER, { member: 9, incarnation: 1, nonce: "e" });
  expect(reopen().get(PEER)).toEqual({ member: 9, incarnation: 1, nonce: "e" });
});

/** Whether a learner of an earlier epoch may follow, and the log with which it does. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { asPeerId } from "../../src/base/ids.ts";
import { createLog } from "../../src/log-store/log-file.ts";
import { SqliteLogStore } from "../../src/log-store/sqlite-log-store.ts";
import { EntryType } from "../../src/raft/model/types.ts";
import { Followers } from "../../src/replication/epochs/followers.ts";
import type { RecordedEpoch } from "../../src/shard/epochs.ts";
import type { GroupConfiguration } from "../../src/shard/seams.ts";

const SURVIVOR = asPeerId("survivor");
const LEARNER = asPeerId("learner");

const epoch = (number: number, more: Partial<RecordedEpoch> = {}): RecordedEpoch => ({
  ...{ number, id: `epoch-${number}`, by: SURVIVOR, starts: [21], signature: "", former: [LEARNER] },
  // The survivor knew entries up to 15 to be committed, and kept those up to 20.
  ...{ ends: [20], committed: [15] },
  ...more,
});

const configurationWith = (epochs: readonly RecordedEpoch[]): GroupConfiguration => ({
  index: 21,
  configuration: { voters: [3], votersOutgoing: [], learners: [5], learnersNext: [], autoLeave: false },
  members: [
    { id: 3, peerId: SURVIVOR, name: "n1" },
    { id: 5, peerId: LEARNER, name: "n2", role: "learner" },
  ],
  epochs,
});

/** Entries from 11 on, of term 2, and of term 4 in the new epoch. */
const LOG = { firstIndex: () => 11, term: (index: number) => (index <= 20 ? 2 : 4) };

const answer = (
  end: readonly [number, number],
  { epochs = [epoch(1)], after = "", peer = LEARNER } = {},
): string => {
  const group = { log: LOG, configuration: configurationWith(epochs) };
  const followers = new Followers({
    self: SURVIVOR,
    groups: () => [group],
    life: () => null,
    onRefused: () => {},
  });
  const control = followers.answer(peer, { kind: "follow", after, ends: [end] });
  return control.kind === "refused" ? control.reason : control.kind;
};

const LACKS = "it has entries that the newest epoch lacks";

describe("a learner of the epoch before", () => {
  test("follows if the survivor knew its entries to be committed, also where its log begins later", () => {
    expect([answer([15, 2]), answer([8, 1])]).toEqual(["followed", "followed"]);
  });

  test("follows if the kept entries are those that it has", () => {
    expect(answer([20, 2])).toBe("followed");
  });

  test("is refused if it has other entries at the place of the kept ones", () => {
    expect(answer([18, 3])).toBe(LACKS);
  });

  test("is refused if it has more, although the new epoch has an entry of that term there", () => {
    expect(answer([21, 4])).toBe(LACKS);
  });

  test("is refused by an epoch of an older build, which does not tell its ends", () => {
    const { ends: _, committed: __, ...old } = epoch(1);
    expect(answer([15, 2], { epochs: [old] })).toBe(LACKS);
  });
});

test("of several epochs, the first that the learner did not see counts", () => {
  const epochs = [epoch(1, { ends: [12], committed: [12] }), epoch(2)];
  expect(answer([18, 2], { epochs })).toBe(LACKS);
  expect(answer([18, 2], { epochs, after: "epoch-1" })).toBe("followed");
});

test("a learner of a fork, or of a forgotten epoch, is refused", () => {
  const unknown = "it is of an epoch that is not known any more";
  expect(answer([15, 2], { after: "another" })).toBe(unknown);
  expect(answer([15, 2], { epochs: [epoch(2)] })).toBe(unknown);
});

test("a peer that is no member is refused", () => {
  expect(answer([15, 2], { peer: asPeerId("other") })).toBe("it is no member of the newest epoch");
});

test("only the node that began the epoch answers", () => {
  expect(answer([15, 2], { epochs: [epoch(1, { by: LEARNER })] })).toBe(
    "another node began the newest epoch",
  );
});

describe("the log of a learner that follows", () => {
  let folder = "";
  let log: SqliteLogStore;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "marmot-followers-"));
    const path = join(folder, "log.db");
    const { configuration, members } = configurationWith([]);
    const before: GroupConfiguration = { index: 1, configuration, members };
    createLog(path, { clusterId: "c", peerId: LEARNER }, [
      { snapshot: { index: 10, term: 1, configuration }, configuration: before },
    ]);
    log = SqliteLogStore.open(path, 0);
  });
  afterEach(() => {
    log.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test("ends at the last entry that agrees, and has the configuration of the epoch, also after a restart", () => {
    const entries = [11, 12, 13].map((index) => ({
      ...{ index, term: 2, type: EntryType.normal },
      data: new Uint8Array([index]),
    }));
    log.write([{ shard: 0, entries, hardState: { term: 2, vote: 0, commit: 12 } }]);
    log.supersede([epoch(1)]);
    log.peers.remember(SURVIVOR, { member: 3, incarnation: 4, nonce: "a" });
    log.follow([12], [configurationWith([epoch(1)])]);
    for (let opened = 0; opened < 2; opened++) {
      expect([log.group(0).lastIndex(), log.group(0).hardState.commit]).toEqual([12, 12]);
      expect(log.configurationAt(0, 12)).toEqual(configurationWith([epoch(1)]));
      expect(log.peers.get(SURVIVOR)).toBeNull();
      log.close();
      log = SqliteLogStore.open(join(folder, "log.db"), 0);
    }
    // The entries of the survivor take the place of those that were cut.
    log.write([{ shard: 0, entries: [{ ...entries[2]!, term: 4 }] }]);
    expect(log.group(0).term(13)).toBe(4);
  });
});

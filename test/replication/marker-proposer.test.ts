/** The cross-shard markers that a node owes for committed entries, and their number when many entries are in flight. */
import { asPeerId } from "../../src/base/ids.ts";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "../silent-logger.ts";
import { Random } from "../../src/base/random.ts";
import { encodeMarker, encodeNamed, readMarking } from "../../src/change/marking.ts";
import { encodeBatch } from "../../src/change/codec.ts";
import { BatchKind } from "../../src/change/batch.ts";
import { createLog } from "../../src/log-store/log-file.ts";
import { SqliteLogStore } from "../../src/log-store/sqlite-log-store.ts";
import { MarkerProposer } from "../../src/replication/pipeline/marker-proposer.ts";
import { newMessage } from "../../src/raft/raft.ts";
import { type Entry, EntryType, type Message, MessageType } from "../../src/raft/model/types.ts";
import { committedEntry } from "../../src/replica/order/entry-queue.ts";
import { ShardRuntime } from "../../src/shard/runtime.ts";
import { encodeMessages } from "../../src/shard/wire.ts";
import { batch, MemoryReplica } from "../replica/lab.ts";

const naming = (index: number, term: number, ...names: number[]): Entry => ({
  index,
  term,
  type: EntryType.normal,
  data: encodeNamed(names, encodeBatch(batch({ csn: index, previousCsn: index - 1 }))),
});

/** Markers of which every proposal is kept. */
function owed(shards: number, options: { leads?: (shard: number) => boolean; now?: () => number } = {}) {
  const proposed: { shard: number; upTo: number | null }[] = [];
  const markers = new MarkerProposer(shards, {
    leads: options.leads ?? (() => true),
    now: options.now ?? (() => 0),
    propose: (shard, data) => {
      proposed.push({ shard, upTo: readMarking(data).marker });
      return "accepted";
    },
  });
  return { markers, proposed };
}

describe("an uncommitted entry", () => {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "marmot-markers-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  test("gets no marker, neither before nor after another entry replaces it", () => {
    const configuration = {
      index: 1,
      configuration: {
        voters: [1, 2, 3],
        votersOutgoing: [],
        learners: [],
        learnersNext: [],
        autoLeave: false,
      },
      members: [1, 2, 3].map((id) => ({ id, peerId: asPeerId(`p${id}`), name: `n${id}` })),
    };
    const snapshot = { index: 1, term: 1, configuration: configuration.configuration };
    const path = join(folder, "log.db");
    createLog(
      path,
      { clusterId: "c", peerId: "p2" },
      [0, 1, 2].map(() => ({ snapshot, configuration })),
    );
    const logStore = SqliteLogStore.open(path);
    const { markers, proposed } = owed(3);
    const runtime = new ShardRuntime(
      {
        logStore,
        transport: { send: () => true, connected: () => [] },
        random: new Random(1),
        logger: silentLogger,
        stateMachine: {
          position: () => ({ index: 1, term: 1 }),
          syncedPosition: () => 1,
          committed: (shard, entries) => markers.committed(shard, entries.map(committedEntry)),
          snapshotOffered: () => {},
          proposalLost: () => {},
          leaderChanged: () => {},
        },
      },
      { shards: 3, peerId: asPeerId("p2"), member: 2 },
    );
    const append = (from: number, message: Partial<Message>): void => {
      const whole = newMessage({
        type: MessageType.append,
        from,
        to: 2,
        index: 1,
        logTerm: 1,
        commit: 1,
        ...message,
      });
      runtime.receive(asPeerId(`p${from}`), encodeMessages([{ shard: 0, message: whole }]));
      runtime.turn();
      markers.propose(1);
    };
    append(1, { term: 2, entries: [naming(2, 2, 1), naming(3, 2, 1)] });
    expect(logStore.group(0).lastIndex()).toBe(3);
    expect(proposed).toEqual([]);
    // Another leader never had them; what it commits at index 2 names another shard, and there is no index 3.
    append(3, { term: 3, entries: [naming(2, 3, 2)], commit: 2 });
    expect(logStore.group(0).lastIndex()).toBe(2);
    expect(proposed).toEqual([{ shard: 2, upTo: 2 }]);
    logStore.close();
  });
});

describe("many entries in flight", () => {
  test("a thousand entries need one marker a commit, none waits for another, and the last serves all", () => {
    const shards = 4;
    const keys = ((one: MemoryReplica): number[] => {
      const found = [0, 1, 2, 3].map((shard) => {
        let k = 1;
        while (one.replica.shardOfKey(1, k) !== shard) k++;
        return k;
      });
      one.close();
      return found;
    })(new MemoryReplica({ schema: "CREATE TABLE kv(k INTEGER PRIMARY KEY, v)", shards }));
    const real = new MemoryReplica({ schema: "CREATE TABLE kv(k INTEGER PRIMARY KEY, v)", shards });
    const { markers, proposed } = owed(shards);
    const opening = encodeBatch(batch({ kind: BatchKind.open }));
    for (let shard = 0; shard < shards; shard++)
      real.give(shard, { index: 1, term: 1, type: EntryType.normal, data: opening });
    const entries = Array.from({ length: 1000 }, (_, i): Entry => {
      const writes = keys.map((k) => ({ k, v: String(i) }));
      const data = encodeBatch(batch({ csn: i + 2, previousCsn: i + 1, writes }));
      return { index: i + 2, term: 1, type: EntryType.normal, data: encodeNamed([1, 2, 3], data) };
    });
    const commits = 20;
    const own = [[], [], [], []] as Entry[][];
    for (let at = 0; at < entries.length; at += entries.length / commits) {
      const some = entries.slice(at, at + entries.length / commits);
      markers.committed(0, some.map(committedEntry));
      real.replica.enqueue(0, some);
      markers.propose(real.replica.position(0));
      for (const { shard, upTo } of proposed.splice(0)) {
        const index = own[shard]!.length + 2;
        const data = encodeMarker(upTo!);
        own[shard]!.push({ index, term: 1, type: EntryType.normal, data });
        // Two shards answer at once; the third's markers are on their way all the time.
        if (shard !== 3) real.replica.enqueue(shard, [own[shard]!.at(-1)!]);
      }
      real.replica.advance(() => false);
    }
    expect(own.map((log) => log.length)).toEqual([0, commits, commits, commits]);
    expect(real.replica.position(0)).toBe(1);
    // One delivery of the slow shard's log, and everything takes effect.
    real.replica.enqueue(3, own[3]!);
    real.replica.advance(() => false);
    expect(real.replica.position(0)).toBe(1001);
    expect(real.replica.queued).toBe(0);
    expect(keys.map((k) => real.replica.row(1, [BigInt(k)])![1])).toEqual(["999", "999", "999", "999"]);
    real.close();
  });

  test("only a leader proposes a marker again, after a delay, and not when it is committed or needless", () => {
    let now = 0;
    let leads = false;
    const { markers, proposed } = owed(2, { leads: () => leads, now: () => now });
    markers.committed(0, [committedEntry(naming(5, 1, 1))]);
    markers.propose(4);
    expect(proposed).toHaveLength(0);
    leads = true;
    for (const at of [0, 100, 350, 700]) {
      now = at;
      markers.propose(4);
    }
    expect(proposed).toEqual([5, 5, 5].map((upTo) => ({ shard: 1, upTo })));
    now = 2000;
    markers.propose(5); // the replica is past it
    expect(proposed).toHaveLength(3);
    markers.committed(1, [{ index: 9, names: [], marker: 5 }]);
    markers.propose(4);
    expect(proposed).toHaveLength(3);
  });
});

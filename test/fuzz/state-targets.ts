/** Hostile bytes against the state of a node: its replica, its Raft groups, and the files that it receives. */
import { strict as assert } from "node:assert";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AssertionError } from "../../src/base/assert.ts";
import { EntryError, HaltError } from "../../src/base/halt.ts";
import { asPeerId } from "../../src/base/ids.ts";
import { Random } from "../../src/base/random.ts";
import { BatchKind } from "../../src/change/batch.ts";
import { encodeBatch } from "../../src/change/codec.ts";
import { encodeMarker, encodeNamed } from "../../src/change/marking.ts";
import { createLog } from "../../src/log-store/log-file.ts";
import { SqliteLogStore } from "../../src/log-store/sqlite-log-store.ts";
import { EntryType } from "../../src/raft/model/types.ts";
import { isProposal } from "../../src/replication/messages/check-proposal.ts";
import { encodeSchemaEntry } from "../../src/schema/diff/schema-entry.ts";
import { ShardRuntime } from "../../src/shard/runtime.ts";
import { encodeMessages, WireError } from "../../src/shard/wire.ts";
import { encodeHeader, encodeTrailer, SnapshotError } from "../../src/snapshot/header.ts";
import { nextHash } from "../../src/snapshot/growing-copy.ts";
import { readPartial } from "../../src/snapshot/partial.ts";
import { receiveSnapshot } from "../../src/snapshot/stream.ts";
import { batch, MemoryReplica } from "../replica/lab.ts";
import { silentLogger } from "../silent-logger.ts";
import { MESSAGES } from "./samples.ts";
import { randomBytes } from "./mutate.ts";
import type { MakeTarget } from "./target.ts";

const SCHEMA = "CREATE TABLE t(k INTEGER PRIMARY KEY, v); CREATE TABLE u(a TEXT, b UNIQUE, PRIMARY KEY(a))";
/** Entries of one replica; then another begins. */
const ENTRIES = 400;

const made = (): MemoryReplica =>
  new MemoryReplica({ schema: SCHEMA, shards: 2, merge: "column", foreignKeys: "resolve", peerId: "b" });

/**
 * An entry that the leader lets pass is applied by the replica; any other committed entry may be refused as a bad one, and
 * then nothing of it is in the replica.
 */
export const committedEntries: MakeTarget = () => {
  let one = made();
  let given = 0;
  const rows = (csn: number): ReturnType<typeof batch> =>
    batch({
      csn,
      previousCsn: csn - 1,
      writes: [
        { k: csn, v: "one" },
        { k: 1, v: null },
      ],
      bases: [[0, 0]],
    });
  const open = batch({ kind: BatchKind.open, writes: [] });
  return {
    name: "committed entries",
    samples: [
      encodeBatch(open),
      encodeBatch(batch({ ...open, kind: BatchKind.open, incarnation: 2 })),
      ...[2, 3, 4].map((csn) => encodeBatch(rows(csn))),
      encodeNamed([1], encodeBatch(rows(2))),
      encodeMarker(1),
      encodeBatch(batch({ kind: BatchKind.check, note: "ab" })),
      encodeBatch({
        ...batch({ kind: BatchKind.schema, csn: 2, previousCsn: 1 }),
        schema: encodeSchemaEntry({
          changes: [{ op: "drop", kind: "index", name: "i" }],
          local: [],
          lost: null,
        }),
      }),
    ],
    feed(bytes, random) {
      if (++given % ENTRIES === 0) {
        one.close();
        one = made();
      }
      const shard = random.below(2);
      const view = { replica: one.replica, lastIndex: (other: number) => one.replica.position(other) };
      const passes = isProposal(view, shard, asPeerId("a"), bytes);
      // Another replica for each bad entry takes most of the time.
      if (!passes && random.chance(0.95)) return;
      if (one.replica.queued > 0) {
        one.close();
        one = made();
      }
      try {
        one.give(shard, {
          index: one.replica.position(shard) + 1,
          term: 1,
          type: EntryType.normal,
          data: bytes,
        });
      } catch (error) {
        if (!(error instanceof EntryError || error instanceof HaltError)) throw error;
        assert(!passes || isSchemaChange(bytes), `an entry that passed cannot be applied: ${error.message}`);
        one.close();
        one = made();
      }
    },
    close: () => one.close(),
  };
};

/** The statements of a schema change are tried only where it is applied. */
const isSchemaChange = (bytes: Uint8Array): boolean => Buffer.from(bytes).includes('"changes"');

/** Recorded messages, also truncated, in another order and again: the groups go on, and nothing stops the node. */
export const conversations: MakeTarget = () => {
  const folder = mkdtempSync(join(tmpdir(), "marmot-fuzz-"));
  let number = 0;
  const start = (): { runtime: ShardRuntime; logStore: SqliteLogStore } => {
    const path = join(folder, `log-${++number}.db`);
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
    createLog(
      path,
      { clusterId: "c", peerId: "p2" },
      [0, 1, 2, 3].map(() => ({ snapshot, configuration })),
    );
    const logStore = SqliteLogStore.open(path);
    logStore.write = () => {}; // no disk: a turn is a microsecond
    const runtime = new ShardRuntime(
      {
        logStore,
        transport: { send: () => true, connected: () => [] },
        random: new Random(1),
        logger: silentLogger,
        stateMachine: {
          position: () => ({ index: 1, term: 1 }),
          syncedPosition: () => 1,
          committed: () => {},
          snapshotOffered: () => {},
          mayPropose: (_shard, _peer, data) => data.length > 0,
          proposalLost: () => {},
          leaderChanged: () => {},
        },
      },
      { shards: 4, peerId: asPeerId("p2"), member: 2 },
    );
    return { runtime, logStore };
  };
  let one = start();
  let given = 0;
  return {
    name: "conversations",
    samples: [...MESSAGES.map((message) => encodeMessages([message])), encodeMessages(MESSAGES)],
    feed(bytes, random) {
      if (++given % 500 === 0) {
        one.logStore.close();
        one = start();
      }
      const { runtime } = one;
      try {
        runtime.receive(asPeerId(random.pick(["p1", "p3", "p3", "stranger"])), bytes);
      } catch (error) {
        // The stream is closed then. An assertion: the sender knows more of this log than there is.
        if (!(error instanceof WireError || error instanceof AssertionError)) throw error;
      }
      if (random.chance(0.3)) runtime.tick();
      try {
        runtime.turn();
      } catch (error) {
        if (!(error instanceof EntryError)) throw error;
        one.logStore.close();
        one = start();
      }
      assert(runtime.groups.every(({ raft }) => raft.term < 2 ** 41));
    },
    close() {
      one.logStore.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
};

/** A snapshot arrives whole and as it was sent, or is refused; its file never grows beyond the header's size. */
export const snapshots: MakeTarget = (random) => {
  // Each snapshot is synced: in memory where the machine has such a folder.
  const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "marmot-fuzz-"));
  const target = join(folder, "received.db");
  const content = randomBytes(random, 500);
  const configuration = { voters: [1], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false };
  const header = {
    clusterId: "c0ffee",
    positions: [{ index: 7, term: 1 }],
    configurations: [{ index: 1, configuration, members: [{ id: 1, peerId: asPeerId("p"), name: "n" }] }],
    size: content.length,
    copy: "ab-1",
  };
  const first = encodeHeader(header);
  const hash = nextHash(nextHash(0n, first), content);
  const trailer = encodeTrailer({ hash, whole: nextHash(0n, content) });
  return {
    name: "snapshots",
    samples: [
      first,
      content,
      trailer,
      encodeHeader({ ...header, from: 0 }),
      encodeHeader({ ...header, size: 0 }),
    ],
    async feed(bytes, chance) {
      const order = chance.pick([
        [first, content, trailer],
        [bytes, content, trailer],
        [first, bytes, trailer],
        [first, content, bytes],
        [first, content, bytes, trailer],
        [bytes],
        [trailer, first, content],
        [first, content],
      ]);
      async function* chunks(): AsyncIterable<Uint8Array> {
        for (const chunk of order) yield await Promise.resolve(chunk);
      }
      try {
        await receiveSnapshot(chunks(), target, readPartial(target), (done, total) => assert(done <= total));
        assert(
          readFileSync(target).length <= content.length,
          "nothing beyond the size in the header is written",
        );
      } catch (error) {
        if (!(error instanceof SnapshotError)) throw error;
      }
      if (chance.chance(0.05)) {
        writeFileSync(`${target}.copy`, bytes.subarray(0, 100));
        readPartial(target);
      }
    },
    close: () => rmSync(folder, { recursive: true, force: true }),
  };
};

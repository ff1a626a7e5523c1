/**
 * SQLiteLogDB: the Raft logs of all groups in one database, one `synchronous=FULL` transaction a turn. All writes that
 * `write` received are on disk when it returns. The newest entries are also in memory, cut together with those on disk.
 */
import type { Database, Statement } from "bun:sqlite";
import { statSync } from "node:fs";
import { assert } from "../base/assert.ts";
import type { LogIndex } from "../base/ids.ts";
import type { MemberId } from "../raft/model/types.ts";
import type { Epoch } from "../shard/epochs.ts";
import type { GroupConfiguration, GroupLog, GroupWrite, LogStore, ShardId } from "../shard/seams.ts";
import { integer, readTuples } from "../sqlite/typed-rows.ts";
import { encodeConfiguration } from "./configuration-codec.ts";
import { type GroupState, GroupReader, loadGroups } from "./group-state.ts";
import { fillWal, type LogIdentity, openLog, storedMember, SUPERSEDED } from "./log-file.ts";
import { type EntryKeeper, KeptEntries } from "./kept-entries.ts";
import { checksum, SHARD_SPAN } from "./log-format.ts";
import { PeerMemory } from "./peer-memory.ts";

/** Pages that the WAL is filled with soon after the start, so that each later sync overwrites blocks that exist. */
const WAL_PAGES = 2000;
/** Entries at the end of each log that are verified at the start: a crash could have torn these. */
const VERIFIED_ENTRIES = 1000;
const VERIFIED_AT_ONCE_BYTES = 8 << 20;

export class SqliteLogStore implements LogStore {
  readonly identity: LogIdentity;
  /** This node's member id; 0: it is in no configuration. */
  member: MemberId = 0;
  readonly peers: PeerMemory;
  /** Compacted entries that are still on disk. */
  readonly kept: KeptEntries;
  readonly #db: Database;
  readonly #path: string;
  readonly #groups: GroupState[] = [];
  readonly #readers: GroupReader[] = [];
  readonly #statements: Record<
    "begin" | "commit" | "put" | "cut" | "group" | "configuration" | "dropConfigurations",
    Statement
  >;
  #failed: unknown = null;
  /** Still to be filled. */
  #walPages: number;
  #transactions = 0;

  private constructor(db: Database, path: string, identity: LogIdentity, walPages: number) {
    this.#walPages = walPages;
    this.#db = db;
    this.#path = path;
    this.identity = identity;
    this.peers = new PeerMemory(db);
    this.kept = new KeptEntries(db, (shard) => this.#state(shard).compactedIndex);
    this.#statements = {
      begin: db.prepare("BEGIN IMMEDIATE"),
      commit: db.prepare("COMMIT"),
      put: db.prepare("INSERT INTO entry VALUES(?, ?, ?, ?, ?)"),
      cut: db.prepare("DELETE FROM entry WHERE id >= ? AND id < ?"),
      group: db.prepare(
        `UPDATE grp SET term = ?, vote = ?, commit_index = ?, compacted_index = ?, compacted_term = ?, last_index = ? WHERE shard = ?`,
      ),
      configuration: db.prepare("INSERT OR REPLACE INTO configuration VALUES(?, ?, ?)"),
      dropConfigurations: db.prepare("DELETE FROM configuration WHERE shard = ? AND idx < ?"),
    };
  }

  /**
   * Opens a log that `createLog` made. Throws `UserError` for a damaged file and a newer format. `walPages`: size of the
   * WAL that `fillWal` writes beforehand; 0: none.
   */
  static open(path: string, walPages: number = WAL_PAGES): SqliteLogStore {
    return openLog(path, (db, head) => {
      const store = new SqliteLogStore(db, path, head.identity, walPages);
      store.#load();
      store.member = storedMember(db, head, store.configuration(0));
      return store;
    });
  }

  /** Once, when the start is over: it takes some 20 ms. */
  fillWal(): void {
    const pages = this.#walPages;
    this.#walPages = 0;
    if (pages > 0 && this.#failed === null) fillWal(this.#db, this.#path, pages);
  }

  #load(): void {
    this.#groups.push(...loadGroups(this.#db, this.#path));
    this.#groups.forEach((state, shard) => {
      this.#readers.push(new GroupReader(this.#db, this.#path, shard, state));
      this.#verifyTail(shard);
    });
  }

  /** All entries that a crash could have torn must be there and match their checksums. */
  #verifyTail(shard: number): void {
    const { compactedIndex, lastIndex } = this.#groups[shard]!;
    const from = Math.max(compactedIndex + 1, lastIndex - VERIFIED_ENTRIES);
    const base = shard * SHARD_SPAN;
    this.#db.prepare("DELETE FROM entry WHERE id > ? AND id < ?").run(base + lastIndex, base + SHARD_SPAN);
    for (let at = from; at <= lastIndex;)
      at += this.#readers[shard]!.read(at, lastIndex + 1, VERIFIED_AT_ONCE_BYTES).length;
  }

  group(shard: ShardId): GroupLog {
    const reader = this.#readers[shard];
    if (reader === undefined) throw new RangeError(`shard ${shard} of ${this.#groups.length}`);
    return reader;
  }

  #state(shard: ShardId): GroupState {
    const state = this.#groups[shard];
    if (state === undefined) throw new RangeError(`shard ${shard} of ${this.#groups.length}`);
    return state;
  }

  get shards(): number {
    return this.#groups.length;
  }

  /** Durable transactions since the start. */
  get transactions(): number {
    return this.#transactions;
  }

  /** Runs the commit of a write; replaced to measure it. */
  aroundCommit: (commit: () => void) => void = (commit) => commit();

  write(writes: readonly GroupWrite[]): void {
    if (writes.length > 0) this.#transact(() => writes.forEach((write) => this.#writeGroup(write)));
  }

  /** The same for the first entries of a new epoch: earlier configurations and lives of peers are forgotten. */
  beginEpoch(writes: readonly GroupWrite[]): void {
    this.#transact(() => {
      for (const { shard } of writes) {
        this.#state(shard).configurations = [];
        this.#statements.dropConfigurations.run(shard, Number.MAX_SAFE_INTEGER);
      }
      for (const write of writes) this.#writeGroup(write);
      this.peers.forget();
      this.#db.prepare("DELETE FROM meta WHERE name = ?").run(SUPERSEDED);
    });
  }

  /**
   * This learner follows a later epoch: its log ends at the last entry that is known to agree, and earlier configurations are
   * forgotten, with the lives of peers.
   */
  follow(ends: readonly LogIndex[], configurations: readonly GroupConfiguration[]): void {
    this.#transact(() => {
      configurations.forEach((configuration, shard) => {
        this.#state(shard).configurations = [];
        this.#statements.dropConfigurations.run(shard, Number.MAX_SAFE_INTEGER);
        this.#cutAfter(shard, ends[shard]!);
        this.#writeGroup({ shard, configuration });
      });
      this.peers.forget();
      this.#db.prepare("DELETE FROM meta WHERE name = ?").run(SUPERSEDED);
    });
  }

  #cutAfter(shard: ShardId, index: LogIndex): void {
    const state = this.#state(shard);
    assert(
      index >= state.compactedIndex && index <= state.lastIndex,
      "the log has the entry at which it is cut",
    );
    const base = shard * SHARD_SPAN;
    this.#statements.cut.run(base + index + 1, base + SHARD_SPAN);
    state.cache.cut(index + 1);
    state.lastIndex = index;
  }

  /** A later epoch of the cluster was met, in which this node is no member: no later start replicates. */
  supersede(epochs: readonly Epoch[]): void {
    this.#db
      .prepare("INSERT OR REPLACE INTO meta VALUES(?, ?)")
      .run(SUPERSEDED, JSON.stringify(epochs satisfies readonly Epoch[]));
  }

  #transact(work: () => void): void {
    if (this.#failed !== null) throw this.#failed;
    try {
      this.#statements.begin.run();
      work();
      this.aroundCommit(() => this.#statements.commit.run());
      this.#transactions++;
    } catch (error) {
      // The state on disk is unknown now: the process must stop, without a retry.
      this.#failed = error;
      throw error;
    }
  }

  #writeGroup(write: GroupWrite): void {
    const { shard, snapshot, entries, hardState, configuration } = write;
    const state = this.#state(shard);
    const base = shard * SHARD_SPAN;
    if (snapshot !== undefined) {
      this.#statements.cut.run(base, base + SHARD_SPAN);
      state.compactedIndex = snapshot.index;
      state.compactedTerm = snapshot.term;
      state.lastIndex = snapshot.index;
      state.cache.reset(snapshot.index + 1);
    }
    if (entries !== undefined && entries.length > 0) {
      const first = entries[0]!.index;
      assert(
        first > state.compactedIndex && first <= state.lastIndex + 1,
        "entries follow the end of the log",
      );
      if (first <= state.lastIndex) this.#statements.cut.run(base + first, base + SHARD_SPAN);
      state.cache.cut(first);
      let next = first;
      for (const entry of entries) {
        assert(entry.index === next++, "entries are consecutive");
        this.#statements.put.run(
          base + entry.index,
          entry.term,
          entry.type,
          checksum(entry.term, entry.index, entry.type, entry.data),
          entry.data,
        );
        state.cache.push(entry);
      }
      state.lastIndex = entries.at(-1)!.index;
    }
    if (hardState !== undefined) state.hard = hardState;
    if (configuration !== undefined) {
      const kept = state.configurations.filter((c) => c.index < configuration.index);
      state.configurations = snapshot === undefined ? [...kept, configuration] : [configuration];
      if (snapshot !== undefined) this.#statements.dropConfigurations.run(shard, Number.MAX_SAFE_INTEGER);
      this.#statements.configuration.run(shard, configuration.index, encodeConfiguration(configuration));
    }
    this.#storeGroup(shard, state);
  }

  #storeGroup(shard: ShardId, state: GroupState): void {
    const { term, vote, commit } = state.hard;
    this.#statements.group.run(
      term,
      vote,
      commit,
      state.compactedIndex,
      state.compactedTerm,
      state.lastIndex,
      shard,
    );
  }

  configurationAt(shard: ShardId, index: number): GroupConfiguration | undefined {
    const { configurations } = this.#state(shard);
    return configurations.findLast((c) => c.index <= index) ?? configurations[0];
  }

  configuration(shard: ShardId): GroupConfiguration | undefined {
    return this.#state(shard).configurations.at(-1);
  }

  compact(shard: ShardId, index: number): void {
    const state = this.#state(shard);
    if (index <= state.compactedIndex) return;
    assert(index <= state.lastIndex, "only entries of the log are compacted");
    const term = this.group(shard).term(index);
    this.#remove(() => {
      this.kept.compact(shard, state.compactedIndex, index);
      state.compactedIndex = index;
      state.compactedTerm = term;
      state.cache.forget(index);
      const inForce = state.configurations.findLast((c) => c.index <= index);
      if (inForce !== undefined) {
        state.configurations = state.configurations.filter((c) => c.index >= inForce.index);
        this.#statements.dropConfigurations.run(shard, inForce.index);
      }
      this.#storeGroup(shard, state);
    });
  }

  /** `keeper`: names the entries that stay on disk when they are compacted; null: none do. */
  keepFor(keeper: EntryKeeper | null): void {
    this.kept.keepFor(keeper, this.shards);
    this.#removeReleased();
  }

  #removeReleased(): void {
    if (this.kept.hasReleased) this.#remove(() => this.kept.removeReleased());
  }

  #remove(work: () => void): void {
    try {
      this.#statements.begin.run();
      work();
      this.#statements.commit.run();
    } catch (error) {
      this.#failed = error;
      throw error;
    }
  }

  /** The next number, above `atLeast` and every one given before; on disk when it returns. */
  nextIncarnation(atLeast: number): number {
    const rows = this.#db.prepare("SELECT value FROM meta WHERE name = 'incarnation'").values();
    const [[last] = [0]] = readTuples(rows, integer);
    const next = Math.max(last, atLeast) + 1;
    this.#db.prepare("UPDATE meta SET value = ? WHERE name = 'incarnation'").run(next);
    return next;
  }

  idle(): void {
    if (this.#failed !== null) return;
    this.#removeReleased();
    this.#db.prepare("PRAGMA wal_checkpoint(PASSIVE)").all();
  }

  size(): number {
    const of = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    return of(this.#path) + of(`${this.#path}-wal`);
  }

  close(): void {
    // A write that failed halfway would hold its lock until the garbage collector comes.
    if (this.#db.inTransaction) this.#db.exec("ROLLBACK");
    this.#db.close();
  }
}

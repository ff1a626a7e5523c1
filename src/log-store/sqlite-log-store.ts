/**
 * SQLiteLogDB: the Raft logs of all groups in one database, one `synchronous=FULL` transaction a turn. What `write` took
 * is on disk when it returns. The newest entries are kept in memory, cut together with what is on disk.
 */
import { Database, type Statement } from "bun:sqlite";
import { chmodSync, statSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { assert } from "../base/assert.ts";
import { isDiskFull, UserError } from "../base/errors.ts";
import { type Entry, EntryType, type HardState, type SnapshotMetadata } from "../raft/model/types.ts";
import type { GroupConfiguration, GroupLog, GroupWrite, LogStore, ShardId } from "../shard/seams.ts";
import { decodeConfiguration, encodeConfiguration } from "./configuration-codec.ts";
import { EntryCache } from "./entry-cache.ts";

/** Version of log.db. A newer one is refused. */
export const LOG_FORMAT = 1;

/** Entry key = shard × 2^40 + index. */
const SHARD_SPAN = 2 ** 40;

/** Pages that the WAL is filled with at the start, so that each later sync overwrites blocks that exist. */
const WAL_PAGES = 2000;

const TABLES = `
  CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
  -- One row a group. last_index is explicit: an entry beyond it is a stale tail, whatever the table holds.
  CREATE TABLE IF NOT EXISTS grp(shard INTEGER PRIMARY KEY, term INTEGER, vote INTEGER, commit_index INTEGER,
    compacted_index INTEGER, compacted_term INTEGER, last_index INTEGER);
  -- id = shard * 2^40 + index; checksum = xxh32 over term, index, type and data.
  CREATE TABLE IF NOT EXISTS entry(id INTEGER PRIMARY KEY, term INTEGER, type INTEGER, checksum INTEGER, data BLOB);
  -- History of configurations, so that a snapshot can carry that of its position.
  CREATE TABLE IF NOT EXISTS configuration(shard INTEGER, idx INTEGER, data BLOB, PRIMARY KEY(shard, idx)) WITHOUT ROWID;
`;

const checksum = (term: number, index: number, type: number, data: Uint8Array): number =>
  Bun.hash.xxHash32(data, Bun.hash.xxHash32(`${term}/${index}/${type}`, 0));

interface GroupState {
  hard: HardState;
  compactedIndex: number;
  compactedTerm: number;
  lastIndex: number;
  readonly cache: EntryCache;
  configurations: GroupConfiguration[];
}

export interface LogIdentity {
  readonly clusterId: string;
  readonly peerId: string;
}

/** How a group begins when its log is made: at a snapshot. */
export interface GroupStart {
  readonly snapshot: SnapshotMetadata;
  readonly configuration: GroupConfiguration;
}

const damaged = (path: string, what: string, cause?: unknown): UserError =>
  new UserError(
    `${path} is damaged: ${what}`,
    "stop the node, remove its data directory and let it join the cluster again; never restore an old copy of it",
    { cause },
  );

/** What a log says of itself, without its entries. */
export interface LogHead {
  readonly identity: LogIdentity;
  /** The newest incarnation that was given out; 0: none, the log was never used. */
  readonly incarnation: number;
}

/** Opens a log for `work`; closed again if that throws. Throws `UserError` for a damaged file and a newer format. */
function opened<T>(path: string, work: (db: Database, head: LogHead) => T): T {
  let db: Database | null = null;
  try {
    db = new Database(path, { create: false, readwrite: true });
    db.exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -4000; PRAGMA busy_timeout = 2000",
    );
    const { synchronous } = db.prepare("PRAGMA synchronous").get() as { synchronous: number };
    assert(synchronous === 2, "the log is opened with synchronous=FULL");
    const rows = db.prepare("SELECT name, value FROM meta").values() as [string, unknown][];
    const meta = new Map(rows);
    if (Number(meta.get("format")) !== LOG_FORMAT)
      throw new UserError(
        `${path} is of format ${String(meta.get("format"))}; this build knows format ${LOG_FORMAT}`,
        "run the marmot version that wrote it, or a newer one",
      );
    const identity = { clusterId: String(meta.get("cluster_id")), peerId: String(meta.get("peer_id")) };
    return work(db, { identity, incarnation: Number(meta.get("incarnation")) });
  } catch (error) {
    db?.close();
    if (error instanceof UserError || isDiskFull(error)) throw error;
    throw damaged(path, error instanceof Error ? error.message : String(error), error);
  }
}

/** Throws as `SqliteLogStore.open` does, but for what is wrong with the entries. */
export function readLogHead(path: string): LogHead {
  return opened(path, (db, head) => {
    db.close();
    return head;
  });
}

export class SqliteLogStore implements LogStore {
  readonly identity: LogIdentity;
  readonly #db: Database;
  readonly #path: string;
  readonly #groups: GroupState[] = [];
  readonly #statements: Record<
    | "begin"
    | "commit"
    | "put"
    | "cut"
    | "group"
    | "configuration"
    | "dropConfigurations"
    | "read"
    | "term"
    | "compact",
    Statement
  >;
  #failed: unknown = null;
  #transactions = 0;

  private constructor(db: Database, path: string, identity: LogIdentity) {
    this.#db = db;
    this.#path = path;
    this.identity = identity;
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
      read: db.prepare(
        "SELECT id, term, type, checksum, data FROM entry WHERE id >= ? AND id < ? ORDER BY id",
      ),
      term: db.prepare("SELECT term FROM entry WHERE id = ?"),
      compact: db.prepare("DELETE FROM entry WHERE id >= ? AND id <= ?"),
    };
  }

  /** Makes the log of a node that has a replica: every group begins at its place in `starts`. The file must not exist. */
  static create(path: string, identity: LogIdentity, starts: readonly GroupStart[]): void {
    // No WAL yet: the file alone is the log when this returns, and can be renamed.
    const db = new DatabaseSync(path);
    chmodSync(path, 0o600);
    try {
      db.exec("PRAGMA synchronous = FULL; BEGIN IMMEDIATE");
      db.exec(TABLES);
      const meta = db.prepare("INSERT INTO meta VALUES(?, ?)");
      for (const [name, value] of [
        ["format", LOG_FORMAT],
        ["cluster_id", identity.clusterId],
        ["peer_id", identity.peerId],
        ["incarnation", 0],
        ["shards", starts.length],
      ] as const)
        meta.run(name, value);
      const group = db.prepare("INSERT INTO grp VALUES(?, ?, 0, ?, ?, ?, ?)");
      const configuration = db.prepare("INSERT INTO configuration VALUES(?, ?, ?)");
      starts.forEach(({ snapshot, configuration: c }, shard) => {
        group.run(shard, snapshot.term, snapshot.index, snapshot.index, snapshot.term, snapshot.index);
        configuration.run(shard, c.index, encodeConfiguration(c));
      });
      db.exec("COMMIT");
    } finally {
      db.close();
    }
  }

  /**
   * Opens what `create` made. Throws `UserError` for a damaged file, a newer format or another shard count.
   * `walPages`: size of the WAL that is written beforehand, so that a sync needs no new blocks; 0: only to look.
   */
  static open(path: string, walPages: number = WAL_PAGES): SqliteLogStore {
    return opened(path, (db, { identity }) => {
      const store = new SqliteLogStore(db, path, identity);
      store.#load();
      if (walPages > 0) store.#fillWal(walPages);
      return store;
    });
  }

  #load(): void {
    const rows = this.#db.prepare("SELECT * FROM grp ORDER BY shard").all() as {
      shard: number;
      term: number;
      vote: number;
      commit_index: number;
      compacted_index: number;
      compacted_term: number;
      last_index: number;
    }[];
    rows.forEach((row, shard) => {
      if (row.shard !== shard) throw damaged(this.#path, `the group ${shard} is missing`);
      const configurations = this.#db
        .prepare("SELECT data FROM configuration WHERE shard = ? ORDER BY idx")
        .values(shard)
        .map(([data]) => decodeConfiguration(data as Uint8Array));
      this.#groups.push({
        hard: { term: row.term, vote: row.vote, commit: row.commit_index },
        compactedIndex: row.compacted_index,
        compactedTerm: row.compacted_term,
        lastIndex: row.last_index,
        cache: new EntryCache(row.last_index + 1),
        configurations,
      });
      this.#verifyTail(shard);
    });
  }

  /** The entries that a crash could have torn: all must be there, and be what was written. */
  #verifyTail(shard: number): void {
    const { compactedIndex, lastIndex } = this.#groups[shard]!;
    const from = Math.max(compactedIndex + 1, lastIndex - 1000);
    const base = shard * SHARD_SPAN;
    this.#db.prepare("DELETE FROM entry WHERE id > ? AND id < ?").run(base + lastIndex, base + SHARD_SPAN);
    if (lastIndex >= from) this.#read(shard, from, lastIndex + 1, Number.POSITIVE_INFINITY);
  }

  #fillWal(pages: number): void {
    const { size } = statSync(`${this.#path}-wal`, { throwIfNoEntry: false }) ?? { size: 0 };
    if (size >= pages * 4096) return;
    this.#db.exec("PRAGMA wal_autocheckpoint = 0; BEGIN; CREATE TABLE filler(data BLOB)");
    const fill = this.#db.prepare("INSERT INTO filler VALUES(?)");
    const page = new Uint8Array(4000);
    for (let i = 0; i < pages; i++) fill.run(page);
    fill.finalize();
    this.#db.exec("DROP TABLE filler; COMMIT");
    this.#db.prepare("PRAGMA wal_checkpoint(RESTART)").all();
    this.#db.exec(`PRAGMA wal_autocheckpoint = ${pages}`);
  }

  group(shard: ShardId): GroupLog {
    const state = this.#state(shard);
    return {
      get hardState() {
        return state.hard;
      },
      firstIndex: () => state.compactedIndex + 1,
      lastIndex: () => state.lastIndex,
      term: (index) => this.#term(shard, index),
      entries: (from, to, maxBytes) => this.#entries(shard, from, to, maxBytes),
    };
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

  #term(shard: ShardId, index: number): number {
    const state = this.#state(shard);
    if (index === state.compactedIndex) return state.compactedTerm;
    if (index < state.compactedIndex || index > state.lastIndex)
      throw new RangeError(`index ${index} outside of ${state.compactedIndex} … ${state.lastIndex}`);
    const cached = state.cache.get(index);
    if (cached !== undefined) return cached.term;
    const [row] = this.#statements.term.values(shard * SHARD_SPAN + index);
    if (row === undefined) throw damaged(this.#path, `entry ${index} of shard ${shard} is missing`);
    return row[0] as number;
  }

  #entries(shard: ShardId, from: number, to: number, maxBytes: number): Entry[] {
    const state = this.#state(shard);
    if (from <= state.compactedIndex || to > state.lastIndex + 1 || from > to)
      throw new RangeError(
        `entries [${from}, ${to}) outside of (${state.compactedIndex}, ${state.lastIndex}]`,
      );
    return from >= state.cache.firstIndex
      ? state.cache.slice(from, to, maxBytes)
      : this.#read(shard, from, Math.min(to, state.lastIndex + 1), maxBytes);
  }

  #read(shard: ShardId, from: number, to: number, maxBytes: number): Entry[] {
    const base = shard * SHARD_SPAN;
    const entries: Entry[] = [];
    let bytes = 0;
    let expected = from;
    for (let at = from; at < to; at += 256) {
      const rows = this.#statements.read.values(base + at, base + Math.min(to, at + 256)) as [
        number,
        number,
        EntryType,
        number,
        Uint8Array,
      ][];
      for (const [id, term, type, sum, data] of rows) {
        const index = id - base;
        if (index !== expected++)
          throw damaged(this.#path, `entry ${expected - 1} of shard ${shard} is missing`);
        if (checksum(term, index, type, data) !== sum)
          throw damaged(this.#path, `entry ${index} of shard ${shard} does not match its checksum`);
        bytes += data.length;
        if (entries.length > 0 && bytes > maxBytes) return entries;
        entries.push({ term, index, type, data });
      }
    }
    if (expected !== to) throw damaged(this.#path, `entry ${expected} of shard ${shard} is missing`);
    return entries;
  }

  write(writes: readonly GroupWrite[]): void {
    if (this.#failed !== null) throw this.#failed;
    if (writes.length === 0) return;
    try {
      this.#statements.begin.run();
      for (const write of writes) this.#writeGroup(write);
      this.#statements.commit.run();
      this.#transactions++;
    } catch (error) {
      // What is on disk is unknown now: the process must stop, and nothing may be tried again.
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
        "entries follow what is in the log",
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
    return this.#state(shard).configurations.findLast((c) => c.index <= index);
  }

  configuration(shard: ShardId): GroupConfiguration | undefined {
    return this.#state(shard).configurations.at(-1);
  }

  compact(shard: ShardId, index: number): void {
    const state = this.#state(shard);
    if (index <= state.compactedIndex) return;
    assert(index <= state.lastIndex, "only what is in the log is compacted");
    const term = this.#term(shard, index);
    const base = shard * SHARD_SPAN;
    try {
      this.#statements.begin.run();
      this.#statements.compact.run(base + state.compactedIndex, base + index);
      state.compactedIndex = index;
      state.compactedTerm = term;
      state.cache.forget(index);
      const inForce = state.configurations.findLast((c) => c.index <= index);
      if (inForce !== undefined) {
        state.configurations = state.configurations.filter((c) => c.index >= inForce.index);
        this.#statements.dropConfigurations.run(shard, inForce.index);
      }
      this.#storeGroup(shard, state);
      this.#statements.commit.run();
    } catch (error) {
      this.#failed = error;
      throw error;
    }
  }

  /** The next number, above `atLeast` and every one given before; on disk when it returns. */
  nextIncarnation(atLeast: number): number {
    const [[last] = [0]] = this.#db.prepare("SELECT value FROM meta WHERE name = 'incarnation'").values() as [
      number,
    ][];
    const next = Math.max(Number(last), atLeast) + 1;
    this.#db.prepare("UPDATE meta SET value = ? WHERE name = 'incarnation'").run(next);
    return next;
  }

  idle(): void {
    if (this.#failed === null) this.#db.prepare("PRAGMA wal_checkpoint(PASSIVE)").all();
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

/** One group's log: its cursors, its newest entries in memory, and reading the others from disk. */
import type { Database, Statement } from "bun:sqlite";
import type { Entry, EntryType, HardState } from "../raft/model/types.ts";
import type { GroupConfiguration, GroupLog, ShardId } from "../shard/seams.ts";
import { blob, integer, readRows, readTuples, trusted } from "../sqlite/typed-rows.ts";
import { decodeConfiguration } from "./configuration-codec.ts";
import { EntryCache } from "./entry-cache.ts";
import { checksum, damaged, SHARD_SPAN } from "./log-format.ts";

/** Entries that one query reads. */
const PAGE_ENTRIES = 256;

export interface GroupState {
  hard: HardState;
  compactedIndex: number;
  compactedTerm: number;
  lastIndex: number;
  readonly cache: EntryCache;
  configurations: GroupConfiguration[];
}

/** Throws `UserError` if a group is missing. */
export function loadGroups(db: Database, path: string): GroupState[] {
  const rows = readRows(db.prepare("SELECT * FROM grp ORDER BY shard").all(), {
    shard: integer,
    term: integer,
    vote: integer,
    commit_index: integer,
    compacted_index: integer,
    compacted_term: integer,
    last_index: integer,
  });
  const configurations = db.prepare("SELECT data FROM configuration WHERE shard = ? ORDER BY idx");
  return rows.map((row, shard) => {
    if (row.shard !== shard) throw damaged(path, `the group ${shard} is missing`);
    return {
      hard: { term: row.term, vote: row.vote, commit: row.commit_index },
      compactedIndex: row.compacted_index,
      compactedTerm: row.compacted_term,
      lastIndex: row.last_index,
      cache: new EntryCache(row.last_index + 1, rows.length),
      configurations: readTuples(configurations.values(shard), blob).map(([data]) =>
        decodeConfiguration(data),
      ),
    };
  });
}

type EntryRow = readonly [id: number, term: number, type: EntryType, checksum: number, data: Uint8Array];

/** Reads one group's log. Throws `UserError` where an entry is missing or does not match its checksum. */
export class GroupReader implements GroupLog {
  readonly #path: string;
  readonly #shard: ShardId;
  readonly #state: GroupState;
  readonly #page: Statement;
  readonly #sizes: Statement;
  readonly #term: Statement;

  constructor(db: Database, path: string, shard: ShardId, state: GroupState) {
    this.#path = path;
    this.#shard = shard;
    this.#state = state;
    // Kept by the connection: all groups share them.
    this.#page = db.query(
      "SELECT id, term, type, checksum, data FROM entry WHERE id >= ? AND id < ? ORDER BY id",
    );
    this.#sizes = db.query("SELECT length(data) FROM entry WHERE id >= ? AND id < ? ORDER BY id");
    this.#term = db.query("SELECT term FROM entry WHERE id = ?");
  }

  get hardState(): HardState {
    return this.#state.hard;
  }

  firstIndex(): number {
    return this.#state.compactedIndex + 1;
  }

  lastIndex(): number {
    return this.#state.lastIndex;
  }

  term(index: number): number {
    const { compactedIndex, compactedTerm, lastIndex, cache } = this.#state;
    if (index === compactedIndex) return compactedTerm;
    if (index < compactedIndex || index > lastIndex)
      throw new RangeError(`index ${index} outside of ${compactedIndex} … ${lastIndex}`);
    const cached = cache.get(index);
    if (cached !== undefined) return cached.term;
    const [row] = trusted<[number][]>(this.#term.values(this.#shard * SHARD_SPAN + index));
    if (row === undefined) throw this.#missing(index);
    return row[0];
  }

  entries(from: number, to: number, maxBytes: number): Entry[] {
    const { compactedIndex, lastIndex, cache } = this.#state;
    if (from <= compactedIndex || to > lastIndex + 1 || from > to)
      throw new RangeError(`entries [${from}, ${to}) outside of (${compactedIndex}, ${lastIndex}]`);
    return from >= cache.firstIndex
      ? cache.slice(from, to, maxBytes)
      : this.read(from, Math.min(to, lastIndex + 1), maxBytes);
  }

  /** From disk, as far as `maxBytes` allows; at least one. */
  read(from: number, to: number, maxBytes: number): Entry[] {
    const base = this.#shard * SHARD_SPAN;
    const entries: Entry[] = [];
    let left = maxBytes;
    for (let at = from; at < to;) {
      const page = this.#pageWithin(at, Math.min(to, at + PAGE_ENTRIES), left, entries.length === 0);
      if (page.end === at) return entries;
      const rows = trusted<EntryRow[]>(this.#page.values(base + at, base + page.end));
      for (const [id, term, type, sum, data] of rows) {
        const index = id - base;
        if (index !== at++) throw this.#missing(at - 1);
        if (checksum(term, index, type, data) !== sum)
          throw damaged(this.#path, `entry ${index} of shard ${this.#shard} does not match its checksum`);
        entries.push({ term, index, type, data });
      }
      if (at !== page.end) throw this.#missing(at);
      left -= page.bytes;
    }
    return entries;
  }

  /** The end of the entries from `from` on that fit in `maxBytes`; with `atLeastOne` the first fits in any case. No data is read. */
  #pageWithin(
    from: number,
    to: number,
    maxBytes: number,
    atLeastOne: boolean,
  ): { end: number; bytes: number } {
    const base = this.#shard * SHARD_SPAN;
    const sizes = trusted<[number][]>(this.#sizes.values(base + from, base + to));
    let bytes = 0;
    for (let i = 0; i < sizes.length; i++) {
      if ((i > 0 || !atLeastOne) && bytes + sizes[i]![0] > maxBytes) return { end: from + i, bytes };
      bytes += sizes[i]![0];
    }
    return { end: to, bytes };
  }

  #missing(index: number): Error {
    return damaged(this.#path, `entry ${index} of shard ${this.#shard} is missing`);
  }
}

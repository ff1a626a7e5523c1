/**
 * One group's log: the entries on disk, and the newest ones in memory in front of them. It keeps the cursors:
 *
 *     firstIndex − 1 ≤ applied, handedOut ≤ commit ≤ lastIndex,   stable ≤ lastIndex
 *
 * `applied` may be ahead of `handedOut` when a snapshot of the state was installed from outside.
 */
import { assert } from "../../base/assert.ts";
import type { RaftStorage } from "../model/options.ts";
import { entryBytes, limitEntries, Tail } from "./tail.ts";
import type { Entry, SnapshotMetadata } from "../model/types.ts";

/**
 * Entries on disk that also stay in memory, for the commit and for followers that are slightly late: this much before
 * …
 */
const KEEP_STABLE_BYTES = 1024 * 1024;
/** … and this much after they were handed out. */
const KEEP_APPLIED_BYTES = 64 * 1024;
/** No such entry: compacted, or not there yet. */
export const NO_TERM = -1;

const NO_ENTRIES: Entry[] = [];

/**
 * Committed entries handed out together: the index of the last one, and their bytes, which count against
 * `maxApplyBytes`.
 */
interface Page {
  readonly last: number;
  readonly bytes: number;
}

export class RaftLog {
  readonly #storage: RaftStorage;
  readonly #maxApplyBytes: number;
  readonly #tail: Tail;
  /** Everything at and below is on disk. */
  #stable: number;
  /** Received and not yet on disk, where it will replace the log. */
  #snapshot: SnapshotMetadata | null = null;
  #commit: number;
  #handedOut: number;
  #applied: number;
  #pages: Page[] = [];
  #outstandingBytes = 0;
  /** Term of the last entry, and the lowest index known to have it: answers nearly all questions about terms. */
  #lastTerm: number;
  #lastTermFrom: number;

  /** `applied`: the last entry applied before this start. `commit`: known to be committed. */
  constructor(storage: RaftStorage, commit: number, applied: number, maxApplyBytes: number) {
    const last = storage.lastIndex();
    assert(commit <= last, `the log ends at ${last}, before the commit index ${commit}`);
    assert(applied <= commit, "applied entries are committed");
    const first = storage.firstIndex();
    assert(applied >= first - 1, `applied up to ${applied}, but the log begins at ${first}`);
    this.#storage = storage;
    this.#maxApplyBytes = maxApplyBytes;
    this.#tail = new Tail(last + 1);
    this.#stable = last;
    this.#commit = commit;
    this.#handedOut = applied;
    this.#applied = applied;
    this.#lastTerm = last === 0 ? 0 : storage.term(last);
    this.#lastTermFrom = last;
  }

  get commit(): number {
    return this.#commit;
  }

  get applied(): number {
    return this.#applied;
  }

  get handedOut(): number {
    return this.#handedOut;
  }

  get stable(): number {
    return this.#stable;
  }

  get lastIndex(): number {
    return this.#tail.last;
  }

  get lastTerm(): number {
    return this.#lastTerm;
  }

  get firstIndex(): number {
    return this.#snapshot === null ? this.#storage.firstIndex() : this.#snapshot.index + 1;
  }

  /** The snapshot that must be on disk before any other use of this log. */
  get pendingSnapshot(): SnapshotMetadata | null {
    return this.#snapshot;
  }

  /** Position of a snapshot that can be sent to a follower behind `firstIndex`; null: none now. */
  offeredSnapshot(): SnapshotMetadata | null {
    return this.#storage.snapshot();
  }

  /** `NO_TERM` outside [firstIndex − 1, lastIndex]. */
  term(index: number): number {
    if (index > this.lastIndex || index < 0) return NO_TERM;
    if (index >= this.#lastTermFrom) return this.#lastTerm;
    if (index >= this.#tail.first) return this.#tail.at(index).term;
    if (this.#snapshot !== null) return index === this.#snapshot.index ? this.#snapshot.term : NO_TERM;
    if (index < this.#storage.firstIndex() - 1) return NO_TERM;
    return index === 0 ? 0 : this.#storage.term(index);
  }

  matches(index: number, term: number): boolean {
    return this.term(index) === term;
  }

  /** Is a log that ends with (term, index) at least as complete as this one? (Paper §5.4.1.) */
  isUpToDate(term: number, index: number): boolean {
    return term > this.#lastTerm || (term === this.#lastTerm && index >= this.lastIndex);
  }

  /**
   * The highest index at or below `index` whose term is at most `term`: terms never fall within a log, so another log
   * with `term` at `index` can agree with this one no further up. Stops, as a possible match, where terms are unknown.
   */
  possibleMatch(index: number, term: number): { index: number; term: number } {
    for (let at = index; at > 0; at -= 1) {
      const own = this.term(at);
      if (own === NO_TERM) return { index: at, term: 0 };
      if (own <= term) return { index: at, term: own };
    }
    return { index: 0, term: 0 };
  }

  /** Entries in [from, to), at least one, then as many as fit in `maxBytes`. */
  entries(from: number, to: number, maxBytes: number): Entry[] {
    if (from >= to) return NO_ENTRIES;
    const tailFrom = this.#tail.first;
    if (from >= tailFrom) return this.#tail.slice(from, this.#tail.endWithin(from, to, maxBytes, 1));
    const diskTo = Math.min(to, tailFrom);
    const read = limitEntries(this.#storage.entries(from, diskTo, maxBytes), maxBytes);
    assert(
      read.length > 0 && (read[0] as Entry).index === from,
      "storage gives the entries it was asked for",
    );
    if (read.length < diskTo - from || to === diskTo) return read;
    const left = maxBytes - read.reduce((sum, entry) => sum + entryBytes(entry), 0);
    return read.concat(this.#tail.slice(tailFrom, this.#tail.endWithin(tailFrom, to, left, 0)));
  }

  /** One entry at the end. */
  push(entry: Entry): void {
    this.#tail.push(entry);
    if (entry.term === this.#lastTerm) return;
    this.#lastTerm = entry.term;
    this.#lastTermFrom = entry.index;
  }

  /**
   * Adds a leader's entries; the entry before them is in both logs. Equal entries stay, the first different one
   * discards
   * everything from its index on (paper §5.3). Committed entries are never discarded.
   */
  merge(entries: readonly Entry[]): void {
    let i = 0;
    while (i < entries.length && this.matches((entries[i] as Entry).index, (entries[i] as Entry).term))
      i += 1;
    if (i === entries.length) return;
    const at = (entries[i] as Entry).index;
    if (at <= this.lastIndex) this.#truncate(at);
    for (; i < entries.length; i += 1) this.push(entries[i] as Entry);
  }

  #truncate(index: number): void {
    assert(index > this.#commit, `entry ${index} contradicts a committed one (commit ${this.#commit})`);
    const term = this.term(index - 1);
    this.#tail.truncate(index);
    this.#stable = Math.min(this.#stable, index - 1);
    if (index - 1 >= this.#lastTermFrom) return;
    this.#lastTerm = term;
    this.#lastTermFrom = index - 1;
  }

  /** Raises the commit index; never lowers it. */
  commitTo(index: number): boolean {
    if (index <= this.#commit) return false;
    assert(
      index <= this.lastIndex,
      `entry ${index} is committed, but this log ends at ${this.lastIndex}: it lost entries`,
    );
    this.#commit = index;
    return true;
  }

  /** Replaces the whole log by a snapshot, whose contents count as applied. */
  restore(snapshot: SnapshotMetadata): void {
    assert(snapshot.index > this.#commit, "a snapshot only moves forward");
    this.#snapshot = snapshot;
    this.#tail.reset(snapshot.index + 1);
    this.#stable = snapshot.index;
    this.#commit = snapshot.index;
    this.#handedOut = snapshot.index;
    this.#applied = snapshot.index;
    this.#lastTerm = snapshot.term;
    this.#lastTermFrom = snapshot.index;
    this.#pages = [];
    this.#outstandingBytes = 0;
  }

  /** The entries that are not on disk yet. */
  unstable(): Entry[] {
    return this.#stable === this.lastIndex
      ? NO_ENTRIES
      : this.#tail.slice(this.#stable + 1, this.lastIndex + 1);
  }

  /**
   * The entries and snapshot of a ready are on disk now. They count only while they are still part of this log: a
   * newer
   * leader may have overwritten them since.
   */
  persisted(entries: readonly Entry[], snapshot: SnapshotMetadata | null): void {
    if (snapshot !== null && snapshot === this.#snapshot) this.#snapshot = null;
    const last = entries.at(-1);
    if (last !== undefined && last.index > this.#stable && this.matches(last.index, last.term))
      this.#stable = last.index;
    this.#trim();
  }

  #trim(): void {
    const tail = this.#tail;
    while (tail.first <= this.#stable) {
      if (tail.bytes <= (tail.first <= this.#handedOut ? KEEP_APPLIED_BYTES : KEEP_STABLE_BYTES)) return;
      tail.shift();
    }
  }

  get hasCommitted(): boolean {
    return (
      this.#handedOut < this.#commit &&
      this.#outstandingBytes < this.#maxApplyBytes &&
      this.#snapshot === null
    );
  }

  /**
   * The next committed entries to hand out, within the rest of `maxApplyBytes`; at least one while some of it is
   * left.
   */
  takeCommitted(): Entry[] {
    if (!this.hasCommitted) return NO_ENTRIES;
    const left = this.#maxApplyBytes - this.#outstandingBytes;
    const entries = this.entries(this.#handedOut + 1, this.#commit + 1, left);
    const last = (entries.at(-1) as Entry).index;
    assert(last === this.#handedOut + entries.length, "committed entries are handed out without a gap");
    this.#handedOut = last;
    if (last > this.#applied) {
      const bytes = entries.reduce((sum, entry) => sum + entryBytes(entry), 0);
      this.#pages.push({ last, bytes });
      this.#outstandingBytes += bytes;
    }
    return entries;
  }

  appliedTo(index: number): void {
    if (index <= this.#applied) return;
    assert(index <= this.#commit, `applied ${index}, which is not committed (commit ${this.#commit})`);
    this.#applied = index;
    let done = 0;
    while (done < this.#pages.length && (this.#pages[done] as Page).last <= index) {
      this.#outstandingBytes -= (this.#pages[done] as Page).bytes;
      done += 1;
    }
    if (done > 0) this.#pages.splice(0, done);
  }

  /** Is there a committed entry in (from, commit] for which `test` holds? Reads in pages. */
  someCommitted(from: number, test: (entry: Entry) => boolean): boolean {
    let at = Math.max(from + 1, this.firstIndex);
    while (at <= this.#commit) {
      const page = this.entries(at, this.#commit + 1, this.#maxApplyBytes);
      if (page.some(test)) return true;
      at += page.length;
    }
    return false;
  }
}

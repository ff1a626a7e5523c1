/** A group's log in memory. A `write` counts as synced; a crash keeps exactly the written data. */
import type { RaftStorage, Ready } from "../../src/raft/raft.ts";
import type { Configuration, Entry, HardState, SnapshotMetadata } from "../../src/raft/model/types.ts";

export interface StorageInit {
  readonly hardState?: HardState;
  /** Position up to which entries are compacted. Default (0, 0): none. */
  readonly compacted?: { readonly index: number; readonly term: number };
  readonly entries?: readonly Entry[];
}

export class MemoryStorage implements RaftStorage {
  hardState: HardState;
  /** The snapshot that `snapshot()` offers. */
  offered: SnapshotMetadata | null = null;
  /** How often entries were read, to see that caches work. */
  reads = 0;
  #entries: Entry[];
  #compacted: { index: number; term: number };

  constructor(init: StorageInit = {}) {
    this.hardState = init.hardState ?? { term: 0, vote: 0, commit: 0 };
    this.#compacted = { ...(init.compacted ?? { index: 0, term: 0 }) };
    this.#entries = [...(init.entries ?? [])];
  }

  firstIndex(): number {
    return this.#compacted.index + 1;
  }

  lastIndex(): number {
    return this.#compacted.index + this.#entries.length;
  }

  term(index: number): number {
    if (index === this.#compacted.index) return this.#compacted.term;
    const entry = this.#entries[index - this.firstIndex()];
    if (entry === undefined)
      throw new RangeError(`no entry ${index} in ${this.firstIndex()}…${this.lastIndex()}`);
    return entry.term;
  }

  entries(from: number, to: number, maxBytes: number): Entry[] {
    this.reads += 1;
    if (from < this.firstIndex() || to > this.lastIndex() + 1) throw new RangeError(`[${from}, ${to})`);
    const found: Entry[] = [];
    let bytes = 0;
    for (const entry of this.#entries.slice(from - this.firstIndex(), to - this.firstIndex())) {
      bytes += entry.data.length;
      if (found.length > 0 && bytes > maxBytes) break;
      found.push(entry);
    }
    return found;
  }

  snapshot(): SnapshotMetadata | null {
    return this.offered;
  }

  /** As one transaction: snapshot, entries, hard state. */
  write(ready: Pick<Ready, "snapshot" | "entries" | "hardState">): void {
    if (ready.snapshot !== null) {
      this.#compacted = { index: ready.snapshot.index, term: ready.snapshot.term };
      this.#entries = [];
      this.offered = ready.snapshot;
    }
    const first = ready.entries[0];
    if (first !== undefined) {
      if (first.index > this.lastIndex() + 1) throw new RangeError(`a gap before ${first.index}`);
      this.#entries.length = first.index - this.firstIndex();
      for (const entry of ready.entries) this.#entries.push(entry);
    }
    if (ready.hardState !== null) this.hardState = ready.hardState;
  }

  /** Drops entries at and below `index`, and offers a snapshot of that position. */
  compact(index: number, configuration: Configuration): void {
    const term = this.term(index);
    this.#entries = this.#entries.slice(index - this.#compacted.index);
    this.#compacted = { index, term };
    this.offered = { index, term, configuration };
  }

  all(): readonly Entry[] {
    return this.#entries;
  }
}

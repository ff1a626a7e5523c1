/** The newest entries of a history in memory: readers that follow it share one read of each, and the text of its events. */
import type { HistoryReader, PastEntry } from "../../replica/history/history-reader.ts";
import type { History } from "../../replication/node-history.ts";
import type { ChangeEvent } from "./change-json.ts";

const KEPT_ENTRIES = 256;
const AT_ONCE = 100;
/** Bytes of images that are kept; a larger entry is read again by each reader. */
const KEPT_BYTES = 2 << 20;
const SMALL_BYTES = 64 << 10;
/** From so many readers on, news that come within some milliseconds are gathered: each costs a write to every reader. */
const MANY_READERS = 24;
const GATHER_MS = 20;

const tails = new WeakMap<History, ChangeTail>();

export function tailOf(history: History): ChangeTail {
  let tail = tails.get(history);
  if (tail === undefined) tails.set(history, (tail = new ChangeTail(history)));
  return tail;
}

export class ChangeTail {
  readonly #reader: HistoryReader;
  readonly #events = new WeakMap<PastEntry, readonly ChangeEvent[]>();
  #entries: PastEntry[] = [];
  #last: number;
  #stale = false;
  /** There was news and no entry: entries may have been removed before they were read. The readers look for themselves. */
  #mayLack = false;
  readers = 0;

  constructor(history: History) {
    this.#reader = history.reader;
    this.#last = history.reader.newest();
    history.listen(() => {
      this.#stale = true;
    });
  }

  /** The shortest time between two answers to a reader. */
  get gatherMs(): number {
    return this.readers < MANY_READERS ? 0 : GATHER_MS;
  }

  /** The entries after `id`; null: they are not all here. */
  after(id: number): readonly PastEntry[] | null {
    if (this.#stale) this.#refresh();
    if (id === this.#last && !this.#mayLack) return [];
    const first = this.#entries[0]?.id ?? Number.POSITIVE_INFINITY;
    if (this.#mayLack || id > this.#last || id < first - 1) return null;
    return this.#entries.filter((entry) => entry.id > id);
  }

  #refresh(): void {
    this.#stale = false;
    this.#mayLack = true;
    for (;;) {
      const fresh = this.#reader.after(this.#last, AT_ONCE);
      const last = fresh.at(-1);
      if (last === undefined) break;
      this.#mayLack = false;
      // After a gap, and after a large entry, the readers read for themselves.
      if (fresh[0]!.id !== this.#last + 1) this.#entries = [];
      this.#last = last.id;
      const large = fresh.findLastIndex((entry) => sizeOf(entry) > SMALL_BYTES);
      if (large !== -1) this.#entries = [];
      this.#entries.push(...fresh.slice(large + 1));
      if (fresh.length < AT_ONCE) break;
    }
    this.#entries = this.#entries.slice(-KEPT_ENTRIES);
    let bytes = 0;
    const tooOld = this.#entries.findLastIndex((entry) => (bytes += sizeOf(entry)) > KEPT_BYTES);
    this.#entries = this.#entries.slice(tooOld + 1);
  }

  /** The events of an entry, made once for all readers that want every table. */
  events(entry: PastEntry, make: () => readonly ChangeEvent[]): readonly ChangeEvent[] {
    let events = this.#events.get(entry);
    if (events === undefined) this.#events.set(entry, (events = make()));
    return events;
  }
}

/** Bytes of the images. */
const sizeOf = ({ rows }: PastEntry): number =>
  rows.reduce((sum, [, before, after]) => sum + (before?.length ?? 0) + (after?.length ?? 0), 0);

/**
 * The change feed for one reader: the entries of the history after a position, in the order in which this node applied them, whole and each
 * once. The reader asks for the next events; nothing is kept for it, so a reader that is too slow meets the end of the history.
 */
import { type Clock, sleep } from "../../base/clock.ts";
import { hasReached, showPosition } from "../../base/text/position-token.ts";
import type { HistoryReader, PastEntry } from "../../replica/history/history-reader.ts";
import type { History } from "../../replication/node-history.ts";
import type { Replicator } from "../../replication/replicator.ts";
import type { ChangeLine, ChangesOptions, ChangeStream } from "../changes-api.ts";
import { type ChangeEvent, eventsOf, namesOf, type TableFilter } from "./change-json.ts";
import { aliveLine, endLine, FeedPlace } from "./change-lines.ts";
import { type ChangeTail, tailOf } from "./change-tail.ts";
import {
  awaitOrdered,
  BeforeHistory,
  everyTable,
  type HistoryPlace,
  placeOf,
  requireHistory,
  requireTable,
  tableFilter,
} from "./history-place.ts";
import type { PastSource } from "./past-source.ts";
import { openPast } from "./past-stream.ts";

/** Entries read at a time. */
const AT_ONCE = 200;
/** Characters of events in one answer. */
const ANSWER_LENGTH = 256 << 10;
/** A reader without news gets a sign of life, with the position up to which there was none. */
const ALIVE_MS = 10_000;

/**
 * Rejects with `UserError` if neither the history nor the archive reaches back that far, or the history is switched off. `past`: null:
 * there is no archive.
 */
export async function openChanges(
  replicator: Replicator,
  clock: Clock,
  options: ChangesOptions,
  past: PastSource | null,
): Promise<ChangeStream> {
  if (options.since !== null) await awaitOrdered(replicator, clock, options.since);
  const history = requireHistory(replicator);
  for (const table of options.tables ?? []) requireTable(replicator, table);
  const wants = tableFilter(options.tables);
  const parts = { replicator, history, clock, wants, follow: options.follow };
  try {
    const { since } = options;
    return new Stream(parts, since === null ? atEnd(replicator, history) : placeOf(replicator, clock, since));
  } catch (error) {
    if (past === null || !(error instanceof BeforeHistory)) throw error;
    const live = (place: HistoryPlace): ChangeStream => new Stream(parts, place);
    return openPast({ replicator, history, clock, past, live }, error, options.tables);
  }
}

function atEnd({ replica: { replica } }: Replicator, { reader }: History): HistoryPlace {
  return { id: reader.newest(), position: replica.positions() };
}

interface StreamParts {
  readonly replicator: Replicator;
  readonly history: History;
  readonly clock: Clock;
  readonly wants: TableFilter;
  readonly follow: boolean;
}

class Stream implements ChangeStream {
  readonly #parts: StreamParts;
  readonly #place: FeedPlace;
  readonly #tail: ChangeTail;
  #id: number;
  #ended = false;
  #sentAt = Number.NEGATIVE_INFINITY;
  #wake: () => void = () => {};
  readonly #unlisten: () => void;

  constructor(parts: StreamParts, { id, position }: HistoryPlace) {
    this.#parts = parts;
    this.#id = id;
    this.#place = new FeedPlace(position);
    this.#tail = tailOf(parts.history);
    this.#tail.readers++;
    this.#unlisten = parts.history.listen(() => this.#wake());
  }

  async next(): Promise<readonly ChangeLine[] | null> {
    for (;;) {
      if (this.#ended) return null;
      const lines = this.#read();
      if (lines.length > 0) {
        this.#sentAt = this.#parts.clock.now();
        return lines;
      }
      if (!this.#parts.follow) {
        this.close();
        return null;
      }
      if (!(await this.#news())) return [aliveLine(this.#place.position)];
    }
  }

  close(): void {
    if (!this.#ended) this.#tail.readers--;
    this.#ended = true;
    this.#unlisten();
    this.#wake();
  }

  /** False: nothing came for some time. */
  async #news(): Promise<boolean> {
    const { clock } = this.#parts;
    const isNews = await new Promise<boolean>((resolve) => {
      const timer = clock.after(ALIVE_MS, () => resolve(false));
      this.#wake = () => {
        timer.cancel();
        resolve(true);
      };
    });
    // The first news after a pause leave at once.
    const early = this.#sentAt + this.#tail.gatherMs - clock.now();
    if (isNews && early > 0) await sleep(clock, early);
    return isNews;
  }

  #read(): readonly ChangeLine[] {
    const { history } = this.#parts;
    if (history.isClosed)
      return this.#end("this node closed its files: connect again with the last position");
    if (history.failure !== "") return this.#end(`the history is not recorded any more: ${history.failure}`);
    const { reader } = history;
    const lines: ChangeLine[] = [];
    let length = 0;
    while (length < ANSWER_LENGTH) {
      const shared = this.#tail.after(this.#id);
      if (shared === null && !this.#isKept(reader))
        return this.#end(
          `too slow: the entries after ${showPosition(this.#place.position)} are no longer kept; the history begins at ${showPosition(reader.reach.from)}`,
        );
      const entries = shared ?? reader.after(this.#id, AT_ONCE);
      for (const entry of entries) {
        this.#id = entry.id;
        if (this.#place.isPast(entry)) continue;
        for (const line of this.#linesOf(entry)) {
          lines.push(line);
          length += line.json.length;
        }
        if (length >= ANSWER_LENGTH) break;
      }
      if (shared !== null || entries.length < AT_ONCE) break;
    }
    return lines;
  }

  /** No entry was removed between the last one that was read and the next one. */
  #isKept(reader: HistoryReader): boolean {
    const oldest = reader.oldest();
    if (oldest > 0 && oldest <= this.#id + 1) return true;
    return this.#place.part === 0 && hasReached(this.#place.position, reader.reach.from);
  }

  #linesOf(entry: PastEntry): ChangeLine[] {
    const { replicator, wants } = this.#parts;
    return this.#place.take(entry, (part) => {
      const make = (): ChangeEvent[] => eventsOf(namesOf(replicator), entry, { part, wants });
      const isShared = wants === everyTable && part === 1 && entry.last;
      return isShared ? this.#tail.events(entry, make) : make();
    });
  }

  #end(reason: string): readonly ChangeLine[] {
    this.close();
    return [endLine(reason)];
  }
}

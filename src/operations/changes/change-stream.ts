/**
 * The change feed for one reader: the entries of the history after a position, in the order in which this node applied them, whole and each
 * once. The reader asks for the next events; nothing is kept for it, so a reader that is too slow meets the end of the history.
 */
import { type Clock, sleep } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import { foldName, isSameName } from "../../base/names.ts";
import { parseMoment } from "../../base/text/moment.ts";
import { hasReached, parsePosition, showPosition } from "../../base/text/position-token.ts";
import type { HistoryReader, PastEntry } from "../../replica/history/history-reader.ts";
import type { History } from "../../replication/node-history.ts";
import type { Replicator } from "../../replication/replicator.ts";
import type { ChangeLine, ChangesOptions, ChangeStream } from "../changes-api.ts";
import { type ChangeEvent, eventsOf, namesOf, type TableFilter } from "./change-json.ts";
import { type ChangeTail, tailOf } from "./change-tail.ts";

/** Entries read at a time. */
const AT_ONCE = 200;
/** Characters of events in one answer. */
const ANSWER_LENGTH = 256 << 10;
/** A reader without news gets a sign of life, with the position up to which there was none. */
const ALIVE_MS = 10_000;

/** Rejects with `UserError` if the history does not reach back that far, or is switched off. */
export async function openChanges(
  replicator: Replicator,
  clock: Clock,
  options: ChangesOptions,
): Promise<ChangeStream> {
  if (options.since !== null) await awaitOrdered(replicator, clock, options.since);
  const history = requireHistory(replicator);
  for (const table of options.tables ?? []) requireTable(replicator, table);
  const wants = tableFilter(options.tables);
  const place =
    options.since === null ? atEnd(replicator, history) : placeOf(replicator, clock, options.since);
  return new Stream({ replicator, history, clock, wants, follow: options.follow }, place);
}

export function requireHistory({ history }: Replicator): History {
  if (history === null) throw new UserError("this node records no history", "start it without --history off");
  if (history.failure !== "")
    throw new UserError(
      `this node records no history any more: ${history.failure}`,
      "start it again; the history then begins at that time",
    );
  return history;
}

/** Before the next entry: the id before it, and the position up to which entries are not wanted. */
export interface HistoryPlace {
  readonly id: number;
  readonly position: readonly number[];
}

function atEnd({ replica: { replica } }: Replicator, { reader }: History): HistoryPlace {
  return { id: reader.newest(), position: replica.positions() };
}

/** A position, a time, or how long ago. */
export function placeOf(replicator: Replicator, clock: Clock, since: string): HistoryPlace {
  const { reader } = requireHistory(replicator);
  const { from } = reader.reach;
  const position = parsePosition(since);
  if (position !== null) {
    if (position.length !== from.length)
      throw new UserError(
        `${since} has ${position.length} shards, but this cluster has ${from.length}: it is of another cluster`,
        "marmot wait --json prints a position of this one",
      );
    if (!hasReached(position, from))
      throw new UserError(
        `the history of this node begins at ${showPosition(from)}, and ${since} is before that`,
        `begin with ${showPosition(from)}, or read the present rows; --history SIZE keeps more`,
      );
    return { id: reader.idBefore(position), position };
  }
  return { id: reader.idBeforeTime(timeOf(reader, clock, since)), position: from };
}

/** Clocks of machines differ. */
const AHEAD_MS = 60_000;

function timeOf(reader: HistoryReader, clock: Clock, since: string): number {
  const now = clock.wallTime();
  const time = parseMoment(since, now);
  if (time === null)
    throw new UserError(
      `since should be a position, a time, or how long ago, not ${since}`,
      "use c:812, 2026-11-29T12:00:00Z, or 10m",
    );
  if (time > now + AHEAD_MS)
    throw new UserError(
      `${since} is in the future; it is ${new Date(now).toISOString()}`,
      "use a time that has passed, or 10m for ten minutes ago",
    );
  if (time <= reader.removedUpTo())
    throw new UserError(
      `the history of this node begins at ${showPosition(reader.reach.from)}, after ${new Date(reader.removedUpTo()).toISOString()}, and ${since} is before that`,
      `begin with ${showPosition(reader.reach.from)}, or read an archive with marmot restore --at; --history SIZE keeps more`,
    );
  return time;
}

/** For how long a position of another node may be ahead of this one. */
const ORDERED_MS = 5000;
const LOOK_MS = 20;

/** A position that is not ordered is of another cluster, or of a log that was restored from an older copy. */
export async function awaitOrdered(replicator: Replicator, clock: Clock, since: string): Promise<void> {
  const position = parsePosition(since);
  const { shards } = replicator.replica.replica.settings;
  if (position === null || position.length !== shards) return;
  const ordered = (): number[] => replicator.runtime.groups.map((group) => group.raft.commit);
  for (const end = clock.now() + ORDERED_MS; !hasReached(ordered(), position); await sleep(clock, LOOK_MS))
    if (clock.now() > end)
      throw new UserError(
        `${since} is not ordered: this node knows of ${showPosition(ordered())}`,
        "marmot wait --json prints a position of this cluster; marmot status shows whether this node is connected",
      );
}

/** Throws `UserError` for a table that neither replicates nor did so. */
export function requireTable(replicator: Replicator, table: string): void {
  const names = [...replicator.replica.replica.shapes.values()].map((s) => s.name);
  if (names.some((name) => isSameName(name, table))) return;
  if (requireHistory(replicator).reader.knowsTable(table)) return;
  throw new UserError(
    `no table ${table === "" ? '""' : table} replicates`,
    `name one of ${names.join(", ")}, or none for all`,
  );
}

const everyTable: TableFilter = () => true;

/** null: all tables. Conflicts of rows without a table pass only then. */
export function tableFilter(tables: readonly string[] | null): TableFilter {
  if (tables === null) return everyTable;
  const wanted = new Set(tables.map(foldName));
  return (table) => table !== null && [...wanted].some((name) => isSameName(name, table.name));
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
  readonly #position: number[];
  readonly #tail: ChangeTail;
  #id: number;
  /** Number of the last part of a large entry; 0: no entry is under way. */
  #part = 0;
  #ended = false;
  #sentAt = Number.NEGATIVE_INFINITY;
  #wake: () => void = () => {};
  readonly #unlisten: () => void;

  constructor(parts: StreamParts, { id, position }: HistoryPlace) {
    this.#parts = parts;
    this.#id = id;
    this.#position = [...position];
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
      if (!(await this.#news())) return [this.#alive()];
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
          `too slow: the entries after ${showPosition(this.#position)} are no longer kept; the history begins at ${showPosition(reader.reach.from)}`,
        );
      const entries = shared ?? reader.after(this.#id, AT_ONCE);
      for (const entry of entries) {
        this.#id = entry.id;
        if (entry.index <= (this.#position[entry.shard] ?? 0)) continue;
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
    return this.#part === 0 && hasReached(this.#position, reader.reach.from);
  }

  #linesOf(entry: PastEntry): ChangeLine[] {
    const { replicator, wants } = this.#parts;
    const part = ++this.#part;
    const make = (): ChangeEvent[] => eventsOf(namesOf(replicator), entry, { part, wants });
    const isShared = wants === everyTable && part === 1 && entry.last;
    const events = isShared ? this.#tail.events(entry, make) : make();
    if (entry.last) {
      this.#part = 0;
      for (const [shard, index] of (parsePosition(entry.position) ?? []).entries())
        this.#position[shard] = Math.max(this.#position[shard] ?? 0, index);
    }
    const position = showPosition(this.#position);
    return events.map(({ kind, body }, i) => {
      const last = entry.last && i === events.length - 1;
      const at = entry.last ? `"position":"${position}",` : "";
      return {
        kind,
        last,
        position: last ? position : "",
        json: `{"kind":"${kind}",${at}"last":${last},${body}}`,
      };
    });
  }

  /** A sign of life with the last position that was told. */
  #alive(): ChangeLine {
    const position = showPosition(this.#position);
    return { kind: "alive", last: false, position: "", json: `{"kind":"alive","position":"${position}"}` };
  }

  #end(reason: string): readonly ChangeLine[] {
    this.close();
    return [{ kind: "end", last: false, position: "", json: JSON.stringify({ kind: "end", reason }) }];
  }
}

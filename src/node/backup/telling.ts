/** The changes of a replay: told as lines of the feed as they come, or kept in the database in which they are recorded. */
import type { DatabaseSync } from "node:sqlite";
import type { Target } from "../../archive/replay.ts";
import {
  eventsOf,
  namesFrom,
  type PastNames,
  type TableFilter,
} from "../../operations/changes/change-json.ts";
import { FeedPlace } from "../../operations/changes/change-lines.ts";
import { tableFilter } from "../../operations/changes/history-place.ts";
import type { ChangeLine } from "../../operations/changes-api.ts";
import { HistoryReader, type PastEntry } from "../../replica/history/history-reader.ts";
import { HistoryWriter } from "../../replica/history/history-writer.ts";
import type { OpenReplica } from "../../replica/open-replica.ts";

const AT_ONCE = 200;

export type Moment = Exclude<Target, { kind: "newest" }>;

/** From where on changes are wanted, or the one entry that is: as `SHARD:INDEX`, or by a position after it. */
export type WantedChanges =
  { readonly kind: "since"; readonly since: Moment } | { readonly kind: "entry"; readonly entry: string };

export interface TellingOptions {
  /** The database in which the replay is recorded. */
  readonly path: string;
  readonly db: DatabaseSync;
  readonly wanted: WantedChanges;
  readonly tables: readonly string[] | null;
  readonly names: ReadonlyMap<string, string>;
  /** null: the changes are told, and not kept. */
  readonly record: string | null;
  readonly tell: (line: ChangeLine) => void;
}

export class Telling {
  readonly #options: TellingOptions;
  readonly #reader: HistoryReader;
  readonly #names: PastNames;
  readonly #wants: TableFilter;
  readonly #place: FeedPlace;
  #id = 0;
  /** The id before the entry whose parts are read. */
  #before = 0;
  /** The first entry of the wanted time has come. */
  #begun = false;
  isFound = false;

  constructor(open: OpenReplica, options: TellingOptions) {
    const { path, db, wanted, tables, names } = options;
    this.#options = options;
    open.replica.record(
      new HistoryWriter(db, open.replica.positions(), {
        limit: Number.MAX_SAFE_INTEGER,
        onFailure: (error) => {
          throw error;
        },
        onCommit: () => {},
      }),
    );
    this.#reader = new HistoryReader(path);
    this.#wants = tableFilter(tables);
    const nameOf = (peer: string): string => names.get(peer) ?? peer;
    this.#names = namesFrom({ replica: open, peers: { nameOf } }, () => this.#reader);
    const isPosition = wanted.kind === "since" && wanted.since.kind === "position";
    this.#place = new FeedPlace(isPosition ? wanted.since.position : []);
  }

  /** The changes that were recorded since the last call. False: no more are wanted. */
  go(): boolean {
    for (;;) {
      const entries = this.#reader.after(this.#id, AT_ONCE);
      for (const entry of entries) {
        this.#id = entry.id;
        this.#take(entry);
      }
      if (this.#options.record === null) this.#forget(0, this.#id);
      if (this.isFound) return false;
      if (entries.length < AT_ONCE) return true;
    }
  }

  close(): void {
    this.#reader.close();
  }

  #take(entry: PastEntry): void {
    const { record, tell } = this.#options;
    if (record !== null) {
      this.#keep(entry);
      return;
    }
    if (!this.#isWanted(entry)) return;
    for (const line of this.#place.take(entry, (part) =>
      eventsOf(this.#names, entry, { part, wants: this.#wants }),
    ))
      tell(line);
  }

  /** Only the last part of an entry has its position. */
  #keep(entry: PastEntry): void {
    if (!entry.last) return;
    const before = this.#before;
    this.#before = entry.id;
    if (this.isFound || !this.#isWanted(entry)) this.#forget(before, entry.id);
    else if (this.#options.wanted.kind === "entry") this.isFound = true;
  }

  #isWanted(entry: PastEntry): boolean {
    const { wanted } = this.#options;
    if (wanted.kind === "entry") {
      const { shard, index, position } = entry;
      return wanted.entry === `${shard}:${index}` || wanted.entry === position;
    }
    if (wanted.since.kind === "position") return !this.#place.isPast(entry);
    return (this.#begun ||= entry.time >= wanted.since.time);
  }

  #forget(after: number, upTo: number): void {
    this.#options.db.prepare(`DELETE FROM "entry" WHERE "id" > ? AND "id" <= ?`).run(after, upTo);
  }
}

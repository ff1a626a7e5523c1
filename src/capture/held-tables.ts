/**
 * Tables whose log rows wait, because a row of the table has NULL in its key and cannot be replicated, or because the table is
 * no longer stored as the replica's is. Tables that were written in the same transactions wait with them, so that transactions
 * stay whole.
 */
import type { Watermark } from "../change/batch.ts";

/** Log ids in (from, to] of a table. */
interface Range {
  readonly table: number;
  readonly from: number;
  readonly to: number;
}

/** The tables that each transaction wrote, of these ranges; null: it is not known. */
export type WrittenTogether = (ranges: readonly Range[]) => readonly ReadonlySet<number>[] | null;

export interface HeldTablesOptions {
  /** False: rows are ordered one by one, and no table waits for another. */
  readonly whole: boolean;
  /** Log id up to which a table is drained. */
  readonly drained: (table: number) => number;
  /** Tables that wait until the next session. Absent: none. */
  readonly silent?: ReadonlySet<number>;
  /** Of the session before: tables that waited with others still do. */
  readonly previous?: HeldTables;
}

export class HeldTables {
  readonly #options: HeldTablesOptions;
  /** Tables with such a row. */
  readonly #held = new Set<number>();
  readonly #tied = new Set<number>();
  /** Of waiting tables: the newest log id when they were last looked at. */
  #seen = new Map<number, number>();

  constructor(options: HeldTablesOptions) {
    this.#options = options;
    const { silent = new Set(), previous } = options;
    for (const table of silent) this.#held.add(table);
    if (silent.size === 0 || previous === undefined) return;
    for (const table of previous.#tied) if (!silent.has(table)) this.#tied.add(table);
    this.#seen = new Map(previous.#seen);
  }

  get held(): ReadonlySet<number> {
    return this.#held;
  }

  /** Tables that wait with others. */
  get tied(): ReadonlySet<number> {
    return this.#tied;
  }

  /** The drain of `news` found that the table cannot be drained. */
  hold(table: number, news: readonly Watermark[], together: WrittenTogether): void {
    this.#tied.delete(table);
    this.#held.add(table);
    this.#look(news, together);
  }

  /** The part of `news` that may be drained. `isHeld`: whether the table still cannot be. */
  admit(
    news: readonly Watermark[],
    isHeld: (watermark: Watermark) => boolean,
    together: WrittenTogether,
  ): readonly Watermark[] {
    if (this.#held.size === 0) return news;
    const newest = new Map(news.map((watermark) => [watermark.table, watermark]));
    for (const table of [...this.#held]) {
      if (this.#options.silent?.has(table)) continue;
      const watermark = newest.get(table);
      if (watermark === undefined || !isHeld(watermark)) this.#held.delete(table);
    }
    if (this.#held.size === 0) this.#tied.clear();
    else this.#look(news, together);
    return news.filter(({ table }) => !this.#isWaiting(table));
  }

  /** Ties the tables that were written together with new rows of waiting ones. */
  #look(news: readonly Watermark[], together: WrittenTogether): void {
    const from = (table: number): number =>
      Math.max(this.#options.drained(table), this.#isWaiting(table) ? (this.#seen.get(table) ?? 0) : 0);
    const ranges = news.flatMap(({ table, upTo }): Range[] =>
      upTo > from(table) ? [{ table, from: from(table), to: upTo }] : [],
    );
    const hasNews = ranges.some(({ table }) => this.#isWaiting(table));
    if (this.#options.whole && hasNews && ranges.length > 1) {
      const commits = together(ranges) ?? [new Set(ranges.map(({ table }) => table))];
      for (let before = -1; before !== this.#tied.size;) {
        before = this.#tied.size;
        for (const tables of commits)
          if ([...tables].some((table) => this.#isWaiting(table)))
            for (const table of tables) if (!this.#held.has(table)) this.#tied.add(table);
      }
    }
    this.#seen = new Map(
      news.flatMap(({ table, upTo }) => (this.#isWaiting(table) ? [[table, upTo] as const] : [])),
    );
  }

  #isWaiting(table: number): boolean {
    return this.#held.has(table) || this.#tied.has(table);
  }
}

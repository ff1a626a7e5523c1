/**
 * Tables whose log rows wait, because a row of the table has NULL in its key and cannot be replicated. Tables that may have
 * been written in the same transactions wait with them, so that transactions stay whole: a drain that finds new log rows of a
 * waiting table cannot tell which rows of other tables belong to them.
 */
import type { Watermark } from "../change/batch.ts";

export class HeldTables {
  /** False: rows are ordered one by one, and no table waits for another. */
  readonly #whole: boolean;
  /** Tables with such a row. */
  readonly #held = new Set<number>();
  readonly #tied = new Set<number>();
  /** Of waiting tables: the newest log id when they were last looked at. */
  readonly #seen = new Map<number, number>();

  constructor(whole: boolean) {
    this.#whole = whole;
  }

  get held(): ReadonlySet<number> {
    return this.#held;
  }

  /** Tables that wait with others. */
  get tied(): ReadonlySet<number> {
    return this.#tied;
  }

  /** The drain of `news` found that the table cannot be drained. */
  hold(table: number, news: readonly Watermark[]): void {
    this.#tied.delete(table);
    this.#held.add(table);
    for (const { table: other, upTo } of news) {
      if (this.#whole && !this.#held.has(other)) this.#tied.add(other);
      if (this.#isWaiting(other)) this.#seen.set(other, upTo);
    }
  }

  /** The part of `news` that may be drained. `isHeld`: whether the table still cannot be. */
  admit(news: readonly Watermark[], isHeld: (watermark: Watermark) => boolean): readonly Watermark[] {
    if (this.#held.size === 0) return news;
    const newest = new Map(news.map((watermark) => [watermark.table, watermark]));
    for (const table of [...this.#held]) {
      const watermark = newest.get(table);
      if (watermark === undefined || !isHeld(watermark)) this.#held.delete(table);
    }
    if (this.#held.size === 0) this.#tied.clear();
    const hasNews = news.some((w) => this.#isWaiting(w.table) && w.upTo > (this.#seen.get(w.table) ?? 0));
    if (this.#whole && hasNews)
      for (const { table } of news) if (!this.#held.has(table)) this.#tied.add(table);
    this.#seen.clear();
    for (const { table, upTo } of news) if (this.#isWaiting(table)) this.#seen.set(table, upTo);
    return news.filter(({ table }) => !this.#isWaiting(table));
  }

  #isWaiting(table: number): boolean {
    return this.#held.has(table) || this.#tied.has(table);
  }
}

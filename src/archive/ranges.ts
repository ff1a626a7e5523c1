/** The merged objects of an archive: which numbers of links each has the place of. Read again when a link is not found. */
import { type LinkRange, linkNumber, MERGED, mergedRange } from "./chain-link.ts";
import type { ArchiveStore } from "./stores/store.ts";

export class MergedRanges {
  readonly #store: ArchiveStore;
  #known: readonly LinkRange[] | null = null;

  constructor(store: ArchiveStore) {
    this.#store = store;
  }

  /** In order, as the store has them now. Those within others, which two nodes can have made, are left out. */
  async read(): Promise<readonly LinkRange[]> {
    const names = await this.#store.list(MERGED);
    const all = names.map(mergedRange).filter((range) => range !== null);
    let end = 0;
    const known = all
      .sort((a, b) => a.first - b.first || b.last - a.last)
      .filter(({ last }) => last > end && (end = last) > 0);
    return (this.#known = known);
  }

  /** null: none that is known has this number. Of two the one that reaches further. */
  of(number: number): LinkRange | null {
    const known = this.#known ?? [];
    // The last one that begins at the number or before.
    let [low, high] = [0, known.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (known[middle]!.first <= number) low = middle + 1;
      else high = middle;
    }
    const found = known[low - 1];
    return found !== undefined && found.last >= number ? found : null;
  }
}

/** Numbers of the first and the last link; null: there is none. */
export async function extentOf(
  store: ArchiveStore,
  merged: readonly LinkRange[],
): Promise<{ readonly first: number; readonly last: number } | null> {
  const folders = await store.folders("chain/");
  const ends = async (from: readonly string[], end: 0 | -1): Promise<number | null> => {
    for (const folder of from) {
      const numbers = (await store.list(folder)).map(linkNumber).filter((n) => n !== null);
      if (numbers.length > 0) return numbers.at(end)!;
    }
    return null;
  };
  const firsts = [merged[0]?.first ?? null, await ends(folders, 0)].filter((n) => n !== null);
  const lasts = [merged.at(-1)?.last ?? null, await ends(folders.toReversed(), -1)].filter((n) => n !== null);
  return firsts.length === 0 ? null : { first: Math.min(...firsts), last: Math.max(...lasts) };
}

/**
 * Merges small old segments of an interval into one object each, so that a month of small writes is hundreds of objects and not millions. The
 * merged object comes first, the links that it has the place of are removed at a later turn, and readers prefer it. So the chain is whole at
 * each moment, also if this ends in the middle, and for two nodes that merge at the same time: both find the same runs of links.
 */
import type { Archive, Chained } from "./archive.ts";
import { entryBytes, type LinkRange, linkNumber, type Segment } from "./chain-link.ts";

/** Entries of a merged object. */
const MOST_BYTES = 8 << 20;
/** Links that are removed at the same time. */
const AT_ONCE = 16;

export interface MergeOptions {
  readonly intervalMs: number;
  /** Wall clock. Newer links than an interval stay. */
  readonly now: number;
  readonly isStopped: () => boolean;
}

interface ChainedSegment extends Chained {
  readonly link: Segment;
}

/** Returns the number of merged links. */
export async function mergeLinks(
  archive: Archive,
  { intervalMs, now, isStopped }: MergeOptions,
): Promise<number> {
  const extent = await archive.extent();
  if (extent === null) return 0;
  const done = (await archive.ranges()).at(-1)?.last ?? 0;
  const start = Math.max(extent.first, done + 1);
  const oldest = await archive.link(start);
  if (oldest === null || endOfInterval(oldest, intervalMs) > now - intervalMs) return 0;
  const intervalOf = ({ link }: Chained): number => Math.floor(link.time / intervalMs);
  let merged = 0;
  let run: ChainedSegment[] = [];
  let bytes = 0;
  for await (const next of archive.walk(start, extent.last)) {
    if (isStopped()) break;
    const { link, hash, size } = next;
    // Another node merges the same links.
    if (link.kind === "segment" && link.first !== undefined) {
      [run, bytes] = [[], 0];
      continue;
    }
    const segment = link.kind === "segment" ? { link, hash, size } : null;
    const own = segment === null ? 0 : sizeOf(segment.link);
    const [first] = run;
    const joins =
      segment !== null &&
      first !== undefined &&
      intervalOf(first) === intervalOf(segment) &&
      bytes + own <= MOST_BYTES;
    // Only a run with a link after it is complete, so each node finds the same one.
    if (!joins) {
      if (link.time > now - intervalMs) break;
      if (run.length > 1) {
        await archive.addMerged(mergedOf(run));
        merged += run.length;
      }
      [run, bytes] = [[], 0];
    }
    if (segment === null) continue;
    run.push(segment);
    bytes += own;
  }
  return merged;
}

const endOfInterval = ({ link }: Chained, intervalMs: number): number =>
  (Math.floor(link.time / intervalMs) + 1) * intervalMs;

const MARK_BYTES = 8;
const sizeOf = (link: Segment): number =>
  entryBytes(link) + link.marks.length * MARK_BYTES * (1 + link.to.length);

function mergedOf(run: readonly ChainedSegment[]): Parameters<Archive["addMerged"]>[0] {
  const [first, last] = [run[0]!, run.at(-1)!];
  return {
    link: {
      ...last.link,
      ...{ first: first.link.number, previous: first.link.previous, from: first.link.from },
      marks: run.flatMap(({ link }) => link.marks),
      entries: last.link.entries.map((_, shard) => run.flatMap(({ link }) => link.entries[shard]!)),
    },
    hash: last.hash,
  };
}

/** Removes links that are in merged objects of these ranges. Returns how many. */
export async function removeMerged(archive: Archive, ranges: readonly LinkRange[]): Promise<number> {
  const proved = new Map<LinkRange, boolean>();
  const isMerged = async (number: number): Promise<boolean> => {
    const range = ranges.find(({ first, last }) => first <= number && number <= last);
    if (range === undefined) return false;
    if (!proved.has(range)) proved.set(range, await isWhole(archive, range));
    return proved.get(range)!;
  };
  let removed = 0;
  for (const folder of await archive.store.folders("chain/")) {
    const old: string[] = [];
    for (const name of await archive.store.list(folder)) {
      const number = linkNumber(name);
      if (number !== null && (await isMerged(number))) old.push(name);
    }
    for (let at = 0; at < old.length; at += AT_ONCE)
      await Promise.all(old.slice(at, at + AT_ONCE).map((name) => archive.store.remove(name)));
    removed += old.length;
  }
  return removed;
}

/** Throws `UserError` if the object is damaged. */
async function isWhole(archive: Archive, range: LinkRange): Promise<boolean> {
  const found = await archive.link(range.last);
  return found?.link.kind === "segment" && found.link.first === range.first;
}

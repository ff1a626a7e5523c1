/** Removes the parts of an archive that are older than they are to be kept. */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { Archive, SnapshotMarker } from "./archive.ts";
import { linkNumber, mergedName } from "./chain-link.ts";

/** A copy without a link is of a node that ended while it sent it, or is still on its way. */
const UNFINISHED_MS = 24 * 3_600_000;

/** Every moment within `ms` can be restored, or from the last `snapshots` on; null: all is kept. */
export interface Keep {
  readonly ms: number | null;
  readonly snapshots: number | null;
}

export interface Pruned {
  readonly links: number;
  readonly copies: number;
}

/** The oldest snapshot that is kept; null: all are. */
export function firstKept(
  snapshots: readonly SnapshotMarker[],
  { ms, snapshots: count }: Keep,
  now: number,
): SnapshotMarker | null {
  let first = 0;
  // A moment is restored from the snapshot before it.
  if (ms !== null)
    first = Math.max(
      0,
      snapshots.findLastIndex(({ at }) => at <= now - ms),
    );
  if (count !== null) first = Math.max(first, snapshots.length - count);
  return first <= 0 ? null : (snapshots[first] ?? null);
}

/** The oldest parts go first, so that an interruption leaves a chain without a gap. */
export async function prune(archive: Archive, keep: Keep, now: number): Promise<Pruned> {
  const snapshots = await archive.snapshots();
  const first = firstKept(snapshots, keep, now);
  let links = 0;
  if (first !== null) {
    for (const one of snapshots) if (one.number < first.number) await archive.removeMarker(one);
    links = await removeLinks(archive, Math.min(first.follow, first.number));
  }
  const kept = new Set(
    snapshots.filter(({ number }) => number >= (first?.number ?? 0)).map(({ data }) => data),
  );
  const known = new Set(snapshots.map(({ data }) => data));
  let copies = 0;
  for (const name of await archive.store.list("copies/")) {
    if (kept.has(name) || (!known.has(name) && isRecent(name, now))) continue;
    await archive.store.remove(name);
    copies++;
  }
  await archive.store.sweep(now - UNFINISHED_MS);
  return { links, copies };
}

async function removeLinks(archive: Archive, before: number): Promise<number> {
  let removed = 0;
  for (const range of await archive.ranges()) {
    if (range.last >= before) break;
    await archive.store.remove(mergedName(range));
    removed += range.last - range.first + 1;
  }
  for (const folder of await archive.store.folders("chain/"))
    for (const name of await archive.store.list(folder)) {
      const number = linkNumber(name);
      if (number === null) continue;
      if (number >= before) return removed;
      await archive.store.remove(name);
      removed++;
    }
  return removed;
}

const EVERY_MS = 3_600_000;

/** Of the node that ships. */
export class Pruning {
  readonly #components: { readonly clock: Clock; readonly logger: Logger };
  readonly #keep: Keep;
  #lastAt: number | null = null;

  constructor(components: { readonly clock: Clock; readonly logger: Logger }, keep: Keep) {
    this.#components = components;
    this.#keep = keep;
  }

  async look(archive: Archive): Promise<void> {
    const { clock, logger } = this.#components;
    if (this.#lastAt !== null && clock.now() - this.#lastAt < EVERY_MS) return;
    this.#lastAt = clock.now();
    const { links, copies } = await prune(archive, this.#keep, clock.wallTime());
    if (links + copies > 0) logger.info("old parts of the archive are removed", { links, copies });
  }
}

/** Its name has the time at which it was begun. */
function isRecent(name: string, now: number): boolean {
  const match = /\/(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)/.exec(name);
  if (match === null) return true;
  const [, year, month, day, hour, minute, second] = match;
  const begun = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return now - begun < UNFINISHED_MS;
}

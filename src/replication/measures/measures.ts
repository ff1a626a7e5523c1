/** Durations and counts of a node's work since its start, for metrics and the page. All durations in seconds. */
import type { Clock } from "../../base/clock.ts";
import { Histogram } from "../../base/measure/histogram.ts";

const LATENCY = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60] as const;
const DISK = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5,
] as const;

export class Measures {
  /** From reading a commit of this node's application until the replica has taken it. */
  readonly commitToOrdered = new Histogram(LATENCY);
  /** From a commit on another node, by its wall clock, until this node's file shows it. */
  readonly commitToShown = new Histogram(LATENCY);
  /** From the moment when this node knows that an entry is committed until its file shows it. */
  readonly orderedToShown = new Histogram(LATENCY);
  /** Commits of the Raft log, each with its sync. */
  readonly logSync = new Histogram(DISK);
  /** Syncs of the application's file. */
  readonly appDbSync = new Histogram(DISK);
  /** How long a write transaction of this node in the application's file lasts. */
  readonly writeLock = new Histogram(DISK);
  /** Write transactions that did not begin since the application held the lock. */
  busyWaits = 0;
  /** By shard: leaders that this node has met. */
  readonly leaderChanges: number[] = [];
  /** By shard: the term when the node first opened its log. */
  readonly firstTerms: number[] = [];

  leaderChanged(shard: number): void {
    this.leaderChanges[shard] = (this.leaderChanges[shard] ?? 0) + 1;
  }
}

/** Runs work and observes how long it took. */
export const timed =
  (histogram: Histogram, clock: Pick<Clock, "now">) =>
  (work: () => void): void => {
    const startedAt = clock.now();
    work();
    histogram.observe((clock.now() - startedAt) / 1000);
  };

interface Awaited {
  readonly index: number;
  /** Monotonic, when the entry became known as committed. */
  readonly at: number;
  /** By the wall clock of its node; null: it is this node's own. */
  readonly committedAt: number | null;
}

/** Follows one entry of each shard at a time from its commit until the file shows it: a sample of all. */
export class ShownSamples {
  readonly #awaited: (Awaited | null)[] = [];

  isWaitingFor(shard: number): boolean {
    return (this.#awaited[shard] ?? null) !== null;
  }

  await(shard: number, entry: Awaited): void {
    this.#awaited[shard] = entry;
  }

  /** The file shows these positions. */
  shown(
    positions: readonly number[],
    measures: Measures,
    { now, wallTime }: { readonly now: number; readonly wallTime: number },
  ): void {
    for (const [shard, awaited] of this.#awaited.entries()) {
      if (!awaited || (positions[shard] ?? 0) < awaited.index) continue;
      this.#awaited[shard] = null;
      measures.orderedToShown.observe((now - awaited.at) / 1000);
      // Clocks of two machines may differ: less than nothing counts as nothing.
      if (awaited.committedAt !== null)
        measures.commitToShown.observe(Math.max(0, wallTime - awaited.committedAt) / 1000);
    }
  }
}

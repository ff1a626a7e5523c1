/** The last hour of a node, sampled now and then: for the plots of the page. */
import { type Counts, type Histogram, quantile } from "../../base/measure/histogram.ts";
import type { Measures } from "../../replication/measures/measures.ts";
import type { HistorySample, Latency, NodeHistory } from "../api.ts";

export const SAMPLE_MS = 10_000;
const MAX_SAMPLES = 360;
/** Samples of the latency of the last minute. */
const MINUTE_SAMPLES = 6;

/** The figures of the moment. */
export interface HistoryFacts {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly ready: boolean;
  readonly pending: number;
  /** Rows that this node has sent, and entries that its replica contains, so far. */
  readonly rows: number;
  readonly entries: number;
  /** By name of the member. */
  readonly lag: Readonly<Record<string, number | null>>;
}

interface Reading {
  readonly facts: HistoryFacts;
  readonly ordered: Counts;
  readonly shown: Counts;
}

const perSecond = (from: number, to: number, ms: number): number => (Math.max(0, to - from) * 1000) / ms;

export class History {
  readonly #measures: Measures;
  readonly #samples: HistorySample[] = [];
  /** Of the last minute, the oldest first. */
  #readings: Reading[] = [];

  constructor(measures: Measures) {
    this.#measures = measures;
  }

  sample(facts: HistoryFacts): void {
    const { commitToOrdered, commitToShown } = this.#measures;
    const now = { facts, ordered: commitToOrdered.read(), shown: commitToShown.read() };
    const last = this.#readings.at(-1);
    this.#readings = [...this.#readings, now].slice(-MINUTE_SAMPLES - 1);
    if (last === undefined) return;
    const ms = Math.max(1, facts.at - last.facts.at);
    const { at, ready, pending, lag } = facts;
    this.#samples.push({
      ...{ at, ready, pending, lag },
      rowsPerSecond: perSecond(last.facts.rows, facts.rows, ms),
      entriesPerSecond: perSecond(last.facts.entries, facts.entries, ms),
      ordered: latency(commitToOrdered, last.ordered, now.ordered),
      shown: latency(commitToShown, last.shown, now.shown),
    });
    if (this.#samples.length > MAX_SAMPLES) this.#samples.shift();
  }

  /** With the latency of the last minute, up to now. */
  read(): NodeHistory {
    const { commitToOrdered, commitToShown } = this.#measures;
    const first = this.#readings[0];
    return {
      stepMs: SAMPLE_MS,
      samples: this.#samples,
      ordered: latency(commitToOrdered, first?.ordered ?? null, commitToOrdered.read()),
      shown: latency(commitToShown, first?.shown ?? null, commitToShown.read()),
    };
  }
}

function latency({ bounds }: Histogram, from: Counts | null, to: Counts): Latency | null {
  const at = (q: number): number | null => quantile(bounds, { from, to }, q);
  const [p50, p99] = [at(0.5), at(0.99)];
  return p50 === null || p99 === null ? null : { p50Ms: p50 * 1000, p99Ms: p99 * 1000 };
}

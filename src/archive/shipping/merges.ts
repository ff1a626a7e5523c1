/** When a node that ships merges old links, in the background. */
import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Archive } from "../archive.ts";
import { type LinkRange, mergedName } from "../chain-link.ts";
import { mergeLinks, removeMerged } from "../merging.ts";

/** Links of so long become one object. */
export const MERGE_MS = 3_600_000;
/** Looks in one interval. */
const LOOKS = 6;

export class Merges {
  readonly #components: { readonly clock: Clock; readonly logger: Logger };
  readonly #intervalMs: number;
  #lookedAt: number | null = null;
  #running: Promise<void> | null = null;
  #stopped = false;
  /** Names of merged objects that the last look found: their links are removed by now. */
  #seen: ReadonlySet<string> = new Set();

  constructor(components: { readonly clock: Clock; readonly logger: Logger }, intervalMs: number) {
    this.#components = components;
    this.#intervalMs = intervalMs;
  }

  look(archive: Archive): void {
    const now = this.#components.clock.now();
    if (
      this.#running !== null ||
      (this.#lookedAt !== null && now - this.#lookedAt < this.#intervalMs / LOOKS)
    )
      return;
    this.#lookedAt = now;
    this.#running = this.#work(archive).finally(() => {
      this.#running = null;
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #work(archive: Archive): Promise<void> {
    const { clock, logger } = this.#components;
    try {
      const ranges = await archive.ranges();
      const old: LinkRange[] = ranges.filter((range) => this.#seen.has(mergedName(range)));
      const removed = await removeMerged(archive, old);
      this.#seen = new Set(ranges.map(mergedName));
      const options = { intervalMs: this.#intervalMs, now: clock.wallTime(), isStopped: () => this.#stopped };
      const merged = await mergeLinks(archive, options);
      if (merged + removed > 0) logger.info("old links of the archive are merged", { merged, removed });
    } catch (error) {
      if (!this.#stopped)
        logger.warn("old links of the archive are not merged now", { error: errorMessage(error) });
    }
  }
}

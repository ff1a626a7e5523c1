/** Claims that the cluster is still at the end of the chain, so that a later moment can be restored although nothing was written. */
import type { Clock } from "../../base/clock.ts";
import { showPosition } from "../../base/text/position-token.ts";
import type { Archive, Chained } from "../archive.ts";

/** Between two claims; doubled while nothing is written. */
const FIRST_MS = 1000;
const LONGEST_MS = 30_000;

export class Claims {
  readonly #clock: Clock;
  #madeAt = Number.NEGATIVE_INFINITY;
  #everyMs = FIRST_MS;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** There is a new link. */
  changed(): void {
    this.#everyMs = FIRST_MS;
  }

  async at(archive: Archive, { link }: Chained, node: string): Promise<void> {
    const now = this.#clock.now();
    if (now - this.#madeAt < this.#everyMs) return;
    const until = this.#clock.wallTime();
    await archive.requirePresent();
    await archive.putHead({ number: link.number, position: showPosition(link.to), until, node });
    this.#everyMs = Math.min(LONGEST_MS, this.#everyMs * 2);
    this.#madeAt = now;
  }
}

/** Bounds the heap under a long load: the runtime itself collects only when the memory of the machine runs short. */
import type { Clock } from "../../base/clock.ts";
import type { Host } from "./host.ts";

/** Memory of the process above which garbage is collected, and the least time between two collections; then both under pressure. */
const COLLECT_ABOVE_BYTES = 144 << 20;
const COLLECT_MS = 1000;
const HURRY_ABOVE_BYTES = 224 << 20;
const HURRY_MS = 250;
/** So much memory must have come since the last collection, without pressure: one that frees little costs as much as any other. */
const GROWTH_BYTES = 16 << 20;
/** Raft turns since memory was last looked at, below which there is little garbage. */
const LOOK_TURNS = 20;

export class Garbage {
  readonly #host: Pick<Host, "memory" | "collectGarbage">;
  readonly #clock: Pick<Clock, "now">;
  #collectedAt = 0;
  #lookedTurns = 0;
  /** Memory right after the last collection. */
  #keptBytes = 0;

  constructor(host: Pick<Host, "memory" | "collectGarbage">, clock: Pick<Clock, "now">) {
    this.#host = host;
    this.#clock = clock;
  }

  /** `turns`: of Raft since the start. */
  tick(turns: number): void {
    const now = this.#clock.now();
    if (now - this.#collectedAt < HURRY_MS || turns - this.#lookedTurns < LOOK_TURNS) return;
    this.#lookedTurns = turns;
    const hasRested = now - this.#collectedAt >= COLLECT_MS;
    const grown = Math.max(COLLECT_ABOVE_BYTES, this.#keptBytes + GROWTH_BYTES);
    const limit = hasRested ? Math.min(grown, HURRY_ABOVE_BYTES) : HURRY_ABOVE_BYTES;
    if (this.#host.memory() < limit) return;
    this.#collectedAt = now;
    this.#host.collectGarbage();
    this.#keptBytes = this.#host.memory();
  }
}

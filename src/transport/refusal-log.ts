/** A refusal is repeated with each attempt to connect; the log has it once in a while. */
import type { Clock } from "../base/clock.ts";
import type { PeerId } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";

/** Pause between two warnings of the same text, and the texts that are known. */
const WARN_MS = 60_000;
const MAX_WARNINGS = 1000;

export class RefusalLog {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #warnedAt = new Map<string, number>();

  constructor({ clock, logger }: { readonly clock: Clock; readonly logger: Logger }) {
    this.#clock = clock;
    this.#logger = logger;
  }

  warn(message: string, peer: PeerId, reason: string): void {
    const now = this.#clock.now();
    const key = `${message} ${peer} ${reason}`;
    if (now - (this.#warnedAt.get(key) ?? Number.NEGATIVE_INFINITY) < WARN_MS) return;
    if (this.#warnedAt.size >= MAX_WARNINGS) this.#warnedAt.clear();
    this.#warnedAt.set(key, now);
    this.#logger.event("refused", `${message}: ${reason}`, { peer, reason }, "warn");
  }
}

/** Reports incoming connections that have none of the cluster keys: once for each host in a long while, and a few at most. */
import type { Logger } from "../base/logger.ts";

const REPORT_MS = 600_000;
/** Reports in `REPORT_MS` over all hosts. */
const MAX_REPORTS = 20;

const hostOf = (address: string): string => address.split("/")[2] ?? address;

export class Strangers {
  readonly #logger: Logger;
  readonly #reportedAt = new Map<string, number>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  met(address: string, now: number): void {
    for (const [host, at] of this.#reportedAt) if (now - at >= REPORT_MS) this.#reportedAt.delete(host);
    const host = hostOf(address);
    if (this.#reportedAt.has(host) || this.#reportedAt.size >= MAX_REPORTS) return;
    this.#reportedAt.set(host, now);
    this.#logger.event(
      "refused",
      "a connection was refused: it has another cluster key, or is not from a Marmot node",
      {
        address,
      },
    );
  }
}

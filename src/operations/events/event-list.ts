/** The last events of a node, for the API and the page. The log has each when it happens. */
import type { LoggedEvent } from "../../base/logger.ts";
import type { NodeEvent } from "../api.ts";

export const MAX_EVENTS = 200;

export class EventList {
  readonly #events: NodeEvent[] = [];
  #next = 1;

  add({ time, level, kind, message, fields }: LoggedEvent): void {
    this.#events.push({ id: this.#next++, time, level, kind, message, fields });
    if (this.#events.length > MAX_EVENTS) this.#events.shift();
  }

  /** The newest first. `after`: only those with a larger id. */
  list({ limit, after = 0 }: { readonly limit: number; readonly after?: number }): readonly NodeEvent[] {
    return this.#events
      .filter(({ id }) => id > after)
      .slice(-limit)
      .reverse();
  }
}
